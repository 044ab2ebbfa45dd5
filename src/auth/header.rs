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

/// Reads the decoded header.
pub(super) fn read(text: &[u8]) -> Result<Header, VerifyError> {
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
    let is_at_jwt = match members.get("typ") {
        None => false,
        Some(Value::String(typ)) if is(typ, &["at+jwt", "application/at+jwt"]) => true,
        Some(Value::String(typ)) if is(typ, &["JWT"]) => false,
        Some(Value::String(_)) => return Err(VerifyError::TokenType),
        Some(_) => return Err(VerifyError::Malformed),
    };
    Ok(Header { alg, kid, is_at_jwt })
}

/// R13. Media types compare without case (RFC 7515 §4.1.9).
fn is(typ: &str, known: &[&str]) -> bool {
    known.iter().any(|known| typ.eq_ignore_ascii_case(known))
}
