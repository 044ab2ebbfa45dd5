//! `POST {prefix}/login`: a name and a password for tokens.
//!
//! It must never tell why a login failed: unknown, disabled and mistyped are one answer, in one
//! time; the cause is for the audit log.

use http::{HeaderMap, Response};

use super::errand::{Errand, to_its_end};
use super::fields::Fields;
use super::grant::Tokens;
use super::limits::{self, Attempts};
use super::{Call, browser};
use crate::body::Body;
use crate::issuer::account::{Account, AccountsUnavailable, Attempt, Refused};
use crate::issuer::{Began, Issued, NewLogin, Rights};
use crate::observe::audit::{Event, Kind, Outcome};
use crate::policy::LOCAL;
use crate::proxy::csrf::{self, CrossOrigin};
use crate::proxy::measure::Decision;
use crate::proxy::{Rejection, Trip};
use crate::secret::Secret;
use crate::time::UnixTime;

/// What somebody logs in with, exactly as typed.
pub(super) struct Credentials {
    /// The account's name.
    pub(super) name: Secret<String>,
    /// The password.
    pub(super) password: Secret<String>,
}

/// Reads the credentials, and answers with tokens; with `[issuing.cookies]` with a session's
/// cookie.
///
/// # Errors
///
/// 400, 413, 415 for the body; 403 for another site's page; and those of [`log_in`].
pub(super) async fn answer(trip: &mut Trip, call: Call<'_>) -> Result<Response<Body>, Rejection> {
    let Call { head, parts, inbound, bytes_max } = call;
    let public = head.origin(&trip.policy).ok_or(Rejection::Csrf("csrf"))?;
    match csrf::check(&parts.method, false, &parts.headers, &public) {
        // Programs name no origin; login CSRF takes a browser, and those do.
        Ok(()) | Err(CrossOrigin::Unsaid) => {}
        Err(CrossOrigin::Doubled | CrossOrigin::Other) => return Err(Rejection::Csrf("csrf")),
    }
    let idle = trip.policy.timeouts.body_idle;
    let mut fields = Fields::read(&parts.headers, inbound, bytes_max, idle).await?;
    if trip.policy.cookies().is_some() {
        return browser::begin(trip, (head, parts), fields).await;
    }
    let (name, password) = (fields.required("username")?, fields.required("password")?);
    let credentials = Credentials { name, password };
    let tokens = log_in(trip, &parts.headers, credentials, false).await?;
    trip.decide(Decision::Allowed("login"));
    Ok(tokens.answer())
}

/// Checks the password and begins a session: limits, account, family, tokens, audit. With
/// `browser` the session is one behind a cookie (`issued.session` is its id, the refresh token
/// stays in the store), and the access token is for the caller to keep there.
///
/// # Errors
///
/// 401 for whatever cause; 429; 503 when account, store or audit log cannot be asked; 404 where
/// nobody checks passwords.
pub(super) async fn log_in(
    trip: &Trip,
    headers: &HeaderMap,
    credentials: Credentials,
    browser: bool,
) -> Result<Tokens, Rejection> {
    let errand = Errand::of(trip, headers)?;
    let name = credentials.name.expose();
    errand.may_judge(refusal(&errand, name)).await?;
    let attempts = match limits::may_log_in(&errand, name).await {
        Ok(attempts) => attempts,
        Err(rejection) => return Err(not_judged(&errand, name, rejection).await),
    };
    to_its_end(check_and_begin(errand, credentials, attempts, browser)).await
}

async fn check_and_begin(
    errand: Errand,
    credentials: Credentials,
    attempts: Attempts,
    browser: bool,
) -> Result<Tokens, Rejection> {
    let name = credentials.name.expose();
    let accounts = errand.worker.gateway.authorization_server.accounts();
    let accounts = accounts.ok_or(Rejection::NotFound)?;
    let attempt = Attempt { name, password: &credentials.password, client: errand.client };
    let account = match accounts.check(&attempt).await {
        Ok(Ok(account)) => account,
        Ok(Err(cause)) => {
            attempts.failed().await;
            return Err(refused(&errand, name, word(cause)).await);
        }
        Err(error) => {
            // Nobody guessed anything.
            attempts.not_made().await;
            let rejection = unasked(&errand, error);
            return Err(not_judged(&errand, name, rejection).await);
        }
    };
    attempts.succeeded().await;
    begin(&errand, account, browser).await
}

