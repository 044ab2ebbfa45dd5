//! An existing service's own login endpoint, which alone knows the passwords.
//!
//! Name and password are posted as JSON, once; a 2xx answer's fields become claims, 400, 401, 403
//! and 422 are a wrong password, anything else is "cannot be asked" (503). How long a refusal takes
//! is the service's own time. What it answers besides (cookies, tokens of its own) is dropped.
//!
//! It must never: send a password twice, follow a redirect with it, or give it to an address that
//! the operator did not mean.

use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::Semaphore;
use url::Url;

use super::name::{NameError, check_subject, json_words};
use super::password::Password;
use super::{Account, AccountsUnavailable, Attempt, Refused};
use crate::policy::provider::Reach;
use crate::provider::exchange;
use crate::secret::Secret;

/// Logins that are under way at once.
const LOGINS_MAX: usize = 64;

/// The largest answer.
const BYTES_MAX: usize = 256 << 10;

/// How the endpoint is asked, and its answer read.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) url: Url,
    pub(super) reach: Reach,
    /// What the name and the password are called in the document.
    pub(super) fields: (String, String),
    /// JSON Pointer (RFC 6901) to the subject.
    pub(super) subject: String,
    /// To the roles; without, there are none.
    pub(super) roles: Option<String>,
    /// To the permissions; without, there are none.
    pub(super) permissions: Option<String>,
    /// Claim → pointer.
    pub(super) claims: BTreeMap<String, String>,
}

/// Accounts that only their service knows.
pub(super) struct UpstreamAccounts {
    settings: Settings,
    turns: Semaphore,
}

/// Why an answer is no account. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum AnswerError {
    #[error("it is no JSON")]
    Json,
    #[error("there is nothing at {0}, where the configuration has `sub`")]
    NoSubject(String),
    #[error("what is at {0} {1}")]
    Name(String, NameError),
    #[error("what is at {0} is not {1}")]
    Value(String, &'static str),
}

impl fmt::Debug for UpstreamAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.settings.url.as_str();
        f.debug_struct("UpstreamAccounts").field("url", &url).finish_non_exhaustive()
    }
}

impl UpstreamAccounts {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, turns: Semaphore::new(LOGINS_MAX) }
    }

    /// Whether the endpoint's server can be connected to; no login is sent. The error never quotes
    /// more of the URL than its path.
    pub(super) async fn probe(&self) -> Result<(), String> {
        let Settings { url, reach, .. } = &self.settings;
        exchange::try_connecting(url, reach).await.map_err(|error| error.to_string())
    }

    pub(super) async fn check(
        &self,
        attempt: &Attempt<'_>,
    ) -> Result<Result<Account, Refused>, AccountsUnavailable> {
        if check_subject(attempt.name).is_err()
            || Password::typed(attempt.password.expose()).is_err()
        {
            // Nobody's, and not sent anywhere.
            return Ok(Err(Refused::Upstream));
        }
        let Ok(_turn) = self.turns.try_acquire() else { return Err(AccountsUnavailable::Busy) };
        let Settings { url, reach, .. } = &self.settings;
        let mut fields = HeaderMap::new();
        let client = HeaderValue::from_str(&attempt.client.to_string());
        if let Ok(client) = client {
            fields.insert(HeaderName::from_static("x-forwarded-for"), client);
        }
        let document = self.document(attempt);
        let reply = exchange::post_json(url, reach, fields, &document, BYTES_MAX).await;
        let reply = reply.map_err(|error| {
            tracing::error!(%error, "the login endpoint cannot be asked: 503");
            AccountsUnavailable::Unreachable
        })?;
        match reply.status.as_u16() {
            200..=299 => self.account(attempt.name, &reply.body).map(Ok).map_err(|error| {
                tracing::error!(%error, "the login endpoint's answer is of no use: 503");
                AccountsUnavailable::Unreachable
            }),
            400 | 401 | 403 | 422 => Ok(Err(Refused::Upstream)),
            status => {
                tracing::error!(status, "the login endpoint gave no answer: 503");
                Err(AccountsUnavailable::Unreachable)
            }
        }
    }

    /// The JSON document that is posted.
    fn document(&self, attempt: &Attempt<'_>) -> Secret<String> {
        let (name, password) = &self.settings.fields;
        let quoted = |text: &str| Secret::new(Value::from(text).to_string());
        let value = quoted(attempt.password.expose());
        Secret::new(format!(
            "{{{}:{},{}:{}}}",
            quoted(name).expose(),
            quoted(attempt.name).expose(),
            quoted(password).expose(),
            value.expose()
        ))
    }

    /// Reads a 2xx answer.
    fn account(&self, name: &str, body: &[u8]) -> Result<Account, AnswerError> {
        let answer: Value = serde_json::from_slice(body).map_err(|_| AnswerError::Json)?;
        let settings = &self.settings;
        let mut claims = Map::new();
        for (claim, pointer) in &settings.claims {
            match answer.pointer(pointer) {
                None | Some(Value::Null) => {}
                Some(value) => {
                    claims.insert(claim.clone(), value.clone());
                }
            }
        }
        Ok(Account {
            name: name.to_owned(),
            subject: subject(&answer, &settings.subject)?,
            roles: list(&answer, settings.roles.as_deref())?,
            permissions: list(&answer, settings.permissions.as_deref())?,
            claims,
        })
    }
}

fn subject(answer: &Value, pointer: &str) -> Result<String, AnswerError> {
    let wrong = || AnswerError::Value(pointer.to_owned(), "a name or a whole number");
    let subject = match answer.pointer(pointer) {
        None | Some(Value::Null) => return Err(AnswerError::NoSubject(pointer.to_owned())),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
        Some(Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err(wrong());
        }
    };
    match check_subject(&subject) {
        Ok(()) => Ok(subject),
        Err(error) => Err(AnswerError::Name(pointer.to_owned(), error)),
    }
}

fn list(answer: &Value, pointer: Option<&str>) -> Result<Vec<String>, AnswerError> {
    let Some(pointer) = pointer else { return Ok(Vec::new()) };
    let Some(value) = answer.pointer(pointer) else { return Ok(Vec::new()) };
    json_words(value)
        .ok_or_else(|| AnswerError::Value(pointer.to_owned(), "a list of words"))?
        .map_err(|error| AnswerError::Name(pointer.to_owned(), error))
}

#[cfg(test)]
mod tests;
