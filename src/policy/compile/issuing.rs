//! `[issuing]` → Postern as an issuer, with its keys read.

use super::{Access, Context};
use crate::auth::SigningKey;
use crate::config::{self, Config, Problem, Problems, SecretSource, Spanned};
use crate::limit::{self, By, Limit, LimiterId, Quota, Shared};
use crate::policy::cookies::{Cookies, SECRET_BYTES_MIN};
use crate::policy::issuing::{Issuing, IssuingKey};

/// `None` when there is no section, or when its keys cannot be read here: a verb that judges a
/// stranger's configuration runs no commands.
pub(super) fn compile(
    config: &Config,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<Issuing> {
    let raw = config.issuing.as_ref()?.get_ref();
    let mut keys = Vec::with_capacity(raw.keys.len());
    for key in &raw.keys {
        keys.extend(signing_key(key, context, problems));
    }
    Some(Issuing {
        issuer: raw.issuer.get_ref().0.clone(),
        audiences: raw.audiences.iter().map(|text| text.0.clone()).collect(),
        client_id: raw.client_id.get_ref().0.clone(),
        access_lifetime: raw.access_lifetime.get_ref().get(),
        refresh_idle: raw.refresh_idle.get_ref().get(),
        refresh_lifetime: raw.refresh_lifetime.get_ref().get(),
        refresh_grace: raw.refresh_grace.get_ref().get(),
        cookies: raw.cookies.as_ref().and_then(|raw| cookies(raw, context, problems)),
        keys,
        login_limits: limits("login_limits", &raw.login_limits, context, true),
        refresh_limits: limits("refresh_limits", &raw.refresh_limits, context, false),
    })
}

fn cookies(
    placed: &Spanned<config::Cookies>,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<Cookies> {
    let raw = placed.get_ref();
    let source = raw.cookie_secret()?;
    if context.access == Access::Offline && matches!(source, SecretSource::Command(_)) {
        return None;
    }
    let mut wrong = |error: String| problems.push(Problem::at(placed.span(), error));
    let read = source.read(context.source.dir(), context.environment);
    let secret = read.map_err(|error| wrong(error.to_string())).ok()?;
    let length = secret.expose().len();
    if length < SECRET_BYTES_MIN {
        wrong(format!("the cookie secret has {length} bytes; it has {SECRET_BYTES_MIN} at least"));
        return None;
    }
    let strict = *raw.same_site.get_ref() == config::SameSite::Strict;
    let (name, login_page) = (raw.name.get_ref().as_str(), *raw.login_page.get_ref());
    Some(Cookies::new(name, strict, login_page, secret.expose()))
}

/// `kept`: counted in the store, so that neither a restart nor another gateway forgets.
fn limits(
    name: &str,
    raw: &[Spanned<config::IssuingLimit>],
    context: Context<'_>,
    kept: bool,
) -> Vec<Limit> {
    let compiled = raw.iter().enumerate().map(|(index, limit)| {
        let limit = limit.get_ref();
        let key = limit.by.get_ref();
        let by: Vec<By> = [(key.client, By::Client), (key.account, By::Account)]
            .into_iter()
            .filter_map(|(is_part, by)| is_part.then_some(by))
            .collect();
        let rate = limit.rate.get_ref();
        let quota = Quota { count: rate.count, per: rate.per };
        let count = match limit.count {
            config::Count::All => limit::Count::All,
            config::Count::Failures => limit::Count::Failures,
        };
        // No route is called so.
        let route = format!("[issuing] {name}");
        let id = LimiterId { route, index, by: format!("{by:?}"), quota, count };
        let shared = kept.then(|| Shared::new(&id, &by));
        let limiter = context.limiters.limiter(id);
        Limit { name: name.to_owned(), by, count, limiter, shared }
    });
    compiled.collect()
}

/// One key; `None` when it cannot be read here, or is none, which is a problem.
pub(super) fn signing_key(
    placed: &Spanned<config::IssuingKey>,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<IssuingKey> {
    let raw = placed.get_ref();
    let algorithm = raw.algorithm.get_ref().0;
    let source = if algorithm.is_hmac() { raw.secret() } else { raw.private_key() }?;
    if context.access == Access::Offline && matches!(source, SecretSource::Command(_)) {
        return None;
    }
    let mut wrong = |error: String| problems.push(Problem::at(placed.span(), error));
    let read = source.read(context.source.dir(), context.environment);
    let material = read.map_err(|error| wrong(error.to_string())).ok()?;
    let key = if algorithm.is_hmac() {
        SigningKey::from_secret(algorithm, material.expose())
    } else {
        SigningKey::from_pem(algorithm, material.expose())
    };
    // The public half is judged too: a key that nobody would take signs in vain (R16).
    let judged = key.and_then(|key| key.verification_key(None).map(|_| key));
    let signing = judged.map_err(|error| wrong(error.to_string())).ok()?;
    Some(IssuingKey { kid: raw.kid.get_ref().clone(), signing })
}

#[cfg(test)]
mod tests;
