//! The ONE path: what is routed and authorised is byte for byte what is forwarded (invariant 4).
//!
//! A request target that two parsers could read as two paths is refused, not guessed at (R19); what
//! only has several spellings is rewritten to one (R20). Routes are compiled with the same
//! functions, so that configuration and requests are spelled alike. This is a layer below the
//! pipeline step of the same name for that reason alone.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_normalization::UnicodeNormalization as _;

/// Why a target cannot be read in one way only. All are 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ambiguous {
    /// `\` or `%5C`: a slash to some.
    #[error("a backslash in the path")]
    Backslash,
    /// A control character, space or DEL, raw or encoded.
    #[error("a control character in the target")]
    Control,
    /// `.`, `..`, or any segment of only dots and spaces, in any encoding.
    #[error("a dot segment in the path")]
    DotSegment,
    /// `%25` followed by two hexadecimal digits: another path to whoever decodes twice.
    #[error("a doubly encoded character in the path")]
    DoubleEncoded,
    /// `//`.
    #[error("an empty segment in the path")]
    EmptySegment,
    /// `%2F`.
    #[error("an encoded slash in the path")]
    EncodedSlash,
    /// `%` without two hexadecimal digits (`%u0041` among them).
    #[error("an invalid percent-encoding in the path")]
    Escape,
    /// `#`.
    #[error("a fragment in the target")]
    Fragment,
    /// A raw byte above 0x7E.
    #[error("a raw byte in the target that is not ASCII")]
    NotAscii,
    /// Does not begin with `/`.
    #[error("a path that does not begin with a slash")]
    NotOriginForm,
    /// `;` or `%3B`: path parameters, which some cut off before they match.
    #[error("a semicolon in the path")]
    Semicolon,
    /// Escapes that do not decode to UTF-8 (overlong forms and surrogates among them).
    #[error("an encoding in the path that is not UTF-8")]
    Utf8,
}

/// A target in its one spelling: a canonical path, and the query as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical<'t> {
    target: Cow<'t, str>,
    path_bytes: usize,
}

impl Canonical<'_> {
    /// The path: begins with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.get(..self.path_bytes).unwrap_or_default()
    }

    /// The query without its `?`, byte for byte as sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.get(self.path_bytes..)?.strip_prefix('?')
    }

    /// Path and query, as they are forwarded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.target
    }

    /// Whether the target was sent in another spelling, so that the forwarded one differs.
    #[must_use]
    pub const fn changed(&self) -> bool {
        matches!(self.target, Cow::Owned(_))
    }
}

/// Reads an origin-form target (`path[?query]`, RFC 9112 §3.2.1). A target that is canonical
/// already costs one scan and no allocation.
///
/// Rewritten are: encoded unreserved characters (decoded, RFC 3986 §6.2.2.2), lower-case
/// hexadecimal digits (raised, §6.2.2.1), and raw characters that RFC 3986 does not allow in a path
/// but browsers send (`"<>[]^{|}` and the grave accent; encoded).
///
/// # Errors
///
/// [`Ambiguous`] for the first thing that could be read in two ways (R19).
pub fn canonical(target: &str) -> Result<Canonical<'_>, Ambiguous> {
    let path_bytes = target.find('?').unwrap_or(target.len());
    let (path, query) = target.split_at_checked(path_bytes).unwrap_or((target, ""));
    query.bytes().try_for_each(check_query)?;
    if is_canonical(path.as_bytes())? {
        return Ok(Canonical { target: Cow::Borrowed(target), path_bytes });
    }
    let mut rewritten = rewrite(path.as_bytes(), target.len());
    let path_bytes = rewritten.len();
    // What decoding has brought to light is held to the same rules.
    if !is_canonical(rewritten.as_bytes())? {
        return Err(Ambiguous::Escape);
    }
    rewritten.push_str(query);
    Ok(Canonical { target: Cow::Owned(rewritten), path_bytes })
}

