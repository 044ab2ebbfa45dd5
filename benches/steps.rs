//! What each step of a request costs by itself: `cargo bench --bench steps`.
//!
//! One thread, warm caches, no network. Good for finding out which step to look at and for
//! comparing
//! two versions on one machine in one sitting; not for comparing machines. What a request
//! costs as a
//! whole is measured from outside (see `load/README.md`).

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(missing_docs, reason = "the macros make public items")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use postern::auth::{Algorithm, IssuerFilter, IssuerSettings, Issuers, SigningKey, TokenCache};
use postern::observe::metrics::Metrics;
use postern::policy::canonical::{canonical, folded};
use postern::policy::identity::{IdentityHeaders, Preset};
use postern::policy::reserved::ReservedNames;
use postern::policy::router::{Pattern, Router};
use postern::proxy::guard::guard;
use postern::proxy::identity::Identity;
use postern::time::UnixTime;
use postern::token::ClaimPath;
use serde_json::json;

const ISSUER: &str = "https://issuer.example";

fn paths(c: &mut Criterion) {
    c.bench_function("canonical: already canonical", |b| {
        b.iter(|| canonical(black_box("/api/v1/orders/4711/items?page=2")).is_ok());
    });
    c.bench_function("canonical: to be rewritten", |b| {
        b.iter(|| canonical(black_box("/api/v1/%6Frders/4711/items?page=2")).is_ok());
    });
    c.bench_function("folded: nothing to fold", |b| {
        b.iter(|| folded(black_box("/api/v1/orders/4711/items")).is_none());
    });
    let patterns: Vec<Pattern> = (0..1000)
        .map(|n| Pattern {
            hosts: Vec::new(),
            path: format!("/api/v1/service{n}"),
            prefix: true,
            methods: Vec::new(),
        })
        .collect();
    let router = Router::new(&patterns).unwrap();
    c.bench_function("router: 1000 routes", |b| {
        let path = black_box("/api/v1/service500/orders/4711");
        b.iter(|| {
            router.find("api.example.com", path, &Method::GET) == router.find("", "", &Method::GET)
        });
    });
}

fn headers(c: &mut Criterion) {
    let reserved = ReservedNames::compile(["X-Auth-*"], []).unwrap();
    let mut request = HeaderMap::new();
    for (name, value) in [
        ("host", "api.example.com"),
        ("user-agent", "bench/1.0"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("authorization", "Bearer x.y.z"),
        ("content-type", "application/json"),
        ("x-trace", "1"),
    ] {
        request.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    c.bench_function("guard: seven ordinary fields", |b| {
        b.iter(|| guard(black_box(&mut request), &reserved).trailers);
    });
}

fn tokens(c: &mut Criterion) {
    postern::auth::install_provider();
    let now = UnixTime::now();
    for algorithm in [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let key = SigningKey::generate(algorithm).unwrap();
        let mut settings = IssuerSettings::new("bench", vec![algorithm]);
        settings.issuer = Some(ISSUER.to_owned());
        settings.keys.push(key.verification_key(Some("k")).unwrap());
        let issuers = Issuers::new(vec![settings], Vec::new()).unwrap();
        let claims = json!({
            "iss": ISSUER, "sub": "user-1", "roles": ["reader", "writer"], "jti": "j-1",
            "iat": now.seconds(), "exp": now.seconds() + 3600,
        });
        let token = key.sign("at+jwt", Some("k"), claims.as_object().unwrap()).unwrap();
        let verify =
            || issuers.prepare(&token, &IssuerFilter::All, now).and_then(|ready| ready.verify(now));
        c.bench_function(&format!("verify: {}", algorithm.as_str()), |b| {
            b.iter(|| black_box(verify()).is_ok());
        });
        if algorithm == Algorithm::RS256 {
            let cache = TokenCache::new(1 << 20);
            let verified = Arc::new(verify().unwrap());
            cache.insert(&token, verified.clone());
            c.bench_function("cache: hit", |b| {
                b.iter(|| cache.get(black_box(&token), &issuers).is_some());
            });
            let configured =
                [(HeaderName::from_static("x-user-id"), ClaimPath::Name("sub".to_owned()))];
            let table = IdentityHeaders::new(Preset::None, configured);
            c.bench_function("identity: one header", |b| {
                b.iter(|| Identity::new(&table, black_box(&verified.claims), "").is_ok());
            });
        }
    }
}

/// Everything that is counted of one request, but for reading the clock.
fn counts(c: &mut Criterion) {
    let metrics = Metrics::new();
    let (route, upstream) = (metrics.route("orders"), metrics.upstream("app"));
    c.bench_function("metrics: one request", |b| {
        let took = black_box(Duration::from_micros(300));
        b.iter(|| {
            metrics.token_cache_hits.increment();
            metrics.blocklist_check.observe(took);
            upstream.answered(black_box(200), took);
            route.allowed(black_box("token"));
            route.finished(black_box(200), took);
        });
    });
}

criterion_group!(steps, paths, headers, tokens, counts);
criterion_main!(steps);