async fn begin(errand: &Errand, account: Account, browser: bool) -> Result<Tokens, Rejection> {
    let now = UnixTime::now();
    let Account { name, subject, roles, permissions, claims } = account;
    let rights = Rights { roles, permissions, claims };
    let client = &*errand.issuing.client_id;
    let login = NewLogin { subject: &subject, account: &name, client, rights: &rights, browser };
    let began = errand.families.begin(login, errand.trace(), now).await;
    let issued = match began.map_err(|error| errand.unavailable(&error))? {
        Began::Issued(issued) => *issued,
        Began::Revoked(_) => return Err(refused(errand, &subject, "revoked").await),
    };
    for displaced in &issued.displaced {
        // It has ended; that everybody hears of it must not keep somebody else out.
        drop(errand.tell_ended(displaced, "too many sessions", now).await);
    }
    // A login that nobody could read about afterwards is none.
    let event = errand.event_of(Kind::Login, Outcome::Done, &issued.login);
    let sid = issued.login.sid.clone();
    // The account may have gone since its password was checked, and the end of its sessions may
    // have come before this one began.
    let accounts = errand.worker.gateway.authorization_server.accounts();
    let handed = if accounts.is_none_or(|accounts| accounts.stands(&name, &subject)) {
        match errand.record(event.clone()).await {
            Ok(()) => errand.tokens(issued, &rights, UnixTime::now()).await,
            Err(unwritten) => {
                // The password was right nevertheless; somebody will want to know.
                errand.note(event.ended(Outcome::Failed).reason(unwritten.reason())).await;
                Err(unwritten)
            }
        }
    } else {
        Err(refused(errand, &name, word(Refused::Unknown)).await)
    };
    let unused = match handed {
        Ok(Ok(tokens)) => return Ok(tokens),
        Ok(Err(Issued { .. })) => refused(errand, &subject, "revoked").await,
        Err(rejection) => rejection,
    };
    if let Err(error) = errand.families.end(&sid, UnixTime::now()).await {
        tracing::warn!(sid, %error, "a session that nobody has was not ended");
    }
    Err(unused)
}

/// A failed login, of an unknown account too: its line with the cause is on disk, or the answer is
/// the same 503 as for the right password.
async fn refused(errand: &Errand, name: &str, cause: &str) -> Rejection {
    let written = errand.record_refusal(refusal(errand, name).reason(cause)).await;
    written.err().unwrap_or(Rejection::NotAccepted("login_refused"))
}

/// A login whose password nobody looked at. A flood of these costs the disk nothing.
async fn not_judged(errand: &Errand, name: &str, rejection: Rejection) -> Rejection {
    errand.note(refusal(errand, name).reason(rejection.reason())).await;
    rejection
}

fn refusal(errand: &Errand, name: &str) -> Event {
    errand.event(Kind::Login, Outcome::Refused).issuer(LOCAL).subject(name)
}

/// The cause, for the audit log.
const fn word(cause: Refused) -> &'static str {
    match cause {
        Refused::Disabled => "account_disabled",
        Refused::Unknown => "account_unknown",
        Refused::Unusable => "account_unusable",
        Refused::Upstream => "upstream_refused",
        Refused::WrongPassword => "wrong_password",
    }
}

fn unasked(errand: &Errand, error: AccountsUnavailable) -> Rejection {
    let request_id = &*errand.request_id;
    tracing::warn!(request_id, %error, "a password could not be checked");
    match error {
        AccountsUnavailable::Busy => Rejection::Unavailable("accounts_busy"),
        AccountsUnavailable::Failed | AccountsUnavailable::Unreachable => {
            Rejection::Unavailable("accounts_unavailable")
        }
    }
}
