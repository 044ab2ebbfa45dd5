//! `POST {prefix}/revoke` (RFC 7009): a client gives a token up.
//!
//! Its own; those of others only where `may_revoke = "any"`. A token that nobody knows is answered
//! 200, as RFC 7009 §2.2 has it: what the client wants is so already; of a client that has proved
//! nothing it counts as a failure nevertheless (`refresh_limits`). A refresh token ends its
//! session with every access token of it, an access token goes to the blocklist alone. 200 is said
//! once the store has confirmed (invariant 9).

use std::net::IpAddr;
use std::sync::Arc;

use http::Response;

use super::client::{Asker, authenticate};
use super::oauth::Code;
use super::parameters::Parameters;
use super::{Call, done, judged, limits, unavailable};
use crate::auth::{IssuerFilter, Issuers};
use crate::blocklist::{Item, Revocation, RevokeError};
use crate::body::Body;
use crate::issuer::{Families, Login};
use crate::observe::audit::{Event, Kind, Outcome, Unwritten};
use crate::policy::revocation::{self, Asked, AskedError};
use crate::policy::{Issuing, LOCAL, Snapshot};
use crate::proxy::measure::Decision;
use crate::proxy::{Gateway, Rejection, Trip};
use crate::secret::Secret;
use crate::time::UnixTime;

/// Why, for the record.
const REASON: &str = "OAuth 2.0 Token Revocation";

/// Ends a token.
///
/// # Errors
///
/// 400 for a token of another client, or of a kind that cannot be revoked; 401 for a client that
/// is not accepted; 429; 503 when the store has not confirmed it: it may be sent again.
pub(super) async fn answer(trip: &mut Trip, call: Call<'_>) -> Result<Response<Body>, Rejection> {
    limits::may_try(trip)?;
    let headers = &call.parts.headers;
    let parameters = Parameters::read(trip, call).await?;
    let now = UnixTime::now();
    let asker = authenticate(trip, headers, &parameters, now).await?;
    let token = parameters.get("token").cloned();
    let token = token.ok_or_else(|| Code::InvalidRequest.because("client_form"))?;
    let issuing = trip.policy.issuing.clone().ok_or(Rejection::NotFound)?;
    let families = trip.worker.gateway.authorization_server.families(&issuing);
    let order = Order {
        gateway: trip.worker.gateway.clone(),
        policy: trip.policy.clone(),
        families: families.ok_or(Rejection::NotFound)?,
        issuing,
        asker,
        address: trip.client,
        request_id: trip.request_id.to_str().unwrap_or_default().into(),
    };
    // On its own: a client that hangs up must not leave it half done.
    let executed = tokio::spawn(order.execute(token, now)).await;
    let ended = executed.unwrap_or_else(|_| Err(unavailable("revocation_failed")));
    if let Err(Rejection::OAuth(refusal)) = &ended
        && refusal.status.is_client_error()
    {
        limits::note_failed(trip);
    }
    ended?;
    trip.decide(Decision::Allowed("revocation"));
    Ok(done())
}

/// A token that is to be given up.
struct Order {
    gateway: Arc<Gateway>,
    policy: Arc<Snapshot>,
    issuing: Arc<Issuing>,
    families: Families,
    asker: Asker,
    address: IpAddr,
    request_id: Box<str>,
}

impl Order {
    async fn execute(self, token: Secret<String>, now: UnixTime) -> Result<(), Rejection> {
        let found = self.families.find(token.expose()).await;
        match found.map_err(|error| self.uncertain(&error))? {
            // A browser's session has no token that anybody could hold.
            Ok(login) if login.session.is_none() => self.end(&login, now).await,
            Ok(_) => self.block(token.expose(), now).await,
            Err(_) => match self.families.ended_session(token.expose()).await {
                Ok(Some(sid)) => self.tell_again(&sid, now).await,
                Ok(None) => self.block(token.expose(), now).await,
                Err(error) => Err(self.uncertain(&error)),
            },
        }
    }

    fn id(&self) -> &str {
        self.asker.id(&self.issuing.client_id)
    }

    /// Whether it may end what belongs to the client of this id at Postern itself. Another issuer's
    /// clients are others, whatever they are called there.
    fn may_end(&self, owner: Option<&str>) -> bool {
        let any = match &self.asker {
            Asker::OfLogins => false,
            Asker::Registered(client) => client.may_revoke_any,
        };
        any || owner.is_some_and(|owner| owner == self.id())
    }

    /// Ends a session, by any refresh token that it ever had: its first half, which all of them
    /// share, is a secret as well.
    async fn end(&self, login: &Login, now: UnixTime) -> Result<(), Rejection> {
        if !self.may_end(Some(&login.client)) {
            return Err(self.not_its_own().await);
        }
        let event =
            self.event().issuer(LOCAL).subject(&login.subject).selector("sid", &login.sid, None);
        self.record(event.clone()).await?;
        let ended = self.families.end(&login.sid, now).await;
        let told = match ended {
            Ok(_) => {
                let revocation = self.families.revocation(login, REASON);
                self.gateway.blocklist.revoke(&revocation, now).await.map(Some)
            }
            Err(error) => {
                self.record(event.ended(Outcome::Failed)).await?;
                return Err(self.uncertain(&error));
            }
        };
        self.ended(event, told).await
    }

