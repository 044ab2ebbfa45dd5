//! Goal: no target with two readings passes, every other has one spelling, and decoding what is
//! forwarded once gives what decoding the request once gives.

use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::*;

/// Checks that each target is refused, and why.
fn refused(rows: &[(&str, Ambiguous)]) {
    for (target, why) in rows {
        assert_eq!(canonical(target), Err(*why), "{target:?}");
    }
}

/// Sources: R19, R21; Envoy CVE-2019-9901; RFC 3986 §3.3.
#[test]
fn segments_that_can_be_read_in_two_ways_are_refused() {
    use Ambiguous::*;
    refused(&[
        ("", NotOriginForm),
        ("admin", NotOriginForm),
        ("*", NotOriginForm),
        ("?x", NotOriginForm),
        ("http://h/", NotOriginForm),
        ("//", EmptySegment),
        ("//admin", EmptySegment),
        ("/a//b", EmptySegment),
        ("/a/b//", EmptySegment),
        ("/.", DotSegment),
        ("/..", DotSegment),
        ("/a/./b", DotSegment),
        ("/a/../b", DotSegment),
        ("/a/..", DotSegment),
        ("/a/...", DotSegment),
        ("/a/%2e%2e/b", DotSegment),
        ("/a/%2E/b", DotSegment),
        ("/a/.%2e/b", DotSegment),
        ("/a/..%20/b", DotSegment),
        ("/a/%20/b", DotSegment),
        ("/a/..?x", DotSegment),
    ]);
}

/// Sources: R19; Envoy CVE-2021-29492 (`%2F`, `%5C`); Tomcat's path parameters.
#[test]
fn separators_in_disguise_are_refused() {
    use Ambiguous::*;
    refused(&[
        ("/a%2fb", EncodedSlash),
        ("/a%2Fb", EncodedSlash),
        ("/a/..%2fb", EncodedSlash),
        ("/a\\b", Backslash),
        ("/a/..\\b", Backslash),
        ("/a%5cb", Backslash),
        ("/a%5Cb", Backslash),
        ("/a;b", Semicolon),
        ("/a/..;/b", Semicolon),
        ("/a;jsessionid=1", Semicolon),
        ("/a%3bb", Semicolon),
    ]);
}

/// Sources: R19; CVE-2021-32779 (fragment).
#[test]
fn raw_bytes_that_do_not_belong_are_refused() {
    use Ambiguous::*;
    refused(&[
        ("/a%00", Control),
        ("/a%0d%0aX:y", Control),
        ("/a%09", Control),
        ("/a%7f", Control),
        ("/a%C2%85", Control),
        ("/a\tb", Control),
        ("/a b", Control),
        ("/a\x7f", Control),
        ("/a\0", Control),
        ("/a?x=\0", Control),
        ("/a?x=a b", Control),
        ("/a?x=\r\n", Control),
        ("/a#b", Fragment),
        ("/a?x#b", Fragment),
        ("/ä", NotAscii),
        ("/a?ä", NotAscii),
    ]);
}

/// Sources: R19; RFC 3629 §10 (overlong forms, surrogates).
#[test]
fn encodings_that_can_be_read_in_two_ways_are_refused() {
    use Ambiguous::*;
    refused(&[
        ("/a%252e", DoubleEncoded),
        ("/a%252f", DoubleEncoded),
        ("/a%25%32%66", DoubleEncoded),
        ("/a%25%32f", DoubleEncoded),
        ("/a%252%66", DoubleEncoded),
        ("/a%25252f", DoubleEncoded),
        ("/a%", Escape),
        ("/a%2", Escape),
        ("/a%zz", Escape),
        ("/a%2g", Escape),
        ("/a%u002f", Escape),
        ("/a% 2f", Escape),
        ("/a%+2f", Escape),
        ("/a%c0%af", Utf8),
        ("/a%c1%9c", Utf8),
        ("/a%e0%80%af", Utf8),
        ("/a%f0%80%80%af", Utf8),
        ("/a%f8%80%80%80%af", Utf8),
        ("/a%c0%ae%c0%ae", Utf8),
        ("/a%ed%a0%80", Utf8),
        ("/a%f4%90%80%80", Utf8),
        ("/a%80", Utf8),
        ("/a%bf", Utf8),
        ("/a%ff", Utf8),
        ("/a%c3", Utf8),
        ("/a%c3/%a4", Utf8),
        ("/a%c3a", Utf8),
        ("/a%e2%82", Utf8),
        ("/a%c3%2f", Utf8),
    ]);
}

