//! The numbers as OpenMetrics text, by the encoder of `prometheus-client`: names, types, labels.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::words::{STATUS_LABELS, STORE_UNAVAILABLE, STORE_UNREACHABLE, status_label};
use super::{Handshake, Histogram, Listener, Metrics, Outcome, RouteSeries, UpstreamSeries, held};

/// Names with their values, both from the configuration or from fixed lists.
pub type Labels<'l> = Vec<(&'static str, Cow<'l, str>)>;

/// What a metric is called and what it means. The suffixes `_total` and those of units come by
/// themselves.
pub type Title = (&'static str, &'static str);

/// A scrape's answer while it is written.
pub struct Page<'e, 'd>(pub &'e mut DescriptorEncoder<'d>);

impl Page<'_, '_> {
    /// A counter; without samples it is left out.
    ///
    /// # Errors
    ///
    /// Whatever the encoder cannot write.
    pub fn counter<'l>(
        &mut self,
        title: Title,
        samples: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        self.family(title, None, MetricType::Counter, samples, |encoder, value| {
            encoder.encode_counter::<NoLabelSet, _, u64>(value, None)
        })
    }

    /// A gauge; without samples it is left out.
    ///
    /// # Errors
    ///
    /// As [`Page::counter`].
    pub fn gauge<'l>(
        &mut self,
        title: Title,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> fmt::Result {
        self.family(title, unit, MetricType::Gauge, samples, |encoder, value| {
            encoder.encode_gauge(value)
        })
    }

    /// A histogram of seconds; without samples it is left out.
    ///
    /// # Errors
    ///
    /// As [`Page::counter`].
    pub fn histogram<'l>(
        &mut self,
        title: Title,
        samples: impl IntoIterator<Item = (Labels<'l>, &'l Histogram)>,
    ) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        self.family(title, unit, MetricType::Histogram, samples, |encoder, histogram| {
            let (sum, buckets) = histogram.read();
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }

    fn family<'l, V>(
        &mut self,
        (name, help): Title,
        unit: Option<&Unit>,
        kind: MetricType,
        samples: impl IntoIterator<Item = (Labels<'l>, V)>,
        mut write: impl FnMut(&mut MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                write(&mut family, &value)?;
            } else {
                write(&mut family.encode_family(&labels)?, &value)?;
            }
        }
        Ok(())
    }
}

/// Everything that [`Metrics`] itself counts.
#[derive(Debug)]
pub(super) struct Own(pub(super) Arc<Metrics>);

