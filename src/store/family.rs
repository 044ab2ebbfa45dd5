//! Refresh families and browsers' sessions as they are kept, and the way to both engines.
//!
//! A family is one login with the refresh tokens that descend from it, of which one at most is
//! current. Here are hashes and sealed bytes only: no token can be read or made from what the
//! store holds. Every step on a family is one step of the store, revocations included; what a
//! step means for a client is the issuer's business.

use std::time::Duration;

use super::embedded::Embedded;
use super::redis::Families as RedisFamilies;
use super::{Error, Store};
use crate::time::UnixTime;
use crate::token::{Kind, Selector};

/// How long after a rotation a retry costs nothing.
pub(super) const FREE: Duration = Duration::from_secs(1);
/// How many retries there are after that.
pub(super) const RETRIES_MAX: u32 = 3;
/// The longest that a login waits for the second after a revocation.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(2);

/// How far clocks may be apart. A login that is dated further ahead was dated by a clock that has
/// gone back since. A revocation that comes now is not dated after it, so it gives no tokens now.
pub(super) const AHEAD_MAX: Duration = Duration::from_secs(30);

/// What a family is about; fixed at its login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The session's public name, in tokens too. The token's first part does not follow from it.
    pub sid: String,
    /// `sub` of its tokens.
    pub subject: String,
    /// `client_id` of its tokens.
    pub client: String,
    /// The account's name, under which roles are read anew.
    pub account: String,
    /// What was known of the account at the login, in the issuer's words.
    pub known: String,
    /// When it was, by the store's clock.
    pub at: UnixTime,
    /// The hash under which a browser's session is kept, for a login with a cookie.
    pub session: Option<String>,
}

/// The rules of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The `iss` under which revocations of its tokens are written.
    pub issuer: String,
    /// How long a refresh token may stay unused.
    pub idle: Duration,
    /// How long a login may be renewed.
    pub lifetime: Duration,
    /// How long the direct predecessor gets the successor's answer again.
    pub grace: Duration,
    /// How long after a family's end a session that was ended stays on the blocklist: until its
    /// last access token has expired everywhere.
    pub barred: Duration,
    /// How many sessions one subject may have.
    pub per_subject: u32,
}

/// Where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The client's address, for its owner to read.
    pub address: String,
    /// The `User-Agent`, for its owner to read.
    pub user_agent: String,
    /// A digest of network and `User-Agent`: two requests with the same one may be one client's.
    pub mark: String,
}

/// A login to be kept.
#[derive(Clone, Debug)]
pub struct NewFamily {
    /// Who and what; its time is the store's to say.
    pub login: Login,
    /// The digest of the first refresh token.
    pub current: String,
    /// Where the login comes from.
    pub trace: Trace,
    /// The sealed first refresh token, when the login has a browser's session.
    pub refresh: Option<Vec<u8>>,
}

/// A rotation to be tried.
#[derive(Clone, Debug)]
pub struct Step {
    /// The digest of the token that was presented.
    pub presented: String,
    /// The digest of its successor, should it become one.
    pub next: String,
    /// The successor, sealed so that only the presented token opens it; for a family with a
    /// browser's session so that only its id does.
    pub sealed: Vec<u8>,
    /// Where the request comes from.
    pub trace: Trace,
}

/// How a live family stands after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The store's clock.
    pub at: UnixTime,
    /// When the family ends unless it is used before.
    pub until: UnixTime,
    /// How often it has rotated.
    pub turn: u64,
}

/// What became of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is kept.
    Kept {
        /// How it stands; `at` is its login's time.
        standing: Standing,
        /// The subject's sessions above the bound, longest unused first: to be ended.
        surplus: Vec<String>,
    },
    /// A revocation of this kind stands against it.
    Revoked(Kind),
    /// A revocation was made in this very second: try again after this time.
    Wait(Duration),
}

/// What became of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// The successor is current.
    Rotated(Standing),
    /// The token was rotated a moment ago by the same client, which gets that answer again; or,
    /// however long ago, by another gateway for the same browser's session.
    Again {
        /// How the family stands.
        standing: Standing,
        /// The current token as that rotation sealed it.
        answer: Vec<u8>,
    },
    /// The token was used up: somebody else has it. The family is dead from this step on, and its
    /// session is on the blocklist. Never of a browser's session, whose tokens nobody has.
    Reused {
        /// The store's clock.
        at: UnixTime,
    },
    /// Nothing happened.
    Refused(Dead),
}

/// Why a family gives no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// It was ended: a logout, or too many sessions.
    Ended,
    /// It was not used in time, or the login is too long ago.
    Expired,
    /// A used-up token was presented earlier.
    Reused,
    /// A revocation of this kind stands against it.
    Revoked(Kind),
    /// There is none of that name.
    Unknown,
}

/// A live family for its owner and for introspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// What it is about.
    pub login: Login,
    /// How it stands.
    pub standing: Standing,
    /// The digest of the current refresh token.
    pub current: String,
    /// When a token was last renewed, or the login.
    pub used_at: UnixTime,
    /// From where.
    pub address: String,
    /// With what.
    pub user_agent: String,
}

/// A browser's session as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSession {
    /// Its family.
    pub sid: String,
    /// The rotation that its tokens come from.
    pub turn: u64,
    /// The sealed refresh token.
    pub refresh: Vec<u8>,
    /// The sealed access token; absent until one of this turn was kept.
    pub access: Option<Vec<u8>>,
}

