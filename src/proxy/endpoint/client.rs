//! Who asks at one of OAuth's own endpoints: a registered client that has proved it, or the client
//! of logins, which has nothing to prove it with.
//!
//! An unknown client and a wrong secret cost the same work and get the same answer. What was proved
//! is never kept: every request proves it again, an assertion only once (RFC 7523 §3, `jti`), for
//! all gateways of the store.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::oauth::Code;
use super::parameters::Parameters;
use super::presented::Presented;
use super::{limits, unavailable};
use crate::auth::{ClientAssertion, ClientAssertionError, ClientSecretHashes, Proof};
use crate::policy::{Client, Credentials};
use crate::proxy::{Rejection, Trip};
use crate::secret::Secret;
use crate::time::UnixTime;
use crate::token::sha256_hex;

/// How much longer than the assertion a gateway whose clock is behind may take it.
const CLOCKS: Duration = Duration::from_secs(60);

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    /// The client of logins (`[issuing] client_id`): public (RFC 6749 §2.1), so that whatever it
    /// may do rests on the token that it shows.
    OfLogins,
    /// One of `[[clients]]`.
    Registered(Arc<Client>),
}

impl Asker {
    /// Its `client_id`.
    pub(super) fn id<'a>(&'a self, of_logins: &'a str) -> &'a str {
        match self {
            Self::OfLogins => of_logins,
            Self::Registered(client) => &client.id,
        }
    }
}

/// Who asks, proved; counted as a failure (`refresh_limits`) when it is not.
///
/// # Errors
///
/// 401 `invalid_client`, 400 `invalid_request`; 503 when it cannot be said whether an assertion was
/// used before.
pub(super) async fn authenticate(
    trip: &Trip,
    headers: &HeaderMap,
    parameters: &Parameters,
    now: UnixTime,
) -> Result<Asker, Rejection> {
    let asker = match Presented::of(headers, parameters)? {
        Presented::Nobody { id } => of_logins(trip, id),
        Presented::Secret { id, secret } => by_secret(trip, &id, &secret),
        Presented::Assertion { id, assertion } => by_assertion(trip, id, assertion, now).await,
    };
    if let Err(Rejection::OAuth(refusal)) = &asker
        && refusal.status == http::StatusCode::UNAUTHORIZED
    {
        limits::note_failed(trip);
    }
    asker
}

/// As [`authenticate`], for what only registered clients may do.
///
/// # Errors
///
/// The same.
pub(super) async fn authenticate_registered(
    trip: &Trip,
    headers: &HeaderMap,
    parameters: &Parameters,
    now: UnixTime,
) -> Result<Arc<Client>, Rejection> {
    match authenticate(trip, headers, parameters, now).await? {
        Asker::Registered(client) => Ok(client),
        Asker::OfLogins => {
            limits::note_failed(trip);
            Err(Code::InvalidClient.because("client_missing"))
        }
    }
}

/// Nothing was proved: fine for the client of logins, named or not (RFC 6749 §3.2.1, §6).
fn of_logins(trip: &Trip, id: Option<&str>) -> Result<Asker, Rejection> {
    let own = trip.policy.issuing.as_ref().map(|issuing| issuing.client_id.as_str());
    if id.is_none() || id == own {
        return Ok(Asker::OfLogins);
    }
    Err(Code::InvalidClient.because("client_missing"))
}

fn by_secret(trip: &Trip, id: &str, secret: &Secret<String>) -> Result<Asker, Rejection> {
    let client = trip.policy.clients.find(id);
    let nobody = ClientSecretHashes::of_nobody();
    let hashes = match client.map(|client| &client.credentials) {
        Some(Credentials::Secret(hashes)) => hashes,
        Some(Credentials::Keys(_)) | None => &nobody,
    };
    match (hashes.fit(secret), client) {
        (true, Some(client)) => Ok(Asker::Registered(client.clone())),
        (_, Some(client)) => {
            Err(refused(trip, client, Code::InvalidClient.because("client_secret")))
        }
        (_, None) => Err(Code::InvalidClient.because("client_unknown")),
    }
}

async fn by_assertion(
    trip: &Trip,
    id: Option<&str>,
    assertion: &Secret<String>,
    now: UnixTime,
) -> Result<Asker, Rejection> {
    let issuing = trip.policy.issuing.as_ref().ok_or(Rejection::NotFound)?;
    let read = ClientAssertion::read(assertion.expose()).map_err(|error| wrong(trip, &error))?;
    // RFC 7521 §4.2: the id need not be said; said, it is the assertion's subject.
    if id.is_some_and(|id| id != read.client()) {
        return Err(Code::InvalidClient.because("assertion_malformed"));
    }
    let client = trip.policy.clients.find(read.client()).cloned();
    let client = client.ok_or_else(|| Code::InvalidClient.because("client_unknown"))?;
    let Credentials::Keys(keys) = &client.credentials else {
        return Err(refused(trip, &client, Code::InvalidClient.because("assertion_key")));
    };
    match read.verify(keys, &issuing.issuer, now) {
        Ok(proof) => spend(trip, &client, &proof, now).await?,
        Err(error) => {
            tracing::info!(client = &*client.id, %error, "a client's assertion was refused");
            return Err(refused(trip, &client, Code::InvalidClient.because(error.reason())));
        }
    }
    Ok(Asker::Registered(client))
}

/// An assertion counts once, wherever it is presented first.
async fn spend(
    trip: &Trip,
    client: &Client,
    proof: &Proof,
    now: UnixTime,
) -> Result<(), Rejection> {
    let (id, jti) = (&*client.id, &*proof.jti);
    let name = format!("assertion:{}", sha256_hex(format!("{} {id} {jti}", id.len()).as_bytes()));
    let ttl = proof.until.since(now).saturating_add(CLOCKS);
    match trip.worker.gateway.blocklist.store().spend(&name, ttl, now).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(trip, client, Code::InvalidClient.because("assertion_replayed"))),
        Err(error) => {
            let reason = error.reason();
            tracing::warn!(client = id, reason, %error, "an assertion was not spent");
            Err(unavailable("store_unavailable"))
        }
    }
}

fn wrong(trip: &Trip, error: &ClientAssertionError) -> Rejection {
    let request_id = trip.request_id.to_str().unwrap_or_default();
    tracing::info!(request_id, %error, "a client's assertion was refused");
    Code::InvalidClient.because(error.reason())
}

/// Says in the log which client it was that somebody claimed to be: never what was typed there,
/// which may be a secret in the wrong place.
fn refused(trip: &Trip, client: &Client, rejection: Rejection) -> Rejection {
    let (request_id, reason) = (trip.request_id.to_str().unwrap_or_default(), rejection.reason());
    tracing::info!(client = &*client.id, request_id, reason, "a client was not accepted");
    rejection
}
