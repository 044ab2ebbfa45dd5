//! Goal: whatever another parser could read differently is refused. Sources: design "Body-field
//! limits"; RFC 8259 §4 (duplicate names); Go encoding/json (names without case), PHP and qs form
//! names, CVE-2021-23336 (`;` as separator).

use http::{HeaderName, HeaderValue};

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    pairs.iter().map(pair).collect()
}

fn json(pointer: &str, body: &str) -> Result<String, FieldError> {
    let headers = headers(&[("content-type", "application/json")]);
    json_field(&headers, body.as_bytes(), &ClaimPath::parse(pointer).unwrap())
}

fn form(body: &str) -> Result<String, FieldError> {
    let headers = headers(&[("content-type", "application/x-www-form-urlencoded")]);
    form_field(&headers, body.as_bytes(), "user_name")
}

#[test]
fn json_that_can_be_read_in_two_ways_is_refused() {
    for (pointer, body) in [
        ("/email", r#"{}"#),
        ("/email", r#""#),
        ("/email", r#"[]"#),
        ("/email", r#""a""#),
        ("/email", r#"{"email":1}"#),
        ("/email", r#"{"email":null}"#),
        ("/email", r#"{"email":["a"]}"#),
        ("/email", r#"{"email":{"x":"a"}}"#),
        ("/email", r#"{"email":"a","email":"b"}"#),
        ("/email", r#"{"email":"a","em\u0061il":"b"}"#),
        ("/email", r#"{"email":"a","Email":"b"}"#),
        ("/email", r#"{"EMAIL":"b","email":"a"}"#),
        ("/email", r#"{"Email":"a"}"#),
        ("/pass", "{\"pass\":\"a\",\"pa\u{17F}s\":\"b\"}"),
        ("/email", r#"{"email":"a"}x"#),
        ("/email", r#"{"email":"a"}{"email":"b"}"#),
        ("/email", r#"{"email":"a""#),
        ("/email", r#"{"email":"a",}"#),
        ("/email", r#"{email:"a"}"#),
        ("/email", r#"{"email":"a"/**/}"#),
        ("/email", r#"{"email":"\ud800"}"#),
        ("/email", "\u{FEFF}{\"email\":\"a\"}"),
        ("/user/email", r#"{"user":{"email":"a"},"user":{"email":"b"}}"#),
        ("/user/email", r#"{"user":{"email":"a","email":"b"}}"#),
        ("/user/email", r#"{"user":"a"}"#),
        ("/users/0", r#"{"users":[]}"#),
        ("/users/1", r#"{"users":["a"]}"#),
        ("/users/00", r#"{"users":["a"]}"#),
        ("/users/-", r#"{"users":["a"]}"#),
    ] {
        assert_eq!(json(pointer, body), Err(FieldError::Malformed), "{body}");
    }
    let headers = headers(&[("content-type", "application/json")]);
    let email = ClaimPath::parse("/email").unwrap();
    let invalid_utf8 = b"{\"email\":\"a\",\"x\":\"\xFF\"}";
    assert_eq!(json_field(&headers, invalid_utf8, &email), Err(FieldError::Malformed));
    let long = format!("{{\"email\":\"{}\"}}", "a".repeat(BODY_BYTES_MAX));
    assert_eq!(json_field(&headers, long.as_bytes(), &email), Err(FieldError::Malformed));
}

#[test]
fn json_that_can_be_read_in_one_way_is_normalised() {
    for (pointer, body, value) in [
        ("/email", r#"{"email":"A@Example.com "}"#, "a@example.com"),
        ("/email", r#" {"x":{"email":"no"},"email":"a"} "#, "a"),
        ("/email", "{\"email\":\"\u{A0}\u{FF21}\u{212B}\"}", "aå"),
        ("/user/email", r#"{"email":"no","user":{"email":"a"}}"#, "a"),
        ("/users/1/name", r#"{"users":[{"name":"a"},{"name":"b"},3]}"#, "b"),
        ("/a~1b", r#"{"a/b":"c"}"#, "c"),
        ("/email", r#"{"email":""}"#, ""),
    ] {
        assert_eq!(json(pointer, body).as_deref(), Ok(value), "{body}");
    }
}

/// What is passed over is passed over without recursion: no depth can overflow the stack.
#[test]
fn nesting_beside_the_field_is_harmless() {
    let deep = format!("{{\"x\":{}{},\"email\":\"a\"}}", "[".repeat(4000), "]".repeat(4000));
    assert_eq!(json("/email", &deep).as_deref(), Ok("a"));
}

#[test]
fn forms_that_can_be_read_in_two_ways_are_refused() {
    for body in [
        "",
        "x=1",
        "user_name=a&user_name=b",
        "user_name=a&user%5Fname=b",
        "user_name=a&User_Name=b",
        "user_name=a&user_name[]=b",
        "user_name=a&user_name%5B0%5D=b",
        "user_name=a&user.name=b",
        "user_name=a&user+name=b",
        "user_name=a&+user_name=b",
        "x=1;user_name=b&user_name=a",
        "user_name[]=a",
        "User_name=a",
        "user_name=%FF",
        "user_name=%ED%A0%80",
    ] {
        assert_eq!(form(body), Err(FieldError::Malformed), "{body}");
    }
}

#[test]
fn forms_that_can_be_read_in_one_way_are_normalised() {
    for (body, value) in [
        ("user_name=a", "a"),
        ("user%5Fname=A%40Example.com+&x=1", "a@example.com"),
        ("x=user_name&user_name=b", "b"),
        ("user_name", ""),
        ("user_name=%EF%BC%A1", "a"),
    ] {
        assert_eq!(form(body).as_deref(), Ok(value), "{body}");
    }
}

#[test]
fn other_media_types_and_codings_are_refused() {
    let email = ClaimPath::parse("/email").unwrap();
    let read = |pairs: &[(&'static str, &'static str)]| {
        json_field(&headers(pairs), br#"{"email":"a"}"#, &email)
    };
    for pairs in [
        &[][..],
        &[("content-type", "text/json")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/json; charset=utf-16")],
        &[("content-type", "application/json, text/plain")],
        &[("content-type", "application/json"), ("content-type", "application/json")],
        &[("content-type", "application/json"), ("content-encoding", "gzip")],
        &[("content-type", "application/json"), ("content-encoding", "identity")],
    ] {
        assert_eq!(read(pairs), Err(FieldError::Unsupported), "{pairs:?}");
    }
    for media in ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.x+json"] {
        assert_eq!(read(&[("content-type", media)]).as_deref(), Ok("a"), "{media}");
    }
    let json = headers(&[("content-type", "application/json")]);
    assert_eq!(form_field(&json, b"user_name=a", "user_name"), Err(FieldError::Unsupported));
}
