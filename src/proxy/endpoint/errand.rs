//! Who asks an endpoint to change something, owned: what was begun is ended, written down and
//! answered for, whether or not the client still waits.
//!
//! It must never hand out tokens that this gateway itself would refuse.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::USER_AGENT;

use super::grant::Tokens;
use crate::auth::IssuerFilter;
use crate::blocklist::{RevokeError, Verdict};
use crate::issuer::{
    self, AccessToken, ClientTrace, Families, Issued, Login, Mint, MintError, Rights,
};
use crate::observe::audit::{Event, Kind, Outcome};
use crate::policy::{Issuing, LOCAL, Snapshot};
use crate::proxy::{Rejection, Trip, Worker};
use crate::time::UnixTime;

/// What nobody may be told without its line in the audit log.
const UNWRITTEN: Rejection = Rejection::Unavailable("audit_unavailable");

/// One request that changes something.
#[derive(Clone)]
pub(in crate::proxy) struct Errand {
    pub(in crate::proxy) worker: Arc<Worker>,
    pub(in crate::proxy) policy: Arc<Snapshot>,
    pub(in crate::proxy) issuing: Arc<Issuing>,
    pub(in crate::proxy) families: Families,
    pub(in crate::proxy) client: IpAddr,
    pub(in crate::proxy) user_agent: Box<str>,
    pub(in crate::proxy) request_id: Box<str>,
}

/// Does the work although the client may hang up meanwhile.
///
/// # Errors
///
/// What the work refuses; 503 when it broke.
pub(in crate::proxy) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Rejection>> + Send + 'static,
) -> Result<T, Rejection> {
    let ended = tokio::spawn(work).await;
    ended.unwrap_or(Err(Rejection::Unavailable("issuing_failed")))
}

impl Errand {
    /// What a request is about; `headers` are the guarded ones.
    ///
    /// # Errors
    ///
    /// 404 where nothing is issued.
    pub(in crate::proxy) fn of(trip: &Trip, headers: &HeaderMap) -> Result<Self, Rejection> {
        let issuing = trip.policy.issuing.clone().ok_or(Rejection::NotFound)?;
        let families = trip.worker.gateway.authorization_server.families(&issuing);
        let user_agent = headers.get(USER_AGENT).map(|value| value.as_bytes()).unwrap_or_default();
        Ok(Self {
            worker: trip.worker.clone(),
            policy: trip.policy.clone(),
            families: families.ok_or(Rejection::NotFound)?,
            issuing,
            client: trip.client,
            user_agent: String::from_utf8_lossy(user_agent).into(),
            request_id: trip.request_id.to_str().unwrap_or_default().into(),
        })
    }

