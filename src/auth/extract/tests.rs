//! R14, RFC 6750 section 2, RFC 9110 section 11.

use super::*;

const MAX: usize = 8192;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn authorization(value: &str) -> Result<Option<String>, ExtractError> {
    bearer(&headers(&[("authorization", value)]), MAX).map(|token| token.map(str::to_owned))
}

#[test]
fn the_scheme_is_bearer_in_any_case() {
    let rows = [
        ("Bearer abc", Some("abc")),
        ("bearer abc", Some("abc")),
        ("BEARER abc", Some("abc")),
        ("Bearer    abc", Some("abc")),
        ("Bearer", Some("")),
        ("Bearer a b", Some("a b")),
        ("Bearer a, Bearer b", Some("a, Bearer b")),
        ("Basic YTpi", None),
        ("Bearerabc", None),
        ("DPoP abc", None),
        ("abc", None),
        ("", None),
        ("Bearer:abc", None),
    ];
    for (value, token) in rows {
        assert_eq!(authorization(value), Ok(token.map(str::to_owned)), "{value:?}");
    }
    assert_eq!(bearer(&HeaderMap::new(), MAX), Ok(None));
}

#[test]
fn a_doubtful_request_is_refused() {
    let twice = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]);
    assert_eq!(bearer(&twice, MAX), Err(ExtractError::AuthorizationTwice), "RFC 9110 5.3");
    let mixed = headers(&[("authorization", "Basic YTpi"), ("authorization", "Bearer a")]);
    assert_eq!(bearer(&mixed, MAX), Err(ExtractError::AuthorizationTwice));
    let long = format!("Bearer {}", "a".repeat(MAX));
    assert_eq!(authorization(&long), Err(ExtractError::TooLong), "R36");
    assert_eq!(authorization("Bearer é"), Err(ExtractError::NotText));
}

