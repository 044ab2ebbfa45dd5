//! The accounts' table: whether its database can be connected to and takes the query, and whether
//! the columns that the configuration reads are there. The accounts' service: whether it can be
//! connected to. Nobody is asked for, and no login is sent.

use super::{Found, Probe};
use crate::config::{Loaded, Problems, UserSource};
use crate::issuer::account::Settings;
use crate::run::environment;

pub(super) fn probe(loaded: &Loaded) -> Option<Probe> {
    let issuing = loaded.config.issuing.as_ref()?.get_ref();
    let users = issuing.users.as_ref()?.get_ref();
    let (name, good) = match users.source()? {
        UserSource::File(_) => return None,
        UserSource::Sql(_) => ("sql", "the query gives the columns that are read"),
        UserSource::Upstream(_) => ("upstream", "connected; no login was sent"),
    };
    let mut problems = Problems::new();
    let settings = Settings::compile(users, &loaded.source, &environment, true, &mut problems);
    Some(super::probe("accounts", name, async move {
        // A file that the section names, say, has changed since the configuration was read.
        let Some(settings) = settings else {
            return Found::failed("what [issuing.users] names cannot be read");
        };
        match settings.probe().await {
            Ok(()) => Found::good(good),
            Err(error) => Found::failed(error),
        }
    }))
}
