//! Any request target: what is accepted has one spelling and one reading.

use percent_encoding::percent_decode_str;
use postern::policy::canonical::{canonical, folded};

/// Checks a target; true when it is accepted.
///
/// # Panics
///
/// When an accepted target has another spelling or another reading (R19, R20).
pub fn holds(data: &[u8]) -> bool {
    let Ok(target) = str::from_utf8(data) else { return false };
    let Ok(read) = canonical(target) else { return false };
    let (path, query) = (read.path(), read.query());

    let again = canonical(read.as_str());
    let same =
        again.as_ref().is_ok_and(|again| !again.changed() && again.as_str() == read.as_str());
    assert!(same, "not the one spelling: {read:?}");
    assert_eq!(read.changed(), read.as_str() != target, "changed or not: {target:?}");

    // Nothing is left that a naive reader would take for another path.
    assert!(path.starts_with('/') && path.bytes().all(|byte| (0x21..0x7F).contains(&byte)));
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let text = String::from_utf8(decoded.clone()).expect("a path decodes to UTF-8");
    assert!(!text.chars().any(|c| c.is_control() || matches!(c, '\\' | ';')), "{path}");
    assert_eq!(text.matches('/').count(), path.matches('/').count(), "decoding makes segments");
    let inner = text.strip_suffix('/').unwrap_or(&text);
    for segment in inner.split('/').skip(1) {
        let named = segment.contains(|c| c != '.' && c != ' ');
        assert!(named, "an empty or dot segment: {path}");
    }
    for escape in path.split('%').skip(1) {
        let digits = escape.get(..2).expect("two digits");
        let byte = u8::from_str_radix(digits, 16).expect("hexadecimal digits");
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        assert!(!unreserved && digits == digits.to_uppercase(), "another spelling: {path}");
    }
    let twice: Vec<u8> = percent_decode_str(&text).collect();
    assert_eq!(twice, decoded, "decodes twice: {path}");

    // Nothing is added or taken away.
    let (sent, sent_query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let meant: Vec<u8> = percent_decode_str(sent).collect();
    assert_eq!(decoded, meant, "another path than was sent");
    assert_eq!(query, sent_query, "another query than was sent");

    if let Some(folded) = folded(path) {
        assert!(folded != path && folded.starts_with('/'), "{folded} from {path}");
    }
    true
}