/// The second reading of a canonical path: as an upstream reads it that decodes everything, ignores
/// case, and drops the dots and spaces at a segment's end (design "Routing"). `None` when that is
/// the path itself. If it leads to another route, the request is refused.
///
/// Letters are compared as Unicode folds them, compatibility forms included (`ſ`, `K`, `Ａ`).
#[must_use]
pub fn folded(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let ends_in_dot = |pair: &[u8]| matches!(pair, [b'.', b'/']);
    let differs = bytes.iter().any(|byte| byte.is_ascii_uppercase() || *byte == b'%')
        || bytes.last() == Some(&b'.')
        || bytes.windows(2).any(ends_in_dot);
    if !differs {
        return None;
    }
    let decoded = percent_encoding::percent_decode(bytes).decode_utf8_lossy();
    // Raising first joins what has several small forms: ſ and s, ς and σ.
    let folded: String =
        decoded.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    let mut segments = folded.split('/').map(|segment| segment.trim_end_matches(['.', ' ']));
    let first = segments.next().unwrap_or_default().to_owned();
    let read = segments.fold(first, |path, segment| path + "/" + segment);
    (read != path).then_some(read)
}

/// Whether every byte of a path stands as it should; an error when one may not stand at all.
fn is_canonical(path: &[u8]) -> Result<bool, Ambiguous> {
    let Some((b'/', mut rest)) = path.split_first() else {
        return Err(Ambiguous::NotOriginForm);
    };
    let mut canonical = true;
    let mut segment = Segment::Empty;
    let mut continuation = 0; // bytes of the current UTF-8 character still to come, checked already
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match CLASSES.get(usize::from(byte)).unwrap_or(&Class::Control) {
            Class::Plain => segment = Segment::Named,
            Class::Dot => segment = segment.dotted(),
            Class::Slash => segment = segment.next()?,
            Class::Escape => {
                let (decoded, after) = escape(tail)?;
                canonical &= stands(decoded, tail);
                rest = after;
                if continuation > 0 {
                    continuation -= 1;
                } else {
                    continuation = check_decoded(decoded, after)?;
                }
                segment = match decoded {
                    b' ' | b'.' => segment.dotted(),
                    _ => Segment::Named,
                };
            }
            Class::Unwise => {
                canonical = false;
                segment = Segment::Named;
            }
            Class::Backslash => return Err(Ambiguous::Backslash),
            Class::Control => return Err(Ambiguous::Control),
            Class::Fragment => return Err(Ambiguous::Fragment),
            Class::NotAscii => return Err(Ambiguous::NotAscii),
            Class::Semicolon => return Err(Ambiguous::Semicolon),
        }
    }
    match segment {
        Segment::Dots => Err(Ambiguous::DotSegment),
        Segment::Empty | Segment::Named => Ok(canonical),
    }
}

/// What the segment being read is so far.
#[derive(Clone, Copy)]
enum Segment {
    /// Only dots and spaces: nothing is left of it where those are dropped at a name's end.
    Dots,
    Empty,
    Named,
}

impl Segment {
    const fn dotted(self) -> Self {
        match self {
            Self::Dots | Self::Empty => Self::Dots,
            Self::Named => Self::Named,
        }
    }

    /// A slash ends it and begins another.
    const fn next(self) -> Result<Self, Ambiguous> {
        match self {
            Self::Dots => Err(Ambiguous::DotSegment),
            Self::Empty => Err(Ambiguous::EmptySegment),
            Self::Named => Ok(Self::Empty),
        }
    }
}

