//! Assertions: short-lived tokens for one upstream, which say who the caller is, signed by a key
//! that signs nothing else.
//!
//! They state facts and allow nothing: whether the caller's own token is good, not revoked and
//! enough for the route was decided before, on every request.

use std::time::Duration;

use http::HeaderValue;
use moka::sync::Cache;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::auth::keys::SignError;
use crate::auth::{ISSUER_OFF, Verified};
use crate::policy::assertion::RouteAssertion;
use crate::time::UnixTime;

/// `typ` of an assertion (RFC 8725 §3.11): what takes access tokens refuses it, and the other way
/// round.
pub const TYP: &str = "postern-assertion+jwt";

/// The claim that names the route.
const ROUTE: &str = "route";

/// The longest that one is kept; its own times decide before that.
const KEPT_MAX: Duration = Duration::from_secs(60);

/// What one entry costs beyond its text: the cache's own bookkeeping, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 300;

/// The token (as it was verified) and the route (as it is configured) that one was made for.
type Key = (u64, u128);

/// No assertion could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AssertionError {
    /// The caller's token is past its `exp` and lives by the leeway alone: nothing that is made
    /// from it may live longer.
    #[error("the caller's token has expired")]
    Expired,
    /// There is no key to sign with.
    #[error("there is no key to sign with")]
    NoKey,
    /// The library could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// The assertions that were made and are used again; beside the snapshots, over reloads.
pub struct Assertions {
    made: Cache<Key, Made, foldhash::quality::RandomState>,
}

#[derive(Clone)]
struct Made {
    text: HeaderValue,
    at: UnixTime,
    /// From then on another is made.
    until: UnixTime,
}

impl Assertions {
    /// Keeps about this many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let weight = |_: &Key, made: &Made| {
            u32::try_from(made.text.len() + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
        };
        let made = Cache::builder()
            .max_capacity(bytes)
            .weigher(weight)
            .time_to_live(KEPT_MAX)
            .build_with_hasher(foldhash::quality::RandomState::default());
        Self { made }
    }

    /// The assertion for this caller on this route: one that was made before while at least half
    /// of its life is left, or as long as it lives where the caller's token ends with it.
    ///
    /// # Errors
    ///
    /// [`AssertionError`].
    pub fn of(
        &self,
        wanted: &RouteAssertion,
        caller: &Verified,
        now: UnixTime,
    ) -> Result<HeaderValue, AssertionError> {
        let key = (caller.id, wanted.id);
        let made = self.made.get(&key);
        // A clock that was set back must not send what was made in its future.
        if let Some(made) = made.filter(|made| made.at <= now && now < made.until) {
            return Ok(made.text);
        }
        let made = make(wanted, caller, now)?;
        let text = made.text.clone();
        self.made.insert(key, made);
        Ok(text)
    }

    /// Number of entries, once the cache has settled.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.made.run_pending_tasks();
        self.made.entry_count()
    }
}

impl std::fmt::Debug for Assertions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assertions").finish_non_exhaustive()
    }
}

fn make(wanted: &RouteAssertion, caller: &Verified, now: UnixTime) -> Result<Made, AssertionError> {
    let settings = &wanted.settings;
    let key = settings.signer().ok_or(AssertionError::NoKey)?;
    let longest = now.plus(settings.ttl);
    let ends = caller.token_expires_at().filter(|ends| *ends < longest);
    let expires = ends.unwrap_or(longest);
    if expires <= now {
        return Err(AssertionError::Expired);
    }
    let claims = claims(wanted, caller, now, expires);
    let text = key.signing.sign(TYP, Some(&key.kid), &claims)?;
    // Base64url and dots.
    let mut text = HeaderValue::try_from(text).map_err(|_| SignError)?;
    text.set_sensitive(true);
    let until = ends.unwrap_or_else(|| now.plus(settings.ttl / 2));
    Ok(Made { text, at: now, until })
}

/// What it says. There is no `jti`: it is used more than once.
fn claims(
    wanted: &RouteAssertion,
    caller: &Verified,
    now: UnixTime,
    expires: UnixTime,
) -> Map<String, Value> {
    let settings = &wanted.settings;
    let found = settings.claims.iter().filter_map(|(name, path)| {
        let value = path.find(&caller.claims).filter(|value| !value.is_null())?;
        Some((name.clone(), value.clone()))
    });
    let mut claims: Map<String, Value> = found.collect();
    let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    say("iss", settings.issuer.as_str().into());
    say("aud", settings.audience.as_str().into());
    say("iat", now.seconds().into());
    say("exp", expires.seconds().into());
    if let Some(route) = &wanted.route {
        say(ROUTE, (&**route).into());
    }
    if let Some(subject) = caller.subject.as_deref() {
        say("sub", subject.into());
        // A subject is one person's within its issuer alone (RFC 9493 §3.2.3).
        if &*caller.issuer != ISSUER_OFF {
            let issuer = &*caller.issuer;
            say("sub_id", json!({ "format": "iss_sub", "iss": issuer, "sub": subject }));
        }
    }
    claims
}
