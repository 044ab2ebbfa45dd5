//! The request target and the host that it is meant for, in every form that HTTP knows
//! (RFC 9112 §3.2, RFC 9113 §8.3.1; R21).
//!
//! Whatever form it came in, the rest of the pipeline sees one canonical path and one host.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::policy::canonical::{Ambiguous, Canonical, canonical};

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// 400: see [`Ambiguous`].
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    /// 400: no host, two, an invalid one, or a target that disagrees with Host (RFC 9112 §3.2).
    #[error("no one host that the request is meant for")]
    Host,
    /// 400: a form that the method does not go with, or a scheme that is not HTTP's.
    #[error("a form of request target that is not served")]
    Form,
    /// 405: CONNECT and TRACE, in any letter case.
    #[error("a method that is never served")]
    Method,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form<'r> {
    /// `OPTIONS *`: the server as a whole; no route has it.
    Asterisk,
    /// A path.
    Path(Canonical<'r>),
}

/// A target that can be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'r> {
    /// What is asked for.
    pub form: Form<'r>,
    /// The host and perhaps port as sent; `None` only in HTTP/1.0 without Host.
    pub authority: Option<&'r str>,
    /// The Host field, when there is one.
    pub field: Option<&'r HeaderValue>,
}

impl Target<'_> {
    /// The host to route by: lower case, without port and without the root's trailing dot.
    #[must_use]
    pub fn host(&self) -> Option<Cow<'_, str>> {
        self.authority.map(host_name)
    }
}

/// Reads a request's target.
///
/// # Errors
///
/// [`Refusal`]; nothing of such a request is forwarded.
pub fn target<'r>(
    method: &Method,
    uri: &'r Uri,
    version: Version,
    headers: &'r HeaderMap,
) -> Result<Target<'r>, Refusal> {
    let never = ["CONNECT", "TRACE"];
    if never.iter().any(|never| method.as_str().eq_ignore_ascii_case(never)) {
        return Err(Refusal::Method);
    }
    if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS && *scheme != Scheme::HTTP) {
        return Err(Refusal::Form);
    }
    let field = host_field(headers)?;
    let authority = authority(uri, version, field)?;
    let Some(path_and_query) = uri.path_and_query() else {
        return Err(Refusal::Form); // authority-form
    };
    if path_and_query.as_str() == "*" {
        let options = *method == Method::OPTIONS;
        return if options {
            Ok(Target { form: Form::Asterisk, authority, field })
        } else {
            Err(Refusal::Form)
        };
    }
    Ok(Target { form: Form::Path(canonical(path_and_query.as_str())?), authority, field })
}

/// The Host field; two of them are refused.
fn host_field(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Refusal> {
    let mut lines = headers.get_all(HOST).iter();
    match (lines.next(), lines.next()) {
        (line, None) => Ok(line),
        (_, Some(_)) => Err(Refusal::Host),
    }
}

/// The one host: of the target if it names one, and of Host; both must agree.
fn authority<'r>(
    uri: &'r Uri,
    version: Version,
    field: Option<&'r HeaderValue>,
) -> Result<Option<&'r str>, Refusal> {
    let host = field.map(HeaderValue::to_str).transpose().map_err(|_| Refusal::Host)?;
    let named = uri.authority().map(http::uri::Authority::as_str);
    if [host, named].into_iter().flatten().any(|host| !is_host(host)) {
        return Err(Refusal::Host);
    }
    match (named, host) {
        (Some(named), Some(host)) if !same(named, host, uri.scheme()) => Err(Refusal::Host),
        // RFC 9112 §3.2: a server answers 400 to an HTTP/1.1 request without Host, absolute-form or
        // not. HTTP/2 has :authority instead.
        (_, None) if version == Version::HTTP_11 => Err(Refusal::Host),
        (None, None) if version != Version::HTTP_10 && version != Version::HTTP_09 => {
            Err(Refusal::Host)
        }
        (Some(named), _) => Ok(Some(named)),
        (None, host) => Ok(host),
    }
}

/// The same host and port, the scheme's default port said or not.
fn same(one: &str, other: &str, scheme: Option<&Scheme>) -> bool {
    let default = match scheme {
        Some(scheme) if *scheme == Scheme::HTTP => "80",
        _ => "443",
    };
    let (one, other) = (split(one), split(other));
    one.0.eq_ignore_ascii_case(other.0) && one.1.unwrap_or(default) == other.1.unwrap_or(default)
}

