//! `postern keys rotate`: at every moment, what signs can be verified.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::directory::{Contents, Directory, Held, entry};
use super::set::{Jwk, Set, text, time};
use super::{Clock, Failure, algorithm, kid, output, report};
use crate::auth::{Algorithm, Family, SigningKey};
use crate::cli::complain;
use crate::cli::token::Format;
use crate::time::UnixTime;

/// Arguments of `postern keys rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Directory that `postern keys generate` made
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// How long the previous key still verifies: the longest life of its tokens, the leeway, and
    /// the time until the last signer has read the new key
    #[arg(long, value_name = "DURATION", default_value = "24h 1m",
          value_parser = humantime::parse_duration)]
    pub keep: Duration,
    /// How long verifiers have known a key before it signs; a gateway that reads the jwks.json
    /// itself needs two seconds, others as long as they keep their copy (then --prepare is better)
    #[arg(long, value_name = "DURATION", default_value = "5s",
          value_parser = humantime::parse_duration)]
    pub publish_first: Duration,
    /// Only publish the next key; a later `rotate` lets it sign
    #[arg(long, conflicts_with_all = ["keep", "publish_first", "prune"])]
    pub prepare: bool,
    /// Only drop keys whose last token has expired; no new key
    #[arg(long, conflicts_with_all = ["keep", "publish_first", "algorithm", "kid"])]
    pub prune: bool,
    /// What the new key signs with; default: what the present one does
    #[arg(long, value_name = "ALG", value_parser = algorithm())]
    pub algorithm: Option<Algorithm>,
    /// Id of the new key; default: its thumbprint (RFC 7638), for HS256 a random one
    #[arg(long, value_parser = kid)]
    pub kid: Option<String>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

pub(super) fn run(
    args: &RotateArgs,
    clock: &Clock<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let directory = Directory::open(&args.directory)?;
    let _lock = directory.lock()?;
    let mut contents = directory.contents()?;
    prune(&directory, &mut contents, (clock.now)())?;
    if !args.prune {
        let next = prepare(&directory, &mut contents, args, (clock.now)())?;
        if args.prepare {
            contents.next = Some(next);
        } else {
            tell(args, &contents, &next, err);
            wait_until_known(&contents.set, &next, args.publish_first, clock, err);
            announce(&directory, &mut contents, &next.kid, (clock.now)().plus(args.keep))?;
            directory.switch(next.key.algorithm())?;
            contents.signing = next;
            // With --keep 0s, for a key that others have got hold of.
            prune(&directory, &mut contents, (clock.now)())?;
        }
    }
    show(args.format, &report(&directory, &contents), out).map_err(output)
}

fn prune(directory: &Directory, contents: &mut Contents, now: UnixTime) -> Result<(), Failure> {
    if contents.prune(now) > 0 { directory.write_set(&contents.set) } else { Ok(()) }
}

/// Steps 1 and 2: the next key is on disk, and `jwks.json` has it. One that was prepared before is
/// taken as it is.
pub(super) fn prepare(
    directory: &Directory,
    contents: &mut Contents,
    args: &RotateArgs,
    now: UnixTime,
) -> Result<Held, Failure> {
    let present = contents.signing.key.algorithm();
    if let Some(next) = contents.next.take() {
        let same_algorithm = args.algorithm.is_none_or(|asked| asked == next.key.algorithm());
        if same_algorithm && args.kid.as_ref().is_none_or(|asked| *asked == next.kid) {
            return Ok(next);
        }
        return Err(Failure::Refused(format!(
            "the next key is prepared already ({}, {}): `postern keys rotate {}` lets it sign",
            next.kid,
            next.key.algorithm(),
            directory.path().display(),
        )));
    }
    let algorithm = args.algorithm.unwrap_or(present);
    if (algorithm.family() == Family::Hmac) != (present.family() == Family::Hmac) {
        return Err(Failure::Refused(format!(
            "{present} and {algorithm} cannot share a jwks.json: whoever may know a public key \
             would know the secret. Make a directory for {algorithm} with `postern keys generate`, \
             and an [[issuers]] entry of the same issuer for it"
        )));
    }
    let key = SigningKey::generate(algorithm)?;
    let jwk = entry(&key, args.kid.as_deref(), now)?;
    let kid = text(&jwk, "kid").unwrap_or_default().to_owned();
    if contents.set.has_kid(&kid) {
        return Err(Failure::Refused(format!("another key has the kid {kid}: choose a new one")));
    }
    directory.write_next(&key)?;
    contents.set.0.push(jwk);
    directory.write_set(&contents.set)?;
    Ok(Held { kid, key })
}

