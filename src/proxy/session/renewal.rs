//! A session's next access token: the account asked anew, the refresh token rotated, a token made.
//! One at a time for each session, whoever waits for it.
//!
//! Several gateways may renew one session at the same time. One of them rotates; the others get
//! that rotation's answer within the grace, and every token that comes of it is good.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::time::timeout;

use super::kept::{Kept, Outcome, Pilot};
use super::verified;
use crate::issuer::{BrowserSession, Rotation, SessionId};
use crate::policy::Issuing;
use crate::proxy::endpoint::errand::Errand;
use crate::proxy::endpoint::refresh;
use crate::proxy::{Gateway, Rejection};
use crate::time::UnixTime;

/// How long what was read of a session may lie before it is read again: far less than any grace.
const FRESH: Duration = Duration::from_secs(1);

/// How long a request whose token still counts waits for the next one.
const PATIENCE: Duration = Duration::from_millis(100);

/// From when on a token is renewed: ahead of its end, so that no request sets out with one that
/// expires on its way. One that the end of its login has cut short cannot be prolonged: its end is
/// the session's, and asking before that would be a rotation a request, for nothing.
pub(super) fn due(issuing: &Issuing, at: Option<UnixTime>, expires_at: UnixTime) -> UnixTime {
    let lifetime = issuing.access_lifetime;
    // An idle time below a token's life cuts short as well, and is prolonged by a renewal.
    let is_last =
        lifetime <= issuing.refresh_idle && at.is_some_and(|at| expires_at < at.plus(lifetime));
    if is_last {
        return expires_at;
    }
    expires_at.minus((lifetime / 8).min(Duration::from_secs(60)).max(Duration::from_secs(1)))
}

/// Why there is no new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The session is over; why, for the log.
    Over(&'static str),
    /// That cannot be said now; why, for the log.
    Unavailable(&'static str),
}

impl From<Rejection> for Failed {
    fn from(rejection: Rejection) -> Self {
        if rejection.status() == StatusCode::SERVICE_UNAVAILABLE {
            Self::Unavailable(rejection.reason())
        } else {
            Self::Over(rejection.reason())
        }
    }
}

/// A renewal that is due.
pub(super) struct Renewal {
    pub(super) errand: Errand,
    pub(super) id: SessionId,
}

/// Frees the session however its renewal ends.
struct Flight {
    gateway: Arc<Gateway>,
    cookie: Box<str>,
    pilot: Pilot,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.gateway.sessions.land(&self.cookie);
    }
}

impl Renewal {
    /// Renews, or waits for whoever does. What has not expired yet (`standing`) counts for as long
    /// as it does: with it nobody waits for somebody else's renewal, nor for long for an own.
    pub(super) async fn once(self, cookie: &str, standing: Option<Arc<Kept>>) -> Outcome {
        const BUSY: Failed = Failed::Unavailable("session_busy");
        let gateway = self.errand.worker.gateway.clone();
        if let Some(why) = gateway.sessions.rests(cookie) {
            return standing.ok_or(Failed::Unavailable(why));
        }
        let Some((mut landing, pilot)) = gateway.sessions.board(cookie) else {
            return standing.ok_or(BUSY);
        };
        match (pilot, &standing) {
            (Some(pilot), _) => {
                let flight = Flight { gateway, cookie: cookie.into(), pilot };
                // On its own: a client that hangs up must not leave it half done.
                tokio::spawn(self.fly(flight));
            }
            (None, Some(standing)) => return Ok(standing.clone()),
            (None, None) => {}
        }
        let landed = async {
            let outcome = landing.wait_for(Option::is_some).await;
            outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(BUSY))
        };
        let Some(standing) = standing else { return landed.await };
        match timeout(PATIENCE, landed).await {
            Ok(Ok(kept)) => Ok(kept),
            Ok(Err(Failed::Over(why))) => Err(Failed::Over(why)),
            Ok(Err(Failed::Unavailable(_))) | Err(_) => Ok(standing),
        }
    }

    async fn fly(self, flight: Flight) {
        let outcome = self.renew(UnixTime::now()).await;
        let sessions = &flight.gateway.sessions;
        match &outcome {
            Ok(kept) => {
                let remembers = self.errand.policy.check_blocklist;
                sessions.remember(&flight.cookie, kept.clone(), remembers);
            }
            Err(Failed::Unavailable(why)) => sessions.rest(&flight.cookie, why),
            Err(Failed::Over(_)) => {}
        }
        flight.pilot.send_replace(Some(outcome));
    }

    async fn renew(&self, now: UnixTime) -> Outcome {
        let Self { errand, id } = self;
        let (session, read) = (self.read(now).await?, Instant::now());
        if let Some(kept) = self.standing(&session, now) {
            return Ok(kept);
        }
        refresh::may_judge(errand).await?;
        let found = errand.families.login_of(&session).await;
        let login = match found.map_err(|error| errand.unavailable(&error))? {
            Ok(login) => login,
            Err(why) => return Err(refresh::refused(errand, None, why.reason()).await.into()),
        };
        let Some(rights) = refresh::rights_now(errand, &login).await? else {
            return Err(refresh::gone(errand, &login).await.into());
        };
        // Another gateway may have renewed it while the account was looked up.
        let session = if read.elapsed() < FRESH { session } else { self.read(now).await? };
        if let Some(kept) = self.standing(&session, now) {
            return Ok(kept);
        }
        let rotation = errand.families.renew(id, &session, errand.trace(), now).await;
        let tokens = match rotation.map_err(|error| errand.unavailable(&error))? {
            Rotation::Rotated(issued) => refresh::hand_out(errand, issued, &rights, false).await?,
            Rotation::Again(issued) => refresh::hand_out(errand, issued, &rights, true).await?,
            Rotation::Refused(why) => {
                return Err(refresh::refused(errand, Some(&login), why.reason()).await.into());
            }
            Rotation::Reused { login, .. } => {
                return Err(refresh::reused(errand, &login).await.into());
            }
        };
        let (sid, turn, access) =
            (&*tokens.issued.login.sid, tokens.issued.turn, &tokens.access.text);
        // Not kept, it is good all the same: the next gateway makes its own.
        if let Err(error) = errand.families.keep_access(id, (sid, turn), access, now).await {
            tracing::debug!(sid, %error, "a session's access token was not kept");
        }
        let tokens_known = &errand.worker.gateway.tokens;
        let kept = verified(&errand.policy, tokens_known, access, now.max(tokens.issued.at));
        kept.ok_or(Failed::Unavailable("issuing_failed"))
    }

    async fn read(&self, now: UnixTime) -> Result<BrowserSession, Failed> {
        let found = self.errand.families.session(&self.id, now).await;
        let found = found.map_err(|error| self.errand.unavailable(&error))?;
        found.ok_or(Failed::Over("session_unknown"))
    }

    /// The session's own token, when somebody else has renewed it.
    fn standing(&self, session: &BrowserSession, now: UnixTime) -> Option<Arc<Kept>> {
        let access = session.access.as_ref()?;
        let Errand { worker, policy, .. } = &self.errand;
        let kept = verified(policy, &worker.gateway.tokens, access, now)?;
        (now < kept.renew_at).then_some(kept)
    }
}
