//! Reading answers: every form but the expected one is an error.

use redis::{ErrorKind, RedisError, Value};

use crate::store::Error;

/// An error of the client library in our words. Details stay out: they may quote what was sent.
pub(super) fn error(error: &RedisError) -> Error {
    match error.kind() {
        ErrorKind::AuthenticationFailed => Error::Down("authentication failed".into()),
        ErrorKind::Server(_) | ErrorKind::Extension => {
            Error::Answer(error.code().unwrap_or("ERR").into())
        }
        ErrorKind::Io if error.is_connection_dropped() => Error::Lost,
        ErrorKind::Io => Error::Down(error.to_string().into()),
        ErrorKind::RESP3NotSupported => {
            Error::Down("it does not know HELLO 3: Redis 6 or newer is needed".into())
        }
        _ => Error::Shape("not the Redis protocol"),
    }
}

/// The value, unless it is an error of the server.
pub(super) fn checked(value: Value) -> Result<Value, Error> {
    match value {
        Value::ServerError(error) => Err(Error::Answer(error.code().into())),
        value => Ok(value),
    }
}

/// A count that cannot be negative.
pub(super) fn count(value: Value) -> Result<u64, Error> {
    match checked(value)? {
        Value::Int(number) => u64::try_from(number).map_err(|_| Error::Shape("a count below zero")),
        _ => Err(Error::Shape("no number where one belongs")),
    }
}

/// Exactly `length` optional strings: the answer to `MGET`.
pub(super) fn strings(value: Value, length: usize) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let Value::Array(items) = checked(value)? else {
        return Err(Error::Shape("no array where one belongs"));
    };
    if items.len() != length {
        return Err(Error::Shape("an array of another length"));
    }
    items.into_iter().map(string).collect()
}

/// A string or nothing.
pub(super) fn string(value: Value) -> Result<Option<Vec<u8>>, Error> {
    match checked(value)? {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        _ => Err(Error::Shape("neither string nor nothing")),
    }
}

/// The bytes of any kind of text.
pub(super) fn text(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        _ => None,
    }
}
