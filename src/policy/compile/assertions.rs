//! `[upstreams.NAME.assertion]` → what its tokens say, with the keys read; and that no key does two
//! things.

use std::sync::Arc;

use http::HeaderName;
use serde_json::{Map, Value};

use super::Context;
use super::issuing::signing_key;
use super::upstreams::Upstreams;
use crate::auth::{Family, Issuers, VerificationKey};
use crate::config::{self, Bind, Config, Problem, Problems, Spanned};
use crate::policy::assertion::Assertion;
use crate::policy::identity::IdentityHeaders;
use crate::policy::issuing::{Issuing, LOCAL, public_jwk};
use crate::policy::reserved::is_same_name;
use crate::token::ClaimPath;

/// One upstream's assertion. What is missing or contradicts itself was reported when the file was
/// read.
pub(super) fn compile(
    raw: &config::Assertion,
    config: &Config,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<Assertion> {
    let header = HeaderName::from_bytes(raw.header.get_ref().as_bytes());
    let origin = config.listen.public_url.get_ref().origin();
    let (Ok(header), Some(issuer)) = (header, raw.issuer_or(origin)) else { return None };
    let mut claims = Vec::new();
    for claim in raw.claims.spanned() {
        match ClaimPath::parse(claim.get_ref().as_str()) {
            Ok(path) => claims.extend(path.tokens().last().cloned().map(|name| (name, path))),
            Err(error) => problems.push(Problem::at(claim.span(), error.to_string())),
        }
    }
    let mut keys = Vec::with_capacity(raw.keys.len());
    for key in &raw.keys {
        keys.extend(signing_key(key, context, problems));
    }
    Some(Assertion {
        header,
        issuer,
        audience: raw.audience.get_ref().0.clone(),
        ttl: raw.ttl.get_ref().get(),
        claims,
        bound: *raw.bind.get_ref() == Bind::Route,
        keys,
    })
}

/// The headers that carry assertions; none is an identity header, in any spelling.
pub(super) fn headers(
    config: &Config,
    upstreams: &Upstreams,
    identity: &IdentityHeaders,
    problems: &mut Problems,
) -> Vec<HeaderName> {
    let mut headers = Vec::new();
    for (_, raw, assertion) in each(config, upstreams) {
        if let Some(other) = identity.names().find(|name| is_same_name(name, &assertion.header)) {
            problems.push(
                Problem::at(raw.header.span(), format!("`{other}` is an identity header already"))
                    .help("give the assertion a header of its own: X-Postern-Assertion"),
            );
        }
        headers.push(assertion.header.clone());
    }
    headers
}

/// The public keys of all that the gateway signs. A key that makes assertions makes nothing else,
/// and nothing else is believed by it (RFC 8725 §3.11); a kid names one key.
pub(super) fn published(
    config: &Config,
    upstreams: &Upstreams,
    issuing: Option<&Issuing>,
    issuers: &Issuers,
    problems: &mut Problems,
) -> Arc<[Map<String, Value>]> {
    // Keys that cannot be published were reported when they were read.
    let mut published = issuing.and_then(|issuing| issuing.jwks().ok()).unwrap_or_default();
    let mut seen: Vec<Seen<'_>> = Vec::new();
    for (name, raw, assertion) in each(config, upstreams) {
        for key in &assertion.keys {
            let Ok(verifying) = key.signing.verification_key(Some(&key.kid)) else { continue };
            let own = Seen { upstream: name, kid: &key.kid, key: verifying };
            if let Some((message, help)) = own.misuse(issuers, &seen) {
                let placed = raw.keys.iter().find(|raw| *raw.get_ref().kid.get_ref() == key.kid);
                let place = placed.map_or(0..0, Spanned::span);
                problems.push(Problem::at(place, message).help(help));
                continue;
            }
            if !seen.iter().any(|seen| seen.kid == own.kid) {
                published.extend(public_jwk(key).ok().flatten());
            }
            seen.push(own);
        }
    }
    published.into()
}

/// A key that signs an upstream's assertions.
struct Seen<'c> {
    upstream: &'c str,
    kid: &'c str,
    key: VerificationKey,
}

impl Seen<'_> {
    /// What else the key is used for, and what to do about it.
    fn misuse(&self, issuers: &Issuers, seen: &[Seen<'_>]) -> Option<(String, &'static str)> {
        const MAKE: &str = "make one for assertions alone: `postern keys generate`";
        let is_public = |key: &VerificationKey| key.algorithm().family() != Family::Hmac;
        for entry in issuers.settings() {
            let what = match entry.name.as_str() {
                LOCAL => "access tokens are signed with this key".to_owned(),
                name => format!("tokens of the issuer {name:?} are verified with this key"),
            };
            if entry.keys.iter().any(|key| key.is_same_material(&self.key)) {
                return Some((what, MAKE));
            }
            let has_kid = |key: &VerificationKey| key.kid() == Some(self.kid) && is_public(key);
            if entry.name == LOCAL && is_public(&self.key) && entry.keys.iter().any(has_kid) {
                let message = format!("an issuing key has the kid {:?} in jwks.json", self.kid);
                return Some((message, "call this one otherwise"));
            }
        }
        let others = seen.iter().filter(|other| other.upstream != self.upstream);
        for Seen { upstream, kid, key } in others {
            let same = key.is_same_material(&self.key);
            if same && !is_public(key) {
                let message = format!("the upstream `{upstream}` has this secret too");
                return Some((message, "whoever has the secret can sign: give each its own"));
            }
            if !same && *kid == self.kid && is_public(key) && is_public(&self.key) {
                let message =
                    format!("another key has the kid {kid:?}, of the upstream `{upstream}`");
                return Some((message, "a kid names one key in jwks.json: call one otherwise"));
            }
        }
        None
    }
}

/// Every upstream's assertion, as it is written and as it was compiled.
fn each<'c>(
    config: &'c Config,
    upstreams: &'c Upstreams,
) -> impl Iterator<Item = (&'c str, &'c config::Assertion, &'c Assertion)> {
    config.upstreams.iter().filter_map(|(name, raw)| {
        let raw = raw.assertion.as_ref()?.get_ref();
        let name = name.get_ref().as_str();
        Some((name, raw, &**upstreams.get(name)?.assertion.as_ref()?))
    })
}

#[cfg(test)]
mod tests;
