//! A compiled identity provider: where its keys are published, whom to ask about opaque tokens, and
//! how either may be reached. Settings alone; the fetching is `crate::provider`.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::ClientConfig;
use url::Url;

use crate::auth::Algorithm;
use crate::secret::Secret;

/// How a provider may be reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The roots that its certificate must lead to.
    pub tls: Arc<ClientConfig>,
    /// Says the roots in one word, to tell one setting from another: the file's path, or empty for
    /// the system's.
    pub trust: Box<str>,
    /// Private, link-local and other special addresses that may be connected to all the same.
    /// Loopback needs no entry where the URL's host is itself a loopback address or `localhost`.
    pub addresses: Vec<IpNet>,
    /// Whether http will do for those addresses too, not for loopback alone.
    pub plain: bool,
    /// For one exchange with everything around it: name resolution, TCP, TLS, the whole answer.
    pub timeout: Duration,
}

/// Where an issuer's keys are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Named by the provider's metadata (OpenID Connect Discovery 1.0 §4, RFC 8414 §3).
    Discovery,
    /// At this URL (RFC 7517 §5): https, or http on loopback.
    Jwks(Url),
}

/// The published keys of one issuer entry.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// The entry's name.
    pub entry: Box<str>,
    /// The exact `iss`; a discovery document must name it.
    pub issuer: Option<Box<str>>,
    /// Where.
    pub published: Published,
    /// Hosts besides the issuer's own on which a discovered `jwks_uri` may be.
    pub hosts: Vec<Box<str>>,
    /// How it may be reached.
    pub reach: Reach,
    /// The algorithms of the entry: a key that does not say its own has the only one that fits.
    pub algorithms: Vec<Algorithm>,
    /// Longest time between two fetches; a shorter `max-age` is followed.
    pub refresh: Duration,
    /// Shortest time between two fetches that unknown key ids ask for.
    pub cooldown: Duration,
    /// How long keys are used after the last fetch that went well.
    pub max_stale: Duration,
    /// Whether `/readyz` waits for its first keys.
    pub required: bool,
}

/// How the gateway says who it is to an introspection endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `Authorization: Basic`.
    Basic,
    /// `client_id` and `client_secret` in the form.
    Post,
}

/// Whom to ask about opaque tokens (RFC 7662).
#[derive(Clone, Debug)]
pub struct Introspection {
    /// The issuer entry's name.
    pub entry: Box<str>,
    /// The endpoint: https, or http on loopback.
    pub url: Url,
    /// The gateway's name at the provider.
    pub client_id: Box<str>,
    /// And its secret.
    pub client_secret: Secret<String>,
    /// How they are sent.
    pub authentication: ClientAuthentication,
    /// How long an answer may be used again; zero: for nobody who came after the question.
    pub cache: Duration,
    /// How it may be reached.
    pub reach: Reach,
}
