//! Postern's cookies are between the browser and Postern: no upstream sees them or sets them, on
//! whatever route. And what a session's pages leave in caches.

use http::header::{CACHE_CONTROL, COOKIE, EXPIRES, PRAGMA, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue};

use crate::auth::extract::{remove_cookie, visible};
use crate::policy::cookies::Cookies;

/// Directives by which an upstream has said whom an answer is for, or that it is checked before it
/// is shown again: then nothing is added.
const SAID: [&[u8]; 4] = [b"no-store", b"public", b"s-maxage", b"must-revalidate"];

/// The same, unless they name fields: then they speak of those alone (RFC 9111 §5.2.2.4, §5.2.2.7).
const SAID_OF_ALL: [&[u8]; 2] = [b"no-cache", b"private"];

/// Takes Postern's cookies out of a request; the others keep their bytes.
pub(in crate::proxy) fn withhold(headers: &mut HeaderMap, own: &Cookies) {
    if headers.contains_key(COOKIE) {
        remove_cookie(headers, &own.session);
        remove_cookie(headers, &own.csrf);
    }
}

/// Takes out of an answer what would set, or clear, one of Postern's cookies.
pub(in crate::proxy) fn keep_own(headers: &mut HeaderMap, own: &Cookies) {
    let is_own = |line: &HeaderValue| sets(line.as_bytes(), own);
    if !headers.get_all(SET_COOKIE).iter().any(is_own) {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(SET_COOKIE).iter().filter(|line| !is_own(line)).cloned().collect();
    headers.remove(SET_COOKIE);
    for line in kept {
        headers.append(SET_COOKIE, line);
    }
}

/// Whether a `Set-Cookie` line is about one of them (RFC 6265bis §5.6). A cookie without a name
/// comes back as its value alone, which then reads as a name and a value.
fn sets(line: &[u8], own: &Cookies) -> bool {
    let pair = visible(line.split(|byte| *byte == b';').next().unwrap_or_default());
    let pair = pair.strip_prefix(b"=").unwrap_or(pair);
    let name = visible(pair.split(|byte| *byte == b'=').next().unwrap_or_default());
    [&own.session, &own.csrf].iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
}

/// Keeps answers to requests with a session out of caches in which somebody else may find them.
///
/// An upstream that says nothing of caching gets `no-store`, so that after a logout not even the
/// browser shows the page again. One that says how long, and not for whom, gets what caches do by
/// themselves where Authorization is sent and not where a cookie is (RFC 9111 §3.5): `private`, and
/// for this cookie alone.
pub(in crate::proxy) fn keep_private(headers: &mut HeaderMap) {
    let lines = headers.get_all(CACHE_CONTROL);
    if lines.iter().flat_map(|line| directives(line.as_bytes())).any(says_for_whom) {
        return;
    }
    let mute = [CACHE_CONTROL, EXPIRES, PRAGMA].iter().all(|name| !headers.contains_key(name));
    if mute {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    } else {
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
        headers.append(VARY, HeaderValue::from_static("Cookie"));
    }
}

/// The directives of a line; a comma in a quoted string parts none (RFC 9110 §5.6.4).
fn directives(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |byte| {
        let plain = !std::mem::take(&mut escaped);
        match byte {
            b'"' if plain => quoted = !quoted,
            b'\\' if plain && quoted => escaped = true,
            _ => {}
        }
        *byte == b',' && !quoted
    })
}

