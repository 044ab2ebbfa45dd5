//! Finds the one token of a request: `Authorization: Bearer` (RFC 6750 §2.1), or where the route
//! says so a cookie or a query parameter; and removes those two before forwarding.
//!
//! More than one token in a request is an error, never a choice (R14, RFC 6750 §2).

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderValue};
use thiserror::Error;

#[cfg(test)]
mod tests;

/// The scheme of RFC 6750 §2.1.
const BEARER: &str = "Bearer";

/// Where a route takes a token from, besides `Authorization`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSource {
    /// The cookie's name.
    pub cookie: Option<String>,
    /// The query parameter's name.
    pub query: Option<String>,
    /// The name of the cookie with a session's id, which stands for a token.
    pub session: Option<String>,
}

/// A token as it was presented. Not verified, not even well-formed.
#[derive(Clone, PartialEq, Eq)]
pub struct Presented<'r> {
    /// The text; to be kept from logs.
    pub token: Cow<'r, str>,
    /// How it came; cookies need protection against CSRF.
    pub origin: Origin,
}

/// How a token came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a cookie.
    Cookie,
    /// In `Authorization`.
    Header,
    /// In the query.
    Query,
    /// Kept in the store, behind a session cookie.
    Session,
}

/// The request is at fault, not the token: 400 `invalid_request` (RFC 6750 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExtractError {
    /// More than one `Authorization` field (RFC 9110 §5.3).
    #[error("more than one Authorization field")]
    AuthorizationTwice,
    /// A field that may carry the token is not text.
    #[error("bytes that are no text where a token may be")]
    NotText,
    /// More than one token, equal or not.
    #[error("more than one token")]
    SeveralTokens,
    /// Over `[limits] authorization_bytes`.
    #[error("over authorization_bytes")]
    TooLong,
}

impl ExtractError {
    /// A stable word for logs and metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::AuthorizationTwice => "authorization_twice",
            Self::NotText => "authorization_not_text",
            Self::SeveralTokens => "several_tokens",
            Self::TooLong => "authorization_too_long",
        }
    }
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presented").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// The one token of a request, from wherever the route takes it. `bytes_max` is
/// `[limits] authorization_bytes`; it holds for every source.
///
/// # Errors
///
/// [`ExtractError`].
pub fn token<'r>(
    headers: &'r HeaderMap,
    query: Option<&'r str>,
    source: &TokenSource,
    bytes_max: usize,
) -> Result<Option<Presented<'r>>, ExtractError> {
    let mut found = bearer(headers, bytes_max)?
        .map(|token| Presented { token: Cow::Borrowed(token), origin: Origin::Header });
    if let Some(name) = &source.cookie
        && let Some(token) = cookie_value(headers, name)?
    {
        add(&mut found, Presented { token: Cow::Borrowed(token), origin: Origin::Cookie })?;
    }
    if let Some(name) = &source.session
        && let Some(id) = cookie_value(headers, name)?
    {
        add(&mut found, Presented { token: Cow::Borrowed(id), origin: Origin::Session })?;
    }
    if let (Some(name), Some(query)) = (&source.query, query) {
        for (_, token) in form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name) {
            add(&mut found, Presented { token, origin: Origin::Query })?;
        }
    }
    match found {
        Some(presented) if presented.token.len() > bytes_max => Err(ExtractError::TooLong),
        found => Ok(found),
    }
}

