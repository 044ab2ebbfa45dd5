//! A client's token in its own name (RFC 6749 §4.4): what it may ask for, and the token.
//!
//! It asks for less, never for more: a scope or an audience that is not its own is refused, not
//! left out.

use std::time::Duration;

use serde::Serialize;
use serde_json::Map;

use super::oauth::Code;
use super::parameters::Parameters;
use super::unavailable;
use crate::auth::IssuerFilter;
use crate::blocklist::Verdict;
use crate::issuer::{AccessToken, Mint, Rights};
use crate::observe::audit::{Event, Kind as AuditKind, Outcome};
use crate::policy::{Client, Issuing, LOCAL};
use crate::proxy::{Rejection, Trip};
use crate::store::{Error, Store};
use crate::time::UnixTime;
use crate::token::{Kind, Selector};

/// The longest that is waited for the second after a revocation, as at logins.
const WAIT_MAX: u64 = 2;
/// How often.
const WAITS_MAX: usize = 3;

/// RFC 6749 §5.1. There is no refresh token (§4.4.3).
#[derive(Serialize)]
pub(super) struct Granted {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// What was asked for, as far as the client may have it.
struct Wanted {
    audiences: Vec<String>,
    scope: Option<String>,
}

/// Makes the token, dated after every revocation of the client, and writes it down.
///
/// # Errors
///
/// 400 for what the client may not have; 503 when nobody knows whether it is revoked.
pub(super) async fn grant(
    trip: &Trip,
    client: &Client,
    parameters: &Parameters,
    now: UnixTime,
) -> Result<Granted, Rejection> {
    let issuing = trip.policy.issuing.clone().ok_or(Rejection::NotFound)?;
    if !client.client_credentials {
        return Err(refused(trip, client, Code::UnauthorizedClient.because("client_grant")).await);
    }
    let wanted = match Wanted::of(client, parameters) {
        Ok(wanted) => wanted,
        Err(rejection) => return Err(refused(trip, client, rejection).await),
    };
    let Some(at) = date(trip, &issuing, client, now).await? else {
        return Err(refused(trip, client, Code::UnauthorizedClient.because("revoked")).await);
    };
    let rights = Rights {
        roles: client.roles.clone(),
        permissions: client.permissions.clone(),
        claims: wanted
            .scope
            .iter()
            .map(|scope| ("scope".to_owned(), scope.as_str().into()))
            .collect::<Map<_, _>>(),
    };
    let lifetime = issuing.access_lifetime;
    let minted = Mint::new(issuing).of_client(&client.id, &wanted.audiences, &rights, at);
    let token = minted.map_err(|error| {
        tracing::error!(%error, "no access token can be made");
        unavailable("issuing_failed")
    })?;
    if !may_be_used(trip, &token, at.max(now)).await? {
        return Err(refused(trip, client, Code::UnauthorizedClient.because("revoked")).await);
    }
    record(trip, client, &token, &wanted).await?;
    Ok(Granted {
        access_token: token.text.expose().clone(),
        token_type: "Bearer",
        expires_in: lifetime.as_secs(),
        scope: wanted.scope,
    })
}

impl Wanted {
    fn of(client: &Client, parameters: &Parameters) -> Result<Self, Rejection> {
        let scope = match parameters.text("scope") {
            None => client.scopes.join(" "),
            Some(asked) => narrowed_scope(asked, &client.scopes)?,
        };
        let audiences = narrowed_audiences(parameters, &client.audiences)?;
        Ok(Self { audiences, scope: (!scope.is_empty()).then_some(scope) })
    }
}

/// The scopes that were asked for, all of which must be among these (RFC 6749 §3.3).
pub(super) fn narrowed_scope(asked: &str, may: &[String]) -> Result<String, Rejection> {
    let mut words: Vec<&str> = Vec::new();
    for word in asked.split(' ') {
        if !may.iter().any(|known| known == word) {
            return Err(Code::InvalidScope.because("client_scope"));
        }
        if !words.contains(&word) {
            words.push(word);
        }
    }
    Ok(words.join(" "))
}

/// The audiences that were asked for, by `resource` (RFC 8707 §2) or by the `audience` that many
/// libraries send, all of which must be among these; all of these when none was.
pub(super) fn narrowed_audiences(
    parameters: &Parameters,
    may: &[String],
) -> Result<Vec<String>, Rejection> {
    let asked = parameters.all("resource").chain(parameters.all("audience"));
    let mut audiences: Vec<String> = Vec::new();
    for audience in asked.map(|audience| audience.expose()) {
        if !may.contains(audience) {
            return Err(Code::InvalidTarget.because("client_audience"));
        }
        if !audiences.contains(audience) {
            audiences.push(audience.clone());
        }
    }
    Ok(if audiences.is_empty() { may.to_vec() } else { audiences })
}

/// The store's clock, in a second for which nothing stands against the client; `None` when that
/// does not come soon. A revocation that is written afterwards reads the clock after it is, and so
/// covers the token.
async fn date(
    trip: &Trip,
    issuing: &Issuing,
    client: &Client,
    mut now: UnixTime,
) -> Result<Option<UnixTime>, Rejection> {
    let store = trip.worker.gateway.blocklist.store();
    let suffix = |kind, value: &str| {
        let issuer = issuing.issuer.clone();
        Selector { kind, issuer, value: value.to_owned() }.suffix()
    };
    let subject = format!("client:{}", client.id);
    let (of_client, of_subject) = (suffix(Kind::Client, &client.id), suffix(Kind::Sub, &subject));
    for _ in 0..WAITS_MAX {
        let read = refused_until(store, [&of_client, &of_subject], now).await;
        let (at, until) = read.map_err(|error| {
            tracing::warn!(client = &*client.id, reason = error.reason(), "no token can be dated");
            unavailable("store_unavailable")
        })?;
        let wait = until.map_or(0, |until| until.saturating_add(1).saturating_sub(at.seconds()));
        match u64::try_from(wait).unwrap_or(0) {
            0 => return Ok(Some(at)),
            wait if wait <= WAIT_MAX => {
                // The clock was read in whole seconds: it may be a little more than this.
                let wait = Duration::from_secs(wait);
                tokio::time::sleep(wait).await;
                now = now.plus(wait);
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// The clock, then up to which second tokens are refused.
async fn refused_until(
    store: &Store,
    suffixes: [&str; 2],
    now: UnixTime,
) -> Result<(UnixTime, Option<i64>), Error> {
    let at = store.time(now).await?;
    let mut until = None;
    for suffix in suffixes {
        if let Some(entry) = store.get(suffix, now).await? {
            // One that cannot be read, or has no date, refuses without end.
            until = until.max(Some(entry.record.issued_before.unwrap_or(i64::MAX)));
        }
    }
    Ok((at, until))
}

/// Whether a gateway would let the token through, as far as revocations go: those of the issuer and
/// of the signing key too, and those that only gateways remember.
async fn may_be_used(trip: &Trip, token: &AccessToken, now: UnixTime) -> Result<bool, Rejection> {
    if !trip.policy.check_blocklist {
        return Ok(true);
    }
    let issued = &trip.policy.clients.issued;
    let prepared = issued.prepare(token.text.expose(), &IssuerFilter::All, now);
    let verified = prepared.and_then(|candidate| candidate.verify(now)).map_err(|error| {
        let reason = error.reason();
        tracing::error!(
            reason,
            "a token of our own would be refused here; are the clocks of store and gateway apart?"
        );
        unavailable("issuing_failed")
    })?;
    match trip.worker.blocklist.check(&verified.lookup, now).await {
        Ok(Verdict::Clear) => Ok(true),
        Ok(Verdict::Revoked(_)) => Ok(false),
        Err(_) => Err(unavailable("store_unavailable")),
    }
}

/// No token is handed out without its line.
async fn record(
    trip: &Trip,
    client: &Client,
    token: &AccessToken,
    wanted: &Wanted,
) -> Result<(), Rejection> {
    let event = event(trip, client, Outcome::Done).jti(&token.jti);
    let event = event.detail("audience", wanted.audiences.join(" "));
    let event = match &wanted.scope {
        Some(scope) => event.detail("scope", scope.as_str()),
        None => event,
    };
    let recorded = trip.worker.gateway.audit.record(event).await;
    recorded.map_err(|error| {
        tracing::error!(client = &*client.id, %error, "a token was not written down");
        unavailable("audit_unavailable")
    })
}

/// A refusal, written down before it is told; 503 when it cannot be.
async fn refused(trip: &Trip, client: &Client, rejection: Rejection) -> Rejection {
    let event = event(trip, client, Outcome::Refused).reason(rejection.reason());
    match trip.worker.gateway.audit.record_refusal(event).await {
        Ok(()) => rejection,
        Err(error) => {
            tracing::error!(client = &*client.id, %error, "a refusal was not written down");
            unavailable("audit_unavailable")
        }
    }
}

fn event(trip: &Trip, client: &Client, outcome: Outcome) -> Event {
    let event = Event::new(AuditKind::Token, outcome).issuer(LOCAL).client(&client.id);
    event.address(trip.client).request(trip.request_id.to_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// RFC 6749 §3.3, RFC 6819 §5.1.5.1: never more than the client has.
    #[test]
    fn a_scope_is_narrowed_only() {
        let scopes = may(&["orders:read", "orders:write"]);
        let narrowed = |asked: &str| narrowed_scope(asked, &scopes).map_err(|r| r.reason());
        assert_eq!(narrowed("orders:read"), Ok("orders:read".to_owned()));
        assert_eq!(narrowed("orders:write orders:read orders:write").unwrap().len(), 24);
        for asked in [
            "admin",
            "orders:read admin",
            "Orders:read",
            " orders:read",
            "orders:read  orders:write",
            "orders:read\torders:write",
            "*",
        ] {
            assert_eq!(narrowed(asked), Err("client_scope"), "{asked:?}");
        }
    }

    /// RFC 8707 §2, RFC 9700 §2.3: tokens for whom the client may speak to.
    #[test]
    fn audiences_are_narrowed_only() {
        let audiences = may(&["https://a.test", "https://b.test"]);
        let narrowed = |pairs: &[(&str, &str)]| {
            narrowed_audiences(&Parameters::of_pairs(pairs), &audiences).map_err(|r| r.reason())
        };
        assert_eq!(narrowed(&[]), Ok(audiences.clone()));
        assert_eq!(narrowed(&[("audience", "https://b.test")]), Ok(may(&["https://b.test"])));
        let both = [
            ("resource", "https://b.test"),
            ("resource", "https://a.test"),
            ("audience", "https://b.test"),
        ];
        assert_eq!(narrowed(&both), Ok(may(&["https://b.test", "https://a.test"])));
        for other in
            ["https://c.test", "https://a.test/", "https://a.test https://b.test", "HTTPS://a.test"]
        {
            let asked = [("resource", "https://a.test"), ("audience", other)];
            assert_eq!(narrowed(&asked), Err("client_audience"), "{other}");
        }
    }
}
