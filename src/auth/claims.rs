//! The claims of a token whose signature is good: present, of the right JSON type, and meant for
//! us (R10 to R12). A claim of the wrong type refuses the token; it never counts as absent
//! (invariant 3, CVE-2026-25537).

use serde_json::{Map, Value};

use super::VerifyError;
use super::settings::IssuerSettings;
use crate::time::UnixTime;
use crate::token::ClaimPath;

/// Longest claim that may name a token in the blocklist, in bytes (R46).
const NAMING_BYTES_MAX: usize = 1024;

type Claims = Map<String, Value>;

/// Claims with their types settled.
pub(super) struct Checked {
    pub(super) subject: Option<Box<str>>,
    pub(super) roles: Vec<Box<str>>,
    pub(super) scopes: Vec<Box<str>>,
    pub(super) permissions: Vec<Box<str>>,
    pub(super) clients: Vec<Box<str>>,
    pub(super) session: Option<Box<str>>,
    pub(super) jti: Option<Box<str>>,
    pub(super) issued_at: Option<UnixTime>,
    pub(super) not_before: Option<UnixTime>,
    pub(super) expires_at: UnixTime,
}

/// Everything about the claims that does not depend on the time of asking.
pub(super) fn check(settings: &IssuerSettings, claims: &Claims) -> Result<Checked, VerifyError> {
    check_issuer(settings, claims)?;
    let dated = settings.max_lifetime.is_some() || settings.max_age.is_some();
    check_required(settings, claims, dated)?;
    settle(settings, claims, expiry(claims)?)
}

/// The same for what a provider says of a token (RFC 7662 §2.2), where `iss`, `iat` and `exp` may
/// be absent: it is asked again. Without `exp` the token counts as known until `known_until`;
/// without `iat` it may live for `max_lifetime` from now at most, so that a revocation made now
/// outlasts it.
pub(super) fn check_introspected(
    settings: &IssuerSettings,
    claims: &Claims,
    known_until: UnixTime,
    now: UnixTime,
) -> Result<Checked, VerifyError> {
    if claims.contains_key("iss") {
        check_issuer(settings, claims)?;
    }
    check_required(settings, claims, settings.max_age.is_some())?;
    let exp = optional_seconds(claims, "exp")?;
    if let (Some(exp), Some(longest), false) =
        (exp, settings.max_lifetime, claims.contains_key("iat"))
        && exp > now.plus(longest).plus(settings.leeway)
    {
        return Err(VerifyError::Lifetime);
    }
    settle(settings, claims, exp.unwrap_or(known_until))
}

fn settle(
    settings: &IssuerSettings,
    claims: &Claims,
    expires_at: UnixTime,
) -> Result<Checked, VerifyError> {
    check_audience(settings, claims)?;
    let issued_at = optional_seconds(claims, "iat")?;
    if claims.contains_key("exp") {
        check_lifetime(settings, issued_at, expires_at)?;
    }
    let mapping = &settings.claims;
    Ok(Checked {
        subject: subject(claims, &mapping.subject)?,
        roles: list(claims, &mapping.roles, "roles", Strings::Whole)?,
        scopes: list(claims, &mapping.scopes, "scopes", Strings::Split)?,
        permissions: list(claims, &mapping.permissions, "permissions", Strings::Whole)?,
        clients: clients(claims, &mapping.client)?,
        session: naming(mapping.session.find(claims), "session")?,
        jti: naming(claims.get("jti"), "jti")?,
        issued_at,
        not_before: optional_seconds(claims, "nbf")?,
        expires_at,
    })
}

/// What RFC 9068 §2.2 requires of an access token, with the types of RFC 7519 §4.1 and RFC 8693
/// §4.3. A type other than these is refused here even where an entry would otherwise read it.
pub(super) fn check_at_jwt(claims: &Claims) -> Result<(), VerifyError> {
    for name in ["iss", "sub", "client_id", "jti"] {
        let text = optional_text(claims, name)?;
        text.ok_or_else(|| VerifyError::MissingClaim(name.into()))?;
    }
    for name in ["exp", "iat"] {
        let seconds = optional_seconds(claims, name)?;
        seconds.ok_or_else(|| VerifyError::MissingClaim(name.into()))?;
    }
    match claims.get("aud") {
        None => Err(VerifyError::MissingClaim("aud".into())),
        Some(Value::String(_) | Value::Array(_)) => Ok(()),
        Some(_) => Err(VerifyError::ClaimType("aud")),
    }
}

/// `exp`, which is always required.
pub(super) fn expiry(claims: &Claims) -> Result<UnixTime, VerifyError> {
    optional_seconds(claims, "exp")?.ok_or_else(|| VerifyError::MissingClaim("exp".into()))
}

/// A string claim; another type, null too, is an error.
pub(super) fn optional_text<'c>(
    claims: &'c Claims,
    name: &'static str,
) -> Result<Option<&'c str>, VerifyError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(VerifyError::ClaimType(name)),
    }
}

/// The entry was chosen by `iss` already; this keeps the check beside the others.
fn check_issuer(settings: &IssuerSettings, claims: &Claims) -> Result<(), VerifyError> {
    let same = optional_text(claims, "iss")? == settings.issuer.as_deref();
    if same { Ok(()) } else { Err(VerifyError::UnknownIssuer) }
}