/// The way to families and sessions; a process has one.
pub struct Families(Engine);

enum Engine {
    Embedded(Embedded),
    Redis(RedisFamilies),
}

impl Store {
    /// The way to families and sessions, on a connection of its own; to be called inside the main
    /// runtime. `None` for a Redis Cluster: a family and the revocations that are asked about in
    /// the same step live in different slots there, on nodes with clocks of their own.
    #[must_use]
    pub fn families(&self) -> Option<Families> {
        Some(Families(match &self.0 {
            super::Engine::Embedded(embedded) => Engine::Embedded(embedded.clone()),
            super::Engine::Cluster(_) => return None,
            super::Engine::Redis(redis) => Engine::Redis(redis.families()),
        }))
    }
}

#[cfg(test)]
impl Store {
    /// The same by a clock that the test sets: milliseconds under the key `clock`.
    pub(crate) fn families_on_clock_of_test(&self) -> Families {
        match self.families().unwrap().0 {
            Engine::Redis(redis) => Families(Engine::Redis(redis.on_clock_of_test())),
            embedded @ Engine::Embedded(_) => Families(embedded),
        }
    }
}

impl Families {
    /// Keeps a new family, unless a revocation stands against the login.
    ///
    /// # Errors
    ///
    /// No certain answer; the family may be kept nevertheless.
    pub async fn begin(
        &self,
        new: NewFamily,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<Begun, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.begin_family(new, terms, now).await,
            Engine::Redis(redis) => redis.begin(&new, terms).await,
        }
    }

    /// What a family is about, whether or not a revocation stands against it.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn find(&self, sid: &str) -> Result<Result<Login, Dead>, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.find_family(sid).await,
            Engine::Redis(redis) => redis.find(sid).await,
        }
    }

    /// Rotates, in one step with everything that decides about it.
    ///
    /// # Errors
    ///
    /// No certain answer; it may have rotated nevertheless, and a retry within the grace then gets
    /// that rotation's answer.
    pub async fn advance(
        &self,
        login: &Login,
        step: Step,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<Advanced, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.advance_family(login, step, terms, now).await,
            Engine::Redis(redis) => redis.advance(login, &step, terms).await,
        }
    }

    /// Ends a family and puts its session on the blocklist; whether it was alive, or one of its
    /// access tokens may still have been.
    ///
    /// # Errors
    ///
    /// No certain answer; it may have ended nevertheless.
    pub async fn end(&self, login: &Login, terms: &Terms, now: UnixTime) -> Result<bool, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.end_family(login, terms, now).await,
            Engine::Redis(redis) => redis.end(login, terms).await,
        }
    }

    /// A live family with everything that may be shown of it. Changes nothing.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn look(
        &self,
        sid: &str,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<Result<Live, Dead>, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.look_at_family(sid, terms, now).await,
            Engine::Redis(redis) => redis.look(sid, terms).await,
        }
    }

    /// The names of a subject's families; some may be over, or revoked.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn sids(&self, subject: &str) -> Result<Vec<String>, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.sids(subject).await,
            Engine::Redis(redis) => redis.sids(subject).await,
        }
    }

    /// The live families of a subject, in no stated order.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn list(
        &self,
        subject: &str,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<Vec<Live>, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.list_families(subject, terms, now).await,
            Engine::Redis(redis) => redis.list(subject, terms).await,
        }
    }

    /// A browser's session by its hash.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn session(&self, hash: &str, now: UnixTime) -> Result<Option<KeptSession>, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.session(hash, now).await,
            Engine::Redis(redis) => redis.session(hash).await,
        }
    }

    /// Keeps a sealed access token in a session that still stands at `turn`; whether it does.
    ///
    /// # Errors
    ///
    /// No certain answer.
    pub async fn keep_access(
        &self,
        hash: &str,
        turn: u64,
        access: Vec<u8>,
        now: UnixTime,
    ) -> Result<bool, Error> {
        match &self.0 {
            Engine::Embedded(embedded) => embedded.keep_access(hash, turn, access, now).await,
            Engine::Redis(redis) => redis.keep_access(hash, turn, &access).await,
        }
    }
}

/// The blocklist entries that speak about a login, by the part of their keys behind the prefix.
pub(super) struct Entries {
    pub(super) sub: String,
    pub(super) client: String,
    pub(super) sid: String,
    pub(super) issuer: String,
}

impl Entries {
    pub(super) fn of(login: &Login, terms: &Terms) -> Self {
        let suffix = |kind, value: &str| {
            let (issuer, value) = (terms.issuer.clone(), value.to_owned());
            Selector { kind, issuer, value }.suffix()
        };
        Self {
            sub: suffix(Kind::Sub, &login.subject),
            client: suffix(Kind::Client, &login.client),
            sid: suffix(Kind::Sid, &login.sid),
            issuer: suffix(Kind::Issuer, ""),
        }
    }
}

/// Why a session that was ended is on the blocklist, in the entry's words.
pub(super) const fn why(dead: Dead) -> &'static str {
    match dead {
        Dead::Ended => "the session was ended",
        Dead::Reused => "a refresh token was used twice",
        Dead::Expired | Dead::Revoked(_) | Dead::Unknown => "the session is over",
    }
}

/// Who ends sessions, in the entry's words.
pub(super) const BY: &str = "postern";
