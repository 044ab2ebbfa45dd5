//! What a rate limit counts by: `"client"`, `"client+json:/email"`, `"header:X-Api-Key"`.

use http::HeaderName;
use serde::Deserialize;

use super::claim::{ClaimPath, check_pointer};
use super::scalar::Scalar;

/// One component of a limit's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitPart {
    /// A claim of the verified token.
    Claim(ClaimPath),
    /// The client's address (IPv6 by /64).
    Client,
    /// A field of a form body.
    Form(String),
    /// A request header.
    Header(HeaderName),
    /// A member of a JSON body, by JSON Pointer.
    Json(String),
}

/// The components, at least one and each once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct LimitKey(Vec<LimitPart>);

impl LimitKey {
    /// The components in the order written.
    #[must_use]
    pub fn parts(&self) -> &[LimitPart] {
        &self.0
    }

    /// Whether the request's body has to be read first.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.0.iter().any(|part| matches!(part, LimitPart::Form(_) | LimitPart::Json(_)))
    }

    /// Whether the body that is read is a form rather than JSON.
    #[must_use]
    pub fn reads_form(&self) -> bool {
        self.0.iter().any(|part| matches!(part, LimitPart::Form(_)))
    }

    /// Whether a verified token is needed first.
    #[must_use]
    pub fn reads_claims(&self) -> bool {
        self.0.iter().any(|part| matches!(part, LimitPart::Claim(_)))
    }
}

impl TryFrom<Scalar> for LimitKey {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("what to count by, such as \"client\"")?;
        let mut parts = Vec::new();
        for word in text.split('+') {
            let part = part(word).ok_or_else(|| {
                format!(
                    "{text:?} is not what a limit can count by\nwrite client, header:NAME, \
                     json:/POINTER, form:NAME or claim:NAME, several joined with `+`"
                )
            })?;
            if parts.contains(&part) {
                return Err(format!("{text:?} names a part twice"));
            }
            parts.push(part);
        }
        let form = parts.iter().any(|part| matches!(part, LimitPart::Form(_)));
        let json = parts.iter().any(|part| matches!(part, LimitPart::Json(_)));
        if form && json {
            return Err(format!(
                "{text:?} reads the body as a form and as JSON, and it can only be one\n\
                 write two limits, on two routes"
            ));
        }
        Ok(Self(parts))
    }
}

fn part(word: &str) -> Option<LimitPart> {
    if word == "client" {
        return Some(LimitPart::Client);
    }
    let (kind, name) = word.split_once(':').filter(|(_, name)| !name.is_empty())?;
    match kind {
        "claim" => ClaimPath::parse(name).ok().map(LimitPart::Claim),
        "form" => (!name.chars().any(char::is_control)).then(|| LimitPart::Form(name.to_owned())),
        "header" => name.parse().ok().map(LimitPart::Header),
        "json" => check_pointer(name).ok().map(|()| LimitPart::Json(name.to_owned())),
        _ => None,
    }
}
