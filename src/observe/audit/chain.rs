//! The chain: each line ends with a code (HMAC-SHA-256) over the code of the line before and the
//! line itself, under a key that is kept elsewhere. Whoever has the file alone can neither change
//! a line, nor take one out, nor put one in, nor change their order.
//!
//! ```text
//! code of line n = HMAC-SHA-256(key, code of line n-1 (32 bytes) || body of line n)
//! line n         = body of line n + `,"mac":"` + base64url(code of line n) + `"}`
//! ```
//!
//! The body is the line as it stands in the file up to, and without, the `,"mac":"`: no parsing and
//! no canonical form is needed to check it. Before the first line of all, the code is 32 zeros.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// Shorter keys are refused: the size of the hash (RFC 2104 §3).
pub const KEY_BYTES_MIN: usize = 32;

/// What stands before the code.
const BEFORE: &str = ",\"mac\":\"";
/// What stands behind it.
const BEHIND: &str = "\"}";
/// Characters of a code.
const CODE_CHARS: usize = 43;
/// Bytes of a shortened hash: nobody finds another value with the same 128 bits.
const SHORT_BYTES: usize = 16;

/// The code of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; 32]);

impl Mac {
    /// Before the first line of all.
    pub const GENESIS: Self = Self([0; 32]);

    /// From its text; `None` unless it is exactly one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key, with what is derived from it.
pub struct Key {
    chain: hmac::Key,
    persons: hmac::Key,
    id: Box<str>,
}

impl Key {
    /// `None` when the secret is shorter than [`KEY_BYTES_MIN`].
    #[must_use]
    pub fn new(secret: &Secret<Vec<u8>>) -> Option<Self> {
        let secret = secret.expose();
        if secret.len() < KEY_BYTES_MIN {
            return None;
        }
        let derived = |purpose: &[u8]| {
            let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let bytes = hmac::sign(&root, purpose);
            hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref())
        };
        // A key for each purpose: no line can be written so that its code is another value's hash.
        let chain = derived(b"postern audit chain");
        let persons = derived(b"postern audit persons");
        let id = short(&hmac::sign(&derived(b"postern audit key id"), b""));
        Some(Self { chain, persons, id: id.into() })
    }

    /// Tells keys apart without telling anything of them.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What stands for a person's name or address: the same for the same one, and nothing that
    /// could be read back or found by trying without the key.
    #[must_use]
    pub fn hashed(&self, what: &str, value: &str) -> String {
        let mut context = hmac::Context::with_key(&self.persons);
        context.update(what.as_bytes());
        context.update(b"\0");
        context.update(value.as_bytes());
        format!("hmac:{}", short(&context.sign()))
    }

    /// The code of a line with this body.
    #[must_use]
    pub fn code(&self, previous: &Mac, body: &[u8]) -> Mac {
        let mut context = hmac::Context::with_key(&self.chain);
        context.update(&previous.0);
        context.update(body);
        let mut code = [0; 32];
        code.copy_from_slice(context.sign().as_ref());
        Mac(code)
    }

    /// Completes a line: `json` is an object with at least one member. Appends it to `lines` and
    /// returns its code.
    #[must_use]
    pub fn seal(&self, previous: &Mac, json: &str, lines: &mut Vec<u8>) -> Mac {
        let body = json.strip_suffix('}').unwrap_or(json);
        let code = self.code(previous, body.as_bytes());
        lines.extend_from_slice(body.as_bytes());
        lines.extend_from_slice(BEFORE.as_bytes());
        lines.extend_from_slice(code.to_string().as_bytes());
        lines.extend_from_slice(BEHIND.as_bytes());
        lines.push(b'\n');
        code
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

fn short(tag: &hmac::Tag) -> String {
    URL_SAFE_NO_PAD.encode(tag.as_ref().get(..SHORT_BYTES).unwrap_or_default())
}

/// A line, without its line break, taken apart: its body and its code.
#[must_use]
pub fn parts(line: &[u8]) -> Option<(&[u8], Mac)> {
    let line = line.strip_suffix(BEHIND.as_bytes())?;
    let (line, code) = line.split_at_checked(line.len().checked_sub(CODE_CHARS)?)?;
    let body = line.strip_suffix(BEFORE.as_bytes())?;
    Some((body, Mac::parse(std::str::from_utf8(code).ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::new(&Secret::new(vec![byte; 32])).unwrap()
    }

    #[test]
    fn a_line_comes_apart_as_it_was_put_together() {
        let mut lines = Vec::new();
        let first = key(1).seal(&Mac::GENESIS, "{\"seq\":1}", &mut lines);
        let second = key(1).seal(&first, "{\"seq\":2}", &mut lines);
        let text = String::from_utf8(lines).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], format!("{{\"seq\":1,\"mac\":\"{first}\"}}"));
        let (body, code) = parts(lines[1].as_bytes()).unwrap();
        assert_eq!((body, code), (&b"{\"seq\":2"[..], second));
        assert_eq!(key(1).code(&first, body), code);
        assert_ne!(key(1).code(&Mac::GENESIS, body), code, "it depends on the line before");
        assert_ne!(key(2).code(&first, body), code, "and on the key");
    }

    /// The definition in words, computed by other means: derived key, previous code, body.
    #[test]
    fn the_code_is_what_the_documentation_says() {
        let hmac_of = |key: &[u8], data: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
        };
        let chain = hmac_of(&[7; 32], b"postern audit chain");
        let message = [&[0; 32][..], b"{\"seq\":1"].concat();
        let expected = URL_SAFE_NO_PAD.encode(hmac_of(&chain, &message));
        assert_eq!(key(7).code(&Mac::GENESIS, b"{\"seq\":1").to_string(), expected);
    }

    #[test]
    fn what_is_no_line_is_none() {
        let mut line = Vec::new();
        let _ = key(1).seal(&Mac::GENESIS, "{\"seq\":1}", &mut line);
        line.pop();
        assert!(parts(&line).is_some());
        for cut in 1..line.len() {
            assert!(parts(&line[..line.len() - cut]).is_none(), "{cut}");
        }
        for broken in ["", "{}", "\"}", "{\"seq\":1,\"mac\":\"short\"}"] {
            assert!(parts(broken.as_bytes()).is_none(), "{broken}");
        }
    }

    #[test]
    fn short_keys_are_refused_and_hashes_tell_values_apart() {
        assert!(Key::new(&Secret::new(vec![1; 31])).is_none());
        let key = key(1);
        assert_eq!(key.hashed("subject", "alice"), key.hashed("subject", "alice"));
        assert_ne!(key.hashed("subject", "alice"), key.hashed("address", "alice"));
        assert_ne!(key.hashed("subject", "alice"), self::key(2).hashed("subject", "alice"));
        assert!(!format!("{key:?}").contains("chain"));
    }
}
