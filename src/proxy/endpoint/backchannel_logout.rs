//! `POST {prefix}/backchannel-logout`: a provider ends a session, or all of a user's (OpenID
//! Connect Back-Channel Logout 1.0 §2.5 to §2.8).
//!
//! Anybody may call it; what counts is the logout token. 200 is said once the store has confirmed:
//! from then on no gateway lets the session through (invariant 9). A refusal says nothing about its
//! cause. What could not be decided or written is 503, not 400: the same token may be sent again,
//! and clients that repeat a request by themselves do so after 503 alone.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response};

use super::form::Form;
use super::{done, invalid, unavailable};
use crate::auth::{Issuers, LogoutToken, LogoutTokenError, VerifyError, Whom};
use crate::blocklist::{Cause, Item, Revocation, RevokeError, Verdict};
use crate::body::Body;
use crate::limit::retry_after;
use crate::observe::audit::{Event, Kind, Outcome, Unwritten};
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

/// What the sender is told of a form without one, or with several.
const ONE_TOKEN: &str = "exactly one logout_token is needed";

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
    let sender = Sender {
        gateway: trip.worker.gateway.clone(),
        client: trip.client,
        request_id: trip.request_id.to_str().unwrap_or_default().into(),
    };
    let Some(token) = form.only("logout_token") else {
        note_failure(trip);
        sender.note("logout_form", &ONE_TOKEN, None).await;
        return Err(invalid("logout_form", ONE_TOKEN));
    };
    let now = UnixTime::now();
    let logout = match read(trip, &token, now).await? {
        Ok(logout) => logout,
        Err(refusal) => return Err(sender.refuse(refusal.reason(), &refusal, None).await),
    };
    sender.gateway.logouts.delivered(trip.client);
    if let Some(cause) = revoked(trip, &logout, now).await? {
        return Err(sender.refuse("revoked", &cause.reason(), Some(&logout)).await);
    }
    // On its own: a sender that hangs up must not leave it half done.
    let order = Order { sender, policy: trip.policy.clone(), logout };
    let executed = tokio::spawn(order.execute(now)).await;
    executed.unwrap_or_else(|_| Err(unavailable("logout_failed")))?;
    trip.decide(Decision::Allowed("backchannel_logout"));
    Ok(done())
}

/// Refuses unknown clients while too many signatures are checked in vain.
fn may_cost(trip: &Trip) -> Result<(), Rejection> {
    match trip.worker.gateway.logouts.would_block(trip.client) {
        None => Ok(()),
        Some(decision) => {
            trip.series().limited("logout_flood");
            Err(Rejection::Limited(Box::new(Limited {
                by: "logout_flood",
                retry_after: retry_after(&decision),
                fields: Vec::new(),
            })))
        }
    }
}

