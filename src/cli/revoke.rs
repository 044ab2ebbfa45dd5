//! `postern revoke`: through the admin listener; straight to the store when no gateway answers.

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::remote::{Remote, Silence};
use super::{ConfigArgs, check, complain, private_directory};
use crate::blocklist::{Blocklist, End, Revocation};
use crate::config::{Loaded, Options};
use crate::policy::FileAccess;
use crate::policy::revocation::{self, Named};
use crate::run::{environment, store};
use crate::time::UnixTime;

/// A token file may not be larger.
const TOKEN_BYTES_MAX: u64 = 1 << 20;

/// Arguments of `postern revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    what: What,
    /// The issuer (iss) of the jti or of an opaque token; needed when there are several
    #[arg(long, value_name = "ISS")]
    of_issuer: Option<String>,
    /// How long the entry lives: 1h, 7d; default as long as such a token may
    #[arg(long, value_name = "TIME")]
    r#for: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The token's id, for example from an access-log line
    #[arg(long)]
    jti: Option<String>,
    /// File that holds the token; - is standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(super) fn run(args: &RevokeArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let loaded = match args.config.load(Options::ONLINE) {
        Ok(loaded) => loaded,
        Err(text) => {
            complain(err, &text);
            return 2;
        }
    };
    match revoke(args, &loaded, err) {
        Ok(entry) => u8::from(writeln!(out, "{entry}").is_err()),
        Err(text) => {
            complain(err, &text);
            1
        }
    }
}

fn revoke(args: &RevokeArgs, loaded: &Loaded, err: &mut dyn Write) -> Result<Value, String> {
    let token = args.what.token_file.as_deref().map(read_token).transpose()?;
    let mut body = json!({ "reason": args.reason });
    if let Some(members) = body.as_object_mut() {
        let said = [
            ("jti", args.what.jti.clone()),
            ("token", token.clone()),
            ("of_issuer", args.of_issuer.clone()),
            ("for", args.r#for.clone()),
        ];
        for (name, value) in said {
            members.extend(value.map(|value| (name.to_owned(), Value::String(value))));
        }
    }
    let silence = match Remote::of(loaded) {
        Ok(remote) => match remote.ask(Method::POST, "/revocations", Some(&body)) {
            Ok(said) if said.status.is_success() => return Ok(said.body),
            Ok(said) => return Err(said.detail()),
            Err(Silence::Failed(text)) => return Err(text),
            Err(Silence::Down(text)) => text,
        },
        Err(text) => text,
    };
    let _ = writeln!(err, "postern: {silence}; writing to the store itself");
    directly(args, token.as_deref(), loaded)
}

/// Writes the entry without a gateway.
fn directly(args: &RevokeArgs, token: Option<&str>, loaded: &Loaded) -> Result<Value, String> {
    let now = UnixTime::now();
    let render = |problems: crate::config::Problems| problems.render(&loaded.source);
    let snapshot = check::compile(loaded, FileAccess::Online).map_err(render)?;
    let span = args.r#for.as_deref().map(humantime::parse_duration).transpose();
    let span = span.map_err(|error| format!("--for: {error}"))?;
    let issuer = args.of_issuer.as_deref();
    let named = match (token, &args.what.jti) {
        (Some(token), _) => Named::Token { token, issuer, span },
        (None, Some(jti)) => Named::Jti { jti, issuer, span },
        (None, None) => return Err("name --jti or --token-file".into()),
    };
    let found = revocation::of(&named, &snapshot.issuers, now).map_err(|e| e.to_string())?;
    let wanted = Revocation {
        selector: found.selector,
        end: End::At(found.until),
        issued_before: None,
        reason: args.reason.clone(),
        by: "cli".to_owned(),
    };
    let settings = store::settings(&loaded.config, &loaded.source, &environment).map_err(render)?;
    // What a gateway remembers beside the store has no place to stay here.
    let memory = private_directory("revoke")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let result = runtime.block_on(async {
        let on_loss = store::on_loss(&loaded.config);
        let blocklist = Blocklist::open(&settings, on_loss, &memory, now)
            .await
            .map_err(|error| error.to_string())?;
        let item = blocklist.revoke(&wanted, now).await.map_err(|error| error.to_string())?;
        serde_json::to_value(&item).map_err(|error| error.to_string())
    });
    drop(std::fs::remove_dir_all(&memory));
    result
}

fn read_token(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}
