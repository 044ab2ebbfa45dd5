//! `postern revoke`: through the admin listener; straight to the store when no gateway answers.

use std::fs::DirBuilder;
use std::io::{Read as _, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::remote::{Remote, Silence};
use super::{ConfigArgs, check, complain, private_directory};
use crate::blocklist::{Blocklist, Item, Revocation, RevokeError};
use crate::config::{Loaded, Options};
use crate::issuer::Families;
use crate::observe::audit::{AuditWriter, Event, Kind, Outcome};
use crate::policy::FileAccess;
use crate::policy::revocation::{self, Asked};
use crate::run::{audit, environment, store};
use crate::time::UnixTime;

/// A token file may not be larger.
const TOKEN_BYTES_MAX: u64 = 1 << 20;
/// Who revokes straight in the store.
const ACTOR: &str = "cli";

/// Arguments of `postern revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    what: What,
    /// The issuer (iss) that it is about; needed when there are several
    #[arg(long, value_name = "ISS")]
    of_issuer: Option<String>,
    /// How long the entry lives: 1h, 7d; default as long as such a token may, and without end for
    /// an issuer or a key
    #[arg(long, value_name = "TIME")]
    r#for: Option<String>,
    /// With --sub and --client: only tokens issued up to then, as 2026-11-22T08:00:00Z or in Unix
    /// seconds; default now, plus the issuer's leeway
    #[arg(long, value_name = "TIME", value_parser = instant)]
    issued_before: Option<i64>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// One token, by its id, for example from an access-log line
    #[arg(long)]
    jti: Option<String>,
    /// Every token of a user: "log out everywhere"; one issued later works
    #[arg(long)]
    sub: Option<String>,
    /// Every token of a session
    #[arg(long)]
    sid: Option<String>,
    /// Every token of a client (azp, client_id); one issued later works
    #[arg(long)]
    client: Option<String>,
    /// Every token of an issuer
    #[arg(long, value_name = "ISS")]
    issuer: Option<String>,
    /// Every token that the key with this id verifies
    #[arg(long)]
    kid: Option<String>,
    /// One token, in a file; - is standard input
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

impl RevokeArgs {
    fn asked(&self) -> Result<Asked, String> {
        let What { jti, sub, sid, client, issuer, kid, token_file } = &self.what;
        Ok(Asked {
            jti: jti.clone(),
            sub: sub.clone(),
            sid: sid.clone(),
            client: client.clone(),
            issuer: issuer.clone(),
            kid: kid.clone(),
            token: token_file.as_deref().map(read_token).transpose()?,
            of_issuer: self.of_issuer.clone(),
            r#for: self.r#for.clone(),
            issued_before: self.issued_before,
            reason: self.reason.clone(),
        })
    }
}

fn revoke(args: &RevokeArgs, loaded: &Loaded, err: &mut dyn Write) -> Result<Value, String> {
    let asked = args.asked()?;
    let body = serde_json::to_value(&asked).map_err(|error| error.to_string())?;
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
    directly(&asked, loaded)
}

/// Writes the entry without a gateway.
fn directly(asked: &Asked, loaded: &Loaded) -> Result<Value, String> {
    let now = UnixTime::now();
    let render = |problems: crate::config::Problems| problems.render(&loaded.source);
    let snapshot = check::compile(loaded, FileAccess::Online).map_err(render)?;
    let wanted = revocation::under(&snapshot, asked, ACTOR, now).map_err(|e| e.to_string())?;
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
        let item = audited(loaded, &wanted, blocklist.revoke(&wanted, now)).await?;
        let families = blocklist.store().families().zip(snapshot.issuing.as_deref());
        if let Some((families, issuing)) = families {
            let families = Families::new(Arc::new(families), issuing);
            let before = item.issued_before.map(UnixTime);
            // Refused at their next refresh all the same.
            if let Err(error) = families.end_revoked(&wanted.selector, before, now).await {
                tracing::warn!(%error, "sessions of a revocation are still to be ended");
            }
        }
        serde_json::to_value(&item).map_err(|error| error.to_string())
    });
    drop(std::fs::remove_dir_all(&memory));
    result
}

/// Revokes, and writes that into the audit log, which no gateway does for us.
async fn audited(
    loaded: &Loaded,
    wanted: &Revocation,
    revoking: impl Future<Output = Result<Item, RevokeError>>,
) -> Result<Item, String> {
    let state_dir = loaded.source.resolve(loaded.config.state.dir.get_ref());
    if loaded.config.audit.key().is_some() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&state_dir);
        made.map_err(|error| format!("{}: {error}", state_dir.display()))?;
    }
    let (log, writer) = audit::open(&loaded.config, &loaded.source, &state_dir)
        .map_err(|error| format!("nothing was revoked: {error}"))?;
    let event = Event::new(Kind::Revocation, Outcome::Asked)
        .actor(ACTOR)
        .issuer(&wanted.selector.issuer)
        .reason(&wanted.reason);
    let (kind, id) = (wanted.selector.kind.as_str(), wanted.selector.id());
    let event = event.selector(kind, &wanted.selector.value, Some(&id));
    let begun = log.record(event.clone()).await;
    begun.map_err(|unwritten| format!("nothing was revoked: {unwritten}"))?;
    let revoked = revoking.await;
    let ended = match &revoked {
        Ok(item) => event.ended(Outcome::Done).detail("expires", item.expires),
        Err(error) => event.ended(Outcome::Failed).detail("error", error.to_string()),
    };
    let written = log.record(ended).await;
    log.close().await;
    writer.into_iter().for_each(AuditWriter::join);
    let item = revoked.map_err(|error| error.to_string())?;
    written.map_err(|unwritten| format!("it is revoked; {unwritten}"))?;
    Ok(item)
}

/// A time as RFC 3339 has it, or in Unix seconds.
fn instant(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let time = humantime::parse_rfc3339_weak(text).map_err(|error| error.to_string())?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|error| error.to_string())?;
    i64::try_from(since.as_secs()).map_err(|error| error.to_string())
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
