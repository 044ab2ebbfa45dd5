//! `[[issuers]]` → where keys are fetched and who is asked about opaque tokens. No network is
//! touched.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;

use super::{Access, Context};
use crate::auth::Algorithm;
use crate::config::{self, Problem, Problems, SecretSource, Spanned};
use crate::policy::provider::{ClientAuthentication, Introspection, KeySource, Published, Reach};
use crate::policy::tls;
use crate::secret::Secret;

/// Compiles the providers of one configuration; they share the system's roots, which are many.
pub(super) struct Providers<'c> {
    context: Context<'c>,
    system: Option<Arc<ClientConfig>>,
}

impl<'c> Providers<'c> {
    pub(super) const fn new(context: Context<'c>) -> Self {
        Self { context, system: None }
    }

    /// The published keys of an entry; `None` when it fetches none, or when there are problems.
    pub(super) fn key_source(
        &mut self,
        raw: &config::Issuer,
        algorithms: &[Algorithm],
        problems: &mut Problems,
    ) -> Option<KeySource> {
        let published = match &raw.jwks_url {
            Some(url) => Published::Jwks(url.get_ref().0.clone()),
            None if *raw.discovery.get_ref() => Published::Discovery,
            None => return None,
        };
        let place = raw.jwks_url.as_ref().map_or_else(|| raw.discovery.span(), Spanned::span);
        let issuer: Option<Box<str>> = raw.issuer.get_ref().on().map(|text| text.0.as_str().into());
        let plain = match &published {
            Published::Jwks(url) => url.scheme() == "http",
            Published::Discovery => issuer.as_deref().is_some_and(|i| i.starts_with("http:")),
        };
        Some(KeySource {
            entry: raw.name.get_ref().as_str().into(),
            issuer,
            published,
            hosts: raw.jwks_hosts.iter().map(|host| host.text().into()).collect(),
            reach: self.reach(raw, place, plain, problems)?,
            algorithms: algorithms.to_vec(),
            refresh: raw.refresh.get_ref().get(),
            cooldown: raw.cooldown.get_ref().get(),
            max_stale: raw.max_stale.get_ref().get(),
            required: *raw.required.get_ref(),
        })
    }

    /// Whom to ask about the tokens of an entry; `None` when nobody is asked, when there are
    /// problems, or when only a command that may not run knows the secret.
    pub(super) fn introspection(
        &mut self,
        raw: &config::Issuer,
        problems: &mut Problems,
    ) -> Option<Introspection> {
        if !raw.introspects() {
            return None;
        }
        let url = raw.url.as_ref()?;
        let plain = url.get_ref().0.scheme() == "http";
        let reach = self.reach(raw, url.span(), plain, problems);
        let secret = client_secret(raw, self.context, problems);
        Some(Introspection {
            entry: raw.name.get_ref().as_str().into(),
            url: url.get_ref().0.clone(),
            client_id: raw.client_id.as_ref()?.get_ref().0.as_str().into(),
            client_secret: secret?,
            authentication: match raw.client_auth.get_ref() {
                config::ClientAuthentication::Basic => ClientAuthentication::Basic,
                config::ClientAuthentication::Post => ClientAuthentication::Post,
            },
            cache: raw.cache.get_ref().get(),
            reach: reach?,
        })
    }

    /// `plain`: the provider is on this machine and spoken to without TLS.
    fn reach(
        &mut self,
        raw: &config::Issuer,
        place: std::ops::Range<usize>,
        plain: bool,
        problems: &mut Problems,
    ) -> Option<Reach> {
        let ca = raw.ca.as_ref().map(|path| self.context.source.resolve(path.get_ref()));
        let tls = match (&ca, self.tls(ca.as_deref())) {
            (_, Ok(tls)) => tls,
            // Not an error where TLS is not spoken; where it should be after all, it fails.
            (None, Err(_)) if plain => tls::client_config_trusting_nobody()
                .map_err(|error| problems.push(Problem::at(place, error.to_string())))
                .ok()?,
            (_, Err(error)) => {
                let place = raw.ca.as_ref().map_or(place, Spanned::span);
                problems
                    .push(Problem::at(place, error.to_string()).help(
                        "write ca = \"FILE\", the authorities of the provider's certificate",
                    ));
                return None;
            }
        };
        Some(Reach {
            tls,
            trust: ca.map_or_else(Box::default, |ca| ca.display().to_string().into()),
            addresses: raw.provider_addresses.iter().map(|network| network.0).collect(),
            plain: false,
            timeout: raw.timeout.get_ref().get(),
        })
    }

    fn tls(&mut self, ca: Option<&Path>) -> Result<Arc<ClientConfig>, tls::Error> {
        match (ca, &self.system) {
            (None, Some(system)) => Ok(system.clone()),
            (None, None) => {
                let system = tls::client_config(None)?;
                self.system = Some(system.clone());
                Ok(system)
            }
            (Some(ca), _) => tls::client_config(Some(ca)),
        }
    }
}

fn client_secret(
    raw: &config::Issuer,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<Secret<String>> {
    let source = raw.client_secret()?;
    if context.access == Access::Offline && matches!(source, SecretSource::Command(_)) {
        return None;
    }
    let place = [
        raw.client_secret_file.as_ref().map(Spanned::span),
        raw.client_secret_env.as_ref().map(Spanned::span),
        raw.client_secret_command.as_ref().map(Spanned::span),
    ];
    let place = place.into_iter().flatten().next().unwrap_or_default();
    let secret = source
        .read(context.source.dir(), context.environment)
        .map_err(|error| problems.push(Problem::at(place.clone(), error.to_string())))
        .ok()?;
    // RFC 6749 appendix A.2: a client secret is visible ASCII and spaces.
    let text = std::str::from_utf8(secret.expose()).ok();
    let text = text.filter(|text| text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
    if text.is_none() {
        problems.push(
            Problem::at(place, "the client secret has characters that no client secret can have")
                .help("it is one line of ASCII text (RFC 6749 appendix A.2)"),
        );
    }
    text.map(|text| Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests;
