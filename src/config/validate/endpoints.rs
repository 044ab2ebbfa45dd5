//! `[endpoints]`, and what is offered there.

use toml::Spanned;

use super::super::Config;
use super::super::issuer::Issuer;
use super::super::pattern::PathPattern;
use super::super::problem::{Problem, Problems};
use super::super::revocation::Check;
use super::super::scalar::OrOff;
use crate::config::Text;

pub(super) fn validate(config: &Config, problems: &mut Problems) {
    routes(config, problems);
    well_known(config, problems);
    for placed in &config.issuers {
        backchannel_logout(config, placed.get_ref(), problems);
    }
}

/// A route below the prefix would never be reached, in whatever spelling: the gateway answers
/// there itself.
fn routes(config: &Config, problems: &mut Problems) {
    let prefix = config.endpoints.prefix.get_ref().as_str();
    for route in config.routes.iter().map(Spanned::get_ref) {
        let (PathPattern::Exact(path) | PathPattern::Below(path)) = route.path.get_ref();
        let mut own = path.split('/').map(|segment| segment.trim_end_matches('.'));
        let is_own = prefix.split('/').all(|segment| {
            own.next().is_some_and(|of_route| of_route.eq_ignore_ascii_case(segment))
        });
        if is_own {
            let message = format!(
                "route `{}` can never be reached: the paths below {prefix} are the gateway's own",
                route.name
            );
            let help = "choose another path, or another prefix in [endpoints]";
            problems.push(Problem::at(route.path.span(), message).help(help));
        }
    }
}

/// As little as one where the metadata are (RFC 8414 §3.1), unless it is another host's.
fn well_known(config: &Config, problems: &mut Problems) {
    let Some(issuing) = &config.issuing else { return };
    let url: Option<http::Uri> = issuing.get_ref().issuer.get_ref().0.parse().ok();
    let Some(url) = url else { return };
    let issuer_path = url.path().trim_end_matches('/');
    let own = format!("/.well-known/oauth-authorization-server{issuer_path}");
    for route in config.routes.iter().map(Spanned::get_ref) {
        if route.hosts.is_empty() && *route.path.get_ref() == PathPattern::Exact(own.clone()) {
            let message = format!(
                "route `{}` can never be reached: {own} are [issuing]'s own metadata",
                route.name
            );
            let help = "leave the route out, or name the other hosts that it is for";
            problems.push(Problem::at(route.path.span(), message).help(help));
        }
    }
}

/// What a logout could not have an effect without.
fn backchannel_logout(config: &Config, issuer: &Issuer, problems: &mut Problems) {
    let Some(logout) = &issuer.backchannel_logout else { return };
    let mut refuse = |message: &str, help: &str| {
        problems.push(Problem::at(logout.span(), message).help(help));
    };
    if issuer.introspects() {
        refuse(
            "`backchannel_logout` in an entry without keys: logout tokens are signed",
            "write it in an entry with the same issuer and the provider's keys",
        );
        return;
    }
    let OrOff::On(name) = issuer.issuer.get_ref() else {
        refuse(
            "`backchannel_logout` needs the issuer: a logout token always has iss",
            "write issuer = \"https://...\", as the provider's tokens name it",
        );
        return;
    };
    if *config.revocation.check.get_ref() == Check::Off {
        refuse(
            "`backchannel_logout` has no effect: [revocation] check is off",
            "write check = \"every-request\", or leave it out",
        );
    }
    let same = |other: &&Issuer| matches!(other.issuer.get_ref(), OrOff::On(text) if text == name);
    let entries = config.issuers.iter().map(Spanned::get_ref).filter(same);
    if let Some(endless) = entries.into_iter().find(|entry| !ends(entry)) {
        let entry = endless.name.get_ref();
        refuse(
            &format!(
                "tokens of issuer `{entry}` have no certain end, and so a logout would have none"
            ),
            "write a max_lifetime; where the provider is asked about tokens, also \
             required_claims = [\"exp\"]",
        );
    }
}

/// Whether every token of an entry ends at a time that can be told in advance.
fn ends(entry: &Issuer) -> bool {
    let is_exp = |claim: &Text| claim.0 == "exp";
    entry.max_lifetime.get_ref().on().is_some()
        && (!entry.introspects() || entry.required_claims.iter().any(is_exp))
}