    /// Where it comes from, for the family.
    pub(in crate::proxy) fn trace(&self) -> ClientTrace<'_> {
        ClientTrace { address: self.client, user_agent: &self.user_agent }
    }

    /// The start of its line in the audit log.
    pub(in crate::proxy) fn event(&self, kind: Kind, outcome: Outcome) -> Event {
        let event = Event::new(kind, outcome).address(self.client).request(&self.request_id);
        if self.user_agent.is_empty() { event } else { event.user_agent(&self.user_agent) }
    }

    /// The same about a login that exists.
    pub(in crate::proxy) fn event_of(&self, kind: Kind, outcome: Outcome, login: &Login) -> Event {
        let event = self.event(kind, outcome).issuer(LOCAL).subject(&login.subject);
        event.client(&login.client).detail("sid", login.sid.as_str())
    }

    /// Writes a line, and waits until it is on disk.
    ///
    /// # Errors
    ///
    /// 503: nothing is told as done without its line.
    pub(in crate::proxy) async fn record(&self, event: Event) -> Result<(), Rejection> {
        self.worker.gateway.audit.record(event).await.map_err(|error| {
            let request_id = &*self.request_id;
            tracing::error!(request_id, %error, "an event of issuing was not written down");
            UNWRITTEN
        })
    }

    /// Writes down that a credential was not accepted, and waits until the line is on disk. The
    /// same 503 as for one that is good otherwise: which it was would be told by the other answer.
    ///
    /// # Errors
    ///
    /// 503.
    pub(in crate::proxy) async fn record_refusal(&self, event: Event) -> Result<(), Rejection> {
        self.worker.gateway.audit.record_refusal(event).await.map_err(|error| {
            let request_id = &*self.request_id;
            tracing::error!(request_id, %error, "a refusal was not written down");
            UNWRITTEN
        })
    }

    /// Nothing is judged while the log is known not to take lines: the answer would be 503 in any
    /// case, and its time would tell what was found out. `event` is the refusal, whose line is what
    /// the log is tried with.
    ///
    /// # Errors
    ///
    /// 503.
    pub(in crate::proxy) async fn may_judge(&self, event: Event) -> Result<(), Rejection> {
        if self.worker.gateway.audit.takes_lines() {
            return Ok(());
        }
        self.note(event.reason(UNWRITTEN.reason())).await;
        Err(UNWRITTEN)
    }

    /// Writes a line about something that was refused without a look at what was shown.
    pub(in crate::proxy) async fn note(&self, event: Event) {
        let audit = &self.worker.gateway.audit;
        if audit.is_on() {
            audit.note(event).await;
        }
    }

    /// The store gave no certain answer.
    pub(in crate::proxy) fn unavailable(&self, error: &issuer::Unavailable) -> Rejection {
        let request_id = &*self.request_id;
        match error {
            issuer::Unavailable::Cryptography => {
                tracing::error!(request_id, %error, "no token can be made");
                Rejection::Unavailable("issuing_failed")
            }
            issuer::Unavailable::Store(error) => {
                let reason = error.reason();
                tracing::warn!(request_id, reason, %error, "the store was not certain");
                Rejection::StoreUnavailable(error.reason())
            }
        }
    }

    /// Makes it known on every gateway at once that a session is over (it is in the store already),
    /// to whoever holds a stream of it too.
    ///
    /// # Errors
    ///
    /// 503.
    pub(in crate::proxy) async fn tell_ended(
        &self,
        login: &Login,
        reason: &str,
        now: UnixTime,
    ) -> Result<(), Rejection> {
        let revocation = self.families.revocation(login, reason);
        let revoked = self.worker.gateway.blocklist.revoke(&revocation, now).await;
        revoked.map(|item| item.log(None, Some(&self.request_id))).map_err(|e| self.unrevoked(&e))
    }

    /// A revocation was not confirmed.
    pub(in crate::proxy) fn unrevoked(&self, error: &RevokeError) -> Rejection {
        let request_id = &*self.request_id;
        tracing::warn!(request_id, %error, "a revocation was not confirmed");
        match error {
            RevokeError::Store(error) => Rejection::StoreUnavailable(error.reason()),
            RevokeError::AlreadyOver | RevokeError::Invalid(_) => {
                Rejection::Unavailable("issuing_failed")
            }
        }
    }

    /// The tokens to hand out for what was begun or renewed. `Ok(Err)`: a revocation that this
    /// gateway knows of stands against the login.
    ///
    /// # Errors
    ///
    /// 503.
    pub(in crate::proxy) async fn tokens(
        &self,
        issued: Issued,
        rights: &Rights,
        now: UnixTime,
    ) -> Result<Result<Tokens, Issued>, Rejection> {
        let mint = Mint::new(self.issuing.clone());
        let access = mint.of_login(&issued.login, rights, issued.at, issued.until);
        let access = access.map_err(|error| self.unminted(&error))?;
        let stands = self.may_be_used(&access, issued.login.at, now).await?;
        Ok(if stands { Ok(Tokens { issued, access }) } else { Err(issued) })
    }

    /// Whether this gateway would let the token through. Entries that the store has lost are known
    /// to gateways alone, and hold for a login as of its beginning.
    async fn may_be_used(
        &self,
        access: &AccessToken,
        login_at: UnixTime,
        now: UnixTime,
    ) -> Result<bool, Rejection> {
        let local = IssuerFilter::Only(vec![LOCAL.into()]);
        let prepared = self.policy.issuers.prepare(access.text.expose(), &local, now);
        let verified = prepared.and_then(|candidate| candidate.verify(now)).map_err(|error| {
            let (request_id, reason) = (&*self.request_id, error.reason());
            tracing::error!(
                request_id,
                reason,
                "a token of our own would be refused here; are the clocks of store and gateway \
                 apart?"
            );
            Rejection::Unavailable("issuing_failed")
        })?;
        let mut lookup = verified.lookup.clone();
        lookup.issued_at = Some(login_at);
        match self.worker.blocklist.check(&lookup, now).await {
            Ok(Verdict::Clear) => Ok(true),
            Ok(Verdict::Revoked(_)) => Ok(false),
            Err(error) => Err(Rejection::StoreUnavailable(error.reason.reason())),
        }
    }

    fn unminted(&self, error: &MintError) -> Rejection {
        let request_id = &*self.request_id;
        tracing::error!(request_id, %error, "no access token can be made");
        Rejection::Unavailable("issuing_failed")
    }
}
