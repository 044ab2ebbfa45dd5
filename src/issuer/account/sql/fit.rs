//! Whether the query and the columns that the configuration names fit each other: known from the
//! prepared statement, before there is a row.
//!
//! Were it found out from a row, only an account that is there would be answered with 503, and so
//! anybody could ask which are (CWE-204). So nothing is executed before this has been looked at,
//! and the answer is the same for whoever is asked about.
//!
//! It must never take a single value's fault for the query's: what a value is, only its row knows.

use sqlx::{Column as _, Database, TypeInfo as _};
use thiserror::Error;

use super::Columns;
use super::record::ColumnName;

/// What a column's values are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Json,
    List,
    Text,
}

/// A database whose statements say of what type their columns are.
pub(super) trait Kinds: Database {
    /// Whether all of a column's values are of its type. `SQLite`'s are of whatever type they are.
    const TYPED: bool;

    /// What is executed first, so that a statement is prepared with the tables as they are now.
    /// `SQLite` prepares with those that the connection knows, and finds out when it executes: then
    /// it reads other columns than those that it has named.
    const FIRST: Option<&'static str>;

    /// What values of this type are read as; `None`: they are not.
    fn kind(of: &Self::TypeInfo) -> Option<Kind>;
}

/// Why nobody can be asked for: a mistake of the configuration, or a change of the database's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Misfit {
    /// A column that is read is not in the result.
    #[error(
        "the query's result has no column `{column}`, which is read as {read_as}: let the query \
         give one (AS {column}), or name another one as `sql.columns.{read_as}`"
    )]
    Absent {
        /// The column.
        column: String,
        /// What `sql.columns` calls it.
        read_as: String,
    },
    /// Another number of parameters than one.
    #[error(
        "the query has {0} parameters: it must have one, the account's name, written $1 (MySQL: \
         a single ?)"
    )]
    Parameters(usize),
    /// The database does not take the statement.
    #[error("the database does not take the query: {0}")]
    Query(String),
    /// A type that cannot be what the column is read as.
    #[error(
        "column `{column}` is of type {kind}, which is not read as {read_as}: let the query cast \
         it, such as CAST({column} AS text) AS {column} (MySQL: AS char)"
    )]
    Type {
        /// The column.
        column: String,
        /// What the database calls its type.
        kind: String,
        /// What `sql.columns` calls it.
        read_as: String,
    },
}

/// Whether each column that is read is there, and of a type that can be what it is read as.
pub(super) fn check<DB: Kinds>(found: &[DB::Column], columns: &Columns) -> Result<(), Misfit> {
    use Kind::{Boolean, Integer, Json, List, Text};
    const LIST: &[Kind] = &[Json, List, Text];
    const FLAG: &[Kind] = &[Boolean, Integer, Text];
    const ANY: &[Kind] = &[Boolean, Integer, Json, List, Text];
    let read = [
        ("subject", &columns.subject, true, &[Integer, Text][..]),
        ("password", &columns.password, true, &[Text]),
        ("roles", &columns.roles, false, LIST),
        ("permissions", &columns.permissions, false, LIST),
        ("disabled", &columns.disabled, false, FLAG),
        ("enabled", &columns.enabled, false, FLAG),
    ];
    for (read_as, column, required, kinds) in read {
        check_one::<DB>(found, column, required || column.named, read_as, kinds)?;
    }
    for (claim, column) in &columns.claims {
        check_one::<DB>(found, column, true, &format!("claims.{claim}"), ANY)?;
    }
    Ok(())
}

fn check_one<DB: Kinds>(
    found: &[DB::Column],
    column: &ColumnName,
    required: bool,
    read_as: &str,
    kinds: &[Kind],
) -> Result<(), Misfit> {
    let (name, read_as) = (&column.name, read_as.to_owned());
    let Some(found) = found.iter().find(|found| found.name() == name) else {
        let absent = Misfit::Absent { column: name.clone(), read_as };
        return if required { Err(absent) } else { Ok(()) };
    };
    let of = found.type_info();
    // The type of what is always NULL says nothing.
    if !DB::TYPED || of.is_null() || DB::kind(of).is_some_and(|kind| kinds.contains(&kind)) {
        return Ok(());
    }
    Err(Misfit::Type { column: name.clone(), kind: of.name().to_owned(), read_as })
}
