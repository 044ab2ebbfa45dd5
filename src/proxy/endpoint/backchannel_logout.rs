//! `POST {prefix}/backchannel-logout`: a provider ends a session, or all of a user's (OpenID
//! Connect Back-Channel Logout 1.0 §2.5 to §2.8).
//!
//! Anybody may call it; what counts is the logout token. 200 is said once the store has confirmed:
//! from then on no gateway lets the session through (invariant 9). A refusal says nothing about its
//! cause. What could not be decided or written is 503, not 400: the same token may be sent again,
//! and clients that repeat a request by themselves do so after 503 alone.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response};

use super::form::Form;
use super::{done, invalid, unavailable};
use crate::auth::{Issuers, LogoutToken, LogoutTokenError, VerifyError, Whom};
use crate::blocklist::{Cause, Item, RevokeError, Verdict};
use crate::body::Body;
use crate::limit::retry_after;
use crate::policy::Snapshot;
use crate::policy::revocation::{self, Asked};
use crate::provider::Looked;
use crate::proxy::authenticate::{may_fail, note_failure};
use crate::proxy::forward::Inbound;
use crate::proxy::measure::Decision;
use crate::proxy::reject::Limited;
use crate::proxy::{Gateway, Rejection, Trip};
use crate::time::UnixTime;
use crate::token::sha256_hex;

/// Who revokes.
const ACTOR: &str = "backchannel-logout";

/// Why, for the record.
const REASON: &str = "OpenID Connect Back-Channel Logout";

/// How much longer than the token a gateway whose clock is behind may take it.
const CLOCKS: Duration = Duration::from_secs(60);

/// What the sender is told of a token that is not accepted, whatever the cause.
const NOT_ACCEPTED: &str = "the logout token is not accepted";

/// Reads the logout token and does what it says.
///
/// # Errors
///
/// 400 for a token that is not accepted, or was executed before; 413, 415; 429 for clients that
/// failed too often; 503 when keys or store could not be asked.
pub(super) async fn answer(
    trip: &mut Trip,
    headers: &HeaderMap,
    inbound: Inbound,
    bytes_max: usize,
) -> Result<Response<Body>, Rejection> {
    may_fail(trip)?;
    may_cost(trip)?;
    let idle = trip.policy.timeouts.body_idle;
    let form = Form::read(headers, inbound, bytes_max, idle).await?;
    let Some(token) = form.only("logout_token") else {
        note_failure(trip);
        return Err(invalid("logout_form", "exactly one logout_token is needed"));
    };
    let now = UnixTime::now();
    let logout = read(trip, &token, now).await?;
    trip.worker.gateway.logouts.delivered(trip.client);
    not_revoked(trip, &logout, now).await?;
    // On its own: a sender that hangs up must not leave it half done.
    let order = Order {
        gateway: trip.worker.gateway.clone(),
        policy: trip.policy.clone(),
        request_id: trip.request_id.to_str().unwrap_or_default().into(),
        logout,
    };
    let executed = tokio::spawn(order.execute(now)).await;
    executed.unwrap_or_else(|_| Err(unavailable("logout_failed")))?;
    trip.decide(Decision::Allowed("backchannel_logout"));
    Ok(done())
}

/// Refuses unknown clients while too many signatures are checked in vain.
fn may_cost(trip: &Trip) -> Result<(), Rejection> {
    match trip.worker.gateway.logouts.would_block(trip.client) {
        None => Ok(()),
        Some(decision) => Err(Rejection::Limited(Box::new(Limited {
            by: "logout_flood",
            retry_after: retry_after(&decision),
            fields: Vec::new(),
        }))),
    }
}

/// The token, verified; by keys that are fetched now where its provider may have newer ones.
async fn read(trip: &Trip, token: &str, now: UnixTime) -> Result<LogoutToken, Rejection> {
    let refusal = match verify(trip, &trip.policy.issuers, token, now) {
        Ok(logout) => return Ok(logout),
        Err(refusal) => refusal,
    };
    let Some(wanted) = trip.policy.issuers.wanted_for_logout(token, &refusal) else {
        return Err(refused(trip, &refusal));
    };
    let gateway = trip.worker.gateway.clone();
    match gateway.providers.look_again(&wanted).await {
        Looked::Unknown => Err(refused(trip, &refusal)),
        Looked::Unavailable => Err(unavailable("keys_unavailable")),
        Looked::Again => {
            let current = gateway.policy.load_full();
            if !current.is_same_configuration(&trip.policy) {
                return Err(unavailable("keys_unavailable"));
            }
            let verified = verify(trip, &current.issuers, token, UnixTime::now());
            verified.map_err(|refusal| refused(trip, &refusal))
        }
    }
}