/// Host and port of a checked authority.
fn split(authority: &str) -> (&str, Option<&str>) {
    // Backwards over the bytes: a port is short, and `rsplit_once` is slow to start.
    let colon = authority.bytes().rposition(|byte| byte == b':');
    let parts = colon.and_then(|at| authority.split_at_checked(at));
    match parts.and_then(|(host, port)| Some((host, port.strip_prefix(':')?))) {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Lower case, without port and without the root's trailing dot.
pub(super) fn host_name(authority: &str) -> Cow<'_, str> {
    let (host, _) = split(authority);
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// Labels of letters, digits, `-` and `_`, none empty; one dot may stand at the end.
fn is_name(host: &[u8]) -> bool {
    let mut after_dot = true;
    for byte in host {
        match byte {
            b'.' if after_dot => return false,
            b'.' => after_dot = true,
            b'-' | b'_' => after_dot = false,
            byte if byte.is_ascii_alphanumeric() => after_dot = false,
            _ => return false,
        }
    }
    !host.is_empty() && host != b"."
}

/// Whether `authority` is a host with perhaps a port, and nothing else: no user, no escapes, no
/// characters that name resolution does not know. Empty is not a host.
pub(super) fn is_host(authority: &str) -> bool {
    let (host, port) = split(authority);
    let port = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
    });
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.len() <= 253 && is_name(host.as_bytes()),
    };
    host && port
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(lines: &[&str]) -> HeaderMap {
        let line = |line: &&str| (HOST, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        lines.iter().map(line).collect()
    }

    fn read(
        method: &str,
        uri: &str,
        version: Version,
        lines: &[&str],
    ) -> Result<(String, Option<String>), Refusal> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let (uri, headers) = (uri.parse().unwrap(), hosts(lines));
        let target = target(&method, &uri, version, &headers)?;
        let host = target.host().map(Cow::into_owned);
        Ok(match target.form {
            Form::Asterisk => ("*".into(), host),
            Form::Path(path) => (path.as_str().into(), host),
        })
    }

    /// Sources: R21, R29; RFC 9112 §3.2 to §3.2.4; RFC 9110 §7.2.
    #[test]
    fn targets_that_are_not_for_one_host_are_refused() {
        use Version as V;
        for (method, uri, version, lines, why) in [
            ("CONNECT", "a:443", V::HTTP_11, &["a:443"][..], Refusal::Method),
            ("connect", "/", V::HTTP_11, &["a"], Refusal::Method),
            ("TRACE", "/", V::HTTP_11, &["a"], Refusal::Method),
            ("Trace", "/", V::HTTP_2, &["a"], Refusal::Method),
            ("GET", "*", V::HTTP_11, &["a"], Refusal::Form),
            ("options", "*", V::HTTP_11, &["a"], Refusal::Form),
            ("GET", "a:443", V::HTTP_11, &["a:443"], Refusal::Form),
            ("GET", "ftp://a/", V::HTTP_11, &["a"], Refusal::Form),
            ("GET", "/", V::HTTP_11, &[], Refusal::Host),
            ("GET", "/", V::HTTP_2, &[], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a", "a"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a, b"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &[""], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["user@a"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a/b"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a\\b"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a%2eb"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a b"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a:"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a:0"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a:+80"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a:65536"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a:1:2"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["a..b"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["."], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["[::1"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["[a]"], Refusal::Host),
            ("GET", "/", V::HTTP_11, &["\u{e4}"], Refusal::Host),
            ("GET", "http://a/", V::HTTP_11, &[], Refusal::Host),
            ("GET", "http://a/", V::HTTP_11, &["b"], Refusal::Host),
            ("GET", "http://a/", V::HTTP_11, &["a:81"], Refusal::Host),
            ("GET", "http://user@a/", V::HTTP_11, &["a"], Refusal::Host),
            ("GET", "https://a/", V::HTTP_2, &["b"], Refusal::Host),
            ("GET", "https://a/x//y", V::HTTP_2, &[], Refusal::Ambiguous(Ambiguous::EmptySegment)),
            ("GET", "/a;b", V::HTTP_11, &["a"], Refusal::Ambiguous(Ambiguous::Semicolon)),
        ] {
            assert_eq!(read(method, uri, version, lines), Err(why), "{method} {uri} {lines:?}");
        }
    }

    #[test]
    fn every_form_leads_to_one_path_and_one_host() {
        use Version as V;
        for (method, uri, version, lines, path, host) in [
            ("GET", "/x?y", V::HTTP_11, &["a"][..], "/x?y", Some("a")),
            ("GET", "/%78", V::HTTP_11, &["API.Example.com.:8443"], "/x", Some("api.example.com")),
            ("GET", "http://A/x", V::HTTP_11, &["a:80"], "/x", Some("a")),
            ("GET", "https://a:443/x", V::HTTP_11, &["a"], "/x", Some("a")),
            ("GET", "https://a", V::HTTP_11, &["a"], "/", Some("a")),
            ("GET", "https://a/x", V::HTTP_2, &[], "/x", Some("a")),
            ("GET", "https://a/x", V::HTTP_2, &["a"], "/x", Some("a")),
            ("GET", "/x", V::HTTP_2, &["a"], "/x", Some("a")),
            ("GET", "/x", V::HTTP_10, &[], "/x", None),
            ("GET", "http://a/x", V::HTTP_10, &[], "/x", Some("a")),
            ("GET", "/", V::HTTP_11, &["[2001:db8::1]:8443"], "/", Some("[2001:db8::1]")),
            ("OPTIONS", "*", V::HTTP_11, &["a"], "*", Some("a")),
            ("OPTIONS", "/", V::HTTP_11, &["a_b"], "/", Some("a_b")),
        ] {
            let expected = Ok((path.to_owned(), host.map(str::to_owned)));
            assert_eq!(read(method, uri, version, lines), expected, "{method} {uri} {lines:?}");
        }
    }

    /// `http` cuts a fragment off before we see it: what is routed is still what is forwarded
    /// (CVE-2021-32779 was about routing by the one and forwarding the other).
    #[test]
    fn a_fragment_is_neither_routed_nor_forwarded() {
        let read = read("GET", "/a#/../admin", Version::HTTP_11, &["a"]);
        assert_eq!(read, Ok(("/a".to_owned(), Some("a".to_owned()))));
    }
}
