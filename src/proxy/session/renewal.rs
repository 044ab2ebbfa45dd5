//! A session's next access token: the account asked anew, the refresh token rotated, a token made.
//! One at a time for each session, whoever waits for it.
//!
//! Several gateways may renew one session at the same time. One of them rotates; the others get
//! that rotation's answer within the grace, and every token that comes of it is good.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::kept::{Kept, Outcome, Pilot};
use super::verified;
use crate::blocklist::RevokeError;
use crate::issuer::account::LookedUp;
use crate::issuer::{
    BrowserSession, ClientTrace, Families, Issued, Login, Mint, Rights, Rotation,
    SessionId, Unavailable,
};
use crate::policy::{Issuing, Snapshot};
use crate::proxy::Gateway;
use crate::time::UnixTime;

/// How long what was read of a session may lie before it is read again: far less than any grace.
const FRESH: Duration = Duration::from_secs(1);

/// How long before its end a token is renewed, so that no request sets out with one that expires
/// on its way.
pub(super) fn ahead(lifetime: Duration) -> Duration {
    (lifetime / 8).min(Duration::from_secs(60)).max(Duration::from_secs(1))
}

/// Why there is no new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The session is over; why, for the log.
    Over(&'static str),
    /// That cannot be said now.
    Unavailable(&'static str),
}

/// A renewal that is due.
pub(super) struct Renewal {
    pub(super) gateway: Arc<Gateway>,
    pub(super) policy: Arc<Snapshot>,
    pub(super) issuing: Arc<Issuing>,
    pub(super) families: Families,
    pub(super) id: SessionId,
    pub(super) address: IpAddr,
    pub(super) user_agent: String,
    pub(super) request_id: Box<str>,
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
    /// Renews, or waits for whoever does.
    pub(super) async fn once(self, cookie: &str) -> Outcome {
        const BUSY: Failed = Failed::Unavailable("renewals");
        let (mut landing, pilot) = self.gateway.sessions.board(cookie).ok_or(BUSY)?;
        if let Some(pilot) = pilot {
            let gateway = self.gateway.clone();
            let flight = Flight { gateway, cookie: cookie.into(), pilot };
            // On its own: a client that hangs up must not leave it half done.
            tokio::spawn(self.fly(flight));
        }
        let outcome = landing.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(BUSY))
    }

    async fn fly(self, flight: Flight) {
        let outcome = self.renew(UnixTime::now()).await;
        if let Ok(kept) = &outcome {
            let remembers = self.policy.check_blocklist;
            self.gateway.sessions.remember(&flight.cookie, kept.clone(), remembers);
        }
        flight.pilot.send_replace(Some(outcome));
    }

    async fn renew(&self, now: UnixTime) -> Outcome {
        let (session, read) = (self.read(now).await?, Instant::now());
        if let Some(kept) = self.standing(&session, now) {
            return Ok(kept);
        }
        let found = self.families.login_of(&session).await.map_err(|error| self.unsure(&error))?;
        let login = found.map_err(|why| Failed::Over(why.reason()))?;
        let rights = self.rights(&login, now).await?;
        // Another gateway may have renewed it while the account was looked up.
        let session = if read.elapsed() < FRESH { session } else { self.read(now).await? };
        if let Some(kept) = self.standing(&session, now) {
            return Ok(kept);
        }
        let client = ClientTrace { address: self.address, user_agent: &self.user_agent };
        let rotation = self.families.renew(&self.id, &session, client, now).await;
        match rotation.map_err(|error| self.unsure(&error))? {
            Rotation::Rotated(issued) | Rotation::Again(issued) => {
                self.mint(&issued, &rights, now).await
            }
            Rotation::Refused(why) => Err(Failed::Over(why.reason())),
            Rotation::Reused { login, .. } => {
                self.revoke(&login, "a refresh token was used twice", now).await;
                Err(Failed::Over("refresh_reused"))
            }
        }
    }

    async fn read(&self, now: UnixTime) -> Result<BrowserSession, Failed> {
        let found = self.families.session(&self.id, now).await;
        found.map_err(|error| self.unsure(&error))?.ok_or(Failed::Over("session_unknown"))
    }

    /// The session's own token, when somebody else has renewed it.
    fn standing(&self, session: &BrowserSession, now: UnixTime) -> Option<Arc<Kept>> {
        let access = session.access.as_ref()?;
        let kept = verified(&self.policy, &self.gateway.tokens, access, now)?;
        (now < kept.renew_at).then_some(kept)
    }

    /// What the account may do now. A session whose account is gone ends.
    async fn rights(&self, login: &Login, now: UnixTime) -> Result<Rights, Failed> {
        let accounts = self.gateway.authorization_server.accounts();
        let accounts = accounts.ok_or(Failed::Unavailable("accounts"))?;
        let looked_up = accounts.look_up(&login.account, &login.subject).await;
        match looked_up.map_err(|_| Failed::Unavailable("accounts"))? {
            LookedUp::Present(account) => {
                let (roles, permissions) = (account.roles, account.permissions);
                Ok(Rights { roles, permissions, claims: account.claims })
            }
            LookedUp::AsAtLogin => Ok(Rights::at_login(login)),
            LookedUp::Gone => {
                let ended = self.families.end(&login.sid, now).await;
                ended.map_err(|error| self.unsure(&error))?;
                self.revoke(login, "the account is gone", now).await;
                Err(Failed::Over("account_gone"))
            }
        }
    }

    async fn mint(&self, issued: &Issued, rights: &Rights, now: UnixTime) -> Outcome {
        let mint = Mint::new(self.issuing.clone());
        let made = mint.of_login(&issued.login, rights, issued.at);
        let access = made.map_err(|error| {
            tracing::error!(%error, "no access token could be made for a session");
            Failed::Unavailable("mint")
        })?;
        let place = (issued.login.sid.as_str(), issued.turn);
        // Not kept, it is good all the same: the next gateway makes its own.
        if let Err(error) = self.families.keep_access(&self.id, place, &access.text, now).await {
            tracing::debug!(%error, "a session's access token was not kept");
        }
        let now = now.max(issued.at);
        verified(&self.policy, &self.gateway.tokens, &access.text, now)
            .ok_or(Failed::Unavailable("mint"))
    }

    /// It stands on the blocklist already; now it is remembered, replicated and announced too.
    async fn revoke(&self, login: &Login, reason: &str, now: UnixTime) {
        let revocation = self.families.revocation(login, reason);
        let revoked = self.gateway.blocklist.revoke(&revocation, now).await;
        let request_id = &*self.request_id;
        tracing::info!(sid = login.sid, request_id, reason, "a browser's session was ended");
        if let Err(RevokeError::Store(error)) = revoked {
            tracing::warn!(request_id, %error, "its end was not announced");
        }
    }

    fn unsure(&self, error: &Unavailable) -> Failed {
        let request_id = &*self.request_id;
        tracing::warn!(request_id, %error, "a session could not be renewed");
        Failed::Unavailable("renewal")
    }
}

