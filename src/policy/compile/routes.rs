//! `[[routes]]` → routes and the routers that find them.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;

use super::Context;
use super::upstreams::Upstreams;
use crate::auth::extract::TokenSource;
use crate::auth::{IssuerFilter, Rule};
use crate::config::{
    self, Auth, Config, Count, HostPattern, List, OnUnreachable, PathPattern, Period, Preflight,
    Problem, Problems, RequiredValue, Spanned, Text, Upgrade,
};
use crate::limit::{self, By, Limit, LimiterId, Quota, Shared};
use crate::policy::LOCAL;
use crate::policy::canonical::folded;
use crate::policy::route::{Access, Csrf, Demand, HostRule, Route};
use crate::policy::router::{Conflict, Pattern, Router};
use crate::policy::upstream::Timeouts;
use crate::token::ClaimPath;

/// The two readings of all paths.
pub(super) struct Tables {
    pub(super) literal: Router,
    pub(super) folded: Router,
    pub(super) paths_fold: bool,
}

pub(super) fn compile(
    config: &Config,
    context: Context<'_>,
    upstreams: &Upstreams,
    problems: &mut Problems,
) -> Vec<Arc<Route>> {
    let mut routes = Vec::with_capacity(config.routes.len());
    for raw in &config.routes {
        routes.extend(route(raw.get_ref(), config, context, upstreams, problems).map(Arc::new));
    }
    routes
}

pub(super) fn tables(config: &Config, problems: &mut Problems) -> Option<Tables> {
    let literal: Vec<Pattern> = config.routes.iter().map(|raw| pattern(raw.get_ref())).collect();
    let mut other = literal.clone();
    let mut paths_fold = false;
    for pattern in &mut other {
        if let Some(path) = folded(&pattern.path) {
            pattern.path = path;
            paths_fold = true;
        }
    }
    let conflict = |conflicts: Vec<Conflict>, what: &str, problems: &mut Problems| {
        for Conflict { first, second } in conflicts {
            let (Some(first), Some(second)) = (config.routes.get(first), config.routes.get(second))
            else {
                continue;
            };
            let (first, name) = (first.get_ref().name.get_ref(), &second.get_ref().name);
            problems.push(
                Problem::at(
                    name.span(),
                    format!("the route \"{}\" {what} \"{first}\"", name.get_ref()),
                )
                .help("give them different hosts, paths or methods"),
            );
        }
    };
    let literal = match Router::new(&literal) {
        Ok(router) => router,
        Err(conflicts) => {
            conflict(conflicts, "serves the same requests as", problems);
            return None;
        }
    };
    match Router::new(&other) {
        Ok(folded) => Some(Tables { literal, folded, paths_fold }),
        Err(conflicts) => {
            conflict(conflicts, "has a path that differs only in case from that of", problems);
            None
        }
    }
}

fn pattern(raw: &config::Route) -> Pattern {
    let (path, prefix) = match raw.path.get_ref() {
        PathPattern::Exact(path) => (path.clone(), false),
        PathPattern::Below(path) => (path.clone(), true),
    };
    let hosts = raw
        .hosts
        .iter()
        .map(|host| match host {
            HostPattern::Exact(name) => name.clone(),
            HostPattern::Below(name) => format!("*.{name}"),
        })
        .collect();
    Pattern { hosts, path, prefix, methods: raw.methods.iter().map(|m| m.get().clone()).collect() }
}

fn route(
    raw: &config::Route,
    config: &Config,
    context: Context<'_>,
    upstreams: &Upstreams,
    problems: &mut Problems,
) -> Option<Route> {
    // A name that no upstream has was reported with a suggestion when the file was read.
    let upstream = upstreams.get(raw.upstream.get_ref())?.clone();
    let limits = limits(raw, context, problems);
    let (late_limits, early_limits) = limits.into_iter().partition(Limit::needs_claims);
    let unreachable =
        raw.on_unreachable.as_ref().unwrap_or(&config.revocation.on_unreachable).get_ref();
    let assertion =
        upstream.assertion.as_ref().map(|assertion| assertion.on_route(raw.name.get_ref()));
    let assertion = assertion.transpose().map_err(|error| {
        problems.push(Problem::at(raw.upstream.span(), error.to_string()));
    });
    let body_bytes = raw.body_bytes.as_ref().unwrap_or(&config.limits.body_bytes);
    Some(Route {
        name: raw.name.get_ref().as_str().into(),
        identity_headers: upstream.identity_headers,
        assertion: assertion.ok()?,
        upstream,
        access: access(raw, config, problems),
        forward_token: *raw.forward_token.get_ref(),
        websocket: raw.upgrade.iter().any(|protocol| *protocol == Upgrade::Websocket),
        forward_preflight: *raw.preflight.get_ref() == Preflight::Forward,
        csrf: csrf(raw),
        host: host(&raw.host, problems),
        allow_unreachable: *unreachable == OnUnreachable::Allow,
        body_bytes: body_bytes.get_ref().on().map(|size| size.get()),
        timeouts: timeouts(raw, config),
        early_limits,
        late_limits,
        series: context.metrics.route(raw.name.get_ref()),
    })
}

fn csrf(raw: &config::Route) -> Csrf {
    match raw.csrf.as_ref().map(Spanned::get_ref) {
        Some(config::Csrf::DoubleSubmit) | None => Csrf::DoubleSubmit,
        Some(config::Csrf::Off) => Csrf::Off,
        Some(config::Csrf::Origin) => Csrf::Origin,
    }
}

