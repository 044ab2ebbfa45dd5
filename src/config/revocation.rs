//! `[revocation]`: how the blocklist is asked, and what happens when it cannot be.

use std::fmt;
use std::num::NonZeroU32;

use serde::Deserialize;
use toml::Spanned;

use super::duration::Period;
use super::list::List;
use super::scalar::Scalar;
use super::unplaced;

/// The blocklist's rules.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Revocation {
    /// When the store is asked; default on every request.
    pub check: Spanned<Check>,
    /// What a request gets that could not be checked; default deny. A route may override.
    pub on_unreachable: Spanned<OnUnreachable>,
    /// What a lost store means for tokens of before the loss; default remember.
    pub on_loss: Spanned<OnLoss>,
    /// With `tracked`: how old the local copy may be; default 2 s.
    pub max_staleness: Spanned<Period>,
    /// With `tracked`: how many entries the local copy holds; default 1000000.
    pub max_entries: Spanned<NonZeroU32>,
    /// Keys that other applications write and whose existence refuses a token; default none.
    pub extra_keys: List<KeyTemplate>,
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            check: unplaced(Check::EveryRequest),
            on_unreachable: unplaced(OnUnreachable::Deny),
            on_loss: unplaced(OnLoss::Remember),
            max_staleness: unplaced(Period::seconds(2)),
            max_entries: unplaced(NonZeroU32::MIN.saturating_add(999_999)),
            extra_keys: List::default(),
        }
    }
}

/// When the store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum Check {
    /// A round trip for every request with a token.
    EveryRequest,
    /// Never: a revoked token lives until its `exp`.
    Off,
    /// A local copy that Redis keeps current answers; the store is asked when it cannot.
    Tracked,
}

impl TryFrom<Scalar> for Check {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("\"every-request\", \"tracked\" or \"off\"")?;
        match text.as_str() {
            "every-request" => Ok(Self::EveryRequest),
            "off" => Ok(Self::Off),
            "tracked" => Ok(Self::Tracked),
            _ => Err(format!("{text:?} is none of \"every-request\", \"tracked\", \"off\"")),
        }
    }
}

/// What happens when the store cannot be asked (invariant 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnreachable {
    /// The request is let through, counted and logged.
    Allow,
    /// The request is answered 503.
    Deny,
}

/// What a lost store means for tokens issued before the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLoss {
    /// Entries that this gateway has seen stay in force and are written back.
    Remember,
    /// As `Remember`, and tokens issued before the loss are refused.
    RefuseOlder,
}

/// One of `extra_keys`: literal text and at least one placeholder, as in `blacklist:{jti}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct KeyTemplate(Vec<TemplatePart>);

impl KeyTemplate {
    /// The parts in order.
    #[must_use]
    pub fn parts(&self) -> &[TemplatePart] {
        &self.0
    }
}

impl fmt::Display for KeyTemplate {
    /// As it is written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            TemplatePart::Jti => f.write_str("{jti}"),
            TemplatePart::Literal(text) => f.write_str(text),
            TemplatePart::Sid => f.write_str("{sid}"),
            TemplatePart::Sub => f.write_str("{sub}"),
            TemplatePart::TokenSha256 => f.write_str("{token_sha256}"),
        })
    }
}

/// A piece of a [`KeyTemplate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// The token's `jti`.
    Jti,
    /// Text as it stands.
    Literal(String),
    /// The token's `sid`.
    Sid,
    /// The token's `sub`.
    Sub,
    /// The lower-case hex SHA-256 of the token.
    TokenSha256,
}

impl TryFrom<Scalar> for KeyTemplate {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a key such as \"blacklist:{jti}\"")?;
        let refuse = || {
            format!(
                "{text:?} is not a key\nwrite text and at least one of {{jti}}, {{sub}}, {{sid}}, \
                 {{token_sha256}}, as in \"blacklist:{{jti}}\""
            )
        };
        let parts = template(&text).ok_or_else(refuse)?;
        let names_token = parts.iter().any(|part| !matches!(part, TemplatePart::Literal(_)));
        if text.len() > 512 || !names_token { Err(refuse()) } else { Ok(Self(parts)) }
    }
}

fn template(text: &str) -> Option<Vec<TemplatePart>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}')?;
        push_literal(&mut parts, literal)?;
        parts.push(match name {
            "jti" => TemplatePart::Jti,
            "sid" => TemplatePart::Sid,
            "sub" => TemplatePart::Sub,
            "token_sha256" => TemplatePart::TokenSha256,
            _ => return None,
        });
        rest = tail;
    }
    push_literal(&mut parts, rest)?;
    Some(parts)
}

fn push_literal(parts: &mut Vec<TemplatePart>, text: &str) -> Option<()> {
    if text.contains(['{', '}']) || text.chars().any(char::is_control) {
        return None;
    }
    if !text.is_empty() {
        parts.push(TemplatePart::Literal(text.to_owned()));
    }
    Some(())
}
