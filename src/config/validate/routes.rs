//! `[[routes]]`.

use toml::Spanned;

use super::super::Config;
use super::super::claim::ClaimPath;
use super::super::problem::{Problem, Problems};
use super::super::route::{Auth, Csrf, Preflight, Route};
use super::super::shape::Declared;
use super::super::suggest::{listed, nearest};
use super::{distinct, label, timeout, unique};

pub(super) fn validate(config: &Config, declared: &Declared, problems: &mut Problems) {
    unique(config.routes.iter().map(|route| &route.get_ref().name), "another route", problems);
    for route in &config.routes {
        let route = route.get_ref();
        label(&route.name, "a route's name", problems);
        references(route, declared, problems);
        introspections(config, route, problems);
        rule(route, problems);
        token(route, problems);
        cookies(config, route, problems);
        limits(route, problems);
        distinct(route.methods.spanned(), "this method is listed twice", problems);
        distinct(route.hosts.spanned(), "this host is listed twice", problems);
        let timeouts = &route.timeouts;
        for (name, period) in [
            ("body_idle", &timeouts.body_idle),
            ("connect", &timeouts.connect),
            ("response", &timeouts.response),
        ] {
            period.iter().for_each(|period| timeout(name, period, problems));
        }
    }
}

/// Names of upstreams and issuers.
fn references(route: &Route, declared: &Declared, problems: &mut Problems) {
    let upstream = &route.upstream;
    if !declared.upstreams.contains(upstream.get_ref()) {
        problems.push(unknown(
            "upstream",
            (upstream.get_ref(), upstream.span()),
            declared.upstreams.iter().map(String::as_str),
        ));
    }
    for issuer in route.issuers.spanned() {
        let name = &issuer.get_ref().0;
        if declared.issuers_are_named && !declared.issuers.contains(name) {
            problems.push(unknown(
                "issuer",
                (name, issuer.span()),
                declared.issuers.iter().map(String::as_str),
            ));
        }
    }
    let no_issuer = declared.issuers.is_empty() && declared.issuers_are_named;
    if no_issuer && *route.auth.get_ref() != Auth::None {
        // The route's name stands for the rule, which is the default more often than not.
        let problem = Problem::at(
            route.name.span(),
            format!("route `{}` needs a token, and there is no issuer", route.name),
        );
        problems.push(problem.help("write an [[issuers]] entry, or auth = \"none\""));
    }
}

/// A token that is opaque says nothing of its issuer: there must be one provider to ask.
fn introspections(config: &Config, route: &Route, problems: &mut Problems) {
    let allowed = |name: &str| {
        route.issuers.is_empty() || route.issuers.iter().any(|allowed| allowed.0 == name)
    };
    let asked: Vec<&str> = config
        .issuers
        .iter()
        .map(Spanned::get_ref)
        .filter(|issuer| issuer.introspects() && allowed(issuer.name.get_ref()))
        .map(|issuer| issuer.name.get_ref().as_str())
        .collect();
    if asked.len() > 1 && *route.auth.get_ref() != Auth::None {
        let place = Some(route.issuers.span()).filter(|span| !span.is_empty());
        let message = format!(
            "route `{}` allows several issuers that are introspected: {}",
            route.name,
            asked.join(", ")
        );
        problems.push(Problem::at(place.unwrap_or_else(|| route.name.span()), message).help(
            "an opaque token does not say whom to ask: name one of them in the route's issuers",
        ));
    }
}

fn unknown<'a>(
    what: &str,
    (name, span): (&str, std::ops::Range<usize>),
    known: impl Iterator<Item = &'a str> + Clone,
) -> Problem {
    let problem = Problem::at(span, format!("there is no {what} called {name:?}"));
    match nearest(name, known.clone()) {
        Some(near) => problem.help(format!("did you mean \"{near}\"?")),
        None if known.clone().next().is_none() => problem,
        None => problem.help(format!("known here: {}", listed(known))),
    }
}

/// Rules that could not hold are refused: they look like protection and are none.
fn rule(route: &Route, problems: &mut Problems) {
    let auth = *route.auth.get_ref();
    if auth == Auth::None {
        let idle = [
            (!route.require.get_ref().is_empty()).then(|| ("require", route.require.span())),
            route.issuers.spanned().next().map(|issuer| ("issuers", issuer.span())),
            route.on_unreachable.as_ref().map(|value| ("on_unreachable", value.span())),
            (*route.preflight.get_ref() == Preflight::Forward)
                .then(|| ("preflight", route.preflight.span())),
            (!route.token.cookie.get_ref().is_empty())
                .then(|| ("token.cookie", route.token.cookie.span())),
            (!route.token.query.get_ref().is_empty())
                .then(|| ("token.query", route.token.query.span())),
        ];
        for (key, span) in idle.into_iter().flatten() {
            problems.push(
                Problem::at(span, format!("`{key}` has no effect with auth = \"none\""))
                    .help("leave it out, or write auth = \"required\""),
            );
        }
    }
    if auth == Auth::Optional && !route.require.get_ref().is_empty() {
        problems.push(
            Problem::at(
                route.require.span(),
                "`require` would not hold: auth = \"optional\" lets anonymous requests through",
            )
            .help("write auth = \"required\""),
        );
    }
    for name in route.require.get_ref().claims.keys() {
        if let Err(message) = ClaimPath::parse(name.get_ref()) {
            let message = message.lines().next().unwrap_or_default().to_owned();
            problems.push(Problem::at(name.span(), message));
        }
    }
}

