//! Bodies of the endpoints that people's programs call: one JSON object or one form, read as a
//! whole, and in one way only.
//!
//! It must never: guess which of two values was meant, or put what was sent into an error.

use std::time::Duration;

use http::HeaderMap;
use serde_json::{Map, Value};

use super::form::{Form, is_form, is_of};
use crate::auth::json;
use crate::proxy::Rejection;
use crate::proxy::forward::Inbound;
use crate::secret::Secret;

/// A body's members, by name. Members that nobody asks for are nobody's business.
pub(super) enum Fields {
    /// There is no body.
    None,
    /// `application/x-www-form-urlencoded`
    Form(Form),
    /// `application/json`
    Json(Map<String, Value>),
}

impl Fields {
    /// Reads the body, at most `bytes_max` of it, each piece within `idle`. An empty one is none,
    /// whatever its media type: programs name one for every POST. Of a form's type it is a form.
    ///
    /// # Errors
    ///
    /// 415 for another media type, a charset that is not UTF-8 or a content coding; 400 for JSON
    /// that is no object or names a member twice; 413, 408 or 400 for the body itself.
    pub(super) async fn read(
        headers: &HeaderMap,
        mut inbound: Inbound,
        bytes_max: usize,
        idle: Duration,
    ) -> Result<Self, Rejection> {
        inbound.buffer(bytes_max, idle).await?;
        let body = inbound.buffered().unwrap_or_default();
        if body.is_empty() && !is_form(headers) {
            return Ok(Self::None);
        }
        if is_of(headers, &mime::APPLICATION_JSON) {
            let members = json::object(body).ok_or(Rejection::BadRequest("body_fields"))?;
            return Ok(Self::Json(members));
        }
        Form::read(headers, inbound, bytes_max, idle).await.map(Self::Form)
    }

    /// The text of this name.
    ///
    /// # Errors
    ///
    /// 400 when it is missing, there twice, or no text.
    pub(super) fn required(&mut self, name: &str) -> Result<Secret<String>, Rejection> {
        self.optional(name)?.ok_or(Rejection::BadRequest("body_fields"))
    }

    /// The text of this name, if it is there.
    ///
    /// # Errors
    ///
    /// 400 when it is there twice, or no text.
    pub(super) fn optional(&mut self, name: &str) -> Result<Option<Secret<String>>, Rejection> {
        let wrong = || Rejection::BadRequest("body_fields");
        match self {
            Self::None => Ok(None),
            Self::Form(form) if !form.has(name) => Ok(None),
            Self::Form(form) => form.only(name).map(Secret::new).map(Some).ok_or_else(wrong),
            Self::Json(members) => match members.remove(name) {
                None => Ok(None),
                Some(Value::String(text)) => Ok(Some(Secret::new(text))),
                Some(_) => Err(wrong()),
            },
        }
    }

    /// Whether it came as a form: a browser's, by itself.
    pub(super) const fn is_form(&self) -> bool {
        matches!(self, Self::Form(_))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;
    use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

    use super::*;

    fn read(media: Option<&'static str>, body: &'static [u8]) -> Result<Fields, Rejection> {
        let mut headers = HeaderMap::new();
        if let Some(media) = media {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        }
        let inbound = Inbound::Buffered(Bytes::from_static(body));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Fields::read(&headers, inbound, 8192, Duration::from_secs(1)))
    }

    const JSON: Option<&str> = Some("application/json");
    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

    fn name(media: Option<&'static str>, body: &'static [u8]) -> Result<Option<String>, u16> {
        let status = |rejection: Rejection| rejection.status().as_u16();
        let mut fields = read(media, body).map_err(status)?;
        let found = fields.optional("name").map_err(status)?;
        Ok(found.map(|text| text.expose().clone()))
    }

    /// Sources: RFC 8259 §4 (names twice), CWE-436 (interpretation conflict), R7, RFC 9110 §8.4.
    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for body in [
            &br#"{"name":"a","name":"b"}"#[..],
            br#"{"name":"a","x":{"y":1,"y":2}}"#,
            br#"{"name":1}"#,
            br#"{"name":null}"#,
            br#"{"name":["a"]}"#,
            br#"{"name":{"a":"b"}}"#,
            br#"["name"]"#,
            br#""name""#,
            br#"{"name":"a"} {"#,
            b"{\"name\":\"\xff\"}",
        ] {
            assert_eq!(name(JSON, body), Err(400), "{}", String::from_utf8_lossy(body));
        }
        let forms: [&[u8]; 6] = [
            b"name=a&name=b",
            b"name=a&%6eame=a",
            b"name=%ff",
            b"name=\xff",
            b"name=%zz",
            b"name=a%2",
        ];
        for body in forms {
            assert_eq!(name(FORM, body), Err(400), "{}", String::from_utf8_lossy(body));
        }
        for media in ["text/plain", "application/json; charset=utf-16", "application/jsonx", "x"] {
            assert_eq!(name(Some(media), br#"{"name":"a"}"#), Err(415), "{media}");
        }
        assert_eq!(name(None, br#"{"name":"a"}"#), Err(415), "no media type");
    }

    #[test]
    fn one_text_is_taken() {
        assert_eq!(name(JSON, br#"{"name":"a\u0000b","x":[1]}"#), Ok(Some("a\0b".to_owned())));
        assert_eq!(name(Some("application/json; charset=UTF-8"), b"{}"), Ok(None));
        assert_eq!(name(FORM, b"name=a+b&x=1"), Ok(Some("a b".to_owned())));
        assert_eq!(name(FORM, b"Name=a"), Ok(None));
        for media in [None, JSON, FORM, Some("text/plain")] {
            assert_eq!(name(media, b""), Ok(None), "{media:?}");
        }
        assert!(read(None, b"").unwrap().required("name").is_err());
    }

    #[test]
    fn a_content_coding_is_refused() {
        let headers: HeaderMap = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        ]
        .into_iter()
        .collect();
        assert!(!is_of(&headers, &mime::APPLICATION_JSON));
    }
}
