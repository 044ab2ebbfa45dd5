//! What the gateway does with the keys that providers publish, in time that the tests move: the
//! providers are scripted, the snapshot and the files are real.

mod asking;
mod following;
mod keeping;
mod staleness;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::document::{DocumentError, SourceError};
use super::*;
use crate::auth::{
    Algorithm, IssuerFilter, IssuerSettings, Issuers, SigningKey, TokenCheck, Verified, VerifyError,
};
use crate::config;
use crate::limit::Registry;
use crate::observe::audit::Audit;
use crate::observe::metrics::Metrics;
use crate::policy::provider::{Published, Reach};
use crate::time::UnixTime;

pub(super) const ISSUER: &str = "https://id.example";

/// Settings as an operator leaves them.
pub(super) fn key_source(entry: &str) -> KeySource {
    KeySource {
        entry: entry.into(),
        issuer: Some(ISSUER.into()),
        published: Published::Jwks("https://id.example/keys".parse().unwrap()),
        hosts: Vec::new(),
        reach: Reach {
            tls: tls(),
            trust: "".into(),
            addresses: Vec::new(),
            plain: false,
            timeout: Duration::from_secs(5),
        },
        algorithms: vec![Algorithm::ES256],
        refresh: Duration::from_secs(300),
        cooldown: Duration::from_secs(10),
        max_stale: Duration::from_secs(3600),
        required: true,
    }
}

fn tls() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}

/// A provider's key.
pub(super) struct Key {
    kid: String,
    signing: SigningKey,
    jwk: Value,
}

impl Key {
    pub(super) fn new(kid: &str) -> Self {
        crate::auth::install_provider();
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        let private = pem::encode(&pem::Pem::new("PRIVATE KEY", private.as_ref()));
        let signing = SigningKey::from_pem(Algorithm::ES256, private.as_bytes()).unwrap();
        let public = pair.public_key().as_ref();
        let half = |from: usize| URL_SAFE_NO_PAD.encode(&public[from..from + 32]);
        let (x, y) = (half(1), half(33));
        let mut jwk = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "x": x, "y": y});
        if !kid.is_empty() {
            jwk["kid"] = kid.into();
        }
        Self { kid: kid.to_owned(), signing, jwk }
    }

    /// A good token of this key.
    pub(super) fn token(&self) -> String {
        let now = UnixTime::now().seconds();
        let claims = json!({"iss": ISSUER, "sub": "ada", "iat": now, "exp": now + 3600});
        let kid = (!self.kid.is_empty()).then_some(self.kid.as_str());
        self.signing.sign("JWT", kid, claims.as_object().unwrap()).unwrap()
    }
}

pub(super) fn jwks(keys: &[&Key]) -> String {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
    json!({ "keys": keys }).to_string()
}

/// What a scripted provider does when it is asked.
#[derive(Clone)]
pub(super) struct Script {
    /// The document; `None`: it cannot be fetched.
    pub(super) document: Option<String>,
    pub(super) takes: Duration,
    pub(super) max_age: Option<Duration>,
    pub(super) panics: bool,
}

/// A scripted provider, and what was asked of it.
pub(super) struct Provider {
    script: Mutex<Script>,
    asked: Mutex<Vec<Instant>>,
    running: AtomicUsize,
    running_max: AtomicUsize,
}

impl Provider {
    fn new() -> Self {
        let script = Script {
            document: None,
            takes: Duration::from_millis(100),
            max_age: None,
            panics: false,
        };
        Self {
            script: Mutex::new(script),
            asked: Mutex::default(),
            running: AtomicUsize::new(0),
            running_max: AtomicUsize::new(0),
        }
    }

    pub(super) fn now(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    pub(super) fn publishes(&self, keys: &[&Key]) {
        self.now(|script| script.document = Some(jwks(keys)));
    }

    pub(super) fn is_down(&self) {
        self.now(|script| script.document = None);
    }

    /// How often it was asked.
    pub(super) fn fetches(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// When, since the first time.
    pub(super) fn times(&self) -> Vec<Duration> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|at| *at - asked[0]).collect()
    }

    async fn answer(&self, settings: &KeySource) -> Result<document::Published, SourceError> {
        self.asked.lock().unwrap().push(Instant::now());
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.running_max.fetch_max(running, Ordering::SeqCst);
        let leave = Leave(&self.running);
        // As it was when the question arrived.
        let script = self.script.lock().unwrap().clone();
        tokio::time::sleep(script.takes).await;
        drop(leave);
        assert!(!script.panics, "as the script says");
        let at: Box<str> = "https://id.example/keys".into();
        let wrong = |reason| SourceError::Document { at: at.clone(), reason };
        let text = script.document.ok_or_else(|| wrong(DocumentError::Html))?;
        let read = document::read_keys(text.as_bytes(), &settings.algorithms);
        let (keys, notes) = read.map_err(wrong)?;
        Ok(document::Published { keys, notes, max_age: script.max_age, text: text.into() })
    }
}