/// Names under which a token may arrive.
fn token(route: &Route, problems: &mut Problems) {
    let cookie = &route.token.cookie;
    // RFC 6265 §4.1.1: a cookie's name is a token (RFC 9110 §5.6.2).
    let is_token = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    if !is_token(cookie.get_ref()) || cookie.get_ref().len() > 128 {
        problems.push(
            Problem::at(cookie.span(), format!("{:?} is not a cookie's name", cookie.get_ref()))
                .help("write letters, digits and any of !#$%&'*+-.^_`|~"),
        );
    }
    let query = &route.token.query;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    if !query.get_ref().chars().all(is_plain) || query.get_ref().len() > 128 {
        problems.push(
            Problem::at(query.span(), format!("{:?} is not a parameter's name", query.get_ref()))
                .help("write letters, digits and any of -._~"),
        );
    }
}

/// An application's cookie beside Postern's own.
fn cookies(config: &Config, route: &Route, problems: &mut Problems) {
    let own = config.issuing.as_ref().and_then(|issuing| issuing.get_ref().cookies.as_ref());
    let own = own.map(|cookies| cookies.get_ref().name.get_ref().as_str());
    let cookie = &route.token.cookie;
    if own.is_some_and(|own| cookie.get_ref().strip_prefix(own).is_some_and(is_own_ending)) {
        problems.push(
            Problem::at(cookie.span(), "this cookie is Postern's own ([issuing.cookies])")
                .help("leave it out: routes that take tokens of \"local\" take the session's"),
        );
    }
    let Some(csrf) = route.csrf.as_ref().filter(|csrf| *csrf.get_ref() == Csrf::DoubleSubmit)
    else {
        return;
    };
    let message = if own.is_none() {
        "double-submit tokens go with Postern's session cookie, and there is no [issuing.cookies]"
    } else if !cookie.get_ref().is_empty() {
        "an application's own cookie has no double-submit token"
    } else {
        return;
    };
    problems.push(Problem::at(csrf.span(), message).help("write \"origin\""));
}

/// What follows the session cookie's name in Postern's names.
fn is_own_ending(ending: &str) -> bool {
    matches!(ending, "" | "-csrf")
}

fn limits(route: &Route, problems: &mut Problems) {
    let auth = *route.auth.get_ref();
    for limit in &route.limits {
        let by = &limit.get_ref().by;
        if by.get_ref().reads_claims() && auth == Auth::None {
            problems.push(
                Problem::at(by.span(), "there are no claims to count by with auth = \"none\"")
                    .help("count by client or header, or write auth = \"required\""),
            );
        }
        if by.get_ref().reads_body() {
            body_limit(route, by.span(), problems);
        }
    }
    distinct(&route.limits, "this limit is there twice", problems);
    let bodies = route.limits.iter().filter(|limit| limit.get_ref().by.get_ref().reads_body());
    let mut forms = bodies.map(|limit| (limit, limit.get_ref().by.get_ref().reads_form()));
    if let Some((_, first)) = forms.next()
        && let Some((other, _)) = forms.find(|(_, form)| *form != first)
    {
        problems.push(
            Problem::at(
                other.get_ref().by.span(),
                "one limit reads the body as JSON and another as a form: no request could pass",
            )
            .help("write two routes, or count by one of them"),
        );
    }
}

/// A limit by a field of the body refuses every request without such a body.
fn body_limit(route: &Route, by: std::ops::Range<usize>, problems: &mut Problems) {
    let bodiless = |method: &&Spanned<_>| {
        let method: &super::super::route::Method = method.get_ref();
        matches!(method.get().as_str(), "GET" | "HEAD" | "OPTIONS")
    };
    if let Some(method) = route.methods.spanned().find(bodiless) {
        problems.push(
            Problem::at(
                method.span(),
                format!(
                    "{} has no body, and a limit of this route reads one",
                    method.get_ref().get()
                ),
            )
            .help("write a route of its own for this method"),
        );
    }
    if !route.upgrade.is_empty() {
        problems.push(Problem::at(by, "a route with `upgrade` has no body to count by"));
    }
}
