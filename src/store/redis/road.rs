//! A worker's way to the store: one server, or the nodes of a cluster.

use std::sync::Arc;

use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::answer;
use super::cluster::{Markers, Router};
use super::link::Link;
use crate::store::Error;

/// Where commands go.
#[derive(Clone)]
pub(super) enum Road {
    /// One server.
    Link(Arc<Link>),
    /// A cluster.
    Cluster { router: Arc<Router>, markers: Arc<Markers> },
}

impl Road {
    /// One command over one key. On a connection that is lost it is sent again.
    ///
    /// # Errors
    ///
    /// No certain answer by `deadline`, or an error of the server.
    pub(super) async fn run(
        &self,
        key: &str,
        command: Cmd,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let link = match self {
            Self::Link(link) => link,
            Self::Cluster { router, .. } => return router.run(key, command, deadline).await,
        };
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        let mut answers = link.ask(&pipeline, deadline).await;
        if answers.as_ref().is_err_and(|error| *error == Error::Lost) {
            answers = link.ask(&pipeline, deadline).await;
        }
        answer::checked(answers?.pop().unwrap_or_default())
    }
}