fn all(
    fields: &[(&'static str, &str)],
    query: Option<&str>,
) -> Result<Option<(String, Origin)>, ExtractError> {
    let source =
        TokenSource { cookie: Some("session".into()), query: Some("token".into()), session: None };
    let headers = headers(fields);
    token(&headers, query, &source, MAX)
        .map(|found| found.map(|found| (found.token.into_owned(), found.origin)))
}

#[test]
fn cookie_and_query_where_the_route_says_so() {
    let found = |token: &str, origin| Ok(Some((token.to_owned(), origin)));
    assert_eq!(all(&[("cookie", "a=1; session=t; b=2")], None), found("t", Origin::Cookie));
    assert_eq!(
        all(&[("cookie", "a=1"), ("cookie", "session=t")], None),
        found("t", Origin::Cookie)
    );
    assert_eq!(all(&[], Some("x=1&token=t")), found("t", Origin::Query));
    assert_eq!(all(&[], Some("%74oken=a%2Eb")), found("a.b", Origin::Query));
    assert_eq!(all(&[("authorization", "Bearer h")], Some("x=1")), found("h", Origin::Header));
    assert_eq!(
        all(&[("authorization", "Basic YTpi"), ("cookie", "session=t")], None),
        found("t", Origin::Cookie)
    );
    assert_eq!(all(&[("cookie", "session=")], None), Ok(None), "left behind by a logout");
    assert_eq!(all(&[("cookie", "Session=t; xsession=t; session2=t")], Some("Token=t")), Ok(None));
    assert_eq!(all(&[("cookie", "\tsession\t = t\t;a")], None), found("t", Origin::Cookie));
    let none = TokenSource::default();
    let fields = headers(&[("cookie", "session=t")]);
    assert_eq!(token(&fields, Some("token=t"), &none, MAX), Ok(None));
}

#[test]
fn more_than_one_token_is_refused() {
    type Row<'r> = (&'r [(&'static str, &'r str)], Option<&'r str>);
    let rows: &[Row<'_>] = &[
        (&[("authorization", "Bearer a"), ("cookie", "session=a")], None),
        (&[("authorization", "Bearer a")], Some("token=a")),
        (&[("cookie", "session=a")], Some("token=a")),
        (&[("cookie", "session=a; session=a")], None),
        (&[("cookie", "session=; session=a")], None),
        (&[("cookie", "session=a"), ("cookie", "session=b")], None),
        (&[], Some("token=a&token=b")),
        (&[], Some("token=a&%74oken=b")),
    ];
    for (fields, query) in rows {
        assert_eq!(all(fields, *query), Err(ExtractError::SeveralTokens), "{fields:?} {query:?}");
    }
    assert_eq!(
        all(&[], Some(&format!("token={}", "a".repeat(MAX + 1)))),
        Err(ExtractError::TooLong)
    );
}

/// Source: PortSwigger 2025, "Cookie Chaos": to a browser a name with a Unicode space before it is
/// another name, which `__Host-` does not protect. It is never read as ours, and never passed on to
/// whoever would.
#[test]
fn a_name_with_other_spaces_is_another_name() {
    for space in ["\u{85}", "\u{a0}", "\u{2000}", "\u{3000}", "\u{feff}", "\u{200b}"] {
        for name in [format!("{space}session"), format!("session{space}")] {
            let alone = format!("a=1; {name}=t");
            assert_eq!(all(&[("cookie", &alone)], None), Ok(None), "{alone:?}");
            let beside = format!("{name}=planted; session=t");
            let found = Ok(Some(("t".to_owned(), Origin::Cookie)));
            assert_eq!(all(&[("cookie", &beside)], None), found, "{beside:?}");
            let mut headers = headers(&[("cookie", &alone), ("cookie", &beside)]);
            remove_cookie(&mut headers, "session");
            assert!(headers.get_all(COOKIE).iter().eq(["a=1"]), "{name:?}");
        }
    }
}

/// Only the cookie that is looked for has to be text.
#[test]
fn a_foreign_cookie_may_be_any_bytes() {
    let source = TokenSource { cookie: Some("session".into()), ..TokenSource::default() };
    let of = |field: &[u8]| {
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes(field).unwrap())]);
        let found = token(&headers, None, &source, MAX);
        found.map(|found| found.map(|found| found.token.into_owned()))
    };
    assert_eq!(of(b"a=\xff; session=t; \xfe=1"), Ok(Some("t".to_owned())));
    assert_eq!(of(b"\xa0session=x; session=t"), Ok(Some("t".to_owned())), "Latin-1");
    assert_eq!(of(b"session=\xff"), Err(ExtractError::NotText));
}

#[test]
fn removing_a_cookie_leaves_the_others_as_they_were() {
    let rows: &[(&[&str], &[&str])] = &[
        (&["a=1; session=t; b=\"x y\""], &["a=1; b=\"x y\""]),
        (&["session=t; a=1"], &["a=1"]),
        (&["session=t"], &[]),
        (&["session=t; session=u"], &[]),
        (&["a=1", "session=t", "b=2"], &["a=1", "b=2"]),
        (&["a=session; b = 1;c"], &["a=session; b = 1;c"]),
        (&["  session = t;a=1;;b"], &["a=1;;b"]),
        (&["a=é; session=t"], &["a=é"]),
    ];
    for (before, after) in rows {
        let fields: Vec<_> = before.iter().map(|value| ("cookie", *value)).collect();
        let mut headers = headers(&fields);
        remove_cookie(&mut headers, "session");
        let left: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        let after: Vec<&[u8]> = after.iter().map(|value| value.as_bytes()).collect();
        assert_eq!(left, after, "{before:?}");
    }
}

#[test]
fn removing_a_parameter_leaves_the_others_as_they_were() {
    let rows = [
        ("token=t", None),
        ("token=t&token=u", None),
        ("token", None),
        ("a=%41+b&token=t&c=%zz", Some("a=%41+b&c=%zz")),
        ("%74oken=t&a", Some("a")),
        ("a=1&&b", Some("a=1&&b")),
        ("tokens=1", Some("tokens=1")),
        ("", Some("")),
    ];
    for (query, left) in rows {
        assert_eq!(remove_query(query, "token").as_deref(), left, "{query}");
    }
}

#[test]
fn a_presented_token_is_not_printed() {
    let presented = Presented { token: "secret".into(), origin: Origin::Header };
    assert!(!format!("{presented:?}").contains("secret"));
}
