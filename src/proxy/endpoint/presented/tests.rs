//! Sources: RFC 6749 §2.3, §2.3.1, Appendix B; RFC 7617 §2; RFC 7523 §2.2; RFC 9700 §2.5.

use http::HeaderValue;

use super::*;

/// What the ways are called here.
fn read(fields: &[&str], form: &[(&str, &str)]) -> Result<String, &'static str> {
    let line = |line: &&str| (AUTHORIZATION, HeaderValue::from_str(line).unwrap());
    let headers: HeaderMap = fields.iter().map(line).collect();
    let parameters = Parameters::of_pairs(form);
    let presented = Presented::of(&headers, &parameters);
    presented.map_err(|rejection| rejection.reason()).map(|presented| match presented {
        Presented::Assertion { id, assertion } => {
            format!("assertion {id:?} {}", assertion.expose())
        }
        Presented::Nobody { id } => format!("nobody {id:?}"),
        Presented::Secret { id, secret } => format!("secret {id} {}", secret.expose()),
    })
}

fn header(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

#[test]
fn one_way_is_found() {
    let basic = |text: &str| read(&[&header(text)], &[]);
    assert_eq!(basic("billing:s3cret"), Ok("secret billing s3cret".to_owned()));
    assert_eq!(basic("a%3Ab:p%25+%C3%A9%2B"), Ok("secret a:b p% \u{e9}+".to_owned()));
    assert_eq!(basic("billing:a:b"), Ok("secret billing a:b".to_owned()), "a bare colon");
    let lower = header("a:b").replace("Basic", "bAsIC");
    assert_eq!(read(&[&lower], &[("client_id", "a")]), Ok("secret a b".to_owned()));
    let post = [("client_id", "a"), ("client_secret", "b%41 +")];
    assert_eq!(read(&[], &post), Ok("secret a b%41 +".to_owned()), "decoded once");
    let assertion = [("client_assertion", "j.w.t"), ("client_assertion_type", JWT_BEARER)];
    assert_eq!(read(&[], &assertion), Ok("assertion None j.w.t".to_owned()));
    assert_eq!(read(&[], &[("client_id", "postern")]), Ok("nobody Some(\"postern\")".to_owned()));
    assert_eq!(read(&[], &[]), Ok("nobody None".to_owned()));
}

/// Method mix-up: whichever of two is looked at, the other could have been the attacker's.
#[test]
fn two_ways_are_none() {
    let basic = header("a:b");
    let secret = ("client_secret", "b");
    let (assertion, kind) = (("client_assertion", "j.w.t"), ("client_assertion_type", JWT_BEARER));
    for (fields, form) in [
        (&[basic.as_str()][..], &[secret][..]),
        (&[&basic], &[assertion, kind]),
        (&[&basic], &[kind]),
        (&[&basic, &basic], &[]),
        (&[], &[("client_id", "a"), secret, assertion, kind]),
        (&[&basic], &[("client_id", "b")]),
        (&[&basic], &[("client_id", "A")]),
        (&["Bearer x"], &[secret]),
    ] {
        assert_eq!(read(fields, form), Err("client_methods"), "{fields:?} {form:?}");
    }
}

#[test]
fn what_is_no_credential_is_refused() {
    for field in [
        "",
        "Basic",
        "Basic ",
        "Basic *",
        "Basic YTpi!",
        "Basic YTpi\t",
        "Bearer YTpi",
        "Digest username=a",
        "YTpi",
        &header("no-colon"),
        &header("a%zz:b"),
        &header("a:b%"),
        &header("a:b%f"),
        &header("a:%ff"),
        &header("a%00:b"),
        &header("a:b%0d%0a"),
        // base64url, and without padding: not RFC 7617's alphabet.
        "Basic YT8_Og",
        "Basic YTpiYg",
    ] {
        assert_eq!(read(&[field], &[]), Err("client_basic"), "{field}");
    }
    assert_eq!(read(&[], &[("client_secret", "b")]), Err("client_missing"));
    for form in [
        &[("client_assertion", "j.w.t")][..],
        &[("client_assertion_type", JWT_BEARER)],
        &[("client_assertion", "j.w.t"), ("client_assertion_type", "jwt-bearer")],
        &[
            ("client_assertion", "j.w.t"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
        ],
    ] {
        assert_eq!(read(&[], form), Err("client_assertion"), "{form:?}");
    }
}

/// RFC 6749 §3.2: "Parameters sent without a value MUST be treated as if they were omitted".
#[test]
fn an_empty_secret_is_none() {
    let form = [("client_id", "postern"), ("client_secret", "")];
    assert_eq!(read(&[], &form), Ok("nobody Some(\"postern\")".to_owned()));
    assert_eq!(read(&[&header("postern:")], &[]), Ok("secret postern ".to_owned()));
}

proptest::proptest! {
    /// CWE-20: nothing that arrives breaks the reading.
    #[test]
    fn no_field_makes_reading_panic(text in "[ -~\u{e9}%+:]{0,40}", raw in ".{0,40}") {
        let _ = basic(raw.as_bytes());
        let _ = basic(header(&text).as_bytes());
        let _ = decoded(&text);
    }

    /// RFC 6749 Appendix B: what a form's value says is what is read.
    #[test]
    fn what_is_encoded_is_read(id in "[ -~\u{e9}]{1,20}", secret in "[ -~\u{1f511}]{0,20}") {
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let (read, known) = basic(header(&format!("{}:{}", encoded(&id), encoded(&secret))).as_bytes()).unwrap();
        proptest::prop_assert_eq!((read, known.expose().clone()), (id, secret));
    }
}
