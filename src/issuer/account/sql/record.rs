//! One row of the team's table, read as an account.
//!
//! Tables are as various as teams: a number or a UUID as id, roles in an array, in JSON or in text
//! with commas. What cannot be read is an error that names the column and its type, and never what
//! is in it.

use serde_json::{Map, Value};
use sqlx::mysql::{MySqlRow, MySqlTypeInfo};
use sqlx::postgres::{PgRow, PgTypeInfo};
use sqlx::sqlite::{SqliteRow, SqliteTypeInfo};
use sqlx::types::Uuid;
use sqlx::{Column as _, MySql, Postgres, Row as _, Sqlite, Type, TypeInfo as _, ValueRef as _};
use thiserror::Error;

use super::super::hash::{Hash, HashError};
use super::super::name::{NameError, check_subject, json_words, words};
use super::super::{Account, Refused};
use super::Columns;
use super::fit::{Kind, Kinds};
use crate::secret::Secret;

/// Why a row is no account. Never quotes it.
#[derive(Debug, Error)]
pub(super) enum RecordError {
    /// A column that the configuration names is not in the result.
    #[error("the query's result has no column `{0}`")]
    Absent(String),
    /// The database could not work out the row (SQLSTATE or another code).
    #[error(
        "the query fails for this name (code {0}): a value cannot be cast, or a subquery finds \
         several rows"
    )]
    Computed(String),
    /// A hash that is none.
    #[error("the hash in column `{0}` {1}")]
    Hash(String, HashError),
    /// A name or word that cannot be one.
    #[error("column `{0}` {1}")]
    Name(String, NameError),
    /// A type that is not read.
    #[error("column `{column}` is of type {kind}, which is not read here: cast it to text")]
    Type {
        /// The column.
        column: String,
        /// What the database calls its type.
        kind: String,
    },
    /// NULL where there must be something.
    #[error("column `{0}` is NULL")]
    Null(String),
    /// A value that cannot be meant.
    #[error("column `{0}` is not {1}")]
    Value(String, &'static str),
}

/// One value of a row, whatever its database.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Boolean(bool),
    Integer(i64),
    Json(Value),
    List(Vec<String>),
    Null,
    Text(String),
}

/// A row with named columns.
pub(super) trait Cells {
    /// The value of a column; `None` when there is no such column.
    fn cell(&self, column: &str) -> Result<Option<Cell>, RecordError>;
}

/// What can be read of every database's rows: the first type that the value is of; and what that is
/// of a column without a row.
macro_rules! cells {
    (
        $database:ty, $row:ty, $info:ty, typed: $typed:literal, first: $first:expr,
        $($read:ty as $kind:ident => $cell:expr),+ $(,)?
    ) => {
        impl Cells for $row {
            fn cell(&self, column: &str) -> Result<Option<Cell>, RecordError> {
                let named = self.columns().iter().find(|found| found.name() == column);
                let Some(found) = named else { return Ok(None) };
                let place = found.ordinal();
                let kind = || RecordError::Type {
                    column: column.to_owned(),
                    kind: found.type_info().name().to_owned(),
                };
                if self.try_get_raw(place).map_err(|_| kind())?.is_null() {
                    return Ok(Some(Cell::Null));
                }
                $(if let Ok(value) = self.try_get::<$read, _>(place) {
                    return Ok(Some($cell(value)));
                })+
                Err(kind())
            }
        }

        impl Kinds for $database {
            const TYPED: bool = $typed;
            const FIRST: Option<&'static str> = $first;

            fn kind(of: &$info) -> Option<Kind> {
                $(if <$read as Type<$database>>::compatible(of) {
                    return Some(Kind::$kind);
                })+
                None
            }
        }
    };
}

cells!(Postgres, PgRow, PgTypeInfo, typed: true, first: None,
    String as Text => Cell::Text,
    i64 as Integer => Cell::Integer,
    i32 as Integer => |value| Cell::Integer(i64::from(value)),
    i16 as Integer => |value| Cell::Integer(i64::from(value)),
    bool as Boolean => Cell::Boolean,
    Uuid as Text => |value: Uuid| Cell::Text(value.to_string()),
    Vec<String> as List => Cell::List,
    Value as Json => Cell::Json,
);
cells!(MySql, MySqlRow, MySqlTypeInfo, typed: true, first: None,
    String as Text => Cell::Text,
    i64 as Integer => Cell::Integer,
    u64 as Integer => |value: u64| {
        i64::try_from(value).map_or_else(|_| Cell::Text(value.to_string()), Cell::Integer)
    },
    bool as Boolean => Cell::Boolean,
    Value as Json => Cell::Json,
);
cells!(Sqlite, SqliteRow, SqliteTypeInfo, typed: false,
    first: Some("SELECT 1 FROM sqlite_schema LIMIT 0"),
    String as Text => Cell::Text,
    i64 as Integer => Cell::Integer,
    bool as Boolean => Cell::Boolean,
);

/// An account, and what to check its password against.
pub(super) struct Record {
    pub(super) account: Account,
    pub(super) hash: Hash,
    /// The hash as the table has it.
    pub(super) text: Secret<String>,
    pub(super) disabled: bool,
}

