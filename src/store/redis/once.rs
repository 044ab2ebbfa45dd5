//! Names that count once, however many gateways hear them: a key each, which leaves by itself.

use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use super::{Redis, answer};
use crate::store::Error;

impl Redis {
    /// Whether the name was spent.
    pub(in crate::store) async fn is_spent(&self, name: &str) -> Result<bool, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(asking(&self.names.once(name)));
        Ok(answer::count(self.ask_one(&pipeline).await?)? > 0)
    }

    /// Spends the name for this long; `false` when somebody else has done so.
    pub(in crate::store) async fn spend(&self, name: &str, ttl: Duration) -> Result<bool, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(spending(&self.names.once(name), ttl));
        was_first(self.ask_one(&pipeline).await?)
    }
}

/// Asks for a key; the answer is a count.
pub(super) fn asking(key: &str) -> Cmd {
    let mut command = redis::cmd("EXISTS");
    command.arg(key);
    command
}

/// Sets a key unless it is there; for [`was_first`].
pub(super) fn spending(key: &str, ttl: Duration) -> Cmd {
    let mut command = redis::cmd("SET");
    command.arg(key).arg(1).arg("NX").arg("EX").arg(ttl.as_secs().max(1));
    command
}

/// Whether the key was not there.
pub(super) fn was_first(answer: Value) -> Result<bool, Error> {
    match answer::checked(answer)? {
        Value::Okay => Ok(true),
        Value::Nil => Ok(false),
        _ => Err(Error::Shape("SET answered neither OK nor nothing")),
    }
}
