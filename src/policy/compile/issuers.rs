//! `[[issuers]]` → issuer settings with their key files read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::providers::Providers;
use super::{Access, Context};
use crate::auth::keys::{from_jwks, from_public_key, from_secret};
use crate::auth::{
    Algorithm, ClaimMapping, Family, IssuerSettings, TokenCheck, TokenType, VerificationKey,
};
use crate::config::{self, Config, OrOff, Period, Problem, Problems, SecretSource, Spanned};
use crate::policy::provider::{Introspection, KeySource};
use crate::token::ClaimPath;

/// What `[[issuers]]` compiles to.
#[derive(Default)]
pub(super) struct Compiled {
    pub(super) entries: Vec<IssuerSettings>,
    pub(super) key_sources: Vec<Arc<KeySource>>,
    pub(super) introspections: Vec<Arc<Introspection>>,
}

pub(super) fn compile(config: &Config, context: Context<'_>, problems: &mut Problems) -> Compiled {
    let mut compiled = Compiled::default();
    let mut providers = Providers::new(context);
    for raw in config.issuers.iter().map(Spanned::get_ref) {
        let entry = entry(raw, context, problems);
        let source = providers.key_source(raw, &entry.algorithms, problems);
        compiled.key_sources.extend(source.map(Arc::new));
        compiled.introspections.extend(providers.introspection(raw, problems).map(Arc::new));
        compiled.entries.push(entry);
    }
    compiled
}

fn entry(raw: &config::Issuer, context: Context<'_>, problems: &mut Problems) -> IssuerSettings {
    let algorithms: Vec<Algorithm> = raw.algorithms.iter().map(|algorithm| algorithm.0).collect();
    let mut keys = Vec::new();
    for key in &raw.keys {
        keys.extend(single(key, context, problems));
    }
    if let Some(file) = &raw.jwks_file {
        keys.extend(set(file, &algorithms, context, problems));
    }
    let off = |span: &Spanned<OrOff<Period>>| -> Option<Duration> {
        span.get_ref().on().map(|period| period.get())
    };
    IssuerSettings {
        name: raw.name.get_ref().clone(),
        issuer: raw.issuer.get_ref().on().map(|text| text.0.clone()),
        audiences: (!raw.audiences.is_off())
            .then(|| raw.audiences.spanned().iter().map(|text| text.get_ref().0.clone()).collect()),
        algorithms,
        leeway: raw.leeway.get_ref().get(),
        max_lifetime: off(&raw.max_lifetime),
        max_age: off(&raw.max_age),
        required_claims: raw.required_claims.iter().map(|text| text.0.clone()).collect(),
        claims: mapping(&raw.claims, problems),
        check: match (raw.introspects(), raw.fetches()) {
            (true, _) => TokenCheck::Introspection,
            (false, true) => TokenCheck::SignatureFetched,
            (false, false) => TokenCheck::Signature,
        },
        token_type: match raw.token_type.get_ref() {
            config::TokenType::Any => TokenType::Any,
            config::TokenType::AtJwt => TokenType::AtJwt,
        },
        renewable: None,
        backchannel_logout: raw
            .backchannel_logout
            .as_ref()
            .map(|logout| logout.get_ref().client_id.get_ref().0.clone()),
        keys,
    }
}

fn mapping(raw: &config::ClaimMap, problems: &mut Problems) -> ClaimMapping {
    let mut path = |raw: &Spanned<config::ClaimPath>| {
        ClaimPath::parse(raw.get_ref().as_str()).unwrap_or_else(|error| {
            problems.push(Problem::at(raw.span(), error.to_string()));
            ClaimPath::Name(String::new())
        })
    };
    ClaimMapping {
        subject: path(&raw.subject),
        roles: path(&raw.roles),
        scopes: path(&raw.scopes),
        permissions: path(&raw.permissions),
        client: raw.client.spanned().map(&mut path).collect(),
        session: path(&raw.session),
    }
}

/// One `[[issuers.keys]]` entry.
fn single(
    key: &Spanned<config::Key>,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<VerificationKey> {
    let raw = key.get_ref();
    let kid = raw.kid.as_ref().map(|kid| kid.get_ref().as_str());
    let algorithm = raw.algorithm.get_ref().0;
    if let Some(source) = raw.secret() {
        if context.access == Access::Offline && matches!(source, SecretSource::Command(_)) {
            return None;
        }
        let read = source.read(context.source.dir(), context.environment);
        let secret = match read {
            Ok(secret) => secret,
            Err(error) => {
                problems.push(Problem::at(key.span(), error.to_string()));
                return None;
            }
        };
        return from_secret(kid, algorithm, secret.expose())
            .map_err(|error| problems.push(Problem::at(key.span(), error.to_string())))
            .ok();
    }
    let file = raw.public_key_file.as_ref()?;
    let text = read(file, Holds::PublicKeys, context, problems)?;
    from_public_key(kid, algorithm, &text)
        .map_err(|error| {
            let path = file.get_ref().display();
            problems.push(Problem::at(file.span(), format!("{path}: {error}")));
        })
        .ok()
}

/// A `jwks_file`. Unusable keys are told to the log; a set without a usable one is an error.
fn set(
    file: &Spanned<PathBuf>,
    algorithms: &[Algorithm],
    context: Context<'_>,
    problems: &mut Problems,
) -> Vec<VerificationKey> {
    let all_hmac = algorithms.iter().all(|algorithm| algorithm.family() == Family::Hmac);
    let holds = if all_hmac { Holds::Secrets } else { Holds::PublicKeys };
    let Some(text) = read(file, holds, context, problems) else { return Vec::new() };
    let path = file.get_ref().display();
    match from_jwks(&text, algorithms, all_hmac) {
        Ok(set) => {
            let reasons: Vec<String> =
                set.skipped.iter().map(|skipped| skipped.reason.to_string()).collect();
            if !reasons.is_empty() && !set.keys.is_empty() {
                let (used, left) = (set.keys.len(), reasons.len());
                let reasons = reasons.join("; ");
                tracing::info!(file = %path, used, left, reasons, "some keys are not used");
            }
            if set.keys.is_empty() {
                problems.push(Problem::at(
                    file.span(),
                    format!("{path} holds no usable key ({})", reasons.join("; ")),
                ));
            }
            set.keys
        }
        Err(error) => {
            problems.push(Problem::at(file.span(), format!("{path}: {error}")));
            Vec::new()
        }
    }
}

/// What a key file holds, and so who may do what with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Who writes it decides whose tokens are believed.
    PublicKeys,
    /// Who reads it can sign.
    Secrets,
}

fn read(
    file: &Spanned<PathBuf>,
    holds: Holds,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<Vec<u8>> {
    let path = context.source.resolve(file.get_ref());
    let permitted = match holds {
        Holds::PublicKeys => config::check_file_permissions(&path),
        Holds::Secrets => config::check_key_permissions(&path),
    };
    if let Err(error) = permitted {
        problems.push(Problem::at(file.span(), error.to_string()));
        return None;
    }
    std::fs::read(&path)
        .map_err(|error| {
            let message = format!("{} cannot be read: {error}", path.display());
            problems.push(Problem::at(file.span(), message));
        })
        .ok()
}

#[cfg(test)]
mod tests;