impl Record {
    /// Reads a row. `name`: as it was asked for.
    pub(super) fn read(
        row: &dyn Cells,
        name: &str,
        columns: &Columns,
    ) -> Result<Self, RecordError> {
        let column = &columns.password;
        let text = match present(row, column, true)? {
            Cell::Text(text) => Secret::new(text.trim_end().to_owned()),
            Cell::Null => return Err(RecordError::Null(column.name.clone())),
            _ => return Err(RecordError::Value(column.name.clone(), "text")),
        };
        let hash = text.expose().parse();
        let hash = hash.map_err(|error| RecordError::Hash(column.name.clone(), error))?;
        let disabled = flag(row, &columns.disabled, false)? || !flag(row, &columns.enabled, true)?;
        let account = Account {
            name: name.to_owned(),
            subject: subject(row, columns)?,
            roles: list(row, &columns.roles)?,
            permissions: list(row, &columns.permissions)?,
            claims: claims(row, columns)?,
        };
        Ok(Self { account, hash, text, disabled })
    }
}

impl RecordError {
    /// What the audit is told.
    pub(super) const REFUSED: Refused = Refused::Unusable;

    /// Whether it says nothing about the account, so that no session may end of it.
    pub(super) const fn is_of_the_query(&self) -> bool {
        match self {
            Self::Absent(_) | Self::Computed(_) | Self::Type { .. } => true,
            Self::Hash(..) | Self::Name(..) | Self::Null(_) | Self::Value(..) => false,
        }
    }
}

/// A column that is read, and whether the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct ColumnName {
    pub(in super::super) name: String,
    /// Named: then it must be in the result.
    pub(in super::super) named: bool,
}

/// The value of a column that may have been left out, unless it was named or is `required`.
fn present(row: &dyn Cells, column: &ColumnName, required: bool) -> Result<Cell, RecordError> {
    match row.cell(&column.name)? {
        Some(cell) => Ok(cell),
        None if required || column.named => Err(RecordError::Absent(column.name.clone())),
        None => Ok(Cell::Null),
    }
}

/// As the table has it, and never as it was typed: a collation that ignores case, accents or
/// trailing blanks finds one account under many spellings, and each would be somebody else.
fn subject(row: &dyn Cells, columns: &Columns) -> Result<String, RecordError> {
    let column = &columns.subject;
    let wrong = || RecordError::Value(column.name.clone(), "a name or a number");
    let subject = match present(row, column, true)? {
        Cell::Null => return Err(RecordError::Null(column.name.clone())),
        Cell::Text(text) => text,
        Cell::Integer(number) => number.to_string(),
        Cell::Boolean(_) | Cell::Json(_) | Cell::List(_) => return Err(wrong()),
    };
    match check_subject(&subject) {
        Ok(()) => Ok(subject),
        Err(error) => Err(RecordError::Name(column.name.clone(), error)),
    }
}

/// Text with commas, a JSON array, or an array of the database's.
fn list(row: &dyn Cells, column: &ColumnName) -> Result<Vec<String>, RecordError> {
    let wrong = || RecordError::Value(column.name.clone(), "a list of words");
    let named = |error| RecordError::Name(column.name.clone(), error);
    let json = match present(row, column, false)? {
        Cell::Null => return Ok(Vec::new()),
        Cell::List(list) => return words(list.iter().map(String::as_str)).map_err(named),
        Cell::Text(text) if text.trim_start().starts_with('[') => {
            serde_json::from_str(&text).map_err(|_| wrong())?
        }
        Cell::Text(text) => return words(text.split(',')).map_err(named),
        Cell::Json(value) => value,
        Cell::Boolean(_) | Cell::Integer(_) => return Err(wrong()),
    };
    json_words(&json).ok_or_else(wrong)?.map_err(named)
}

fn flag(row: &dyn Cells, column: &ColumnName, absent: bool) -> Result<bool, RecordError> {
    match row.cell(&column.name)? {
        None if column.named => Err(RecordError::Absent(column.name.clone())),
        None => Ok(absent),
        Some(Cell::Null) => Ok(false),
        Some(Cell::Boolean(value)) => Ok(value),
        Some(Cell::Integer(number)) => Ok(number != 0),
        Some(Cell::Text(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "" | "0" | "f" | "false" | "n" | "no" => Ok(false),
            "1" | "t" | "true" | "y" | "yes" => Ok(true),
            _ => Err(RecordError::Value(column.name.clone(), "true or false")),
        },
        Some(Cell::Json(_) | Cell::List(_)) => {
            Err(RecordError::Value(column.name.clone(), "true or false"))
        }
    }
}

fn claims(row: &dyn Cells, columns: &Columns) -> Result<Map<String, Value>, RecordError> {
    let mut claims = Map::new();
    for (claim, column) in &columns.claims {
        let value = match present(row, column, true)? {
            Cell::Null => continue,
            Cell::Boolean(value) => value.into(),
            Cell::Integer(number) => number.into(),
            Cell::Json(value) => value,
            Cell::List(list) => list.into(),
            Cell::Text(text) => text.into(),
        };
        claims.insert(claim.clone(), value);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests;
