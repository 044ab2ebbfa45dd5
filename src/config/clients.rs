//! `[[clients]]`: programs that get tokens in their own name, or may ask about those of others.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::issuer::Text;
use super::list::List;
use super::scalar::Scalar;
use super::unplaced;

/// One client.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// `client_id`.
    pub id: Spanned<ClientId>,
    /// The file with the hash of its secret, made by `postern keys generate --client-secret`.
    #[serde(default)]
    pub secret_hash_file: Option<Spanned<PathBuf>>,
    /// The file with its public keys (RFC 7517 §5), for `private_key_jwt`.
    #[serde(default)]
    pub jwks_file: Option<Spanned<PathBuf>>,
    /// How it gets tokens; default not at all.
    #[serde(default)]
    pub grants: List<Grant>,
    /// For whom its tokens may be; default those of `[issuing]`.
    #[serde(default)]
    pub audiences: Option<List<Text>>,
    /// `roles` of its tokens.
    #[serde(default)]
    pub roles: List<Text>,
    /// `permissions` of its tokens.
    #[serde(default)]
    pub permissions: List<Text>,
    /// `scope` of its tokens, unless it asks for less.
    #[serde(default)]
    pub scopes: List<Scope>,
    /// Whether it may ask about tokens (RFC 7662); default no.
    #[serde(default = "default_may_introspect")]
    pub may_introspect: Spanned<bool>,
    /// Which tokens it may revoke (RFC 7009); default its own.
    #[serde(default = "default_may_revoke")]
    pub may_revoke: Spanned<MayRevoke>,
}

fn default_may_introspect() -> Spanned<bool> {
    unplaced(false)
}

fn default_may_revoke() -> Spanned<MayRevoke> {
    unplaced(MayRevoke::Own)
}

/// A client's id: 1 to 128 of `A-Z a-z 0-9 - . _ ~`. What every library writes in the same way,
/// encoded or not, and what cannot be read as two names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct ClientId(pub String);

impl TryFrom<Scalar> for ClientId {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a client's id")?;
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        if text.is_empty() || text.len() > 128 || !text.chars().all(legal) {
            return Err(format!(
                "{text:?} cannot be a client's id\nwrite 1 to 128 letters, digits, `-`, `.`, `_` \
                 or `~`; tokens name it as client:ID"
            ));
        }
        Ok(Self(text))
    }
}

/// How a client gets tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum Grant {
    /// In its own name (RFC 6749 §4.4).
    ClientCredentials,
}

impl TryFrom<Scalar> for Grant {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("\"client_credentials\"")?;
        match text.as_str() {
            "client_credentials" => Ok(Self::ClientCredentials),
            "refresh_token" => Err("refresh_token is no grant of a client's own: refresh tokens \
                                    come from logins, and belong to [issuing] client_id\nleave it \
                                    out"
            .to_owned()),
            _ => Err(format!("{text:?} is not offered\nwrite \"client_credentials\"")),
        }
    }
}

/// One scope (RFC 6749 §3.3).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct Scope(pub String);

impl TryFrom<Scalar> for Scope {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a scope")?;
        let legal = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        if text.is_empty() || !text.chars().all(legal) {
            return Err(format!(
                "{text:?} is no scope\nwrite visible ASCII characters without quotation marks, \
                 backslashes and spaces; several scopes are a list"
            ));
        }
        Ok(Self(text))
    }
}

/// Which tokens a client may revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub enum MayRevoke {
    /// Every token that the gateway accepts or has issued.
    Any,
    /// Those that were issued to it.
    Own,
}

impl TryFrom<Scalar> for MayRevoke {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        const WRITE: &str = "write \"own\", the tokens that were issued to it, or \"any\"";
        match scalar.text("\"own\" or \"any\"").map_err(|error| format!("{error}\n{WRITE}"))? {
            text if text == "any" => Ok(Self::Any),
            text if text == "own" => Ok(Self::Own),
            other => Err(format!("{other:?} is not known here\n{WRITE}")),
        }
    }
}