impl Collector for Own {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &*self.0;
        let mut routes = held(&metrics.routes);
        routes.push(metrics.unrouted.clone());
        let mut page = Page(&mut encoder);
        of_routes(&mut page, &routes)?;
        of_upstreams(&mut page, &held(&metrics.upstreams))?;
        of_tokens(&mut page, metrics)?;
        of_connections(&mut page, metrics)?;
        page.counter(
            ("config_reloads", "Attempts to put a configuration in force while running."),
            Outcome::ALL.iter().map(|outcome| {
                let labels = vec![("outcome", outcome.as_str().into())];
                (labels, metrics.reloads.sum(*outcome as usize))
            }),
        )?;
        let mut build = encoder.encode_descriptor(
            "build",
            "The program that answers.",
            None,
            MetricType::Info,
        )?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

fn of_routes(page: &mut Page<'_, '_>, routes: &[Arc<RouteSeries>]) -> fmt::Result {
    let statuses = routes.iter().flat_map(|route| {
        let seen = (0..STATUS_LABELS).map(|index| (index, route.status(index)));
        seen.filter(|(_, count)| *count > 0).map(|(index, count)| {
            let labels =
                vec![("route", route.name().into()), ("status", status_label(index).into())];
            (labels, count)
        })
    });
    page.counter(("http_requests", "Requests whose answer is over."), statuses)?;
    page.histogram(
        ("http_request_duration", "From a request's head to its answer's last byte."),
        routes.iter().map(|route| (vec![("route", route.name().into())], route.duration())),
    )?;
    page.counter(
        ("auth_decisions", "Requests that were let on or refused, and why."),
        routes.iter().flat_map(|route| decisions(route)),
    )?;
    let limited: Vec<_> = routes.iter().map(|route| (route.name(), route.all_limited())).collect();
    let limited = limited.iter().flat_map(|(route, limited)| {
        limited.iter().map(|(by, count)| {
            (vec![("route", Cow::from(*route)), ("by", Cow::from(&**by))], *count)
        })
    });
    page.counter(("rate_limited", "Requests that a limit refused."), limited)
}

/// Those that have happened; what a fail mode does also when it has not, so that its first time
/// shows as an increase.
fn decisions(route: &RouteSeries) -> impl Iterator<Item = (Labels<'_>, u64)> {
    let named = !route.name().is_empty();
    let allowed = route.all_allowed().map(|(reason, count)| ("allowed", reason, count));
    let refused = route.all_refused().map(|(reason, count)| ("refused", reason, count));
    allowed
        .chain(refused)
        .filter(move |(_, reason, count)| {
            *count > 0 || (named && [STORE_UNAVAILABLE, STORE_UNREACHABLE].contains(reason))
        })
        .map(|(outcome, reason, count)| {
            let route = ("route", route.name().into());
            (vec![route, ("outcome", outcome.into()), ("reason", shown(reason))], count)
        })
}

/// A word without the mark that sorts it behind the others.
fn shown(word: &'static str) -> Cow<'static, str> {
    word.trim_start_matches('~').into()
}

fn of_upstreams(page: &mut Page<'_, '_>, upstreams: &[Arc<UpstreamSeries>]) -> fmt::Result {
    let requests = upstreams.iter().flat_map(|upstream| {
        let answered = (0..STATUS_LABELS)
            .map(|index| (Cow::from(status_label(index)), upstream.status(index)));
        let unanswered = upstream.all_unanswered().map(|(word, count)| (shown(word), count));
        answered.chain(unanswered).filter(|(_, count)| *count > 0).map(|(status, count)| {
            (vec![("upstream", upstream.name().into()), ("status", status)], count)
        })
    });
    page.counter(
        (
            "upstream_requests",
            "Requests handed to an upstream, by its answer or why there is none.",
        ),
        requests,
    )?;
    page.histogram(
        ("upstream_duration", "From handing a request over to the head of the upstream's answer."),
        upstreams
            .iter()
            .map(|upstream| (vec![("upstream", upstream.name().into())], upstream.duration())),
    )
}

fn of_tokens(page: &mut Page<'_, '_>, metrics: &Metrics) -> fmt::Result {
    let one = |count| [(Labels::new(), count)];
    page.counter(
        ("token_cache_hits", "Tokens whose facts were known already."),
        one(metrics.token_cache_hits.total()),
    )?;
    page.counter(
        ("token_cache_misses", "Tokens that had to be verified."),
        one(metrics.token_cache_misses.total()),
    )?;
    page.histogram(
        ("blocklist_check_duration", "How long the blocklist took to answer, or not to."),
        [(Labels::new(), &metrics.blocklist_check)],
    )?;
    let refreshes = metrics.key_refreshes.lock().unwrap_or_else(PoisonError::into_inner).clone();
    page.counter(
        ("jwks_refresh", "Attempts to fetch an issuer's keys."),
        refreshes.iter().map(|((issuer, outcome), count)| {
            (vec![("issuer", Cow::from(&**issuer)), ("outcome", (*outcome).into())], *count)
        }),
    )
}

fn of_connections(page: &mut Page<'_, '_>, metrics: &Metrics) -> fmt::Result {
    let listeners =
        [(Listener::Https, "https"), (Listener::Plain, "plain"), (Listener::Redirect, "http")];
    #[allow(clippy::cast_precision_loss, reason = "nobody has 2^52 connections")]
    let open = listeners.iter().filter_map(|(listener, word)| {
        let open = metrics.connections.get(*listener as usize)?.load(Ordering::Relaxed);
        Some((vec![("listener", Cow::from(*word))], open.max(0) as f64))
    });
    page.gauge(("connections", "Open connections of clients."), None, open)?;
    let handshakes = [
        (Handshake::Tls12, "success", "1.2"),
        (Handshake::Tls13, "success", "1.3"),
        (Handshake::Failed, "failure", ""),
        (Handshake::TimedOut, "timeout", ""),
    ];
    page.counter(
        ("tls_handshakes", "TLS handshakes with clients."),
        handshakes.iter().map(|(ended, outcome, version)| {
            let labels = vec![("outcome", Cow::from(*outcome)), ("version", (*version).into())];
            (labels, metrics.handshakes.sum(*ended as usize))
        }),
    )
}
