//! What `[upstreams.NAME.assertion]` compiles to: what a token for that upstream says, who signs
//! it, and for how long it is good.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use http::HeaderName;
use serde_json::{Map, Value};

use super::issuing::{IssuingKey, public_jwk};
use crate::auth::keys::KeyError;
use crate::token::ClaimPath;

/// What one upstream's tokens have in common.
#[derive(Debug)]
pub struct Assertion {
    /// The header that carries it; reserved on every route of every upstream.
    pub header: HeaderName,
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// The longest `exp - iat`, in whole seconds.
    pub ttl: Duration,
    /// Claims of the caller's token that go on: the name here, and where it stands there.
    pub claims: Vec<(String, ClaimPath)>,
    /// Whether it names the route.
    pub bound: bool,
    /// The first signs; the others are published beside it.
    pub keys: Vec<IssuingKey>,
}

/// What the requests of one route carry: the upstream's settings, and for which route.
#[derive(Debug)]
pub struct RouteAssertion {
    /// The settings.
    pub settings: Arc<Assertion>,
    /// The route's name, where the assertion is bound to it.
    pub route: Option<Box<str>>,
    /// A digest of the settings, the signing key and the route: what was made under another one
    /// is not this route's, nor this configuration's.
    pub id: u128,
}

impl Assertion {
    /// The key that signs.
    #[must_use]
    pub fn signer(&self) -> Option<&IssuingKey> {
        self.keys.first()
    }

    /// What the requests of the route of this name carry.
    ///
    /// # Errors
    ///
    /// A key whose verifying half would be refused (R16).
    pub fn on_route(self: &Arc<Self>, name: &str) -> Result<RouteAssertion, KeyError> {
        let route: Option<Box<str>> = self.bound.then(|| name.into());
        let signer = self.signer().map(|key| key.signing.verification_key(Some(&key.kid)));
        let signer = signer.transpose()?;
        let fingerprint = signer.as_ref().map(|key| (key.kid(), key.fingerprint()));
        // The destructuring makes a new field a compile error here instead of a forgotten one;
        // Debug output quotes strings, so that no two settings read the same.
        let Self { header, issuer, audience, ttl, claims, bound: _, keys: _ } = &**self;
        let text = format!(
            "{header:?} {issuer:?} {audience:?} {ttl:?} {claims:?} {route:?} {fingerprint:?}"
        );
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Ok(RouteAssertion { settings: self.clone(), route, id: u128::from_be_bytes(id) })
    }

    /// The public keys that upstreams verify with; never a shared secret.
    ///
    /// # Errors
    ///
    /// A key whose public half would be refused (R16).
    pub fn jwks(&self) -> Result<Vec<Map<String, Value>>, KeyError> {
        self.keys.iter().filter_map(|key| public_jwk(key).transpose()).collect()
    }
}