fn verify(
    trip: &Trip,
    issuers: &Issuers,
    token: &str,
    now: UnixTime,
) -> Result<LogoutToken, LogoutTokenError> {
    let result = issuers.prepare_logout(token, now)?.verify(now);
    if result == Err(LogoutTokenError::Token(VerifyError::Signature)) {
        trip.worker.gateway.logouts.in_vain();
    }
    result
}

/// A refusal, counted if it counts. The sender learns nothing of it, the log everything.
fn refused(trip: &Trip, refusal: &LogoutTokenError) -> Rejection {
    if refusal.counts_as_failure() {
        note_failure(trip);
    }
    let request_id = trip.request_id.to_str().unwrap_or_default();
    let (client, reason) = (trip.client, refusal.reason());
    tracing::info!(%client, request_id, reason, error = %refusal, "a logout token was refused");
    invalid(reason, NOT_ACCEPTED)
}

/// A stolen key that was revoked ends no sessions, nor does a token that was.
async fn not_revoked(trip: &Trip, logout: &LogoutToken, now: UnixTime) -> Result<(), Rejection> {
    match trip.worker.blocklist.check(&logout.lookup, now).await {
        // A logout from before a loss takes nothing back: it only refuses more.
        Ok(Verdict::Clear | Verdict::Revoked(Cause::OlderThanLoss)) => Ok(()),
        Ok(Verdict::Revoked(_)) => Err(invalid("revoked", NOT_ACCEPTED)),
        Err(_) => Err(unavailable("store_unavailable")),
    }
}

/// A logout that is to be executed, once.
struct Order {
    gateway: Arc<Gateway>,
    policy: Arc<Snapshot>,
    request_id: Box<str>,
    logout: LogoutToken,
}

impl Order {
    /// Revokes, then spends the token's name: what failed on the way may be tried again with the
    /// same token, and of several that arrive at once one is answered 200.
    async fn execute(self, now: UnixTime) -> Result<(), Rejection> {
        let store = self.gateway.blocklist.store();
        let name = self.name();
        let spent = store.is_spent(&name, now).await;
        if spent.map_err(|error| self.failed(&error))? {
            return Err(invalid("logout_replayed", NOT_ACCEPTED));
        }
        let item = self.revoke(now).await?;
        let ttl = self.logout.until.since(now).saturating_add(CLOCKS);
        let first = store.spend(&name, ttl, now).await;
        if !first.map_err(|error| self.failed(&error))? {
            return Err(invalid("logout_replayed", NOT_ACCEPTED));
        }
        self.record(&item);
        Ok(())
    }

    /// The same on every gateway; `jti` is unique for its issuer (RFC 7519 §4.1.7).
    fn name(&self) -> String {
        let LogoutToken { issuer, jti, .. } = &self.logout;
        let length = issuer.len();
        format!("logout:{}", sha256_hex(format!("{length} {issuer} {jti}").as_bytes()))
    }

    async fn revoke(&self, now: UnixTime) -> Result<Item, Rejection> {
        let asked = self.asked();
        let wanted = revocation::of(&asked, ACTOR, &self.policy.issuers, now);
        let wanted = wanted.map_err(|error| self.impossible(&error))?;
        match self.gateway.blocklist.revoke(&wanted, now).await {
            Ok(item) => Ok(item),
            Err(RevokeError::Store(error)) => Err(self.failed(&error)),
            Err(error @ (RevokeError::AlreadyOver | RevokeError::Invalid(_))) => {
                Err(self.impossible(&error))
            }
        }
    }

    fn asked(&self) -> Asked {
        let mut asked = Asked {
            of_issuer: Some(self.logout.issuer.to_string()),
            reason: REASON.to_owned(),
            ..Asked::default()
        };
        match &self.logout.whom {
            Whom::Session(sid) => asked.sid = Some(sid.to_string()),
            Whom::Subject(sub) => asked.sub = Some(sub.to_string()),
        }
        asked
    }

    fn record(&self, item: &Item) {
        tracing::info!(
            id = item.id,
            kind = item.kind,
            value = item.value,
            issuer = item.issuer,
            issued_before = item.issued_before,
            expires = item.expires,
            by = item.by,
            reason = item.reason,
            jti = &*self.logout.jti,
            request_id = &*self.request_id,
            "revoked"
        );
    }

    fn failed(&self, error: &crate::store::Error) -> Rejection {
        let (jti, request_id) = (&*self.logout.jti, &*self.request_id);
        tracing::warn!(by = ACTOR, jti, request_id, %error, "a revocation was not confirmed");
        unavailable("store_unavailable")
    }

    /// The configuration was checked for this: it does not happen.
    fn impossible(&self, error: &dyn std::error::Error) -> Rejection {
        let (jti, request_id) = (&*self.logout.jti, &*self.request_id);
        tracing::error!(by = ACTOR, jti, request_id, %error, "a logout cannot be executed");
        invalid("logout_failed", NOT_ACCEPTED)
    }
}