/// Step 3. A key that was prepared long ago is known already.
fn wait_until_known(
    set: &Set,
    next: &Held,
    publish_first: Duration,
    clock: &Clock<'_>,
    err: &mut dyn Write,
) {
    let is_next = |jwk: &&Jwk| text(jwk, "kid") == Some(&next.kid);
    let since = set.0.iter().find(is_next).and_then(|jwk| time(jwk, "iat"));
    let known = since.map_or(Duration::ZERO, |since| (clock.now)().since(since));
    let left = publish_first.saturating_sub(known);
    if !left.is_zero() {
        let shown = humantime::format_duration(left);
        let text = format!("{} is published; in {shown} it signs", next.kid);
        complain(err, &text);
        (clock.wait)(left);
    }
}

/// Step 4: the next key comes first, and every other one has its end.
pub(super) fn announce(
    directory: &Directory,
    contents: &mut Contents,
    next: &str,
    end: UnixTime,
) -> Result<(), Failure> {
    for jwk in &mut contents.set.0 {
        let kid = text(jwk, "kid");
        if kid == Some(next) {
            jwk.remove("exp");
        } else if kid == Some(&contents.signing.kid) || !jwk.contains_key("exp") {
            jwk.insert("exp".to_owned(), end.seconds().into());
        }
    }
    contents.set.0.sort_by_key(|jwk| text(jwk, "kid") != Some(next));
    directory.write_set(&contents.set)
}

impl Contents {
    /// Drops what verifies nothing any more; never what signs or will.
    pub(super) fn prune(&mut self, now: UnixTime) -> usize {
        let mut kept = vec![self.signing.kid.as_str()];
        kept.extend(self.next.as_ref().map(|next| next.kid.as_str()));
        self.set.prune(now, &kept)
    }
}

/// What the operator has to do elsewhere.
fn tell(args: &RotateArgs, contents: &Contents, next: &Held, err: &mut dyn Write) {
    let (old, new) = (contents.signing.key.algorithm(), next.key.algorithm());
    if old != new {
        let text = format!(
            "the new key signs with {new}: every verifier of {} must allow it besides {old} (in \
             Postern: algorithms of the [[issuers]] entry)",
            args.directory.display(),
        );
        complain(err, &text);
    }
}

fn show(format: Format, report: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    if format == Format::Json {
        return writeln!(out, "{report:#}");
    }
    let plain = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (kid, algorithm) = (plain(report, "kid"), plain(report, "algorithm"));
    writeln!(out, "signs      {kid} ({algorithm}, {})", plain(report, "private_key_file"))?;
    if let Some(next) = report.get("next").filter(|next| !next.is_null()) {
        let (kid, algorithm) = (plain(next, "kid"), plain(next, "algorithm"));
        writeln!(out, "next       {kid} ({algorithm})")?;
    }
    for previous in report.get("previous").and_then(Value::as_array).into_iter().flatten() {
        let end = previous.get("expires").and_then(Value::as_i64).map_or_else(
            || "until the next rotation".to_owned(),
            |seconds| format!("until {}", date(UnixTime(seconds))),
        );
        writeln!(out, "verifies   {} ({end})", plain(previous, "kid"))?;
    }
    writeln!(out, "published  {}", plain(report, "jwks_file"))
}

fn date(time: UnixTime) -> String {
    let since = time.since(UnixTime(0));
    match std::time::UNIX_EPOCH.checked_add(since) {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string(),
        None => "the end of time".to_owned(),
    }
}
