//! The accounts' table: whether its database can be connected to and takes the query, and whether
//! the columns that the configuration reads are there. Nobody is asked for.

use super::{Found, Probe};
use crate::config::{Loaded, Problems};
use crate::issuer::account::Settings;
use crate::run::environment;

pub(super) fn probe(loaded: &Loaded) -> Option<Probe> {
    let issuing = loaded.config.issuing.as_ref()?.get_ref();
    let users = issuing.users.as_ref()?.get_ref();
    users.sql.as_ref()?;
    let mut problems = Problems::new();
    let settings = Settings::compile(users, &loaded.source, &environment, true, &mut problems);
    Some(super::probe("accounts", "sql", async move {
        let probed = match settings {
            Some(settings) => settings.probe().await,
            // The file that holds the URL, say, has changed since the configuration was read.
            None => return Found::failed("the URL of the database cannot be read"),
        };
        match probed {
            Some(Err(error)) => Found::failed(error),
            Some(Ok(())) | None => Found::good("the query gives the columns that are read"),
        }
    }))
}