/// The bearer token of the one `Authorization` field. Another scheme is no token. What follows the
/// scheme is returned as it stands, even when it is empty or no token at all: that is for the
/// verifier to refuse, with 401.
///
/// # Errors
///
/// [`ExtractError`].
pub fn bearer(headers: &HeaderMap, bytes_max: usize) -> Result<Option<&str>, ExtractError> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(ExtractError::AuthorizationTwice);
    }
    if field.len() > bytes_max {
        return Err(ExtractError::TooLong);
    }
    // A tab is the only control character that a field value can hold; no token has one.
    let text = Some(field.as_bytes()).filter(|bytes| bytes.is_ascii());
    let text =
        text.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(ExtractError::NotText)?;
    // RFC 9110 §11.4: scheme, then one space or more; §11.1: the scheme in any case.
    match text.split_at_checked(BEARER.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => match token.as_bytes() {
            [] => Ok(Some("")),
            [b' ', ..] => Ok(Some(token.trim_start_matches(' '))),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Removes a cookie from every `Cookie` field, and each whose name others may take for it
/// ([`visible`]); the other cookies keep their bytes and their order.
pub fn remove_cookie(headers: &mut HeaderMap, name: &str) {
    let carries = |field: &HeaderValue| pairs(field.as_bytes()).any(|pair| is_cookie(pair, name));
    if !headers.get_all(COOKIE).iter().any(carries) {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(COOKIE).iter().filter_map(|field| without(field, name)).collect();
    headers.remove(COOKIE);
    for field in kept {
        headers.append(COOKIE, field);
    }
}

/// The query without a parameter, however its name is spelled (`%74oken`); the rest byte for byte.
/// `None` when nothing is left, so that the `?` goes too.
#[must_use]
pub fn remove_query<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let is_it = |pair: &&str| {
        form_urlencoded::parse(pair.as_bytes()).next().is_some_and(|(key, _)| key == name)
    };
    if !query.split('&').any(|pair| is_it(&pair)) {
        return Some(Cow::Borrowed(query));
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_it(pair)).collect();
    (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
}

fn add<'r>(found: &mut Option<Presented<'r>>, more: Presented<'r>) -> Result<(), ExtractError> {
    match found.replace(more) {
        None => Ok(()),
        Some(_) => Err(ExtractError::SeveralTokens),
    }
}

/// The one cookie of this name. An empty one is what a logout leaves behind: none.
///
/// # Errors
///
/// [`ExtractError`]: bytes that are no text, or several of that name (cookie tossing).
pub fn cookie_value<'h>(
    headers: &'h HeaderMap,
    name: &str,
) -> Result<Option<&'h str>, ExtractError> {
    let mut found = None;
    for field in headers.get_all(COOKIE) {
        for value in pairs(field.as_bytes()).filter_map(|pair| value_of(pair, name)) {
            let value = std::str::from_utf8(value).map_err(|_| ExtractError::NotText)?;
            if found.replace(value).is_some() {
                return Err(ExtractError::SeveralTokens);
            }
        }
    }
    Ok(found.filter(|value| !value.is_empty()))
}

/// A cookie's name as its most lenient reader has it: without what is no visible ASCII at both
/// ends, in whatever encoding. Browsers take a name byte for byte, so that one with a Unicode space
/// before it is none that `__Host-` protects; many servers trim it off (PortSwigger 2025, "Cookie
/// Chaos").
#[must_use]
pub fn visible(name: &[u8]) -> &[u8] {
    let Some(start) = name.iter().position(u8::is_ascii_graphic) else { return &[] };
    let end = name.iter().rposition(u8::is_ascii_graphic).map_or(start, |last| last + 1);
    name.get(start..end).unwrap_or_default()
}

fn pairs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';')
}

/// The value, where this is the cookie: its name byte for byte, as the browser keeps it, with
/// nothing around it but space and tab (the only ASCII whitespace that a field value holds).
fn value_of<'p>(pair: &'p [u8], name: &str) -> Option<&'p [u8]> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (own, value) = pair.split_at_checked(equals)?;
    let value = value.strip_prefix(b"=")?;
    (own.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
}

fn is_cookie(pair: &[u8], name: &str) -> bool {
    let own = pair.split(|byte| *byte == b'=').next();
    own.is_some_and(|own| visible(own) == name.as_bytes())
}

/// One field without the cookie; `None` when nothing is left.
fn without(field: &HeaderValue, name: &str) -> Option<HeaderValue> {
    let kept: Vec<&[u8]> = pairs(field.as_bytes()).filter(|pair| !is_cookie(pair, name)).collect();
    let joined = kept.join(&b';');
    // What was the second pair may be the first now: its leading space goes, no other byte.
    let joined = joined.trim_ascii_start();
    if joined.is_empty() { None } else { HeaderValue::from_bytes(joined).ok() }
}
