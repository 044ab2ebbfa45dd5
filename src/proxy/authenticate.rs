//! Token → verified → not revoked → allowed: the steps that turn a request into a caller.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::uri::PathAndQuery;

use super::identity::{Identity, apply};
use super::measure::Decision;
use super::reject::Limited;
use super::{Rejection, Trip, fail_mode, introspect, session};
use crate::auth::extract::{self, Origin, Presented, TokenSource, remove_cookie, remove_query};
use crate::auth::{IssuerFilter, Issuers, Rule, Told, Verified, VerifyError};
use crate::blocklist::Verdict;
use crate::limit::retry_after;
use crate::policy::route::{Access, Demand};
use crate::policy::{Route, Snapshot};
use crate::provider::Looked;
use crate::stream::Pass;
use crate::time::UnixTime;

/// A caller whose token was accepted for this request.
#[derive(Debug)]
pub struct Caller {
    /// The facts about the token.
    pub verified: Arc<Verified>,
    /// How the token came.
    pub origin: Origin,
    /// What the upstream is told of the caller, when it is not what is kept with the facts.
    identity: Option<Identity>,
}

/// Who is calling; `None` for an anonymous caller where the route allows one.
///
/// # Errors
///
/// Every way not to be a caller whom the route accepts.
pub async fn authenticate(
    trip: &mut Trip,
    route: &Route,
    parts: &Parts,
) -> Result<Option<Caller>, Rejection> {
    let Some(demand) = route.demand() else {
        trip.decide(Decision::Allowed("public"));
        return Ok(None);
    };
    let bytes_max = trip.policy.limits.authorization_bytes;
    let presented = extract::token(&parts.headers, parts.uri.query(), &demand.source, bytes_max)
        .map_err(|error| Rejection::InvalidRequest(error.reason()))?;
    let Some(presented) = presented else {
        return match route.access {
            Access::Required(_) => Err(Rejection::NoToken),
            Access::Public | Access::Optional(_) => {
                trip.decide(Decision::Allowed("anonymous"));
                Ok(None)
            }
        };
    };
    let now = UnixTime::now();
    let kept;
    let presented = if presented.origin == Origin::Session {
        kept = session::access_token(trip, &parts.headers, &presented.token, now).await?;
        Presented { token: Cow::Borrowed(kept.access.expose()), origin: Origin::Session }
    } else {
        presented
    };
    let verified = facts(trip, demand, &presented, now).await?;
    trip.note_caller(&verified);
    trip.decide(Decision::Allowed("token"));
    verified.check_times(now).map_err(Rejection::InvalidToken)?;
    // Before the blocklist is asked: whatever is announced from here on may have been missed.
    let heard = trip.worker.blocklist.announced();
    not_revoked(trip, route, &verified, now).await?;
    demand.rule.allows(&verified).map_err(Rejection::Denied)?;
    let identity = if route.identity_headers {
        identity(&trip.policy, &verified, &presented.token)?
    } else {
        None
    };
    let allow_unreachable = route.allow_unreachable;
    trip.pass = Some(Pass { verified: verified.clone(), heard, allow_unreachable });
    Ok(Some(Caller { verified, origin: presented.origin, identity }))
}

/// Whose bearer token, or session cookie, a request to an endpoint of the gateway's own shows, and
/// the token. The
/// blocklist is asked whatever `[revocation]` says of routes: what ends sessions must know which
/// have ended.
///
/// # Errors
///
/// Every way not to be a caller; 503 when the blocklist cannot be asked.
pub(super) async fn of_endpoint(
    trip: &mut Trip,
    headers: &HeaderMap,
    issuers: &IssuerFilter,
) -> Result<(Arc<Verified>, String), Rejection> {
    let (verified, token) = shown_to_endpoint(trip, headers, issuers).await?;
    stands(trip, &verified).await?;
    Ok((verified, token))
}

