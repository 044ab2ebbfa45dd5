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

/// The issuer whose sessions they are, and how its gateway is reached.
pub(super) struct Issuer<'a> {
    config: &'a ConfigArgs,
    loaded: Loaded,
    name: String,
}

impl<'a> Issuer<'a> {
    /// That of the configuration. To be asked for before anything is changed.
    pub(super) fn of(config: &'a ConfigArgs) -> Result<Self, Failure> {
        let loaded = config.load(Options::ONLINE).map_err(Failure::Configuration)?;
        let issuing = loaded.config.issuing.as_ref();
        let name = issuing.map(|issuing| issuing.get_ref().issuer.get_ref().0.clone());
        let nobody = || Failure::Configuration("the configuration has no [issuing]".to_owned());
        Ok(Self { config, name: name.ok_or_else(nobody)?, loaded })
    }

    /// Ends the sessions at once, and once more when the old password is known nowhere any more.
    pub(super) fn end_sessions(&self, subject: &str, io: &mut Io<'_>) -> Result<(), Failure> {
        let asked = Asked {
            sub: Some(subject.to_owned()),
            of_issuer: Some(self.name.clone()),
            reason: REASON.to_owned(),
            ..Asked::default()
        };
        let go_on = |why: String, which: &str| {
            let command = command(self.config, subject, &self.name);
            let text = format!("{why}; {which} were NOT ended, end them by: {command}");
            Failure::SessionsGoOn(text)
        };
        revoke(&asked, &self.loaded).map_err(|why| go_on(why, "its sessions"))?;
        let shown = humantime::format_duration(READ_AGAIN);
        say(io, "its sessions were ended");
        say(io, &format!("once more in {shown}, when no gateway takes the old password any more"));
        crate::cli::keys::wait(READ_AGAIN);
        let which = "sessions that were begun with the old password meanwhile";
        revoke(&asked, &self.loaded).map_err(|why| go_on(why, which))
    }
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
    let path = config.config.as_ref().map(|path| path.display().to_string());
    let options = [("--sub", subject), ("--of-issuer", issuer)].into_iter();
    let options = options.chain(path.as_deref().map(|path| ("--config", path)));
    let options = options.chain(config.set.iter().map(|set| ("--set", set.as_str())));
    options.fold("postern revoke".to_owned(), |line, (option, value)| {
        // What begins with a dash would be taken for the next option.
        let between = if value.starts_with('-') { '=' } else { ' ' };
        format!("{line} {option}{between}{}", quoted(value))
    })
}

/// One word for a shell, whatever is in it.
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
        let of = |subject| command(&plain, subject, "https://login.test");
        assert_eq!(
            of("alice@example.com"),
            "postern revoke --sub alice@example.com --of-issuer https://login.test"
        );
        assert!(of("--kid").starts_with("postern revoke --sub=--kid --of-issuer"));
        for word in ["", "$(x)", "`x`", "a\\b", "é", "~x", "*", "a!b"] {
            assert_eq!(quoted(word), format!("'{word}'"));
        }
    }
}
