//! `postern user passwd --end-sessions`: once the password is another, the running gateway ends
//! all sessions of the account, as `postern revoke --sub` does (ASVS 5.0 7.4.3).
//!
//! It must never leave whoever asked in the belief that sessions were ended which were not.

use std::time::Duration;

use http::Method;

use super::{Failure, Io, say};
use crate::cli::ConfigArgs;
use crate::cli::remote::{Remote, Silence};
use crate::config::{Loaded, Options};
use crate::policy::revocation::Asked;

/// Why, in the entry's words.
const REASON: &str = "the password was changed";

/// By then every gateway has read the users file: it looks once a second, and the file must have
/// held still for one look. Until then the old password still begins sessions.
const READ_AGAIN: Duration = Duration::from_secs(4);

/// Ends the sessions at once, and once more when the old password is known nowhere any more.
pub(super) fn run(config: &ConfigArgs, subject: &str, io: &mut Io<'_>) -> Result<(), Failure> {
    let loaded = config.load(Options::ONLINE).map_err(Failure::Configuration)?;
    let issuer = match &loaded.config.issuing {
        Some(issuing) => issuing.get_ref().issuer.get_ref().0.clone(),
        None => return Err(Failure::Configuration("there is no [issuing]".to_owned())),
    };
    let asked = Asked {
        sub: Some(subject.to_owned()),
        of_issuer: Some(issuer.clone()),
        reason: REASON.to_owned(),
        ..Asked::default()
    };
    let command = command(config, subject, &issuer);
    revoke(&asked, &loaded).map_err(|why| {
        Failure::SessionsGoOn(format!("{why}; its sessions were NOT ended, do it by: {command}"))
    })?;
    say(io, "its sessions were ended");
    let shown = humantime::format_duration(READ_AGAIN);
    say(io, &format!("once more in {shown}, when gateways know the new password"));
    crate::cli::keys::wait(READ_AGAIN);
    revoke(&asked, &loaded).map_err(|why| {
        Failure::SessionsGoOn(format!(
            "{why}; sessions that were begun with the old password during the last {shown} were \
             NOT ended, do it by: {command}"
        ))
    })
}

fn revoke(asked: &Asked, loaded: &Loaded) -> Result<(), String> {
    let body = serde_json::to_value(asked).map_err(|error| error.to_string())?;
    let said = Remote::of(loaded)?.ask(Method::POST, "/revocations", Some(&body));
    match said {
        Ok(said) if said.status.is_success() => Ok(()),
        Ok(said) => Err(said.detail()),
        Err(Silence::Down(text) | Silence::Failed(text)) => Err(text),
    }
}

/// The command that does it by hand, with or without a gateway.
fn command(config: &ConfigArgs, subject: &str, issuer: &str) -> String {
    let mut words = vec!["postern revoke --sub".to_owned(), quoted(subject)];
    words.extend(["--of-issuer".to_owned(), quoted(issuer)]);
    if let Some(path) = &config.config {
        words.extend(["--config".to_owned(), quoted(&path.display().to_string())]);
    }
    for set in &config.set {
        words.extend(["--set".to_owned(), quoted(set)]);
    }
    words.join(" ")
}

/// One word for a shell, whatever is in it; what begins with a dash is no option here, as the
/// option before it takes a value.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=+,%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CWE-78: an id is the operator's to choose, and the line is made to be pasted.
    #[test]
    fn the_command_is_one_that_can_be_pasted() {
        let config = ConfigArgs { config: Some("a dir/p.toml".into()), set: Vec::new() };
        assert_eq!(
            command(&config, "O'Brien; rm -rf ~", "https://login.test"),
            "postern revoke --sub 'O'\\''Brien; rm -rf ~' --of-issuer https://login.test \
             --config 'a dir/p.toml'"
        );
        let plain = ConfigArgs::default();
        assert_eq!(
            command(&plain, "alice@example.com", "https://login.test"),
            "postern revoke --sub alice@example.com --of-issuer https://login.test"
        );
        for word in ["", "$(x)", "`x`", "a\\b", "é", "~x", "*", "a!b"] {
            assert_eq!(quoted(word), format!("'{word}'"));
        }
    }
}
