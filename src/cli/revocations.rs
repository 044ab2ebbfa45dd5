//! `postern revocations`: what is on the blocklist, lifting an entry, and acknowledging a loss.

use std::io::Write;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::remote::talk;
use super::token::Format;
use super::{ConfigArgs, complain};

/// Arguments of `postern revocations`.
#[derive(Debug, Args)]
pub struct RevocationsArgs {
    #[command(subcommand)]
    verb: RevocationsVerb,
}

#[derive(Debug, Subcommand)]
enum RevocationsVerb {
    /// Every entry, in no particular order
    List(ListArgs),
    /// Lift an entry
    Remove(RemoveArgs),
    /// End the alarm after the store lost entries
    Ack(AckArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The entry's id, from `list`
    id: String,
}

#[derive(Debug, Args)]
struct AckArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &RevocationsArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match &args.verb {
        RevocationsVerb::List(args) => list(args, out, err),
        RevocationsVerb::Remove(args) => {
            // An id is base64url; anything else would be another path.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if args.id.is_empty() || !args.id.bytes().all(plain) {
                complain(err, "that is not an id; `postern revocations list` shows them");
                return 2;
            }
            let path = format!("/revocations/{}", args.id);
            talk(&args.config, Method::DELETE, &path, err, |_| 0)
        }
        RevocationsVerb::Ack(args) => {
            talk(&args.config, Method::POST, "/revocations/ack", err, |_| 0)
        }
    }
}

/// Page after page.
fn list(args: &ListArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let mut after = String::new();
    loop {
        let path = format!("/revocations?limit=1000{after}");
        let mut next = None;
        let code = talk(&args.config, Method::GET, &path, err, |said| {
            next = said.body.get("next").and_then(Value::as_str).map(str::to_owned);
            let items = said.body.get("items").and_then(Value::as_array);
            let lines = items.into_iter().flatten().map(|item| line(item, args.format));
            u8::from(out.write_all(lines.collect::<String>().as_bytes()).is_err())
        });
        match next {
            Some(cursor) if code == 0 => {
                let cursor: String = form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
                after = format!("&after={cursor}");
            }
            _ => return code,
        }
    }
}

fn line(item: &Value, format: Format) -> String {
    match format {
        Format::Json => format!("{item}\n"),
        Format::Text => {
            let word = |name: &str| match item.get(name) {
                None | Some(Value::Null) => "-".to_owned(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            let (id, kind, value, issuer) =
                (word("id"), word("kind"), word("value"), word("issuer"));
            let named = match kind.as_str() {
                "issuer" => format!("{issuer:?}"),
                "token" => value,
                _ => format!("{value:?} of {issuer:?}"),
            };
            let dated = match word("issued_before").as_str() {
                "-" => String::new(),
                seconds => format!("issued up to {seconds}  "),
            };
            let (until, by, reason) = (word("expires"), word("by"), word("reason"));
            format!("{id}  {kind} {named}  {dated}until {until}  by {by:?}: {reason:?}\n")
        }
    }
}
