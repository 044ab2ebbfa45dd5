//! `POST {prefix}/refresh`: a refresh token for new tokens, both.
//!
//! It must never hand out tokens for an account that is gone, nor answer a reused token with
//! anything but the end of its session.

use http::Response;

use super::Call;
use super::errand::{Errand, to_its_end};
use super::fields::Fields;
use super::grant::Tokens;
use super::limits;
use crate::body::Body;
use crate::issuer::account::{Account, LookedUp};
use crate::issuer::{Issued, Login, Rights, Rotation};
use crate::observe::audit::{Kind, Outcome};
use crate::policy::LOCAL;
use crate::proxy::measure::Decision;
use crate::proxy::{Rejection, Trip};
use crate::secret::Secret;
use crate::time::UnixTime;

/// Why a session was ended by what somebody presented, in the entry's words.
const REUSED: &str = "a refresh token was used twice";

/// Reads the refresh token, and answers with new tokens.
///
/// # Errors
///
/// 400, 413, 415 for the body; 401; 429; 503 whatever `on_unreachable` says.
pub(super) async fn answer(trip: &mut Trip, call: Call<'_>) -> Result<Response<Body>, Rejection> {
    let Call { parts, inbound, bytes_max, .. } = call;
    let errand = Errand::of(trip, &parts.headers)?;
    limits::may_try(trip)?;
    let idle = trip.policy.timeouts.body_idle;
    let mut fields = Fields::read(&parts.headers, inbound, bytes_max, idle).await?;
    let presented = fields.required("refresh_token")?;
    let tokens = to_its_end(exchange(errand, presented)).await;
    if matches!(tokens, Err(Rejection::NotAccepted(_))) {
        limits::note_failed(trip);
    }
    let tokens = tokens?;
    trip.decide(Decision::Allowed("refresh"));
    Ok(tokens.answer())
}

/// Exchanges a refresh token: whose it is, what they may do now, the rotation, the tokens. For
/// OAuth's `grant_type=refresh_token` too.
///
/// # Errors
///
/// [`Rejection::NotAccepted`] for whatever is wrong with the token; 503.
pub(super) async fn exchange(
    errand: Errand,
    presented: Secret<String>,
) -> Result<Tokens, Rejection> {
    may_judge(&errand).await?;
    let found = errand.families.find(presented.expose()).await;
    let login = match found.map_err(|error| errand.unavailable(&error))? {
        Ok(login) => login,
        Err(why) => return Err(refused(&errand, None, why.reason()).await),
    };
    let Some(rights) = rights_now(&errand, &login).await? else {
        return Err(gone(&errand, &login).await);
    };
    let rotation = errand.families.rotate(presented.expose(), errand.trace(), UnixTime::now());
    let rotation = rotation.await.map_err(|error| errand.unavailable(&error))?;
    match rotation {
        Rotation::Rotated(issued) => hand_out(&errand, issued, &rights, false).await,
        Rotation::Again(issued) => hand_out(&errand, issued, &rights, true).await,
        Rotation::Refused(why) => Err(refused(&errand, Some(&login), why.reason()).await),
        Rotation::Reused { login, .. } => Err(reused(&errand, &login).await),
    }
}

/// Nothing is rotated while the log takes no lines: whoever has the token would not get the next
/// one, and could be taken for a thief later.
///
/// # Errors
///
/// 503.
pub(in crate::proxy) async fn may_judge(errand: &Errand) -> Result<(), Rejection> {
    errand.may_judge(errand.event(Kind::Refresh, Outcome::Refused).issuer(LOCAL)).await
}