/// The byte that two hexadecimal digits stand for, and what follows them.
fn escape(digits: &[u8]) -> Result<(u8, &[u8]), Ambiguous> {
    let [high, low, after @ ..] = digits else { return Err(Ambiguous::Escape) };
    match (hex(*high), hex(*low)) {
        (Some(high), Some(low)) => Ok((high << 4 | low, after)),
        _ => Err(Ambiguous::Escape),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Whether an escape is as it should be: of a character that must be encoded, in upper case.
fn stands(decoded: u8, digits: &[u8]) -> bool {
    let raised = digits.iter().take(2).all(|digit| !digit.is_ascii_lowercase());
    raised && !is_unreserved(decoded)
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Refuses what may not stand in a path even encoded. Returns how many further escapes belong to
/// the same UTF-8 character.
fn check_decoded(decoded: u8, after: &[u8]) -> Result<usize, Ambiguous> {
    match decoded {
        0x00..=0x1F | 0x7F => Err(Ambiguous::Control),
        b'/' => Err(Ambiguous::EncodedSlash),
        b'\\' => Err(Ambiguous::Backslash),
        b';' => Err(Ambiguous::Semicolon),
        // Digits that are themselves encoded are decoded by the rewriting, and meet this then.
        b'%' if escape(after).is_ok() => Err(Ambiguous::DoubleEncoded),
        0x80..=0xFF => character(decoded, after),
        _ => Ok(0),
    }
}

/// Checks that `first` and the escapes after it are one character of UTF-8, and not a control
/// character (U+0080 to U+009F). Returns how many escapes follow.
fn character(first: u8, mut after: &[u8]) -> Result<usize, Ambiguous> {
    let length = match first {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return Err(Ambiguous::Utf8),
    };
    let mut bytes = [first, 0, 0, 0];
    for byte in bytes.iter_mut().take(length).skip(1) {
        let Some((b'%', digits)) = after.split_first() else { return Err(Ambiguous::Utf8) };
        (*byte, after) = escape(digits)?;
    }
    let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match text.and_then(|text| text.chars().next()) {
        None => Err(Ambiguous::Utf8),
        Some(character) if character.is_control() => Err(Ambiguous::Control),
        Some(_) => Ok(length - 1),
    }
}

/// A path that [`is_canonical`] has let pass, in its one spelling.
fn rewrite(path: &[u8], capacity: usize) -> String {
    let mut rewritten = String::with_capacity(capacity);
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        let (decoded, encode) = match escape(tail) {
            Ok((decoded, after)) if byte == b'%' => {
                rest = after;
                (decoded, !is_unreserved(decoded))
            }
            _ => {
                rest = tail;
                (byte, matches!(CLASSES.get(usize::from(byte)), Some(Class::Unwise)))
            }
        };
        if encode {
            let _ = write!(rewritten, "%{decoded:02X}");
        } else {
            rewritten.push(char::from(decoded));
        }
    }
    rewritten
}

fn check_query(byte: u8) -> Result<(), Ambiguous> {
    match byte {
        0x00..=0x20 | 0x7F => Err(Ambiguous::Control),
        b'#' => Err(Ambiguous::Fragment),
        0x80..=0xFF => Err(Ambiguous::NotAscii),
        _ => Ok(()),
    }
}

/// What a raw byte of a path is.
#[derive(Clone, Copy)]
enum Class {
    Backslash,
    Control,
    Dot,
    Escape,
    Fragment,
    NotAscii,
    Plain,
    Semicolon,
    Slash,
    /// Not allowed by RFC 3986, but sent by browsers.
    Unwise,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::indexing_slicing, reason = "at compile time")]
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        {
            classes[byte] = class(byte as u8);
        }
        byte += 1;
    }
    classes
};

const fn class(byte: u8) -> Class {
    match byte {
        0x00..=0x20 | 0x7F => Class::Control,
        0x80..=0xFF => Class::NotAscii,
        b'/' => Class::Slash,
        b'.' => Class::Dot,
        b'%' => Class::Escape,
        b'\\' => Class::Backslash,
        b'#' => Class::Fragment,
        b';' => Class::Semicolon,
        b'"' | b'<' | b'>' | b'?' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Unwise,
        _ => Class::Plain,
    }
}

#[cfg(test)]
mod tests;
