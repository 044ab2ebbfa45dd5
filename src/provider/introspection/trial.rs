//! One question about a token that belongs to nobody: what `postern check --online` asks.

use http::StatusCode;
use serde_json::Value;
use thiserror::Error;

use super::question::Question;
use crate::policy::provider::Introspection;
use crate::provider::exchange::{Cause, Client, ExchangeError};

/// Most bytes of the answer: to a question about nobody's token it is short.
const BYTES_MAX: usize = 64 * 1024;

/// Why the endpoint is of no use as it is.
#[derive(Debug, Error)]
pub enum TrialError {
    /// It vouches for whatever it is asked about.
    #[error("the endpoint says that a made-up token is active")]
    Active,
    /// 401: it does not know the client, or not with this secret (RFC 7662 §2.3).
    #[error("{0}: the endpoint refuses the client (401): wrong client_id, secret or client_auth?")]
    Client(Box<str>),
    /// It cannot be asked.
    #[error(transparent)]
    Exchange(ExchangeError),
    /// It answers something else than RFC 7662 §2.2 asks for.
    #[error("the answer is no JSON object with \"active\": true or false; is it the right URL?")]
    Nonsense,
}

/// Asks once, on a connection of its own.
///
/// # Errors
///
/// [`TrialError`], for everything but `"active": false`.
pub async fn try_out(settings: &Introspection) -> Result<(), TrialError> {
    let question = Question::new(settings);
    let client = Client::new(settings.url.clone(), settings.reach.clone());
    let token = format!("postern-check-{}", uuid::Uuid::new_v4());
    let form = question.form(&token);
    let answer = client.post_form(question.authorization(), &form, BYTES_MAX).await;
    let answer = answer.map_err(|error| match error.cause {
        Cause::Status(StatusCode::UNAUTHORIZED) => TrialError::Client(error.at),
        _ => TrialError::Exchange(error),
    })?;
    let said: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match said.as_ref().and_then(|said| said.get("active")) {
        Some(Value::Bool(false)) => Ok(()),
        Some(Value::Bool(true)) => Err(TrialError::Active),
        _ => Err(TrialError::Nonsense),
    }
}