/// What the account may do now; `None` when it is gone or disabled.
///
/// # Errors
///
/// 503 when the accounts cannot be asked.
pub(in crate::proxy) async fn rights_now(
    errand: &Errand,
    login: &Login,
) -> Result<Option<Rights>, Rejection> {
    // Nobody checks passwords any more: nobody's account is there.
    let Some(accounts) = errand.worker.gateway.authorization_server.accounts() else {
        return Ok(None);
    };
    match accounts.look_up(&login.account, &login.subject).await {
        Ok(LookedUp::Present(account)) => {
            let Account { roles, permissions, claims, .. } = account;
            Ok(Some(Rights { roles, permissions, claims }))
        }
        Ok(LookedUp::AsAtLogin) => Ok(Some(Rights::at_login(login))),
        Ok(LookedUp::Gone) => Ok(None),
        Err(error) => {
            let request_id = &*errand.request_id;
            tracing::warn!(request_id, %error, "an account could not be looked up");
            Err(Rejection::Unavailable("accounts_unavailable"))
        }
    }
}

/// The new tokens, written down; none when a revocation that this gateway knows of stands against
/// the login, which then ends.
///
/// # Errors
///
/// [`Rejection::NotAccepted`]; 503.
pub(in crate::proxy) async fn hand_out(
    errand: &Errand,
    issued: Issued,
    rights: &Rights,
    again: bool,
) -> Result<Tokens, Rejection> {
    let event = errand.event_of(Kind::Refresh, Outcome::Done, &issued.login);
    let event = event.detail("turn", issued.turn);
    let event = if again { event.reason("retried") } else { event };
    match errand.tokens(issued, rights, UnixTime::now()).await? {
        Ok(tokens) => {
            errand.record(event.jti(&tokens.access.jti)).await?;
            Ok(tokens)
        }
        Err(issued) => {
            let refusal = refused(errand, Some(&issued.login), "refresh_revoked").await;
            end(errand, &issued.login, "a revocation stands against it").await?;
            Err(refusal)
        }
    }
}

/// The account is gone or disabled: so is the session.
pub(in crate::proxy) async fn gone(errand: &Errand, login: &Login) -> Rejection {
    let refusal = Rejection::NotAccepted("account_gone");
    let event = errand.event_of(Kind::Refresh, Outcome::Refused, login);
    let written = errand.record_refusal(event.reason(refusal.reason())).await;
    let ended = end(errand, login, "the account is gone or disabled").await;
    written.and(ended).err().unwrap_or(refusal)
}

/// Ends a session here and on every gateway.
pub(super) async fn end(errand: &Errand, login: &Login, reason: &str) -> Result<(), Rejection> {
    let now = UnixTime::now();
    let ended = errand.families.end(&login.sid, now).await;
    ended.map_err(|error| errand.unavailable(&error))?;
    errand.tell_ended(login, reason, now).await
}

/// Somebody has, or had, a copy of the token. The store has ended the family in that very step;
/// now everyone is told.
pub(in crate::proxy) async fn reused(errand: &Errand, login: &Login) -> Rejection {
    let (sid, client, request_id) = (&*login.sid, errand.client, &*errand.request_id);
    tracing::warn!(
        sid,
        %client,
        request_id,
        reason = "refresh_reused",
        "a refresh token was used twice; its session was ended"
    );
    let event = errand.event_of(Kind::Reuse, Outcome::Done, login);
    let written = errand.record(event.reason("refresh_reused")).await;
    let told = errand.tell_ended(login, REUSED, UnixTime::now()).await;
    match written.and(told) {
        Ok(()) => Rejection::NotAccepted("refresh_reused"),
        Err(unavailable) => unavailable,
    }
}

/// A refusal, written down before it is told; 503 when it cannot be.
pub(in crate::proxy) async fn refused(
    errand: &Errand,
    login: Option<&Login>,
    reason: &'static str,
) -> Rejection {
    let event = match login {
        Some(login) => errand.event_of(Kind::Refresh, Outcome::Refused, login),
        None => errand.event(Kind::Refresh, Outcome::Refused).issuer(LOCAL),
    };
    let written = errand.record_refusal(event.reason(reason)).await;
    written.err().unwrap_or(Rejection::NotAccepted(reason))
}