    /// A session that has ended already: the request that ended it may not have been confirmed, and
    /// this is its retry.
    async fn tell_again(&self, sid: &str, now: UnixTime) -> Result<(), Rejection> {
        let event = self.event().issuer(LOCAL).selector("sid", sid, None);
        self.record(event.clone()).await?;
        let revocation = self.families.revocation_of(sid, REASON);
        let told = self.gateway.blocklist.revoke(&revocation, now).await;
        self.ended(event, told.map(Some)).await
    }

    /// Puts an access token on the blocklist.
    async fn block(&self, token: &str, now: UnixTime) -> Result<(), Rejection> {
        let (issuers, owner) = match self.owner(token, now) {
            Owner::Nobody => {
                self.note_nothing();
                return Ok(());
            }
            Owner::Client(ids) => {
                let own = ids.iter().any(|id| **id == *self.id());
                (&self.policy.clients.issued, own.then(|| self.id()))
            }
            Owner::OtherIssuer => (&self.policy.issuers, None),
        };
        if !self.may_end(owner) {
            return Err(self.not_its_own().await);
        }
        if !self.policy.check_blocklist {
            return Err(Code::UnsupportedTokenType.because("client_token_kind"));
        }
        let asked =
            Asked { token: Some(token.to_owned()), reason: REASON.to_owned(), ..Asked::default() };
        let by = format!("client:{}", self.id());
        let wanted = match revocation::of(&asked, &by, issuers, now) {
            Ok(wanted) => wanted,
            // It would be refused anyway.
            Err(AskedError::Token(_)) => return Ok(()),
            Err(error) => {
                tracing::info!(client = self.id(), %error, "a token cannot be revoked");
                return Err(Code::UnsupportedTokenType.because("client_token_kind"));
            }
        };
        self.revoke(&wanted, now).await
    }

    async fn revoke(&self, wanted: &Revocation, now: UnixTime) -> Result<(), Rejection> {
        let (selector, id) = (&wanted.selector, wanted.selector.id());
        let event = self.event().issuer(&selector.issuer);
        let event = event.selector(selector.kind.as_str(), &selector.value, Some(&id));
        self.record(event.clone()).await?;
        match self.gateway.blocklist.revoke(wanted, now).await {
            // It has expired meanwhile.
            Err(RevokeError::AlreadyOver) => self.ended(event, Ok(None)).await,
            revoked => self.ended(event, revoked.map(Some)).await,
        }
    }

    /// Whose token it is, of those that would be accepted.
    fn owner(&self, token: &str, now: UnixTime) -> Owner {
        let issued = judged::by_any_entry(&self.policy.clients.issued, token, now);
        if let Ok(verified) = issued {
            return Owner::Client(verified.clients);
        }
        let issuers: &Issuers = &self.policy.issuers;
        let opaque = !issuers.introspecting(token, &IssuerFilter::All).is_empty();
        match judged::by_any_entry(issuers, token, now) {
            Ok(_) => Owner::OtherIssuer,
            Err(_) if opaque => Owner::OtherIssuer,
            Err(_) => Owner::Nobody,
        }
    }

    /// Whoever proved nothing and shows nothing has only made work. The answer does not tell.
    fn note_nothing(&self) {
        if matches!(self.asker, Asker::OfLogins) {
            limits::note_failure_of(&self.issuing, self.address);
        }
    }

    /// Writes down what came of it, and says it in the log.
    async fn ended(
        &self,
        event: Event,
        told: Result<Option<Item>, RevokeError>,
    ) -> Result<(), Rejection> {
        let ended = match &told {
            Ok(Some(item)) => event.ended(Outcome::Done).detail("expires", item.expires),
            Ok(None) => event.ended(Outcome::Done),
            Err(error) => event.ended(Outcome::Failed).detail("error", error.to_string()),
        };
        let audited = self.record(ended).await;
        match told {
            Ok(item) => {
                if let Some(item) = item {
                    item.log(None, Some(&self.request_id));
                }
                audited
            }
            Err(error) => {
                let request_id = &*self.request_id;
                tracing::warn!(request_id, %error, "a revocation was not confirmed");
                Err(unavailable("store_unavailable"))
            }
        }
    }

    fn event(&self) -> Event {
        let event = Event::new(Kind::Revocation, Outcome::Asked).actor("client").reason(REASON);
        event.client(self.id()).address(self.address).request(&self.request_id)
    }

    async fn record(&self, event: Event) -> Result<(), Rejection> {
        let recorded = self.gateway.audit.record(event).await;
        recorded.map_err(|error| self.not_written(&error))
    }

    fn not_written(&self, error: &Unwritten) -> Rejection {
        let request_id = &*self.request_id;
        tracing::error!(request_id, %error, "a revocation was not written down");
        unavailable("audit_unavailable")
    }

    async fn not_its_own(&self) -> Rejection {
        let event = self.event().ended(Outcome::Refused).reason("client_token");
        match self.gateway.audit.record_refusal(event).await {
            Ok(()) => Code::UnauthorizedRevocation.because("client_token"),
            Err(unwritten) => self.not_written(&unwritten),
        }
    }

    fn uncertain(&self, error: &crate::issuer::Unavailable) -> Rejection {
        let request_id = &*self.request_id;
        tracing::warn!(request_id, %error, "the store was not certain");
        unavailable("store_unavailable")
    }
}

/// Whose an access token is.
enum Owner {
    /// That of the client with one of these ids at Postern itself.
    Client(Vec<Box<str>>),
    /// Of nobody: it would be refused anyway.
    Nobody,
    /// That of somebody else's client.
    OtherIssuer,
}
