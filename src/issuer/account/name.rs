//! What accounts, subjects and roles may be called.
//!
//! A name goes into a file of lines, a log, a key of the store and a token, and `client:…` is how
//! OAuth clients are called in `sub`: what would be read in two ways is refused at the door.

use serde_json::Value;
use thiserror::Error;

/// Longest account name, subject, role or permission, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// Most roles, and most permissions, of one account.
pub(super) const WORDS_MAX: usize = 256;

/// How the subjects of OAuth clients begin (design: "no user may have that form").
const CLIENT: &str = "client:";

/// Why something cannot be called so. Never quotes the name: it may hold control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// `client:…`.
    #[error("begins with `client:`, which is how OAuth clients are called")]
    Client,
    /// Would end the column.
    #[error("has a colon")]
    Colon,
    /// Would be a comment.
    #[error("begins with `#`")]
    Comment,
    /// A line break, NUL, escape and the like.
    #[error("has a control character")]
    Control,
    /// Nothing.
    #[error("is empty")]
    Empty,
    /// Over [`NAME_BYTES_MAX`].
    #[error("is longer than {NAME_BYTES_MAX} bytes")]
    Long,
    /// White space that nobody sees.
    #[error("begins or ends with white space")]
    Padded,
    /// Over [`WORDS_MAX`].
    #[error("are more than {WORDS_MAX}")]
    Many,
}

/// Whether an account of a users file may be called so.
///
/// # Errors
///
/// [`NameError`].
pub fn check_account_name(name: &str) -> Result<(), NameError> {
    check_subject(name)?;
    if name.contains(':') {
        return Err(NameError::Colon);
    }
    if name.starts_with('#') {
        return Err(NameError::Comment);
    }
    if name.trim() != name {
        return Err(NameError::Padded);
    }
    Ok(())
}

/// Whether somebody may be called so in `sub`, and whether a source may be asked for such a name.
pub(super) fn check_subject(subject: &str) -> Result<(), NameError> {
    check_word(subject)?;
    let head = subject.get(..CLIENT.len());
    // In any case of letters: services behind may not tell them apart.
    if head.is_some_and(|head| head.eq_ignore_ascii_case(CLIENT)) {
        return Err(NameError::Client);
    }
    Ok(())
}

/// Whether a role or permission may be called so.
pub(super) fn check_word(word: &str) -> Result<(), NameError> {
    if word.is_empty() {
        return Err(NameError::Empty);
    }
    if word.len() > NAME_BYTES_MAX {
        return Err(NameError::Long);
    }
    if word.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(())
}

/// Roles or permissions without repetitions, in the order given; white space around each is none
/// of it, and nothing between two commas is nothing.
pub(super) fn words<'a>(
    written: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<String>, NameError> {
    let mut words: Vec<String> = Vec::new();
    for word in written.into_iter().map(str::trim).filter(|word| !word.is_empty()) {
        check_word(word)?;
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
        if words.len() > WORDS_MAX {
            return Err(NameError::Many);
        }
    }
    Ok(words)
}

/// The words of a JSON value: an array of strings, one string, or `null` for none. `None` for
/// anything else.
pub(super) fn json_words(value: &Value) -> Option<Result<Vec<String>, NameError>> {
    match value {
        Value::Null => Some(Ok(Vec::new())),
        Value::String(word) => Some(words([word.as_str()])),
        Value::Array(list) => {
            let list: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            list.map(words)
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for (name, refused) in [
            ("", NameError::Empty),
            ("client:billing", NameError::Client),
            ("Client:billing", NameError::Client),
            ("CLIENT:", NameError::Client),
            ("a:b", NameError::Colon),
            (":", NameError::Colon),
            ("#alice", NameError::Comment),
            (" alice", NameError::Padded),
            ("alice\u{a0}", NameError::Padded),
            ("alice\n", NameError::Control),
            ("alice\r\nbob", NameError::Control),
            ("ali\0ce", NameError::Control),
            ("ali\u{1b}[2Jce", NameError::Control),
            ("ali\u{85}ce", NameError::Control),
            (&long, NameError::Long),
        ] {
            assert_eq!(check_account_name(name), Err(refused), "{name:?}");
        }
        for name in ["alice", "alice@example.com", "Zoë", "a b", "client", "o'neil", "../../etc"] {
            assert_eq!(check_account_name(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn a_subject_may_have_a_colon_but_not_be_a_client() {
        assert_eq!(check_subject("urn:uuid:1"), Ok(()));
        assert_eq!(check_subject("client:1"), Err(NameError::Client));
        assert_eq!(check_subject("client\u{301}:1"), Ok(()), "another word");
    }

    #[test]
    fn words_in_json_are_strings() {
        use serde_json::json;
        let read = |value: Value| json_words(&value).map(Result::unwrap);
        assert_eq!(read(json!(["a", "b,c"])), Some(vec!["a".to_owned(), "b,c".to_owned()]));
        assert_eq!(read(json!("a b")), Some(vec!["a b".to_owned()]));
        assert_eq!(read(json!(null)), Some(vec![]));
        for value in [json!(["a", 1]), json!([["a"]]), json!(1), json!({"a": 1}), json!(true)] {
            assert_eq!(json_words(&value), None, "{value}");
        }
    }

    #[test]
    fn words_are_trimmed_and_said_once() {
        assert_eq!(words(["a", " b ", "", "a"]), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(words(["a\tb"]), Err(NameError::Control));
        let many: Vec<String> = (0..=WORDS_MAX).map(|n| n.to_string()).collect();
        assert_eq!(words(many.iter().map(String::as_str)), Err(NameError::Many));
    }
}
