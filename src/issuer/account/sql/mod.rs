//! Accounts in the team's own table, asked for by the team's own query.
//!
//! The account's name is the query's only parameter and never becomes a part of it. Nobody is
//! nobody: no row is an unknown account, two rows are a mistake and nobody either. A database that
//! does not answer is 503, never 401, and so is a query whose columns are not the configuration's
//! ([`fit`]): for everybody alike, since it is known before there is a row.
//!
//! **Equal answers.** What is wrong with one row is found out only where there is one, so a login
//! gets what an unknown account gets, in the same time, and the log says what is wrong. A refresh
//! needs no such care, since its session tells that the account is there: what says nothing about
//! the account is 503 and ends no session.
//!
//! **Equal times.** What kinds of hashes the table holds is learned as they are seen, and may be
//! told beforehand (`kinds`): before the first account of a kind was seen, the refusal of an
//! unknown account is quicker by that kind's work.

mod database;
mod fit;
mod location;
mod record;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;

use self::database::Database;
use self::record::{Record, RecordError};
use super::name::check_subject;
use super::password::Password;
use super::pool::Pool;
use super::verify::{Stored, Works, verify};
use super::{Account, AccountsUnavailable, Attempt, LookedUp, Refused, failed};
use crate::secret::Secret;

pub use fit::Misfit;
pub(super) use location::Location;
pub use location::LocationError;
pub(super) use record::ColumnName;

/// How a table is asked.
pub(super) struct Settings {
    pub(super) location: Location,
    pub(super) query: Arc<str>,
    /// Puts `$1` (the new hash) in the place of `$3` (the old one) for the account `$2`.
    pub(super) update: Option<Arc<str>>,
    pub(super) columns: Columns,
    /// Kinds of hashes that the table is known to hold.
    pub(super) works: Works,
    /// One question, connecting included.
    pub(super) timeout: Duration,
    pub(super) connections: u32,
}

/// Which column is what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) subject: ColumnName,
    pub(super) password: ColumnName,
    pub(super) roles: ColumnName,
    pub(super) permissions: ColumnName,
    pub(super) disabled: ColumnName,
    pub(super) enabled: ColumnName,
    /// Claim → column.
    pub(super) claims: BTreeMap<String, ColumnName>,
}

/// What the query found.
enum Found {
    /// Nobody was asked for.
    Misfit(Misfit),
    Nobody,
    Record(Box<Record>),
    Several,
    Unusable(RecordError),
}

/// Why a table cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProbeError {
    /// The query or its columns.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// The database, or the service; never quotes a URL's password or query.
    #[error("{0}")]
    Unreachable(String),
}

/// The accounts of a table.
pub(super) struct SqlAccounts {
    database: Database,
    query: Arc<str>,
    update: Option<Arc<str>>,
    columns: Columns,
    works: Mutex<Works>,
    timeout: Duration,
    /// Whose connections they are; callers have runtimes of their own.
    runtime: Handle,
}

impl fmt::Debug for SqlAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlAccounts").field("query", &self.query).finish_non_exhaustive()
    }
}

impl SqlAccounts {
    /// Connects to nothing yet. The connections will belong to `runtime`.
    pub(super) fn new(settings: Settings, runtime: Handle) -> Self {
        let Settings { location, query, update, columns, works, timeout, connections } = settings;
        let within = runtime.enter();
        let database = Database::new(location, connections, timeout);
        drop(within);
        Self { database, query, update, columns, works: Mutex::new(works), timeout, runtime }
    }

    /// Checks a password; every refusal takes the same time on the pool.
    pub(super) async fn check(
        self: &Arc<Self>,
        pool: &Pool,
        attempt: &Attempt<'_>,
    ) -> Result<Result<Account, Refused>, AccountsUnavailable> {
        let (mut record, mut refused) = (None, Refused::Unknown);
        match self.find(attempt.name).await? {
            Found::Misfit(misfit) => return Err(misfitting(&misfit)),
            Found::Nobody => {}
            Found::Record(found) => record = Some(*found),
            Found::Several => {
                tracing::error!("the accounts' query found several rows for one name: refused");
                refused = Refused::Unusable;
            }
            Found::Unusable(error) => {
                tracing::error!(%error, "an account's row cannot be used: refused");
                refused = RecordError::REFUSED;
            }
        }
        let works = self.works(record.as_ref());
        let password =
            Password::typed(attempt.password.expose()).unwrap_or_else(|_| Password::none());
        let stored = record
            .as_ref()
            .map(|record| Stored { hash: record.hash.clone(), disabled: record.disabled });
        let upgrade = self.update.is_some();
        let work = move || verify(&password, stored.as_ref(), &works, upgrade);
        match (pool.run(attempt.client, work).await?.map_err(failed)?, record) {
            (Ok(matched), Some(record)) => {
                if let Some(hash) = matched.upgrade {
                    self.upgrade(attempt.name, hash, record.text);
                }
                Ok(Ok(record.account))
            }
            (Ok(_), None) => Ok(Err(refused)),
            (Err(Refused::Unknown), None) => Ok(Err(refused)),
            (Err(refused), _) => Ok(Err(refused)),
        }
    }