/// The token, verified; by keys that are fetched now where its provider may have newer ones. A
/// refusal of it is counted if it counts.
async fn read(
    trip: &Trip,
    token: &str,
    now: UnixTime,
) -> Result<Result<LogoutToken, LogoutTokenError>, Rejection> {
    let refusal = match verify(trip, &trip.policy.issuers, token, now) {
        Ok(logout) => return Ok(Ok(logout)),
        Err(refusal) => refusal,
    };
    let Some(wanted) = trip.policy.issuers.wanted_for_logout(token, &refusal) else {
        return Ok(Err(counted(trip, refusal)));
    };
    let gateway = trip.worker.gateway.clone();
    match gateway.providers.look_again(&wanted).await {
        Looked::Unknown => Ok(Err(counted(trip, refusal))),
        Looked::Unavailable => {
            // A signature was computed in vain, whatever newer keys may say of it.
            if refusal == LogoutTokenError::Token(VerifyError::Signature) {
                note_failure(trip);
            }
            Err(unavailable("keys_unavailable"))
        }
        Looked::Again => {
            let current = gateway.policy.load_full();
            if !current.is_same_configuration(&trip.policy) {
                return Err(unavailable("keys_unavailable"));
            }
            let verified = verify(trip, &current.issuers, token, UnixTime::now());
            Ok(verified.map_err(|refusal| counted(trip, refusal)))
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

fn counted(trip: &Trip, refusal: LogoutTokenError) -> LogoutTokenError {
    if refusal.counts_as_failure() {
        note_failure(trip);
    }
    refusal
}

/// Why the token is itself revoked, if it is: a stolen key that was revoked ends no sessions, nor
/// does a token that was.
async fn revoked(
    trip: &Trip,
    logout: &LogoutToken,
    now: UnixTime,
) -> Result<Option<Cause>, Rejection> {
    match trip.worker.blocklist.check(&logout.lookup, now).await {
        // A logout from before a loss takes nothing back: it only refuses more.
        Ok(Verdict::Clear | Verdict::Revoked(Cause::OlderThanLoss)) => Ok(None),
        Ok(Verdict::Revoked(cause)) => Ok(Some(cause)),
        Err(_) => Err(unavailable("store_unavailable")),
    }
}

/// Whoever sent the token, as the records have it.
struct Sender {
    gateway: Arc<Gateway>,
    client: IpAddr,
    request_id: Box<str>,
}

impl Sender {
    /// A refusal: the sender learns nothing of its cause, the records everything. `logout` is there
    /// once the token has verified.
    async fn refuse(
        &self,
        reason: &'static str,
        why: &(dyn fmt::Display + Sync),
        logout: Option<&LogoutToken>,
    ) -> Rejection {
        self.note(reason, why, logout).await;
        invalid(reason, NOT_ACCEPTED)
    }

    /// Has a refusal written into the log and the audit log.
    async fn note(
        &self,
        reason: &'static str,
        why: &(dyn fmt::Display + Sync),
        logout: Option<&LogoutToken>,
    ) {
        let Self { gateway, client, request_id } = self;
        let (issuer, jti) = (logout.map(|l| &*l.issuer), logout.map(|l| &*l.jti));
        tracing::info!(
            %client, request_id = &**request_id, reason, issuer, jti, error = %why,
            "a logout token was refused"
        );
        if !gateway.audit.is_on() {
            return;
        }
        let mut event = Event::new(Kind::Logout, Outcome::Refused).reason(reason);
        if let Some(logout) = logout {
            event = event.issuer(&logout.issuer).jti(&logout.jti);
        }
        gateway.audit.note(event.address(*client).request(request_id)).await;
    }
}

/// A logout that is to be executed, once.
struct Order {
    sender: Sender,
    policy: Arc<Snapshot>,
    logout: LogoutToken,
}

impl Order {
    /// Revokes, then spends the token's name: what failed on the way may be tried again with the
    /// same token, and of several that arrive at once one is answered 200.
    async fn execute(self, now: UnixTime) -> Result<(), Rejection> {
        let store = self.sender.gateway.blocklist.store();
        let name = self.name();
        let spent = store.is_spent(&name, now).await;
        if spent.map_err(|error| self.failed(&error))? {
            return Err(self.replayed().await);
        }
        let item = self.revoke(now).await?;
        let ttl = self.logout.until.since(now).saturating_add(CLOCKS);
        let first = store.spend(&name, ttl, now).await;
        if !first.map_err(|error| self.failed(&error))? {
            return Err(self.replayed().await);
        }
        item.log(Some(&self.logout.jti), Some(&self.sender.request_id));
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
        let wanted = match revocation::of(&asked, ACTOR, &self.policy.issuers, now) {
            Ok(wanted) => wanted,
            Err(error) => return Err(self.impossible(&error).await),
        };
        // As every revocation: not without a line, and not told as done without one.
        let Sender { gateway, .. } = &self.sender;
        let (event, audit) = (self.event(&wanted), &gateway.audit);
        audit.record(event.clone()).await.map_err(|error| self.unwritten(&error))?;
        let revoked = gateway.blocklist.revoke(&wanted, now).await;
        let ended = match &revoked {
            Ok(item) => event.ended(Outcome::Done).detail("expires", item.expires),
            Err(error) => event.ended(Outcome::Failed).detail("error", error.to_string()),
        };
        let audited = audit.record(ended).await;
        match revoked {
            Ok(item) => audited.map(|()| item).map_err(|error| self.unwritten(&error)),
            Err(RevokeError::Store(error)) => Err(self.failed(&error)),
            Err(error @ (RevokeError::AlreadyOver | RevokeError::Invalid(_))) => {
                Err(self.impossible(&error).await)
            }
        }
    }

    fn event(&self, wanted: &Revocation) -> Event {
        let (selector, id) = (&wanted.selector, wanted.selector.id());
        let event = Event::new(Kind::Revocation, Outcome::Asked).actor(ACTOR).reason(REASON);
        let event = event.issuer(&selector.issuer).jti(&self.logout.jti);
        let event = event.address(self.sender.client).request(&self.sender.request_id);
        event.selector(selector.kind.as_str(), &selector.value, Some(&id))
    }

    fn unwritten(&self, error: &Unwritten) -> Rejection {
        let (jti, request_id) = (&*self.logout.jti, &*self.sender.request_id);
        tracing::error!(by = ACTOR, jti, request_id, %error, "a logout was not written down");
        unavailable("logout_failed")
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

    fn failed(&self, error: &crate::store::Error) -> Rejection {
        let (jti, request_id) = (&*self.logout.jti, &*self.sender.request_id);
        tracing::warn!(by = ACTOR, jti, request_id, %error, "a revocation was not confirmed");
        unavailable("store_unavailable")
    }

    async fn replayed(&self) -> Rejection {
        let why = "it was executed before";
        self.sender.refuse("logout_replayed", &why, Some(&self.logout)).await
    }

    /// The configuration was checked for this: it does not happen.
    async fn impossible(&self, error: &(dyn std::error::Error + Sync)) -> Rejection {
        let (jti, request_id) = (&*self.logout.jti, &*self.sender.request_id);
        tracing::error!(by = ACTOR, jti, request_id, %error, "a logout cannot be executed");
        self.sender.refuse("logout_failed", &error, Some(&self.logout)).await
    }
}
