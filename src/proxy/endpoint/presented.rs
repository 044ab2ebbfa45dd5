//! By what a client says who it is (RFC 6749 §2.3, RFC 7523 §2.2): found, read, not yet judged.
//!
//! Exactly one way: a request with two could be meant for one reader and judged by another
//! (RFC 6749 §2.3, "MUST NOT use more than one authentication method").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::form::is_well_encoded;
use super::oauth::Code;
use super::parameters::Parameters;
use crate::proxy::Rejection;
use crate::secret::Secret;

/// The one `client_assertion_type` (RFC 7523 §2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What was presented.
#[derive(Debug)]
pub(super) enum Presented<'p> {
    /// `private_key_jwt`.
    Assertion {
        /// `client_id`, which need not be there.
        id: Option<&'p str>,
        assertion: &'p Secret<String>,
    },
    /// Nothing that proves anything: a public client, perhaps.
    Nobody { id: Option<&'p str> },
    /// `client_secret_basic` or `client_secret_post`.
    Secret { id: String, secret: Secret<String> },
}

impl<'p> Presented<'p> {
    /// Finds it.
    ///
    /// # Errors
    ///
    /// `invalid_request` for several ways or one that is half there; `invalid_client` for an
    /// Authorization field that is not HTTP Basic.
    pub(super) fn of(headers: &HeaderMap, parameters: &'p Parameters) -> Result<Self, Rejection> {
        let id = parameters.text("client_id");
        let secret = parameters.get("client_secret");
        let assertion = parameters.get("client_assertion");
        let kind = parameters.text("client_assertion_type");
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let field = fields.next();
        let ways = [field.is_some(), secret.is_some(), assertion.is_some() || kind.is_some()];
        if fields.next().is_some() || ways.iter().filter(|way| **way).count() > 1 {
            return Err(Code::InvalidRequest.because("client_methods"));
        }
        if let Some(field) = field {
            let (named, secret) = basic(field.as_bytes())
                .ok_or_else(|| Code::InvalidClient.because("client_basic"))?;
            // The id may be said beside it; another one is somebody else's.
            if id.is_some_and(|id| id != named) {
                return Err(Code::InvalidRequest.because("client_methods"));
            }
            return Ok(Self::Secret { id: named, secret });
        }
        match (secret, assertion, kind) {
            (Some(secret), ..) => {
                let id = id.ok_or_else(|| Code::InvalidClient.because("client_missing"))?;
                Ok(Self::Secret { id: id.to_owned(), secret: secret.clone() })
            }
            (None, Some(assertion), Some(JWT_BEARER)) => Ok(Self::Assertion { id, assertion }),
            (None, None, None) => Ok(Self::Nobody { id }),
            (None, ..) => Err(Code::InvalidRequest.because("client_assertion")),
        }
    }
}

/// `Basic`, then id and secret, each encoded as a form's value before they were joined and encoded
/// again (RFC 6749 §2.3.1, Appendix B; RFC 7617).
fn basic(field: &[u8]) -> Option<(String, Secret<String>)> {
    let (scheme, credentials) = std::str::from_utf8(field).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = Zeroizing::new(STANDARD.decode(credentials.trim_start_matches(' ')).ok()?);
    let (id, secret) = std::str::from_utf8(&joined).ok()?.split_once(':')?;
    Some((decoded(id)?, Secret::new(decoded(secret)?)))
}

/// A value of a form; `None` for an escape that is none, or for what is no text.
fn decoded(value: &str) -> Option<String> {
    if !is_well_encoded(value.as_bytes()) {
        return None;
    }
    let spaced = Zeroizing::new(value.replace('+', " "));
    let text = percent_decode_str(&spaced).decode_utf8().ok()?;
    (!text.contains(char::is_control)).then(|| text.into_owned())
}

#[cfg(test)]
mod tests;
