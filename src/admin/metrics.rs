//! `GET /metrics`: what was counted, and what is measured at the moment of asking.
//!
//! Open like the health probes: names and numbers, nothing of any request.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::{Admin, Answer, problem, response};
use crate::blocklist::Blocklist;
use crate::observe::metrics::{CONTENT_TYPE, Labels, Page};
use crate::proxy::Gateway;

pub(super) fn scrape(admin: &Admin) -> Answer {
    let moment = Moment { gateway: admin.gateway.clone(), blocklist: admin.blocklist.clone() };
    match admin.gateway.metrics.encode(Box::new(moment)) {
        Ok(text) => response(StatusCode::OK, CONTENT_TYPE, text.into_bytes()),
        Err(fmt::Error) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "a number could not be written")
        }
    }
}

/// Everything whose value is somebody else's to know.
struct Moment {
    gateway: Arc<Gateway>,
    blocklist: Arc<Blocklist>,
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment").finish_non_exhaustive()
    }
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(&mut encoder);
        self.tokens(&mut page)?;
        self.blocklist(&mut page)?;
        self.streams(&mut page)?;
        self.keys(&mut page)?;
        self.certificates(&mut page)?;
        let dropped = self.gateway.access.dropped();
        page.counter(
            ("log_lines_dropped", "Access-log lines that did not fit into the queue."),
            [(Labels::new(), dropped)],
        )
    }
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; these are counts and seconds")]
impl Moment {
    fn tokens(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let entries = self.gateway.tokens.len() as f64;
        page.gauge(
            ("token_cache_entries", "Tokens whose facts are kept, approximately."),
            None,
            [(Labels::new(), entries)],
        )
    }

    fn blocklist(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let status = self.blocklist.status();
        page.gauge(
            ("blocklist_up", "1 while the store answers."),
            None,
            [(Labels::new(), f64::from(u8::from(status.up)))],
        )?;
        page.counter(
            ("blocklist_lost", "Times that the store was found without its revocations."),
            [(Labels::new(), status.lost)],
        )
    }

    fn streams(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let streams = &self.gateway.streams;
        page.gauge(
            ("streams", "Open WebSockets and long bodies of callers with a token."),
            None,
            [(Labels::new(), streams.open() as f64)],
        )?;
        let ended = streams.ended().into_iter();
        page.counter(
            ("streams_ended", "Streams that were ended because their token counted no longer."),
            ended.map(|ended| (vec![("reason", ended.reason.into())], ended.streams)),
        )?;
        page.counter(
            ("streams_unanswered", "Streams that went on because the blocklist did not answer."),
            [(Labels::new(), streams.unanswered())],
        )
    }

    fn keys(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let sources = self.gateway.providers.status();
        let ages = sources.iter().filter_map(|source| {
            Some((vec![("issuer", (&*source.entry).into())], source.age?.as_secs_f64()))
        });
        page.gauge(
            ("jwks_age", "Time since the published keys in use were fetched."),
            Some(&Unit::Seconds),
            ages,
        )
    }

    fn certificates(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let policy = self.gateway.policy.load();
        let ends = policy.tls.iter().flat_map(|tls| tls.ends());
        page.gauge(
            ("certificate_not_after_timestamp", "When a certificate of the listener ends."),
            Some(&Unit::Seconds),
            ends.map(|(subject, end)| (vec![("subject", subject.into())], *end as f64)),
        )
    }
}