/// As [`of_endpoint`], whether or not the token is revoked: that is for [`stands`] to say.
///
/// # Errors
///
/// Every other way not to be a caller.
pub(super) async fn shown_to_endpoint(
    trip: &mut Trip,
    headers: &HeaderMap,
    issuers: &IssuerFilter,
) -> Result<(Arc<Verified>, String), Rejection> {
    let bytes_max = trip.policy.limits.authorization_bytes;
    let session = trip.policy.cookies().map(|cookies| cookies.session.to_string());
    let source = TokenSource { session, ..TokenSource::default() };
    let demand = Demand { source, issuers: issuers.clone(), rule: Rule::default() };
    let presented = extract::token(headers, None, &demand.source, bytes_max);
    let presented = presented.map_err(|error| Rejection::InvalidRequest(error.reason()))?;
    let presented = presented.ok_or(Rejection::NoToken)?;
    let now = UnixTime::now();
    let kept;
    let presented = if presented.origin == Origin::Session {
        kept = session::access_token(trip, headers, &presented.token, now).await?;
        Presented { token: Cow::Borrowed(kept.access.expose()), origin: Origin::Session }
    } else {
        presented
    };
    let token = presented.token.clone().into_owned();
    let verified = facts(trip, &demand, &presented, now).await?;
    trip.note_caller(&verified);
    verified.check_times(now).map_err(Rejection::InvalidToken)?;
    Ok((verified, token))
}

/// That nothing on the blocklist speaks against a token which was shown to an endpoint.
///
/// # Errors
///
/// [`Rejection::Revoked`]; 503 when the blocklist cannot be asked.
pub(super) async fn stands(trip: &Trip, verified: &Verified) -> Result<(), Rejection> {
    match trip.worker.blocklist.check(&verified.lookup, UnixTime::now()).await {
        Ok(Verdict::Clear) => Ok(()),
        Ok(Verdict::Revoked(cause)) => Err(Rejection::Revoked(cause)),
        Err(error) => Err(Rejection::StoreUnavailable(error.reason.reason())),
    }
}

/// Sees to it that the values of the identity headers are there: kept with the facts, so that they
/// are made once a token; of its own only for the first requests after a reload changed the table.
fn identity(
    policy: &Snapshot,
    verified: &Verified,
    token: &str,
) -> Result<Option<Identity>, Rejection> {
    let table = policy.identity_table;
    if verified.told.get().is_some_and(|told| told.table == table) {
        return Ok(None);
    }
    let payload = payload(verified, token);
    let identity = Identity::new(&policy.identity, &verified.claims, &payload)
        .map_err(|_| Rejection::InvalidToken(VerifyError::ControlCharacter("identity")))?;
    if verified.told.get().is_some() {
        return Ok(Some(identity));
    }
    let kept = verified.told.get_or_init(|| Told { table, fields: identity.clone().into_fields() });
    Ok((kept.table != table).then_some(identity))
}

/// What stands for a JWT's payload: its middle part as it was signed; the provider's answer where
/// that was asked, for then nothing in the token itself has been looked at.
fn payload<'t>(verified: &Verified, token: &'t str) -> Cow<'t, str> {
    if verified.is_introspected() {
        let claims = serde_json::to_vec(&verified.claims).unwrap_or_default();
        return URL_SAFE_NO_PAD.encode(claims).into();
    }
    token.split('.').nth(1).unwrap_or_default().into()
}

/// The facts about the token: from the cache when they still hold, else established anew.
async fn facts(
    trip: &mut Trip,
    demand: &Demand,
    presented: &Presented<'_>,
    now: UnixTime,
) -> Result<Arc<Verified>, Rejection> {
    let worker = trip.worker.clone();
    let tokens = &worker.gateway.tokens;
    // Another entry, which the route does allow, may share the key of the one that accepted it.
    let allowed = |verified: &Arc<Verified>| demand.issuers.allows(&verified.entry);
    let cached = tokens.get(&presented.token, &trip.policy.issuers).filter(allowed);
    trip.note(|record| record.cached = Some(cached.is_some()));
    let metrics = &worker.gateway.metrics;
    if let Some(verified) = cached {
        metrics.token_cache_hits.increment();
        return Ok(verified);
    }
    let policy = trip.policy.clone();
    if let Some(asked) = policy.issuers.introspected_by(&presented.token, &demand.issuers) {
        // Boxed: the way of every other request stays as small as it was.
        return Box::pin(introspect::facts(trip, &asked, now)).await;
    }
    metrics.token_cache_misses.increment();
    may_fail(trip)?;
    let verified = match check(&policy.issuers, &presented.token, demand, now) {
        Ok(verified) => verified,
        Err(refusal) => look_again(trip, demand, &presented.token, refusal).await?,
    };
    let verified = Arc::new(verified);
    tokens.insert(&presented.token, verified.clone());
    Ok(verified)
}

/// Everything that can be said of a token from itself and the keys that are known.
fn check(
    issuers: &Issuers,
    token: &str,
    demand: &Demand,
    now: UnixTime,
) -> Result<Verified, VerifyError> {
    issuers.prepare(token, &demand.issuers, now).and_then(|candidate| candidate.verify(now))
}

