//! Who has an account, and whether a password is theirs: asked of a users file, of an SQL table, or
//! of an existing service's own login endpoint.
//!
//! Hashes are computed on a bounded pool of threads of its own ([`pool`]), so that logins never
//! slow the proxied traffic, and every failed login does the same work ([`verify`]), so that its
//! time does not tell whether the account exists.
//!
//! It must never: tell an unknown account from a wrong password in anything that leaves the gateway
//! (the difference is for the audit log alone), put a password or a hash into a log, an error or
//! `Debug`, take "cannot be asked" for "wrong password", or let somebody be `client:…`.

mod hash;
mod name;
mod password;
mod pool;
mod verify;

use std::net::IpAddr;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::secret::Secret;

pub use hash::{ComputeError, Hash, HashError, Work};
pub use name::{NAME_BYTES_MAX, NameError, check_account_name};
pub use password::{PASSWORD_BYTES_MAX, Password, PasswordError};

/// One try to log in.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The account's name, exactly as typed.
    pub name: &'a str,
    /// The password, exactly as typed.
    pub password: &'a Secret<String>,
    /// The client's address, as the pipeline settled it: an upstream that checks the password is
    /// told it (`X-Forwarded-For`).
    pub client: IpAddr,
}

/// Somebody whose password was right, or who was looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// The name, as the source has it: what the person logs in with.
    pub name: String,
    /// `sub` of their tokens (RFC 7519 §4.1.2): the name, or the source's own id. Never of the form
    /// `client:…`.
    pub subject: String,
    /// Their roles, without repetitions.
    pub roles: Vec<String>,
    /// Their permissions, without repetitions.
    pub permissions: Vec<String>,
    /// Claims besides, as configured for an SQL table or an upstream; none that a token's own
    /// making decides about (`iss`, `exp`, …).
    pub claims: Map<String, Value>,
}

/// Why a login failed. For the audit log alone: the client gets one answer for every cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The account is disabled (whether or not the password was right).
    #[error("the account is disabled")]
    Disabled,
    /// The upstream's login endpoint said no.
    #[error("the upstream refused")]
    Upstream,
    /// There is no such account.
    #[error("no such account")]
    Unknown,
    /// What the source holds about the account cannot be used; the log says why.
    #[error("the account's record cannot be used")]
    Unusable,
    /// The password is another.
    #[error("wrong password")]
    WrongPassword,
}

/// Nobody can say whether the password is right: the answer is 503, never 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AccountsUnavailable {
    /// As many password checks wait as may wait; try again later.
    #[error("too many password checks are waiting")]
    Busy,
    /// A check could not be finished (no memory, a bug in a library); the log says why.
    #[error("the password check failed")]
    Failed,
    /// The database or the upstream does not answer, or not sensibly; the log says why.
    #[error("the accounts cannot be asked")]
    Unreachable,
}

/// What is known of an account at a refresh.
#[derive(Clone, Debug, PartialEq)]
pub enum LookedUp {
    /// It is there: these are its roles now.
    Present(Account),
    /// It is gone, disabled, or another's by now (another subject under the same name): no refresh.
    Gone,
    /// An upstream's login endpoint cannot be asked about an account without its password: what
    /// was known at the login holds until the session's absolute end.
    AsAtLogin,
}