/// Source: R20; RFC 3986 §6.2.2.1, §6.2.2.2.
#[test]
fn other_spellings_become_one() {
    for (target, expected) in [
        ("/%61dmin", "/admin"),
        ("/%41", "/A"),
        ("/%7euser/%2Dx%5fy", "/~user/-x_y"),
        ("/a%2eb", "/a.b"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/caf%C3%a9", "/caf%C3%A9"),
        ("/%e2%82%ac/%f0%9f%98%80", "/%E2%82%AC/%F0%9F%98%80"),
        ("/a%3a%40", "/a%3A%40"),
        ("/a[0]|b", "/a%5B0%5D%7Cb"),
        ("/a\"<>^`{}", "/a%22%3C%3E%5E%60%7B%7D"),
        ("/%61?x=%61&y=%2F..//", "/a?x=%61&y=%2F..//"),
    ] {
        let read = canonical(target).unwrap();
        assert_eq!(read.as_str(), expected, "{target}");
        assert!(read.changed());
    }
}

#[test]
fn the_one_spelling_is_borrowed() {
    for target in [
        "/",
        "/a",
        "/a/b/",
        "/a.b/.well-known/x..y/..z/...a",
        "/a%20b",
        "/100%25",
        "/100%25/x%252",
        "/caf%C3%A9",
        "/a:b@c!$&'()*+,=~_-",
        "/?",
        "/a?x=1&y=/../%2e;\\\"|[]{}?",
    ] {
        let read = canonical(target).unwrap();
        assert_eq!(read.as_str(), target);
        assert!(!read.changed(), "{target}");
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        assert_eq!((read.path(), read.query()), (path, query));
    }
}

/// Sources: R20 (case variants), design "Routing" (trailing dot or space).
#[test]
fn the_second_reading_is_that_of_a_careless_upstream() {
    for (path, expected) in [
        ("/", None),
        ("/api/items", None),
        ("/a.b/.well-known", None),
        ("/Admin", Some("/admin")),
        ("/admin.", Some("/admin")),
        ("/admin./x", Some("/admin/x")),
        ("/admin%20", Some("/admin")),
        ("/admin%20./x", Some("/admin/x")),
        ("/a%3Ab", Some("/a:b")),
        ("/%C5%BFecret", Some("/secret")),
        ("/%E2%84%AAey", Some("/key")),
        ("/%C3%84", Some("/ä")),
        ("/%EF%BC%A1dmin", Some("/admin")),
        ("/stra%C3%9Fe", Some("/strasse")),
        ("/admin%C2%A0", Some("/admin")),
        ("/a%20b", Some("/a b")),
    ] {
        assert_eq!(folded(path).as_deref(), expected, "{path}");
    }
}

/// Bytes that matter, and any others.
fn target() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9._~-]{1,3}",
        3 => "/",
        3 => "%[0-9a-fA-F]{2}",
        1 => "%(2[eEfF5]|5[cC]|3[bB]|0[0aAdD]|[cC]3%[aA]4|[eE]2%82%[aA][cC])",
        1 => "[ -~]",
        1 => "%[ -~]{0,2}",
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn decoded_once(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_canonical_target_is_canonical(target in target()) {
        if let Ok(once) = canonical(&target) {
            let again = canonical(once.as_str()).unwrap();
            prop_assert!(!again.changed(), "{} from {}", once.as_str(), target);
            prop_assert_eq!(again.as_str(), once.as_str());
        }
    }

    /// The model: a naive decoder run over the forwarded path must see nothing that R19 names.
    #[test]
    fn nothing_refused_is_left_for_a_naive_reader(target in target()) {
        let Ok(read) = canonical(&target) else { return Ok(()) };
        let path = read.path();
        prop_assert!(path.bytes().all(|byte| (0x21..0x7F).contains(&byte)), "{}", path);
        let decoded = decoded_once(path);
        let text = std::str::from_utf8(&decoded);
        prop_assert!(text.is_ok(), "{}", path);
        let text = text.unwrap_or_default();
        prop_assert!(!text.chars().any(|c| c.is_control() || c == '\\' || c == ';'), "{}", path);
        // Decoding makes no new segment, no dot segment, and nothing that decodes again.
        prop_assert_eq!(text.matches('/').count(), path.matches('/').count());
        let inner = text.strip_suffix('/').unwrap_or(text);
        for segment in inner.split('/').skip(1) {
            prop_assert!(!segment.is_empty(), "{}", path);
            prop_assert!(!matches!(segment, "." | ".."), "{}", path);
        }
        prop_assert_eq!(decoded_once(text), decoded.clone(), "{}", path);
    }

    #[test]
    fn the_meaning_is_kept(target in target()) {
        let Ok(read) = canonical(&target) else { return Ok(()) };
        let (path, query) = target.split_once('?').map_or((&*target, None), |(p, q)| (p, Some(q)));
        prop_assert_eq!(decoded_once(read.path()), decoded_once(path));
        prop_assert_eq!(read.query(), query);
    }

    /// Spelling an unreserved character as an escape changes nothing (R20).
    #[test]
    fn unreserved_characters_have_one_spelling(
        path in "(/[a-zA-Z0-9_~-]{1,6}){1,4}",
        at in 1..9_usize,
    ) {
        let Some(character) = path.get(at..=at).filter(|c| *c != "/") else { return Ok(()) };
        let escape = format!("%{:02x}", character.as_bytes()[0]);
        let mut spelled = path.clone();
        spelled.replace_range(at..=at, &escape);
        let read = canonical(&spelled).unwrap();
        prop_assert_eq!(read.as_str(), &path);
    }

    /// The second reading of a reading is itself, and case never matters to it.
    #[test]
    fn folding_ignores_case(path in "(/[a-zA-Z0-9_~.-]{1,6}){1,4}") {
        let read = |path: &str| folded(path).unwrap_or_else(|| path.to_owned());
        prop_assert_eq!(read(&path.to_ascii_uppercase()), read(&path.to_ascii_lowercase()));
    }
}
