//! Whether a gateway would let a token through now, for those who may ask (RFC 7662 §2.2).
//!
//! The same questions as on the way of a request, with one difference: what is asked about is
//! somebody else's token, so a bad one is nobody's failure here.

use std::sync::Arc;

use crate::auth::{IssuerFilter, IssuerSettings, Issuers, NotAccepted, Verified, VerifyError};
use crate::blocklist::Verdict;
use crate::provider::Looked;
use crate::provider::introspection::Recalled;
use crate::proxy::{Rejection, Trip};
use crate::time::UnixTime;

use super::unavailable;

/// The facts about a token that would be let through; `None` for every other. A token of Postern's
/// own counts for whomever it was issued.
///
/// # Errors
///
/// 503 when keys, the provider or the blocklist cannot be asked: nothing is said then, whatever
/// `on_unreachable` says.
pub(super) async fn judge(
    trip: &Trip,
    token: &str,
    now: UnixTime,
) -> Result<Option<Arc<Verified>>, Rejection> {
    let Some(verified) = facts(trip, token, now).await? else { return Ok(None) };
    if verified.check_times(now).is_err() {
        return Ok(None);
    }
    if !trip.policy.check_blocklist {
        return Ok(Some(verified));
    }
    match trip.worker.blocklist.check(&verified.lookup, now).await {
        Ok(Verdict::Clear) => Ok(Some(verified)),
        Ok(Verdict::Revoked(_)) => Ok(None),
        Err(_) => Err(unavailable("store_unavailable")),
    }
}

/// What is known of a token that verifies, or that its provider calls active.
async fn facts(
    trip: &Trip,
    token: &str,
    now: UnixTime,
) -> Result<Option<Arc<Verified>>, Rejection> {
    let policy = &trip.policy;
    if let Ok(verified) = check(&policy.clients.issued, token, now) {
        return Ok(Some(Arc::new(verified)));
    }
    if let Some(verified) = trip.worker.gateway.tokens.get(token, &policy.issuers) {
        return Ok(Some(verified));
    }
    if policy.issuers.introspected_by(token, &IssuerFilter::All).is_some() {
        return introspected(trip, token, now).await;
    }
    match by_any_entry(&policy.issuers, token, now) {
        Ok(verified) => Ok(Some(Arc::new(verified))),
        Err(refusal) => looked_again(trip, token, &refusal).await,
    }
}

fn check(issuers: &Issuers, token: &str, now: UnixTime) -> Result<Verified, VerifyError> {
    let candidate = issuers.prepare(token, &IssuerFilter::All, now)?;
    candidate.verify(now)
}

/// A route may accept what the first entry refuses, where the token's issuer has several. Of one
/// that has a single entry nothing is checked twice.
pub(super) fn by_any_entry(
    issuers: &Issuers,
    token: &str,
    now: UnixTime,
) -> Result<Verified, VerifyError> {
    check(issuers, token, now).or_else(|refusal| {
        let of_several = |entry: &&IssuerSettings| {
            issuers.settings().filter(|other| other.issuer == entry.issuer).nth(1).is_some()
        };
        let several = issuers.settings().filter(of_several);
        let mut entries = several.map(|entry| IssuerFilter::Only(vec![entry.name.as_str().into()]));
        let by = |entry: IssuerFilter| {
            issuers.prepare(token, &entry, now).and_then(|candidate| candidate.verify(now)).ok()
        };
        entries.find_map(by).ok_or(refusal)
    })
}

/// Its provider may have a key for it that is not known yet.
async fn looked_again(
    trip: &Trip,
    token: &str,
    refusal: &VerifyError,
) -> Result<Option<Arc<Verified>>, Rejection> {
    let wanted = trip.policy.issuers.wanted(token, &IssuerFilter::All, refusal);
    let Some(wanted) = wanted else { return Ok(None) };
    let gateway = &trip.worker.gateway;
    match gateway.providers.look_again(&wanted).await {
        Looked::Unknown => Ok(None),
        Looked::Unavailable => Err(unavailable("keys_unavailable")),
        Looked::Again => {
            let current = gateway.policy.load_full();
            let checked = by_any_entry(&current.issuers, token, UnixTime::now());
            Ok(checked.ok().map(Arc::new))
        }
    }
}

/// Its provider is asked, as on the way of a request.
async fn introspected(
    trip: &Trip,
    token: &str,
    now: UnixTime,
) -> Result<Option<Arc<Verified>>, Rejection> {
    let policy = &trip.policy;
    let Some(asked) = policy.issuers.introspected_by(token, &IssuerFilter::All) else {
        return Ok(None);
    };
    let entry = asked.entry().name.as_str();
    let settings = policy.introspections.iter().find(|settings| *settings.entry == *entry);
    let settings = settings.ok_or_else(|| unavailable("introspection_unavailable"))?;
    let introspector = trip.worker.gateway.providers.introspector(settings);
    if let Recalled::Fresh(verified) = introspector.recall(token, &policy.issuers, now) {
        return Ok(Some(verified));
    }
    let answer = introspector.ask(token).await;
    let answer = answer.map_err(|_| unavailable("introspection_unavailable"))?;
    match asked.accept(&answer.body, settings.cache, UnixTime::now()) {
        Ok(verified) => {
            let verified = Arc::new(verified);
            introspector.keep(token, &answer, &verified);
            Ok(Some(verified))
        }
        Err(NotAccepted::Nonsense(what)) => {
            introspector.nonsense(what);
            Err(unavailable("introspection_unavailable"))
        }
        Err(NotAccepted::Refused(_)) => {
            introspector.forget(token);
            Ok(None)
        }
    }
}
