//! Names that count once, however many gateways hear them: a key each, which leaves by itself.

use std::time::Duration;

use redis::{Pipeline, Value};

use super::{Redis, answer};
use crate::store::Error;

impl Redis {
    /// Whether the name was spent.
    pub(in crate::store) async fn is_spent(&self, name: &str) -> Result<bool, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("EXISTS").arg(self.once_key(name));
        Ok(answer::count(self.ask_one(&pipeline).await?)? > 0)
    }

    /// Spends the name for this long; `false` when somebody else has done so.
    pub(in crate::store) async fn spend(&self, name: &str, ttl: Duration) -> Result<bool, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("SET").arg(self.once_key(name)).arg(1).arg("NX");
        pipeline.arg("EX").arg(ttl.as_secs().max(1));
        match answer::checked(self.ask_one(&pipeline).await?)? {
            Value::Okay => Ok(true),
            Value::Nil => Ok(false),
            _ => Err(Error::Shape("SET answered neither OK nor nothing")),
        }
    }

    fn once_key(&self, name: &str) -> String {
        format!("{}{name}", self.names.prefix)
    }
}
