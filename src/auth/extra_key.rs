//! Keys that existing applications write when they revoke (`[revocation] extra_keys`), such as
//! `blacklist:{jti}`.

use std::str::FromStr;

use thiserror::Error;

use crate::token::{own_part, sha256_hex};

/// A compiled template of one extra key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExtraKey {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Jti,
    Literal(Box<str>),
    Sid,
    Sub,
    TokenSha256,
}

/// A template that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExtraKeyError {
    /// Without a placeholder, one key would refuse every token.
    #[error("names no token: use at least one of {{jti}}, {{sub}}, {{sid}}, {{token_sha256}}")]
    Constant,
    /// A brace without its partner.
    #[error("a brace has no partner")]
    Unbalanced,
    /// A placeholder that is not known.
    #[error("unknown placeholder {{{0}}}: one of {{jti}}, {{sub}}, {{sid}}, {{token_sha256}}")]
    Unknown(Box<str>),
}

/// What the placeholders stand for in one token.
pub(super) struct Values<'v> {
    pub(super) token: &'v str,
    pub(super) jti: Option<&'v str>,
    pub(super) sub: Option<&'v str>,
    pub(super) sid: Option<&'v str>,
}

impl ExtraKey {
    /// The text before the first placeholder; empty when there is none.
    #[must_use]
    pub fn literal_head(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(head)) => head,
            Some(Part::Jti | Part::Sid | Part::Sub | Part::TokenSha256) | None => "",
        }
    }

    /// Adds the key, or both keys when it holds `{token_sha256}`: applications hash the token as
    /// they got it, but a second valid ECDSA signature would change that hash, so the digest of a
    /// JWT's `header.payload` is looked up too. Nothing when a claim that the template needs is
    /// absent.
    pub(super) fn fill(&self, values: &Values<'_>, keys: &mut Vec<Box<str>>) {
        let signed = own_part(values.token);
        let whole = self.fill_one(values, values.token);
        let twice = self.hashes_token() && signed.len() != values.token.len();
        let of_signed = twice.then(|| self.fill_one(values, signed)).flatten();
        keys.extend(whole.into_iter().chain(of_signed));
    }

    fn hashes_token(&self) -> bool {
        self.parts.contains(&Part::TokenSha256)
    }

    fn fill_one(&self, values: &Values<'_>, hashed: &str) -> Option<Box<str>> {
        let mut key = String::new();
        for part in &self.parts {
            match part {
                Part::Jti => key.push_str(values.jti?),
                Part::Literal(text) => key.push_str(text),
                Part::Sid => key.push_str(values.sid?),
                Part::Sub => key.push_str(values.sub?),
                Part::TokenSha256 => key.push_str(&sha256_hex(hashed.as_bytes())),
            }
        }
        Some(key.into())
    }
}

impl FromStr for ExtraKey {
    type Err = ExtraKeyError;

    fn from_str(template: &str) -> Result<Self, ExtraKeyError> {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, tail) = after.split_once('}').ok_or(ExtraKeyError::Unbalanced)?;
            parts.extend(literal_part(literal)?);
            parts.push(match name {
                "jti" => Part::Jti,
                "sid" => Part::Sid,
                "sub" => Part::Sub,
                "token_sha256" => Part::TokenSha256,
                _ => return Err(ExtraKeyError::Unknown(name.into())),
            });
            rest = tail;
        }
        if parts.is_empty() {
            literal_part(rest)?;
            return Err(ExtraKeyError::Constant);
        }
        parts.extend(literal_part(rest)?);
        Ok(Self { parts })
    }
}

fn literal_part(text: &str) -> Result<Option<Part>, ExtraKeyError> {
    if text.contains('}') {
        return Err(ExtraKeyError::Unbalanced);
    }
    Ok((!text.is_empty()).then(|| Part::Literal(text.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"alg":"ES256"}`
    const SIGNED: &str = "eyJhbGciOiJFUzI1NiJ9.e30";

    fn filled(template: &str) -> Vec<String> {
        filled_for(template, &format!("{SIGNED}.c2ln"))
    }

    fn filled_for(template: &str, token: &str) -> Vec<String> {
        let values = Values { token, jti: Some("j"), sub: Some("*\r\n"), sid: None };
        let mut keys = Vec::new();
        template.parse::<ExtraKey>().unwrap().fill(&values, &mut keys);
        keys.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn templates_take_raw_values_and_skip_absent_claims() {
        assert_eq!(filled("blacklist:{jti}"), ["blacklist:j"]);
        assert_eq!(filled("{sub}:{jti}!"), ["*\r\n:j!"]);
        assert_eq!(filled("s:{sid}"), Vec::<String>::new());
        let hashes = [format!("{SIGNED}.c2ln"), SIGNED.to_owned()];
        let hashes = hashes.map(|hashed| format!("t:{}", sha256_hex(hashed.as_bytes())));
        assert_eq!(filled("t:{token_sha256}"), hashes);
        let opaque = [format!("t:{}", sha256_hex(b"h.p.s"))];
        assert_eq!(filled_for("t:{token_sha256}", "h.p.s"), opaque, "not of a part of it");
    }

    #[test]
    fn unusable_templates_are_refused() {
        let cases = [
            ("blacklist", ExtraKeyError::Constant),
            ("", ExtraKeyError::Constant),
            ("a:{jti", ExtraKeyError::Unbalanced),
            ("a:jti}", ExtraKeyError::Unbalanced),
            ("{jti}}", ExtraKeyError::Unbalanced),
            ("{JTI}", ExtraKeyError::Unknown("JTI".into())),
            ("{}", ExtraKeyError::Unknown("".into())),
        ];
        for (template, error) in cases {
            assert_eq!(template.parse::<ExtraKey>(), Err(error), "{template}");
        }
        assert_eq!("b:{jti}".parse::<ExtraKey>().unwrap().literal_head(), "b:");
        assert_eq!("{jti}:b".parse::<ExtraKey>().unwrap().literal_head(), "");
    }
}
