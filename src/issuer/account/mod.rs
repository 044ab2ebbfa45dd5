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

pub mod file;
mod hash;
mod name;
mod password;
mod pool;
mod settings;
mod sql;
mod upstream;
mod verify;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;
use tokio::runtime::Handle;

use self::file::{FileAccounts, FileError};
use self::pool::Pool;
use self::settings::Kind;
use self::sql::SqlAccounts;
use self::upstream::UpstreamAccounts;
use crate::secret::Secret;

pub use hash::{ComputeError, Hash, HashError, Work};
pub use name::{NAME_BYTES_MAX, NameError, check_account_name};
pub use password::{PASSWORD_BYTES_MAX, Password, PasswordError};
pub use settings::Settings;
pub use sql::{LocationError, Misfit, ProbeError};

/// Where accounts are asked for.
#[derive(Clone, Debug)]
pub struct Accounts {
    source: Source,
    pool: Arc<Pool>,
}

/// The three of `[issuing.users]`.
#[derive(Clone, Debug)]
enum Source {
    File(Arc<FileAccounts>),
    Sql(Arc<SqlAccounts>),
    Upstream(Arc<UpstreamAccounts>),
}

impl Accounts {
    /// The accounts of `[issuing.users]`. Reads the users file; waits for no connection. Whatever
    /// connections there will be belong to `runtime`, which must outlive the workers' use of this;
    /// on it a table is looked at, so that the log tells of a query that does not fit.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the file cannot be used, or no threads can be had.
    pub fn open(settings: Settings, runtime: &Handle) -> Result<Self, OpenError> {
        Self::of(match settings.0 {
            Kind::File(path) => Source::File(Arc::new(FileAccounts::open(&path)?)),
            Kind::Sql(sql) => {
                let sql = Arc::new(SqlAccounts::new(*sql, runtime.clone()));
                sql.look();
                Source::Sql(sql)
            }
            Kind::Upstream(upstream) => {
                Source::Upstream(Arc::new(UpstreamAccounts::new(*upstream)))
            }
        })
    }

    /// The accounts of a users file.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn from_file(path: &Path) -> Result<Self, OpenError> {
        Self::of(Source::File(Arc::new(FileAccounts::open(path)?)))
    }

    fn of(source: Source) -> Result<Self, OpenError> {
        Ok(Self { source, pool: Arc::new(Pool::new()?) })
    }

    /// What is known of an account now, for a refresh. `subject` is that of the login: another
    /// person under the same name is not who logged in.
    ///
    /// # Errors
    ///
    /// [`AccountsUnavailable::Unreachable`].
    pub async fn look_up(
        &self,
        name: &str,
        subject: &str,
    ) -> Result<LookedUp, AccountsUnavailable> {
        match &self.source {
            Source::File(file) => Ok(file.look_up(name, subject)),
            Source::Sql(sql) => sql.look_up(name, subject).await,
            Source::Upstream(_) => Ok(LookedUp::AsAtLogin),
        }
    }

    /// Reads the users file again if it has changed and has then held still for one look: to be
    /// called once a second, where blocking does no harm. Whether it was read. With any other
    /// source there is nothing to do.
    ///
    /// # Errors
    ///
    /// [`FileError`], once for each change; what was known before stays in force.
    pub fn reload(&self) -> Result<bool, FileError> {
        match &self.source {
            Source::File(file) => file.reload(),
            Source::Sql(_) | Source::Upstream(_) => Ok(false),
        }
    }

    /// The accounts that could log in, and are gone or disabled since this was last asked: their
    /// sessions are to be ended. Of a users file alone: nobody hears of a change elsewhere.
    #[must_use]
    pub fn take_ended(&self) -> Vec<Ended> {
        match &self.source {
            Source::File(file) => file.take_ended(),
            Source::Sql(_) | Source::Upstream(_) => Vec::new(),
        }
    }

    /// The accounts of `old` that are gone or disabled here; known when both are users files.
    #[must_use]
    pub fn ended_since(&self, old: &Self) -> Vec<Ended> {
        match (&self.source, &old.source) {
            (Source::File(new), Source::File(old)) => new.ended_since(old),
            _ => Vec::new(),
        }
    }

    /// Whether somebody whose password was right a moment ago still has the account, as far as that
    /// is known here: to be asked once their session has begun, which whatever ends the sessions of
    /// accounts that are gone may have been too early to find.
    #[must_use]
    pub fn stands(&self, name: &str, subject: &str) -> bool {
        match &self.source {
            Source::File(file) => file.look_up(name, subject) != LookedUp::Gone,
            Source::Sql(_) | Source::Upstream(_) => true,
        }
    }

    /// Whether the password is the account's. Callable from any runtime.
    ///
    /// # Errors
    ///
    /// [`AccountsUnavailable`]: nobody knows.
    pub async fn check(
        &self,
        attempt: &Attempt<'_>,
    ) -> Result<Result<Account, Refused>, AccountsUnavailable> {
        match &self.source {
            Source::File(file) => file.check(&self.pool, attempt).await,
            Source::Sql(sql) => sql.check(&self.pool, attempt).await,
            Source::Upstream(upstream) => upstream.check(attempt).await,
        }
    }
}

/// Why there are no accounts to ask.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The users file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system gives no threads to check passwords on.
    #[error("no threads for password checks: {0}")]
    Threads(#[from] std::io::Error),
}

/// A hash could not be computed.
fn failed(error: ComputeError) -> AccountsUnavailable {
    tracing::error!(%error, "a password check failed; it is answered with 503");
    AccountsUnavailable::Failed
}

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

/// An account that was there, enabled, and is not any more: nobody may go on as its `sub`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `sub` of its tokens.
    pub subject: String,
    /// What became of it.
    pub why: EndedWhy,
}

/// What became of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedWhy {
    /// It is there, and disabled.
    Disabled,
    /// The name has another id: it is somebody else's by now.
    OtherId,
    /// There is no such name.
    Removed,
}

impl EndedWhy {
    /// In words, for the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "the account was disabled",
            Self::OtherId => "the account has another id",
            Self::Removed => "the account was removed",
        }
    }
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