/// A token was refused: checks it once more where its provider may have a key for it that the
/// request's snapshot has not. The key counts, the rest stays as the request found it: under
/// another configuration nothing is said. Counted once, whatever comes of it.
async fn look_again(
    trip: &mut Trip,
    demand: &Demand,
    token: &str,
    refusal: VerifyError,
) -> Result<Verified, Rejection> {
    let wanted = trip.policy.issuers.wanted(token, &demand.issuers, &refusal);
    let Some(wanted) = wanted else { return Err(refused(trip, refusal)) };
    let gateway = trip.worker.gateway.clone();
    // Boxed: requests with a known key carry none of it.
    match Box::pin(gateway.providers.look_again(&wanted)).await {
        Looked::Unknown => Err(refused(trip, refusal)),
        Looked::Again => {
            let current = gateway.policy.load_full();
            if !current.is_same_configuration(&trip.policy) {
                return Err(Rejection::KeysUnavailable);
            }
            let checked = check(&current.issuers, token, demand, UnixTime::now());
            checked.map_err(|error| refused(trip, error))
        }
        Looked::Unavailable => {
            // An unknown kid costs us nothing; a signature that was computed in vain does.
            if refusal == VerifyError::Signature {
                note_failure(trip);
            }
            Err(Rejection::KeysUnavailable)
        }
    }
}

/// A refusal, counted if it counts.
fn refused(trip: &Trip, error: VerifyError) -> Rejection {
    if error.counts_as_failure() {
        note_failure(trip);
    }
    Rejection::InvalidToken(error)
}

/// Refuses a client that has used up its failures (`[auth_failures]`).
pub(super) fn may_fail(trip: &Trip) -> Result<(), Rejection> {
    let failures = trip.policy.failures.as_ref().map(|(_, failures)| failures);
    match failures.and_then(|failures| failures.would_block(trip.client)) {
        None => Ok(()),
        Some(decision) => {
            trip.series().limited("auth_failures");
            Err(Rejection::Limited(Box::new(Limited {
                by: "auth_failures",
                retry_after: retry_after(&decision),
                fields: Vec::new(),
            })))
        }
    }
}

/// Counts a refusal that counts.
pub(super) fn note_failure(trip: &Trip) {
    if let Some((_, failures)) = &trip.policy.failures {
        failures.count(trip.client);
    }
}

/// Asks the blocklist, for cached and fresh tokens alike (R41).
async fn not_revoked(
    trip: &mut Trip,
    route: &Route,
    verified: &Verified,
    now: UnixTime,
) -> Result<(), Rejection> {
    if !trip.policy.check_blocklist {
        return Ok(());
    }
    let asked = Instant::now();
    let answer = trip.worker.blocklist.check(&verified.lookup, now).await;
    trip.worker.gateway.metrics.blocklist_check.observe(asked.elapsed());
    match answer {
        Ok(Verdict::Clear) => Ok(()),
        Ok(Verdict::Revoked(cause)) => Err(Rejection::Revoked(cause)),
        Err(unavailable) => {
            fail_mode::act(&trip.worker.gateway.metrics, route, &unavailable, now)?;
            trip.decide(Decision::Allowed("store_unreachable"));
            Ok(())
        }
    }
}

impl Caller {
    /// Tells the upstream who is calling.
    pub fn tell(&self, headers: &mut HeaderMap) {
        match (&self.identity, self.verified.told.get()) {
            (Some(identity), _) => identity.apply(headers),
            (None, Some(told)) => apply(&told.fields, headers),
            (None, None) => {}
        }
    }

    /// Takes the token out of the request where it must not go on: always from the query and from
    /// a cookie, from `Authorization` unless the route forwards it.
    ///
    /// # Errors
    ///
    /// [`Rejection::BadRequest`] when what is left is no target.
    pub fn detach(&self, parts: &mut Parts, route: &Route) -> Result<(), Rejection> {
        if !route.forward_token {
            parts.headers.remove(AUTHORIZATION);
        }
        let Some(demand) = route.demand() else { return Ok(()) };
        if let Some(cookie) = &demand.source.cookie {
            remove_cookie(&mut parts.headers, cookie);
        }
        let (Some(name), Some(query)) = (&demand.source.query, parts.uri.query()) else {
            return Ok(());
        };
        let path = parts.uri.path();
        let target = match remove_query(query, name) {
            Some(rest) => format!("{path}?{rest}"),
            None => path.to_owned(),
        };
        let target = PathAndQuery::try_from(target)
            .map_err(|_| Rejection::BadRequest("query_without_token"))?;
        parts.uri = http::Uri::from(target);
        Ok(())
    }
}
