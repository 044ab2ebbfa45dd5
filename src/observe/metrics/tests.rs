//! The text that comes out, and what lasts how long.

use std::time::Duration;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::gauge::Gauge;

use super::*;

#[derive(Debug)]
struct Nothing;

impl Collector for Nothing {
    fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

fn text(metrics: &Arc<Metrics>) -> String {
    metrics.encode(Box::new(Nothing)).unwrap()
}

/// Names of design.md, "Metrics": prefix, units and `_total` come out as written there.
#[test]
fn names_are_the_documented_ones() {
    let metrics = Metrics::new();
    let (route, upstream) = (metrics.route("orders"), metrics.upstream("app"));
    route.finished(200, Duration::from_millis(3));
    route.allowed("token");
    route.refused("expired");
    route.limited("client");
    upstream.answered(503, Duration::from_millis(2));
    upstream.unanswered("upstream_connect");
    metrics.keys_fetched("main", Outcome::Failure);
    metrics.reloaded(Outcome::Success);
    metrics.handshake(Handshake::Tls13);
    let open = metrics.open_connection(Listener::Https);
    let text = text(&metrics);
    for line in [
        "postern_http_requests_total{route=\"orders\",status=\"200\"} 1\n",
        "postern_http_request_duration_seconds_bucket{le=\"0.005\",route=\"orders\"} 1\n",
        "postern_http_request_duration_seconds_count{route=\"orders\"} 1\n",
        "postern_auth_decisions_total{route=\"orders\",outcome=\"allowed\",reason=\"token\"} 1\n",
        "postern_auth_decisions_total{route=\"orders\",outcome=\"refused\",reason=\"expired\"} 1\n",
        "{route=\"orders\",outcome=\"allowed\",reason=\"store_unreachable\"} 0\n",
        "{route=\"orders\",outcome=\"refused\",reason=\"store_unavailable\"} 0\n",
        "postern_rate_limited_total{route=\"orders\",by=\"client\"} 1\n",
        "postern_upstream_requests_total{upstream=\"app\",status=\"503\"} 1\n",
        "postern_upstream_requests_total{upstream=\"app\",status=\"upstream_connect\"} 1\n",
        "postern_upstream_duration_seconds_count{upstream=\"app\"} 1\n",
        "postern_token_cache_hits_total 0\n",
        "postern_token_cache_misses_total 0\n",
        "postern_blocklist_check_duration_seconds_count 0\n",
        "postern_jwks_refresh_total{issuer=\"main\",outcome=\"failure\"} 1\n",
        "postern_connections{listener=\"https\"} 1.0\n",
        "postern_tls_handshakes_total{outcome=\"success\",version=\"1.3\"} 1\n",
        "postern_config_reloads_total{outcome=\"success\"} 1\n",
        "postern_build_info{version=\"",
        "# UNIT postern_http_request_duration_seconds seconds\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    drop(open);
    assert!(super::tests::text(&metrics).contains("postern_connections{listener=\"https\"} 0.0\n"));
}

/// What is counted lasts as long as a snapshot has the route; a reload compiles the next one while
/// the last one is still there.
#[test]
fn numbers_last_as_long_as_the_route() {
    let metrics = Metrics::new();
    let old = metrics.route("orders");
    old.finished(200, Duration::ZERO);
    let new = metrics.route("orders");
    drop(old);
    new.finished(200, Duration::ZERO);
    assert!(text(&metrics).contains("{route=\"orders\",status=\"200\"} 2\n"));
    drop(new);
    assert!(!text(&metrics).contains("orders"));
    metrics.route("orders").finished(200, Duration::ZERO);
    let held = metrics.route("other");
    assert_eq!(metrics.routes.lock().unwrap().len(), 1, "nothing is kept of those that are gone");
    drop(held);
}

/// Invariant 8: what comes from outside makes no series.
#[test]
fn series_are_bounded() {
    let metrics = Metrics::new();
    let (route, upstream) = (metrics.route("orders"), metrics.upstream("app"));
    for n in 0..10_000_u16 {
        route.finished(n, Duration::from_secs(n.into()));
        route.refused(&format!("reason {n}"));
        route.allowed(&format!("reason {n}"));
        route.limited(&format!("limit {n}"));
        upstream.answered(n, Duration::ZERO);
        upstream.unanswered(&format!("reason {n}"));
    }
    let text = text(&metrics);
    assert!(text.lines().count() < 400, "{} lines", text.lines().count());
    assert!(text.contains("{route=\"orders\",outcome=\"refused\",reason=\"other\"} 10000\n"));
}

/// Other modules' metrics come under the same prefix and end with the same mark.
#[test]
fn others_add_their_own() {
    let metrics = Metrics::new();
    let streams: Gauge = Gauge::default();
    let theirs = streams.clone();
    metrics.register(|registry| registry.register("streams", "Open streams", theirs));
    streams.set(7);
    let text = text(&metrics);
    assert!(text.contains("# TYPE postern_streams gauge\npostern_streams 7\n"), "{text}");
    assert_eq!(text.matches("# EOF").count(), 1);
}