/// R12: a string or a list of strings, one of which is exactly ours. An entry without audiences
/// takes no token that names any (RFC 7519 §4.1.3).
fn check_audience(settings: &IssuerSettings, claims: &Claims) -> Result<(), VerifyError> {
    let Some(ours) = &settings.audiences else {
        return if claims.contains_key("aud") { Err(VerifyError::Audience) } else { Ok(()) };
    };
    has_audience(claims, |audience| ours.iter().any(|our| our == audience))
}

/// `aud` as a string or a list of strings, one of which is ours.
pub(super) fn has_audience(
    claims: &Claims,
    is_ours: impl Fn(&str) -> bool,
) -> Result<(), VerifyError> {
    let found = match claims.get("aud") {
        None => return Err(VerifyError::MissingClaim("aud".into())),
        Some(Value::String(audience)) => is_ours(audience),
        Some(Value::Array(audiences)) => {
            let texts: Option<Vec<&str>> = audiences.iter().map(Value::as_str).collect();
            texts.ok_or(VerifyError::ClaimType("aud"))?.into_iter().any(is_ours)
        }
        Some(_) => return Err(VerifyError::ClaimType("aud")),
    };
    if found { Ok(()) } else { Err(VerifyError::Audience) }
}

fn check_required(
    settings: &IssuerSettings,
    claims: &Claims,
    dated: bool,
) -> Result<(), VerifyError> {
    let implied = dated.then_some("iat");
    let missing = |name: &&str| claims.get(*name).is_none_or(Value::is_null);
    let mut required = settings.required_claims.iter().map(String::as_str).chain(implied);
    match required.find(missing) {
        Some(name) if claims.contains_key(name) => Err(VerifyError::ClaimType("required_claims")),
        Some(name) => Err(VerifyError::MissingClaim(name.into())),
        None => Ok(()),
    }
}

/// `exp - iat`, exactly: both are the issuer's own clock.
fn check_lifetime(
    settings: &IssuerSettings,
    issued_at: Option<UnixTime>,
    expires_at: UnixTime,
) -> Result<(), VerifyError> {
    let Some(issued_at) = issued_at else { return Ok(()) };
    let longest = settings.max_lifetime;
    if expires_at < issued_at || longest.is_some_and(|max| expires_at > issued_at.plus(max)) {
        return Err(VerifyError::Lifetime);
    }
    Ok(())
}

/// A NumericDate (RFC 7519 §2): a JSON number, cut down to whole seconds.
pub(super) fn optional_seconds(
    claims: &Claims,
    name: &'static str,
) -> Result<Option<UnixTime>, VerifyError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(VerifyError::ClaimType(name)) };
    if let Some(seconds) = number.as_i64() {
        return Ok(Some(UnixTime(seconds)));
    }
    // Beyond 2^53 a float no longer tells seconds apart, and no honest issuer goes there.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(seconds) if number.is_f64() && seconds.abs() < EXACT => {
            Ok(Some(UnixTime(seconds.floor() as i64)))
        }
        _ => Err(VerifyError::ClaimType(name)),
    }
}

/// A string, or an integer that becomes text (issuers with numeric user ids).
fn subject(claims: &Claims, path: &ClaimPath) -> Result<Option<Box<str>>, VerifyError> {
    match path.find(claims) {
        Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string().into())),
        value => naming(value, "subject"),
    }
}

/// A string claim that names the token, session or subject in the blocklist.
pub(super) fn naming(
    value: Option<&Value>,
    name: &'static str,
) -> Result<Option<Box<str>>, VerifyError> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if text.len() > NAMING_BYTES_MAX => {
            Err(VerifyError::ClaimTooLong(name))
        }
        Some(Value::String(text)) => clean(text, name).map(Some),
        Some(_) => Err(VerifyError::ClaimType(name)),
    }
}

/// Every client that the token names, each once.
fn clients(claims: &Claims, paths: &[ClaimPath]) -> Result<Vec<Box<str>>, VerifyError> {
    let mut found: Vec<Box<str>> = Vec::new();
    for path in paths {
        for client in list(claims, path, "client", Strings::Whole)? {
            if client.len() > NAMING_BYTES_MAX {
                return Err(VerifyError::ClaimTooLong("client"));
            }
            if !found.contains(&client) {
                found.push(client);
            }
        }
    }
    Ok(found)
}

/// How a plain string is read where a list may stand.
enum Strings {
    /// Split on spaces.
    Split,
    /// One element.
    Whole,
}

/// A string or an array of strings. Null grants nothing and is read as absent: Go issuers write it
/// for an empty list.
fn list(
    claims: &Claims,
    path: &ClaimPath,
    name: &'static str,
    strings: Strings,
) -> Result<Vec<Box<str>>, VerifyError> {
    match path.find(claims) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => match strings {
            Strings::Split => {
                text.split(' ').filter(|word| !word.is_empty()).map(|w| clean(w, name)).collect()
            }
            Strings::Whole => Ok(vec![clean(text, name)?]),
        },
        Some(Value::Array(elements)) => elements
            .iter()
            .map(|element| element.as_str().ok_or(VerifyError::ClaimType(name)))
            .map(|element| clean(element?, name))
            .collect(),
        Some(_) => Err(VerifyError::ClaimType(name)),
    }
}

/// R25: these become headers, keys and log lines.
fn clean(text: &str, name: &'static str) -> Result<Box<str>, VerifyError> {
    if text.chars().any(char::is_control) {
        return Err(VerifyError::ControlCharacter(name));
    }
    Ok(text.into())
}