    pub(super) async fn look_up(
        self: &Arc<Self>,
        name: &str,
        subject: &str,
    ) -> Result<LookedUp, AccountsUnavailable> {
        Ok(match self.find(name).await? {
            Found::Record(record) if !record.disabled && record.account.subject == subject => {
                LookedUp::Present(record.account)
            }
            Found::Record(_) | Found::Nobody => LookedUp::Gone,
            Found::Several => {
                tracing::error!("the accounts' query found several rows for one name");
                LookedUp::Gone
            }
            Found::Misfit(misfit) => return Err(misfitting(&misfit)),
            Found::Unusable(error) if error.is_of_the_query() => {
                tracing::error!(%error, "an account's row cannot be read; answered with 503");
                return Err(AccountsUnavailable::Unreachable);
            }
            Found::Unusable(error) => {
                tracing::error!(%error, "an account's row cannot be used");
                LookedUp::Gone
            }
        })
    }

    /// Asks the database, on the runtime that its connections belong to.
    async fn find(self: &Arc<Self>, name: &str) -> Result<Found, AccountsUnavailable> {
        // What cannot be a name is not asked for.
        if check_subject(name).is_err() {
            return Ok(Found::Nobody);
        }
        let (this, name) = (self.clone(), name.to_owned());
        let question = self.runtime.spawn(async move {
            let question = this.database.find(&this.query, &name, &this.columns);
            tokio::time::timeout(this.timeout, question).await
        });
        let why = match question.await {
            Ok(Ok(Ok(found))) => return Ok(found),
            Ok(Ok(Err(error))) => self.database.described(&error),
            Ok(Err(_)) => "no answer within the timeout".to_owned(),
            Err(_) => "the question was ended".to_owned(),
        };
        tracing::error!(
            error = why,
            "the accounts' database does not say who has an account; answered with 503"
        );
        Err(AccountsUnavailable::Unreachable)
    }

    /// Tells the log whether the query fits, before somebody logs in. Waits for nothing: a gateway
    /// starts while its database is away.
    pub(super) fn look(self: &Arc<Self>) {
        let this = self.clone();
        drop(self.runtime.spawn(async move {
            match this.probe().await {
                Ok(()) => tracing::debug!("the accounts' query fits"),
                Err(ProbeError::Misfit(misfit)) => drop(misfitting(&misfit)),
                Err(error) => tracing::warn!(
                    %error,
                    "the accounts' database cannot be asked yet; logins are answered with 503"
                ),
            }
        }));
    }

    /// Whether logins could be answered, without asking for anybody.
    pub(super) async fn probe(&self) -> Result<(), ProbeError> {
        let fits = self.database.fits(&self.query, &self.columns);
        match tokio::time::timeout(self.timeout, fits).await {
            Ok(Ok(fits)) => Ok(fits?),
            Ok(Err(error)) => Err(ProbeError::Unreachable(self.database.described(&error))),
            Err(_) => Err(ProbeError::Unreachable("no answer within the timeout".to_owned())),
        }
    }

    /// The kinds known so far, this account's among them.
    fn works(&self, record: Option<&Record>) -> Works {
        let mut works = self.works.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = record
            && works.insert(record.hash.work()).is_err()
        {
            tracing::warn!(
                "the accounts' table holds hashes of many kinds and costs: refusals of unknown \
                 accounts are quicker than of some others"
            );
        }
        works.clone()
    }

    /// Writes a new hash down, besides the answer to the login.
    fn upgrade(self: &Arc<Self>, name: &str, new: Secret<String>, old: Secret<String>) {
        let (this, name) = (self.clone(), Secret::new(name.to_owned()));
        drop(self.runtime.spawn(async move {
            let Some(statement) = &this.update else { return };
            let update = this.database.update(statement, [&new, &name, &old]);
            match tokio::time::timeout(this.timeout, update).await {
                Ok(Ok(1)) => tracing::info!("an outdated password hash was made anew at a login"),
                // Somebody else was faster: theirs counts.
                Ok(Ok(0)) => {}
                Ok(Ok(rows)) => {
                    tracing::error!(rows, "`update` of the accounts' table changed several rows");
                }
                Ok(Err(error)) => {
                    let error = this.database.described(&error);
                    tracing::warn!(error, "an outdated password hash was not replaced");
                }
                Err(_) => tracing::warn!("an outdated password hash was not replaced in time"),
            }
        }));
    }
}

/// The one line that says why every login is answered alike.
fn misfitting(misfit: &Misfit) -> AccountsUnavailable {
    tracing::error!(
        error = %misfit,
        "the accounts' query does not fit [issuing.users]: every login is answered with 503"
    );
    AccountsUnavailable::Unreachable
}

#[cfg(test)]
mod tests;
