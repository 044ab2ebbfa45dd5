//! Bodies in the form `application/x-www-form-urlencoded`, read as a whole.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use mime::Mime;

use crate::proxy::Rejection;
use crate::proxy::forward::Inbound;
use crate::secret::Secret;

/// A body that is one form.
pub(super) struct Form(Vec<u8>);

impl Form {
    /// Reads the body, at most `bytes_max` of it, each piece within `idle`.
    ///
    /// # Errors
    ///
    /// 415 for another media type, a charset that is not UTF-8 or a content coding; 413, 408 or
    /// 400 for the body itself.
    pub(super) async fn read(
        headers: &HeaderMap,
        mut inbound: Inbound,
        bytes_max: usize,
        idle: Duration,
    ) -> Result<Self, Rejection> {
        if !is_form(headers) {
            return Err(Rejection::UnsupportedMedia);
        }
        inbound.buffer(bytes_max, idle).await?;
        Ok(Self(inbound.buffered().unwrap_or_default().to_vec()))
    }

    /// The value of the one parameter of this name; `None` when it is missing, there twice, or not
    /// text, or when the form is badly encoded. Other parameters are nobody's business.
    pub(super) fn only(&self, name: &str) -> Option<String> {
        if is_well_encoded(&self.0) { only(&self.0, name) } else { None }
    }

    /// Every parameter, in order; `None` when anything in it is not text, or badly encoded.
    pub(super) fn pairs(&self) -> Option<Vec<(String, Secret<String>)>> {
        std::str::from_utf8(&self.0).ok().filter(|_| is_well_encoded(&self.0))?;
        let pairs = form_urlencoded::parse(&self.0);
        // The decoder puts U+FFFD for what is not UTF-8.
        let text = |text: &str| !text.contains('\u{FFFD}');
        pairs
            .map(|(name, value)| (name.into_owned(), Secret::new(value.into_owned())))
            .map(|pair| (text(&pair.0) && text(pair.1.expose())).then_some(pair))
            .collect()
    }

    /// Whether there is any parameter of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        form_urlencoded::parse(&self.0).any(|(key, _)| key == name)
    }
}

/// Whether each `%` is followed by two hexadecimal digits: what others stand for is read in several
/// ways (CWE-436).
pub(super) fn is_well_encoded(text: &[u8]) -> bool {
    let is_escape =
        |rest: &[u8]| rest.get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    text.split(|byte| *byte == b'%').skip(1).all(is_escape)
}

/// As [`Form::only`], of a form's bytes, however they are encoded.
pub(in crate::proxy) fn only(form: &[u8], name: &str) -> Option<String> {
    std::str::from_utf8(form).ok()?;
    let mut values = form_urlencoded::parse(form).filter(|(key, _)| key == name);
    match (values.next(), values.next()) {
        // The decoder puts U+FFFD for what is not UTF-8.
        (Some((_, value)), None) if !value.contains('\u{FFFD}') => Some(value.into_owned()),
        _ => None,
    }
}

/// Whether the body is a form, in UTF-8 and not coded.
pub(in crate::proxy) fn is_form(headers: &HeaderMap) -> bool {
    is_of(headers, &mime::APPLICATION_WWW_FORM_URLENCODED)
}

/// Whether the body is of this media type, in UTF-8 and not coded.
pub(super) fn is_of(headers: &HeaderMap, wanted: &Mime) -> bool {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let media: Option<Mime> = line.to_str().ok().and_then(|line| line.parse().ok());
    let is_utf8 = |media: &Mime| {
        media.params().all(|(name, value)| name != mime::CHARSET || value == mime::UTF_8)
    };
    media.is_some_and(|media| media.essence_str() == wanted.essence_str() && is_utf8(&media))
        && !headers.contains_key(CONTENT_ENCODING)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_media_type_is_a_form() {
        let of = |lines: &[&str]| {
            let line = |line: &&str| (CONTENT_TYPE, HeaderValue::from_str(line).unwrap());
            is_form(&lines.iter().map(line).collect())
        };
        let form = "application/x-www-form-urlencoded";
        assert!(of(&[form]) && of(&[&format!("{form}; charset=UTF-8")]));
        assert!(of(&["Application/X-WWW-Form-Urlencoded"]));
        assert!(!of(&[]) && !of(&[form, form]) && !of(&["application/json"]));
        assert!(!of(&[&format!("{form}; charset=utf-7")]) && !of(&["text/plain"]) && !of(&["x"]));
        let mut coded: HeaderMap =
            [(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))]
                .into_iter()
                .collect();
        coded.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!is_form(&coded));
    }

    #[test]
    fn one_value_is_a_value() {
        let only = |body: &[u8]| Form(body.to_vec()).only("t");
        assert_eq!(only(b"t=a.b-c_d"), Some("a.b-c_d".to_owned()));
        assert_eq!(only(b"x=1&t=a%2Eb&y"), Some("a.b".to_owned()));
        assert_eq!(only(b"%74=a"), Some("a".to_owned()));
        assert_eq!(only(b"t="), Some(String::new()));
        for body in [&b""[..], b"x=1", b"T=a", b"t[]=a", b"t=a&t=a", b"t=a&%74=b", b"t=%FF"] {
            assert_eq!(only(body), None, "{}", String::from_utf8_lossy(body));
        }
        for body in [&b"t=\xff"[..], b"t=%zz", b"t=%", b"t=%4", b"t=a&x=%u0041", b"t=%%41"] {
            assert_eq!(only(body), None, "{}", String::from_utf8_lossy(body));
        }
    }
}
