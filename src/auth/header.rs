//! The JOSE header, read strictly before anything is done with the token (RFC 7515 §4).
//!
//! `jku`, `jwk`, `x5u` and `x5c` are never looked at (R4).

use serde_json::Value;

use super::{VerifyError, json};

/// Longest `kid` that is compared, in bytes.
const KID_BYTES_MAX: usize = 256;

/// Extensions that change how a token is to be read; none is implemented, so their presence, with
/// any value, refuses (R8; RFC 7515 §4.1.11, RFC 7797 §6).
const EXTENSIONS: [&str; 4] = ["crit", "b64", "zip", "enc"];

/// What of the header is used.
pub(super) struct Header {
    /// As written; not necessarily an algorithm at all.
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    /// Whether `typ` says that this is an access token (RFC 9068 §2.1).
    pub(super) is_at_jwt: bool,
}

/// How a decoded header is read: as an access token's, or as a logout token's.
pub(super) type Read = fn(&[u8]) -> Result<Header, VerifyError>;

/// Reads the decoded header of an access token (R13).
pub(super) fn read(text: &[u8]) -> Result<Header, VerifyError> {
    read_as(text, |typ| match typ {
        None => Some(false),
        Some(typ) if is(typ, &["at+jwt", "application/at+jwt"]) => Some(true),
        Some(typ) if is(typ, &["JWT"]) => Some(false),
        Some(_) => None,
    })
}

/// Reads the decoded header of a logout token, which says that it is one (OpenID Connect
/// Back-Channel Logout 1.0 §2.4, RFC 8725 §3.11).
pub(super) fn read_logout_token(text: &[u8]) -> Result<Header, VerifyError> {
    let known = ["logout+jwt", "application/logout+jwt"];
    read_as(text, |typ| typ.is_some_and(|typ| is(typ, &known)).then_some(false))
}

/// Reads the decoded header of a client's own assertion: libraries leave `typ` out or write `JWT`,
/// RFC 7523's revision has a type of its own.
pub(super) fn read_client_assertion(text: &[u8]) -> Result<Header, VerifyError> {
    let known = ["JWT", "client-authentication+jwt", "application/client-authentication+jwt"];
    read_as(text, |typ| typ.is_none_or(|typ| is(typ, &known)).then_some(false))
}

/// `is_at_jwt` says of a `typ` whether it is an access token's own; `None` refuses it.
fn read_as(
    text: &[u8],
    is_at_jwt: impl Fn(Option<&str>) -> Option<bool>,
) -> Result<Header, VerifyError> {
    let mut members = json::object(text).ok_or(VerifyError::Malformed)?;
    if EXTENSIONS.iter().any(|name| members.contains_key(*name)) {
        return Err(VerifyError::UnsupportedHeader);
    }
    let Some(Value::String(alg)) = members.remove("alg") else {
        return Err(VerifyError::Malformed);
    };
    let kid = match members.remove("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= KID_BYTES_MAX => Some(kid),
        Some(_) => return Err(VerifyError::Malformed),
    };
    let typ = match members.get("typ") {
        None => None,
        Some(Value::String(typ)) => Some(typ.as_str()),
        Some(_) => return Err(VerifyError::Malformed),
    };
    let is_at_jwt = is_at_jwt(typ).ok_or(VerifyError::TokenType)?;
    Ok(Header { alg, kid, is_at_jwt })
}

/// Media types compare without case (RFC 7515 §4.1.9).
fn is(typ: &str, known: &[&str]) -> bool {
    known.iter().any(|known| typ.eq_ignore_ascii_case(known))
}
