//! The facts about a token that only its provider can judge (RFC 7662): recalled, or asked for.
//!
//! The provider is asked on every request unless the entry has a `cache`. No answer is 503, never
//! a yes: `on_unreachable` is about the blocklist alone.

use std::sync::Arc;

use super::authenticate::{may_fail, note_failure};
use super::{Rejection, Trip};
use crate::auth::{Introspectable, NotAccepted, Verified};
use crate::provider::introspection::{Recalled, Unavailable};
use crate::time::UnixTime;

/// Asks the provider, unless an answer of its may be used again.
///
/// A client with too many failures is refused before anybody is asked, so that guessing cannot
/// drive load to the provider; a token that was good a while ago is asked about all the same.
///
/// # Errors
///
/// 401 when the provider or its answer refuses the token, 429 after too many failures, 503 when
/// there is no answer.
pub(super) async fn facts(
    trip: &mut Trip,
    asked: &Introspectable<'_>,
    now: UnixTime,
) -> Result<Arc<Verified>, Rejection> {
    let policy = trip.policy.clone();
    let entry = asked.entry().name.as_str();
    let settings = policy.introspections.iter().find(|settings| *settings.entry == *entry);
    let settings = settings.ok_or(Rejection::IntrospectionUnavailable)?;
    let introspector = trip.worker.gateway.providers.introspector(settings);
    match introspector.recall(asked.token(), &policy.issuers, now) {
        Recalled::Fresh(verified) => {
            trip.note(|record| record.cached = Some(true));
            trip.worker.gateway.metrics.token_cache_hits.increment();
            return Ok(verified);
        }
        Recalled::Known => {}
        Recalled::Unknown => may_fail(trip)?,
    }
    trip.worker.gateway.metrics.token_cache_misses.increment();
    let answer = introspector.ask(asked.token()).await;
    let answer = answer.map_err(|_: Unavailable| Rejection::IntrospectionUnavailable)?;
    // The token may have expired while its provider was asked.
    match asked.accept(&answer.body, settings.cache, UnixTime::now()) {
        Ok(verified) => {
            let verified = Arc::new(verified);
            introspector.keep(asked.token(), &answer, &verified);
            Ok(verified)
        }
        Err(NotAccepted::Nonsense(what)) => {
            introspector.nonsense(what);
            Err(Rejection::IntrospectionUnavailable)
        }
        Err(NotAccepted::Refused(error)) => {
            introspector.forget(asked.token());
            if error.counts_as_failure() {
                note_failure(trip);
            }
            Err(Rejection::InvalidToken(error))
        }
    }
}