struct Leave<'p>(&'p AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A gateway's providers with everything around them.
pub(super) struct Bench {
    pub(super) dir: TempDir,
    pub(super) policy: Arc<ArcSwap<Snapshot>>,
    pub(super) providers: Arc<Providers>,
    scripted: Arc<HashMap<Box<str>, Provider>>,
}

impl Bench {
    /// With a provider for each entry, all down at first.
    pub(super) fn new(sources: &[KeySource]) -> Self {
        Self::at(tempfile::tempdir().unwrap(), sources)
    }

    /// The same in a state directory that was used before.
    pub(super) fn at(dir: TempDir, sources: &[KeySource]) -> Self {
        let policy = Arc::new(ArcSwap::from_pointee(snapshot(sources)));
        let scripted: HashMap<Box<str>, Provider> =
            sources.iter().map(|source| (source.entry.clone(), Provider::new())).collect();
        let scripted = Arc::new(scripted);
        let asked = scripted.clone();
        let fetch: Fetch = Arc::new(move |settings: Arc<KeySource>| {
            let scripted = asked.clone();
            Box::pin(async move {
                match scripted.get(&settings.entry) {
                    Some(provider) => provider.answer(&settings).await,
                    None => std::future::pending().await,
                }
            })
        });
        let providers = Providers::with_fetch(
            policy.clone(),
            dir.path(),
            (Metrics::new(), Audit::off()),
            fetch,
        );
        Self { dir, policy, providers, scripted }
    }

    /// One provider that publishes these keys, followed.
    pub(super) async fn started(settings: KeySource, keys: &[&Key]) -> Self {
        let bench = Self::new(&[settings]);
        bench.main().publishes(keys);
        bench.providers.follow().await;
        bench
    }

    /// The provider of the entry `main`.
    pub(super) fn main(&self) -> &Provider {
        self.provider("main")
    }

    pub(super) fn provider(&self, entry: &str) -> &Provider {
        &self.scripted[entry]
    }

    /// What the snapshot in force says of a token.
    pub(super) fn verify(&self, token: &str) -> Result<Verified, VerifyError> {
        let (policy, now) = (self.policy.load(), UnixTime::now());
        policy.issuers.prepare(token, &IssuerFilter::All, now)?.verify(now)
    }

    /// What a request with this token would do: the snapshot, and once more after asking.
    pub(super) async fn request(&self, token: &str) -> Result<Verified, Option<VerifyError>> {
        let refusal = match self.verify(token) {
            Ok(verified) => return Ok(verified),
            Err(refusal) => refusal,
        };
        let wanted = self.policy.load().issuers.wanted(token, &IssuerFilter::All, &refusal);
        let Some(wanted) = wanted else { return Err(Some(refusal)) };
        match self.providers.look_again(&wanted).await {
            Looked::Again => self.verify(token).map_err(Some),
            Looked::Unknown => Err(Some(refusal)),
            Looked::Unavailable => Err(None),
        }
    }

    pub(super) async fn look(&self, kid: &str) -> Looked {
        self.providers.look_again(&wanted(&["main"], Some(kid))).await
    }

    /// A reload to these sources.
    pub(super) async fn reload(&self, sources: &[KeySource]) {
        let snapshot = self.providers.furnish(snapshot(sources));
        self.policy.store(Arc::new(snapshot));
        self.providers.follow().await;
    }

    pub(super) fn status(&self) -> KeySourceStatus {
        self.providers.status().into_iter().next().unwrap()
    }
}

pub(super) fn wanted(entries: &[&str], kid: Option<&str>) -> Wanted {
    let entries = entries.iter().map(|entry| (*entry).into()).collect();
    Wanted { entries, kid: kid.map(Into::into) }
}

/// A compiled configuration with these sources and an issuer entry for each.
fn snapshot(sources: &[KeySource]) -> Snapshot {
    let text = "listen.https = \"off\"\nlisten.plain = \"unix:run/p.sock\"\n";
    let source = config::Source::new("p.toml", "/nowhere", text);
    let loaded = config::parse(source, &[], &|_| None, config::Options::ONLINE).unwrap();
    let (limiters, metrics) = (Registry::default(), Metrics::new());
    let context = crate::policy::Context {
        source: &loaded.source,
        limiters: &limiters,
        metrics: &metrics,
        previous: None,
        environment: &|_| None,
        access: crate::policy::FileAccess::Online,
    };
    let Ok(compiled) = crate::policy::compile(&loaded.config, context) else {
        panic!("the configuration around the sources is refused")
    };
    let settings = sources.iter().map(|source| {
        let mut settings = IssuerSettings::new(&*source.entry, source.algorithms.clone());
        settings.issuer = source.issuer.as_deref().map(str::to_owned);
        settings.check = TokenCheck::SignatureFetched;
        settings
    });
    let issuers = Issuers::new(settings.collect(), Vec::new()).unwrap();
    let key_sources = sources.iter().cloned().map(Arc::new).collect();
    Snapshot { issuers, key_sources, ..compiled }
}

/// Lets time pass, and everybody do what they do in it.
pub(super) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
