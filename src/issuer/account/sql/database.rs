//! The words that are spoken to a database: one prepared statement with the account's name as its
//! only parameter, and perhaps one that puts a new hash in the old one's place.

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::database::HasStatementCache;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Database as Sql, Either, Encode, Executor,
    IntoArguments, MySql, Pool, Postgres, SqlSafeStr as _, Sqlite, Statement as _, Type,
};

use super::fit::{self, Kinds, Misfit};
use super::location::Location;
use super::record::{Cells, Record, RecordError};
use super::{Columns, Found};
use crate::secret::Secret;

/// How long a connection may be idle.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// A pool of connections to one of the three.
pub(super) enum Database {
    MySql(Pool<MySql>),
    Postgres(Pool<Postgres>),
    Sqlite {
        pool: Pool<Sqlite>,
        /// The database's file, for errors.
        path: PathBuf,
    },
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
                let path = options.get_filename().to_owned();
                let options = options.disable_statement_logging();
                let pool = pool(connections, timeout).connect_lazy_with(options);
                Self::Sqlite { pool, path }
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
            Self::Sqlite { pool, .. } => find(pool, query, name, columns).await,
        }
    }

    /// Whether the query fits, without asking for anybody.
    pub(super) async fn fits(
        &self,
        query: &Arc<str>,
        columns: &Columns,
    ) -> Result<Result<(), Misfit>, sqlx::Error> {
        match self {
            Self::MySql(pool) => look(pool, query, columns).await,
            Self::Postgres(pool) => look(pool, query, columns).await,
            Self::Sqlite { pool, .. } => look(pool, query, columns).await,
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
            Self::Sqlite { pool, .. } => {
                let query = sqlx::query(statement).bind(new).bind(name).bind(old);
                Ok(query.execute(pool).await?.rows_affected())
            }
        }
    }

    /// What an error may be called in a log: what the database says may quote the parameter, and
    /// people type passwords into the wrong field.
    pub(super) fn described(&self, error: &sqlx::Error) -> String {
        let code = match error {
            sqlx::Error::Database(error) => error.code().unwrap_or_default(),
            sqlx::Error::PoolTimedOut => return "no connection within the timeout".to_owned(),
            other => return other.to_string(),
        };
        match self {
            Self::Sqlite { path, .. } => of_sqlite(&code)
                .map(|meaning| format!("the database file {} {meaning}", path.display())),
            Self::MySql(_) | Self::Postgres(_) => None,
        }
        .unwrap_or_else(|| format!("the database refused (code {code})"))
    }
}

fn pool<DB: Sql>(connections: u32, timeout: Duration) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(timeout)
        .idle_timeout(IDLE_MAX)
        .test_before_acquire(true)
}

/// Only whether the query fits.
async fn look<DB>(
    pool: &Pool<DB>,
    query: &Arc<str>,
    columns: &Columns,
) -> Result<Result<(), Misfit>, sqlx::Error>
where
    DB: Kinds + HasStatementCache,
    String: Type<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let mut connection: PoolConnection<DB> = pool.acquire().await?;
    let fits = fits::<DB>(&mut connection, query, columns).await;
    if connection.clear_cached_statements().await.is_err() || fits.is_err() {
        connection.close_on_drop();
    }
    fits
}

/// One question on a connection of the pool.
async fn find<DB>(
    pool: &Pool<DB>,
    query: &Arc<str>,
    name: &str,
    columns: &Columns,
) -> Result<Found, sqlx::Error>
where
    DB: Kinds + HasStatementCache,
    DB::Row: Cells,
    DB::Arguments: IntoArguments<DB>,
    String: for<'q> Encode<'q, DB> + Type<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let mut connection: PoolConnection<DB> = pool.acquire().await?;
    let asked = match fits::<DB>(&mut connection, query, columns).await {
        Ok(Ok(())) => ask::<DB>(&mut connection, query, name, columns).await,
        Ok(Err(misfit)) => Ok(Found::Misfit(misfit)),
        Err(error) => Err(error),
    };
    match asked {
        // A statement that stays prepared is an error once its table has been changed. (One that
        // is unnamed from the start is lost when the library asks about a type of the database's.)
        Ok(Found::Misfit(_) | Found::Nobody | Found::Record(_) | Found::Unusable(_)) => {
            if connection.clear_cached_statements().await.is_err() {
                connection.close_on_drop();
            }
        }
        // Whatever else it would have sent is not waited for.
        Ok(Found::Several) | Err(_) => connection.close_on_drop(),
    }
    asked
}

/// Whether the query, once prepared, has one parameter and the columns that are read. The question
/// then uses the same prepared statement.
async fn fits<DB>(
    connection: &mut DB::Connection,
    query: &Arc<str>,
    columns: &Columns,
) -> Result<Result<(), Misfit>, sqlx::Error>
where
    DB: Kinds,
    String: Type<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    if let Some(first) = DB::FIRST {
        sqlx::raw_sql(first).execute(&mut *connection).await?;
    }
    let sql = AssertSqlSafe(query.clone()).into_sql_str();
    let statement = match connection.prepare_with(sql, &[String::type_info()]).await {
        Ok(statement) => statement,
        // It has seen the query and no parameter yet: what it says quotes nobody.
        Err(sqlx::Error::Database(error)) => return Ok(Err(Misfit::Query(error.to_string()))),
        Err(error) => return Err(error),
    };
    let parameters = match statement.parameters() {
        Some(Either::Left(types)) => types.len(),
        Some(Either::Right(count)) => count,
        None => 1,
    };
    if parameters != 1 {
        return Ok(Err(Misfit::Parameters(parameters)));
    }
    Ok(fit::check::<DB>(statement.columns(), columns))
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
    let row = match next().await {
        Ok(Some(row)) => row,
        Ok(None) => return Ok(Found::Nobody),
        Err(error) => return of_a_row(error).map(Found::Unusable),
    };
    match next().await {
        Ok(None) => {}
        Ok(Some(_)) => return Ok(Found::Several),
        Err(error) => return of_a_row(error).map(Found::Unusable),
    }
    Ok(match Record::read(&row, name, columns) {
        Ok(record) => Found::Record(Box::new(record)),
        Err(error) => Found::Unusable(error),
    })
}

/// An error that comes of what is in a row or of the name, where another name gives none: data
/// exceptions and cardinality violations (SQLSTATE classes 22 and 21; `SQLite` has three codes of
/// its own). Answered otherwise than an unknown account it would tell that there is a row
/// (CWE-204).
fn of_a_row(error: sqlx::Error) -> Result<RecordError, sqlx::Error> {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    let sqlstate = code.len() == 5 && (code.starts_with("22") || code.starts_with("21"));
    // SQLITE_ERROR (of a function, such as malformed JSON), SQLITE_TOOBIG, SQLITE_MISMATCH.
    if sqlstate || matches!(&*code, "1" | "18" | "20") {
        return Ok(RecordError::Computed(code.into_owned()));
    }
    Err(error)
}

/// What one of `SQLite`'s errors means, by its code (the low byte of an extended one); `None` where
/// the number says as much.
fn of_sqlite(code: &str) -> Option<&'static str> {
    match code.parse::<u32>().ok()? & 0xff {
        5 | 6 => Some("is locked by another process"),
        8 => Some("may only be read"),
        10 => Some("cannot be read or written: the disk failed"),
        11 => Some("is damaged"),
        13 => Some("cannot grow: the disk is full"),
        14 => Some("cannot be opened: is it there, and may this user read it?"),
        26 => Some("is no SQLite database"),
        _ => None,
    }
}
