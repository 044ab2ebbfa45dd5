//! The words that are spoken to a database: one prepared statement with the account's name as its
//! only parameter, and perhaps one that puts a new hash in the old one's place.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use sqlx::database::HasStatementCache;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Database as Sql, Encode, Executor,
    IntoArguments, MySql, Pool, Postgres, Sqlite, Type,
};

use super::location::Location;
use super::record::{Cells, Record};
use super::{Columns, Found};
use crate::secret::Secret;

/// How long a connection may be idle.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// A pool of connections to one of the three.
pub(super) enum Database {
    MySql(Pool<MySql>),
    Postgres(Pool<Postgres>),
    Sqlite(Pool<Sqlite>),
}

impl Database {
    /// Connects to nothing yet. Within a runtime: the connections belong to it.
    pub(super) fn new(location: Location, connections: u32, timeout: Duration) -> Self {
        match location {
            Location::MySql(options) => {
                let options = options.disable_statement_logging();
                Self::MySql(pool(connections, timeout).connect_lazy_with(options))
            }
            Location::Postgres(options) => {
                let options = options.disable_statement_logging();
                Self::Postgres(pool(connections, timeout).connect_lazy_with(options))
            }
            Location::Sqlite(options) => {
                let options = options.disable_statement_logging();
                Self::Sqlite(pool(connections, timeout).connect_lazy_with(options))
            }
        }
    }

    /// Asks for an account.
    pub(super) async fn find(
        &self,
        query: &Arc<str>,
        name: &str,
        columns: &Columns,
    ) -> Result<Found, sqlx::Error> {
        match self {
            Self::MySql(pool) => find(pool, query, name, columns).await,
            Self::Postgres(pool) => find(pool, query, name, columns).await,
            Self::Sqlite(pool) => find(pool, query, name, columns).await,
        }
    }

    /// Puts a new hash in the old one's place; how many rows that changed.
    pub(super) async fn update(
        &self,
        statement: &Arc<str>,
        parameters: [&Secret<String>; 3],
    ) -> Result<u64, sqlx::Error> {
        let statement = AssertSqlSafe(statement.clone());
        let [new, name, old] = parameters.map(|text| text.expose().as_str());
        match self {
            Self::MySql(pool) => {
                let query = sqlx::query(statement).bind(new).bind(name).bind(old);
                Ok(query.execute(pool).await?.rows_affected())
            }
            Self::Postgres(pool) => {
                let query = sqlx::query(statement).bind(new).bind(name).bind(old);
                Ok(query.execute(pool).await?.rows_affected())
            }
            Self::Sqlite(pool) => {
                let query = sqlx::query(statement).bind(new).bind(name).bind(old);
                Ok(query.execute(pool).await?.rows_affected())
            }
        }
    }
}

fn pool<DB: Sql>(connections: u32, timeout: Duration) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(timeout)
        .idle_timeout(IDLE_MAX)
        .test_before_acquire(true)
}

/// One question on a connection of the pool.
async fn find<DB>(
    pool: &Pool<DB>,
    query: &Arc<str>,
    name: &str,
    columns: &Columns,
) -> Result<Found, sqlx::Error>
where
    DB: Sql + HasStatementCache,
    DB::Row: Cells,
    DB::Arguments: IntoArguments<DB>,
    String: for<'q> Encode<'q, DB> + Type<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let mut connection: PoolConnection<DB> = pool.acquire().await?;
    let asked = ask::<DB>(&mut connection, query, name, columns).await;
    match asked {
        // A statement that stays prepared is an error once its table has been changed. (One that
        // is unnamed from the start is lost when the library asks about a type of the database's.)
        Ok(Found::Nobody | Found::Record(_) | Found::Unusable(_)) => {
            connection.clear_cached_statements().await?;
        }
        // Whatever else it would have sent is not waited for.
        Ok(Found::Several) | Err(_) => connection.close_on_drop(),
    }
    asked
}

async fn ask<DB>(
    connection: &mut DB::Connection,
    query: &Arc<str>,
    name: &str,
    columns: &Columns,
) -> Result<Found, sqlx::Error>
where
    DB: Sql + HasStatementCache,
    DB::Row: Cells,
    DB::Arguments: IntoArguments<DB>,
    String: for<'q> Encode<'q, DB> + Type<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let statement = sqlx::query(AssertSqlSafe(query.clone())).bind(name.to_owned());
    let mut rows = statement.fetch(connection);
    let mut next = async || poll_fn(|context| rows.as_mut().poll_next(context)).await.transpose();
    let Some(row) = next().await? else { return Ok(Found::Nobody) };
    if next().await?.is_some() {
        return Ok(Found::Several);
    }
    Ok(match Record::read(&row, name, columns) {
        Ok(record) => Found::Record(Box::new(record)),
        Err(error) => Found::Unusable(error),
    })
}

/// What an error may be called in a log: what the database says may quote the parameter, and
/// people type passwords into the wrong field.
pub(super) fn described(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            format!("the database refused (code {code})")
        }
        sqlx::Error::PoolTimedOut => "no connection within the timeout".to_owned(),
        other => other.to_string(),
    }
}