fn says_for_whom(directive: &[u8]) -> bool {
    let is_one = |of: &[&[u8]], name: &[u8]| of.iter().any(|one| one.eq_ignore_ascii_case(name));
    match directive.iter().position(|byte| *byte == b'=') {
        None => {
            let name = directive.trim_ascii();
            is_one(&SAID, name) || is_one(&SAID_OF_ALL, name)
        }
        Some(end) => directive.get(..end).is_some_and(|name| is_one(&SAID, name.trim_ascii())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Cookies {
        Cookies::new("__Host-postern", false, true, &[7; 32])
    }

    fn lines<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
        headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect()
    }

    /// Sources: design "Postern's cookies never forwarded upstream"; RFC 9113 §8.2.3 (several
    /// fields); PortSwigger 2025, "Cookie Chaos": other readers trim Unicode's spaces off a name.
    #[test]
    fn no_upstream_sees_them() {
        for (before, after) in [
            (&["a=1; __Host-postern=x; b=2"][..], &["a=1; b=2"][..]),
            (&["__Host-postern-csrf=y; __Host-postern=x"], &[]),
            (&["a=1", "__Host-postern=x", "__Host-postern-csrf=y; b=2"], &["a=1", "b=2"]),
            (&["__Host-postern=x; __Host-postern=z; a=1"], &["a=1"]),
            (&["x__Host-postern=1; __Host-postern2=2"], &["x__Host-postern=1; __Host-postern2=2"]),
            (&["a=__Host-postern;b"], &["a=__Host-postern;b"]),
            (&["\u{a0}__Host-postern=x; a=1"], &["a=1"]),
            (&["a=1; \u{2000}__Host-postern=x"], &["a=1"]),
            (&["a=1; __Host-postern\u{85}=x;\u{feff}__Host-postern-csrf\u{3000}=y"], &["a=1"]),
            (&["\u{2000} __Host-postern\u{a0}"], &[]),
            (&["a\u{2000}__Host-postern=x"], &["a\u{2000}__Host-postern=x"]),
        ] {
            let mut headers = HeaderMap::new();
            for line in before {
                headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            withhold(&mut headers, &own());
            let left = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
            assert!(left.eq(after.iter().map(|line| line.as_bytes())), "{before:?}");
        }
        // The same spaces for whoever reads Latin-1.
        let latin = HeaderValue::from_bytes(b"\x85__Host-postern=x; \xa0__Host-postern-csrf=y");
        let mut headers = HeaderMap::from_iter([(COOKIE, latin.unwrap())]);
        withhold(&mut headers, &own());
        assert!(headers.is_empty(), "{headers:?}");
    }

    /// Sources: session fixation through an upstream's answer (CWE-384); nameless cookies, which
    /// browsers before 2022 sent back so that they passed for `__Host-` (RFC 6265bis §5.6);
    /// Unicode's spaces around a name (PortSwigger 2025, "Cookie Chaos").
    #[test]
    fn no_upstream_sets_them() {
        let foreign = ["a=1; Path=/", "x__Host-postern=1", "b=__Host-postern=1", "=c", ""];
        let theirs = [
            "__Host-postern=evil; Path=/; Secure",
            "  __Host-postern = evil",
            "__Host-postern",
            "__HOST-POSTERN=evil",
            "__Host-postern=; Max-Age=0",
            "__Host-postern-csrf=evil",
            "=__Host-postern=evil",
            " = __Host-postern-csrf=evil",
            "\u{a0}__Host-postern=evil",
            "\u{2000}__Host-postern-csrf=evil; Domain=example.com",
            "__Host-postern\u{85}=evil",
            "=\u{2000}__host-postern=evil",
        ];
        let mut headers = HeaderMap::new();
        for (n, line) in foreign.iter().chain(&theirs).enumerate() {
            headers.append(SET_COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            if n % 2 == 0 {
                headers.append("x-other", HeaderValue::from_static("y"));
            }
        }
        keep_own(&mut headers, &own());
        assert_eq!(lines(&headers, "set-cookie"), foreign);
        assert_eq!(headers.get_all("x-other").iter().count(), 9);
    }

    /// Sources: RFC 9111 §3.5, §5.2.2, §5.2.2.4 and §5.2.2.7 (fields named); ASVS 5.0 14.3.2.
    #[test]
    fn what_is_behind_a_session_stays_there() {
        for (said, cached, vary) in [
            (&[][..], &["no-store"][..], &[][..]),
            (&[("cache-control", "max-age=60")], &["max-age=60", "private"], &["Cookie"]),
            (
                &[("cache-control", "immutable, Max-Age=9")],
                &["immutable, Max-Age=9", "private"],
                &["Cookie"],
            ),
            (&[("expires", "0")], &["private"], &["Cookie"]),
            (&[("cache-control", "public, max-age=60")], &["public, max-age=60"], &[]),
            (&[("cache-control", "max-age=60, PRIVATE")], &["max-age=60, PRIVATE"], &[]),
            (&[("cache-control", "s-maxage=1")], &["s-maxage=1"], &[]),
            // Of some fields alone: the page itself goes to whoever asks.
            (
                &[("cache-control", "max-age=9, private=\"a\"")],
                &["max-age=9, private=\"a\"", "private"],
                &["Cookie"],
            ),
            (
                &[("cache-control", "no-cache=\"a, no-store, \\\", public\"")],
                &["no-cache=\"a, no-store, \\\", public\"", "private"],
                &["Cookie"],
            ),
            (&[("cache-control", "private=\"a, b\", PUBLIC")], &["private=\"a, b\", PUBLIC"], &[]),
            (
                &[("cache-control", "max-age=1"), ("cache-control", "no-cache")],
                &["max-age=1", "no-cache"],
                &[],
            ),
            (
                &[("vary", "Accept"), ("cache-control", "max-age=60")],
                &["max-age=60", "private"],
                &["Accept", "Cookie"],
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in said {
                headers.append(*name, HeaderValue::from_static(value));
            }
            keep_private(&mut headers);
            assert_eq!(lines(&headers, "cache-control"), cached, "{said:?}");
            assert_eq!(lines(&headers, "vary"), vary, "{said:?}");
        }
    }
}
