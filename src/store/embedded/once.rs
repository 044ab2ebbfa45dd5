//! Names that count once, across restarts too.

use redb::{
    ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
    TableError,
};

use super::{Embedded, Inner, PoisonError};
use crate::store::Error;
use crate::time::UnixTime;

/// Name → the second from which it may be forgotten.
const SPENT: TableDefinition<'_, &str, i64> = TableDefinition::new("spent");

/// Most names held; more are refused with an error (invariant 8).
const SPENT_MAX: u64 = 100_000;

impl Embedded {
    /// Whether the name was spent.
    pub(crate) async fn is_spent(&self, name: String, now: UnixTime) -> Result<bool, Error> {
        self.blocking(move |inner| inner.is_spent(&name, now)).await
    }

    /// Spends the name until then; `false` when that was done before. Durable when it answers.
    pub(crate) async fn spend(
        &self,
        name: String,
        until: UnixTime,
        now: UnixTime,
    ) -> Result<bool, Error> {
        self.blocking(move |inner| inner.spend(&name, until, now)).await
    }
}

impl Inner {
    fn is_spent(&self, name: &str, now: UnixTime) -> Result<bool, redb::Error> {
        let table = match self.database.begin_read()?.open_table(SPENT) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        Ok(table.get(name)?.is_some_and(|until| until.value() > now.seconds()))
    }

    fn spend(&self, name: &str, until: UnixTime, now: UnixTime) -> Result<bool, redb::Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(SPENT)?;
            if table.get(name)?.is_some_and(|until| until.value() > now.seconds()) {
                return Ok(false);
            }
            if table.len()? >= SPENT_MAX {
                table.retain(|_, until| until > now.seconds())?;
            }
            if table.len()? >= SPENT_MAX {
                return Err(super::full());
            }
            table.insert(name, until.seconds())?;
        }
        transaction.commit()?;
        Ok(true)
    }

    /// Lets go of names whose time is over. Writes nothing where there are none.
    pub(super) fn forget_spent(&self, now: UnixTime) -> Result<(), redb::Error> {
        match self.database.begin_read()?.open_table(SPENT) {
            Ok(table) if !table.is_empty()? => {}
            Ok(_) | Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.database.begin_write()?;
        transaction.open_table(SPENT)?.retain(|_, until| until > now.seconds())?;
        Ok(transaction.commit()?)
    }
}