/// The session cookie's name, where the route takes Postern's own tokens and there is one.
fn session_cookie(raw: &config::Route, config: &Config) -> Option<String> {
    let takes_own = raw.issuers.is_empty() || raw.issuers.iter().any(|name| name.0 == LOCAL);
    let cookies = config.issuing.as_ref()?.get_ref().cookies.as_ref()?;
    takes_own.then(|| cookies.get_ref().name.get_ref().as_str().to_owned())
}

fn access(raw: &config::Route, config: &Config, problems: &mut Problems) -> Access {
    let name =
        |text: &Spanned<String>| Some(text.get_ref().clone()).filter(|name| !name.is_empty());
    let demand = Demand {
        source: TokenSource {
            cookie: name(&raw.token.cookie),
            query: name(&raw.token.query),
            session: session_cookie(raw, config),
        },
        issuers: if raw.issuers.is_empty() {
            IssuerFilter::All
        } else {
            IssuerFilter::Only(raw.issuers.iter().map(|text| text.0.as_str().into()).collect())
        },
        rule: rule(raw.require.get_ref(), problems),
    };
    match raw.auth.get_ref() {
        Auth::None => Access::Public,
        Auth::Optional => Access::Optional(demand),
        Auth::Required => Access::Required(demand),
    }
}

fn rule(raw: &config::Require, problems: &mut Problems) -> Rule {
    let words = |list: &List<Text>| list.iter().map(|text| text.0.as_str().into()).collect();
    let mut claims = Vec::new();
    for (path, value) in &raw.claims {
        match ClaimPath::parse(path.get_ref()) {
            Ok(path) => claims.push((path, required(value.get_ref()))),
            Err(error) => problems.push(Problem::at(path.span(), error.to_string())),
        }
    }
    Rule {
        roles: words(&raw.roles),
        any_roles: words(&raw.any_roles),
        scopes: words(&raw.scopes),
        any_scopes: words(&raw.any_scopes),
        permissions: words(&raw.permissions),
        any_permissions: words(&raw.any_permissions),
        claims,
    }
}

fn required(raw: &RequiredValue) -> Value {
    match raw {
        RequiredValue::Boolean(value) => Value::Bool(*value),
        RequiredValue::Integer(value) => Value::from(*value),
        RequiredValue::Text(value) => Value::String(value.clone()),
    }
}

fn host(raw: &Spanned<config::HostRule>, problems: &mut Problems) -> HostRule {
    match raw.get_ref() {
        config::HostRule::Preserve => HostRule::Preserve,
        config::HostRule::Upstream => HostRule::Upstream,
        config::HostRule::Literal(host) => match HeaderValue::try_from(host.as_str()) {
            Ok(host) => HostRule::Literal(host),
            Err(_) => {
                problems.push(Problem::at(raw.span(), "not a host that a Host field can carry"));
                HostRule::Preserve
            }
        },
    }
}

fn timeouts(raw: &config::Route, config: &Config) -> Timeouts {
    let choose = |own: &Option<Spanned<Period>>, all: &Spanned<Period>| -> Duration {
        own.as_ref().unwrap_or(all).get_ref().get()
    };
    Timeouts {
        connect: choose(&raw.timeouts.connect, &config.timeouts.connect),
        response: choose(&raw.timeouts.response, &config.timeouts.response),
        body_idle: choose(&raw.timeouts.body_idle, &config.timeouts.body_idle),
    }
}

fn limits(raw: &config::Route, context: Context<'_>, problems: &mut Problems) -> Vec<Limit> {
    let route = raw.name.get_ref();
    let mut limits = Vec::with_capacity(raw.limits.len());
    for (index, limit) in raw.limits.iter().enumerate() {
        let limit = limit.get_ref();
        let by: Option<Vec<By>> =
            limit.by.get_ref().parts().iter().map(|part| by(part, &limit.by, problems)).collect();
        let Some(by) = by else { continue };
        let rate = limit.rate.get_ref();
        let quota = Quota { count: rate.count, per: rate.per };
        let count = match limit.count {
            Count::All => limit::Count::All,
            Count::Failures => limit::Count::Failures,
        };
        let id = LimiterId { route: route.clone(), index, by: format!("{by:?}"), quota, count };
        let shared = limit.shared.then(|| Shared::new(&id, &by));
        let limiter = context.limiters.limiter(id);
        // Each policy has a name of its own in the RateLimit fields.
        let name =
            if raw.limits.len() > 1 { format!("{route}-{}", index + 1) } else { route.clone() };
        limits.push(Limit { name, by, count, limiter, shared });
    }
    limits
}

fn by(
    part: &config::LimitPart,
    place: &Spanned<config::LimitKey>,
    problems: &mut Problems,
) -> Option<By> {
    let mut path = |text: &str| {
        ClaimPath::parse(text)
            .map_err(|error| problems.push(Problem::at(place.span(), error.to_string())))
            .ok()
    };
    Some(match part {
        config::LimitPart::Claim(claim) => By::Claim(path(claim.as_str())?),
        config::LimitPart::Client => By::Client,
        config::LimitPart::Form(name) => By::Form(name.clone()),
        config::LimitPart::Header(name) => By::Header(name.clone()),
        config::LimitPart::Json(pointer) => By::Json(path(pointer)?),
    })
}
