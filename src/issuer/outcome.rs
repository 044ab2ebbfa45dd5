//! What logins and rotations are asked with, and what they are answered.

use std::net::IpAddr;

use super::mint::Rights;
use super::refresh_token::NoRandomness;
use super::seal::SealError;
use super::session::SessionId;
use crate::secret::Secret;
use crate::store::{self, Dead, Login};
use crate::time::UnixTime;
use crate::token::Kind;

/// A login whose password was right.
#[derive(Clone, Copy, Debug)]
pub struct NewLogin<'a> {
    /// `sub`.
    pub subject: &'a str,
    /// The account's name, under which its rights are read anew.
    pub account: &'a str,
    /// `client_id`.
    pub client: &'a str,
    /// What the account may do now.
    pub rights: &'a Rights,
    /// Whether the tokens stay here, behind a session cookie.
    pub browser: bool,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct ClientTrace<'a> {
    /// The client's address (design: "client").
    pub address: IpAddr,
    /// The `User-Agent`; empty when there is none.
    pub user_agent: &'a str,
}

/// What became of a login.
pub enum Began {
    /// These are its tokens.
    Issued(Box<Issued>),
    /// A revocation of this kind stands against it.
    Revoked(Kind),
}

/// A refresh token to hand out, and what an access token beside it is made from.
pub struct Issued {
    /// The refresh token; for a browser's login it stays here.
    pub refresh: Secret<String>,
    /// The cookie's value, for a browser's login.
    pub session: Option<SessionId>,
    /// What it is about.
    pub login: Login,
    /// The store's clock: `iat` of the access token.
    pub at: UnixTime,
    /// When the refresh token expires.
    pub until: UnixTime,
    /// Which rotation this is; 0 for the login.
    pub turn: u64,
    /// The sessions that this login has ended, because the subject had too many: their revocations
    /// ([`super::Families::revocation`]) are to be handed to the blocklist.
    pub displaced: Vec<Login>,
}

/// What became of a presented refresh token.
pub enum Rotation {
    /// A new one.
    Rotated(Issued),
    /// The one that the same client got for it a moment ago, or that a browser's session has now.
    Again(Issued),
    /// No tokens.
    Refused(RefusedWhy),
    /// It was used up before: somebody else has it, or had it. The family is dead and its session
    /// on the blocklist; to be written to the audit log. Never of a browser's session.
    Reused {
        /// Whose it was.
        login: Login,
        /// The store's clock.
        at: UnixTime,
    },
}

/// Why there are no tokens. For the logs alone: the client is told 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedWhy {
    /// The family is dead.
    Dead(Dead),
    /// It is no refresh token of ours.
    Malformed,
    /// It belongs to a browser's session and came without its cookie, or the other way round.
    OtherKind,
}

impl RefusedWhy {
    /// One word from a fixed list, for log lines and the audit log.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Dead(Dead::Ended) => "refresh_ended",
            Self::Dead(Dead::Expired) => "refresh_expired",
            Self::Dead(Dead::Reused) => "refresh_reused_before",
            Self::Dead(Dead::Revoked(_)) => "refresh_revoked",
            Self::Dead(Dead::Unknown) => "refresh_unknown",
            Self::Malformed => "refresh_malformed",
            Self::OtherKind => "refresh_other_kind",
        }
    }
}

/// The store, or the system's randomness, cannot be asked: 503. It may have happened nevertheless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No randomness, or no encryption.
    #[error("the system's cryptography failed")]
    Cryptography,
    /// The store gave no certain answer.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// One of a subject's sessions, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub sid: String,
    /// When the login was.
    pub created_at: UnixTime,
    /// When a token was last renewed.
    pub last_used_at: UnixTime,
    /// From where.
    pub address: String,
    /// With what.
    pub user_agent: String,
}

/// A refresh token that is current (RFC 7662).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspected {
    /// Whose it is.
    pub login: Login,
    /// When it expires.
    pub until: UnixTime,
}

impl From<NoRandomness> for Unavailable {
    fn from(_: NoRandomness) -> Self {
        Self::Cryptography
    }
}

impl From<SealError> for Unavailable {
    fn from(_: SealError) -> Self {
        Self::Cryptography
    }
}
