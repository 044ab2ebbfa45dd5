//! Which identity headers the upstream receives, and from which claims: `[identity]`.
//!
//! Only the table is here; values are made by `proxy::identity`, and the names are taken from
//! clients through [`super::reserved`].

use http::HeaderName;

use crate::token::ClaimPath;

/// What a header's value is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A claim.
    Claim(ClaimPath),
    /// The token's whole payload as it was signed: base64url without padding (Envoy's
    /// `forward_payload_header`).
    Payload,
}

/// Header names that other gateways made customary (`[identity] preset`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Authelia: `Remote-User`, `-Groups`, `-Name`, `-Email`.
    Authelia,
    /// Envoy's jwt_authn as its documentation configures it: `x-jwt-payload`, `x-jwt-claim-*`.
    Envoy,
    /// Kong: `X-Consumer-*`, `X-Credential-Identifier`, `X-Authenticated-*`.
    Kong,
    /// Only `[identity.headers]`.
    #[default]
    None,
    /// oauth2-proxy: `X-Forwarded-User`, `-Email`, `-Groups`, `-Preferred-Username`.
    OAuth2Proxy,
}

impl Preset {
    /// All presets, for the configuration's did-you-mean.
    pub const ALL: [Self; 5] =
        [Self::None, Self::OAuth2Proxy, Self::Authelia, Self::Envoy, Self::Kong];

    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authelia => "authelia",
            Self::Envoy => "envoy",
            Self::Kong => "kong",
            Self::None => "none",
            Self::OAuth2Proxy => "oauth2-proxy",
        }
    }

    /// Header and claim. The header that names the user is `sub` everywhere: it is the one claim
    /// that a user cannot change at the identity provider.
    const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Authelia => &[
                ("remote-user", "sub"),
                ("remote-groups", "groups"),
                ("remote-name", "name"),
                ("remote-email", "email"),
            ],
            Self::Envoy => &[
                ("x-jwt-payload", PAYLOAD),
                ("x-jwt-claim-sub", "sub"),
                ("x-jwt-claim-iss", "iss"),
                ("x-jwt-claim-email", "email"),
            ],
            Self::Kong => &[
                ("x-consumer-username", "sub"),
                ("x-consumer-custom-id", "sub"),
                ("x-consumer-groups", "groups"),
                ("x-credential-identifier", "iss"),
                ("x-authenticated-userid", "sub"),
                ("x-authenticated-scope", "scope"),
            ],
            Self::None => &[],
            Self::OAuth2Proxy => &[
                ("x-forwarded-user", "sub"),
                ("x-forwarded-email", "email"),
                ("x-forwarded-groups", "groups"),
                ("x-forwarded-preferred-username", "preferred_username"),
            ],
        }
    }
}

/// Stands for [`Source::Payload`] in the preset tables; no claim has an empty name there.
const PAYLOAD: &str = "";

/// Headers under which the upstream takes the gateway's word, compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityHeaders {
    headers: Vec<(HeaderName, Source)>,
}

impl IdentityHeaders {
    /// The preset's headers and the configured ones; where both name a header, the configured one
    /// holds.
    #[must_use]
    pub fn new(
        preset: Preset,
        configured: impl IntoIterator<Item = (HeaderName, ClaimPath)>,
    ) -> Self {
        let preset = preset.headers().iter().map(|&(name, claim)| {
            let source = match claim {
                PAYLOAD => Source::Payload,
                claim => Source::Claim(ClaimPath::Name(claim.to_owned())),
            };
            (HeaderName::from_static(name), source)
        });
        let configured = configured.into_iter().map(|(name, path)| (name, Source::Claim(path)));
        let mut headers: Vec<(HeaderName, Source)> = Vec::new();
        for (name, source) in preset.chain(configured) {
            headers.retain(|(known, _)| *known != name);
            headers.push((name, source));
        }
        Self { headers }
    }

    /// Each header once, with what it is made of.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &Source)> {
        self.headers.iter().map(|(name, source)| (name, source))
    }

    /// The names, for [`super::reserved::ReservedNames::compile`].
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reserved::ReservedNames;
    use super::*;

    /// Source: R24; what one preset sets, a client must not be able to send under any other.
    #[test]
    fn every_presets_names_are_reserved_whichever_is_chosen() {
        let reserved = ReservedNames::compile([], []).unwrap();
        for preset in Preset::ALL {
            for name in IdentityHeaders::new(preset, []).names() {
                assert!(reserved.contains(name.as_str()), "{name} of {}", preset.as_str());
            }
        }
    }

    #[test]
    fn a_configured_header_replaces_the_presets() {
        let name = HeaderName::from_static("remote-user");
        let path = ClaimPath::parse("/user/name").unwrap();
        let headers = IdentityHeaders::new(Preset::Authelia, [(name.clone(), path.clone())]);
        let of_name: Vec<_> = headers.iter().filter(|(known, _)| **known == name).collect();
        assert_eq!(of_name, [(&name, &Source::Claim(path))]);
        assert_eq!(headers.iter().len(), 4);
    }

    #[test]
    fn envoys_payload_is_not_a_claim() {
        let headers = IdentityHeaders::new(Preset::Envoy, []);
        let payload = headers.iter().find(|(name, _)| *name == "x-jwt-payload");
        assert_eq!(payload.map(|(_, source)| source), Some(&Source::Payload));
        assert_eq!(IdentityHeaders::new(Preset::None, []).iter().len(), 0);
    }
}
