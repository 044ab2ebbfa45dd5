//! Logins and what descends from them: one refresh token at a time.
//!
//! Every decision falls in the store, in one step with the revocations of the login; here tokens
//! are made, read, sealed and opened. Whatever the store does not answer is [`Unavailable`], and
//! so 503, whatever `on_unreachable` says: a lost answer may be a rotation, and the client's retry
//! gets it within the grace.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::outcome::{
    Began, ClientTrace, Introspected, Issued, NewLogin, RefusedWhy, Rotation, Session, Unavailable,
};
use super::refresh_token::{RefreshToken, digest};
use super::session::{BrowserSession, SessionId, about};
use crate::blocklist::{End, Revocation};
use crate::limit::client_network;
use crate::policy::Issuing;
use crate::secret::Secret;
use crate::store::{
    self, Advanced, Begun, Dead, Live, Login, NewFamily, Standing, Step, Terms, Trace,
};
use crate::time::UnixTime;
use crate::token::{Kind, Selector};

/// Sessions of one subject; a login above it ends the one that has been unused for longest.
const SESSIONS_MAX: u32 = 100;
/// Bytes of a `User-Agent` that are kept for its owner to read.
const USER_AGENT_BYTES_MAX: usize = 256;
/// How often a login waits for a second to pass.
const WAITS_MAX: usize = 3;

/// The way to families under the rules of one snapshot; the store's side is shared by all.
#[derive(Clone)]
pub struct Families {
    store: Arc<store::Families>,
    terms: Arc<Terms>,
}

impl Families {
    /// Families under these rules.
    #[must_use]
    pub fn new(store: Arc<store::Families>, issuing: &Issuing) -> Self {
        let terms = Terms {
            issuer: issuing.issuer.clone(),
            idle: issuing.refresh_idle,
            lifetime: issuing.refresh_lifetime,
            grace: issuing.refresh_grace,
            barred: issuing.access_token_lives_at_most(),
            per_subject: SESSIONS_MAX,
        };
        Self { store, terms: Arc::new(terms) }
    }

    /// Begins a family. Waits out the second of a revocation that was just made, so that the
    /// tokens of a new login are dated after it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn begin(
        &self,
        login: NewLogin<'_>,
        client: ClientTrace<'_>,
        now: UnixTime,
    ) -> Result<Began, Unavailable> {
        let token = RefreshToken::first()?;
        let session = login.browser.then(SessionId::new).transpose()?;
        let new = family_of(&token, session.as_ref(), login, client)?;
        let mut now = now;
        for _ in 0..=WAITS_MAX {
            match self.store.begin(new.clone(), &self.terms, now).await? {
                Begun::Kept { standing, surplus } => {
                    let displaced = self.end_surplus(surplus, now).await;
                    let login = Login { at: standing.at, ..new.login };
                    let issued = issued(&token, session, login, standing);
                    return Ok(Began::Issued(Box::new(Issued { displaced, ..issued })));
                }
                Begun::Revoked(kind) => return Ok(Began::Revoked(kind)),
                Begun::Wait(span) => {
                    tokio::time::sleep(span).await;
                    let up = u64::from(span.subsec_nanos() > 0);
                    now = now.plus(span + std::time::Duration::from_secs(up));
                }
            }
        }
        Ok(Began::Revoked(Kind::Sub))
    }

    /// Whose login a refresh token belongs to, so that the account's rights can be read before it
    /// rotates. Says nothing about whether the token is good.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn find(&self, presented: &str) -> Result<Result<Login, RefusedWhy>, Unavailable> {
        let Some(token) = RefreshToken::parse(presented) else {
            return Ok(Err(RefusedWhy::Malformed));
        };
        Ok(self.store.find(&token.sid()).await?.map_err(RefusedWhy::Dead))
    }

    /// Whose login a browser's session is, as [`Families::find`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn login_of(
        &self,
        session: &BrowserSession,
    ) -> Result<Result<Login, RefusedWhy>, Unavailable> {
        Ok(self.store.find(&session.sid).await?.map_err(RefusedWhy::Dead))
    }

    /// Rotates a refresh token.
    ///
    /// # Errors
    ///
    /// [`Unavailable`]; the client's retry is then graced.
    pub async fn rotate(
        &self,
        presented: &str,
        client: ClientTrace<'_>,
        now: UnixTime,
    ) -> Result<Rotation, Unavailable> {
        self.advance(presented, None, client, now).await
    }

    /// Rotates the refresh token of a browser's session, which goes on under the same id. When
    /// that was done since `session` was read, the answer is [`Rotation::Again`], whoever asks and
    /// however often: a session's refresh token never leaves the store, so that one which is used
    /// up says that another gateway was faster, and not that somebody stole it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`]; the session may have been renewed nevertheless.
    pub async fn renew(
        &self,
        id: &SessionId,
        session: &BrowserSession,
        client: ClientTrace<'_>,
        now: UnixTime,
    ) -> Result<Rotation, Unavailable> {
        self.advance(session.refresh.expose(), Some(id), client, now).await
    }

    /// A browser's session; `None` when there is none of this id (any more).
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn session(
        &self,
        id: &SessionId,
        now: UnixTime,
    ) -> Result<Option<BrowserSession>, Unavailable> {
        let Some(kept) = self.store.session(&id.hash(), now).await? else { return Ok(None) };
        let seal = id.seal()?;
        let open = |kind, sealed: &[u8]| seal.open(&about(kind, &kept.sid), sealed);
        let Some(refresh) = open("refresh", &kept.refresh) else { return Ok(None) };
        let access = kept.access.as_deref().and_then(|sealed| open("access", sealed));
        Ok(Some(BrowserSession { sid: kept.sid.clone(), turn: kept.turn, access, refresh }))
    }

    /// Keeps the access token of a session that still stands at `turn`; whether it does.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn keep_access(
        &self,
        id: &SessionId,
        (sid, turn): (&str, u64),
        access: &Secret<String>,
        now: UnixTime,
    ) -> Result<bool, Unavailable> {
        let sealed = id.seal()?.seal(&about("access", sid), access.expose())?;
        Ok(self.store.keep_access(&id.hash(), turn, sealed, now).await?)
    }

    /// Ends a session: no refresh any more, and its access tokens on the blocklist. Its login,
    /// unless it was ended before or has been over for so long that no token of it is left.
    ///
    /// # Errors
    ///
    /// [`Unavailable`]; it may have ended nevertheless.
    pub async fn end(&self, sid: &str, now: UnixTime) -> Result<Option<Login>, Unavailable> {
        self.end_if(sid, |_| true, now).await
    }

    /// As [`Families::end`], for one's own session alone.
    ///
    /// # Errors
    ///
    /// [`Unavailable`]; it may have ended nevertheless.
    pub async fn end_own(
        &self,
        sid: &str,
        subject: &str,
        now: UnixTime,
    ) -> Result<Option<Login>, Unavailable> {
        self.end_if(sid, |login| login.subject == subject, now).await
    }

    /// The session that a refresh token belonged to, when it was ended and is remembered as such.
    /// Whoever was not told for certain that it has ended asks again.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn ended_session(&self, presented: &str) -> Result<Option<String>, Unavailable> {
        let Some(sid) = RefreshToken::parse(presented).map(|token| token.sid()) else {
            return Ok(None);
        };
        Ok(self.has_ended(&sid).await?.then_some(sid))
    }

    /// Whether a session was ended and is remembered as such: not one that was left unused until
    /// it was over, nor one that there never was.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn has_ended(&self, sid: &str) -> Result<bool, Unavailable> {
        Ok(matches!(self.store.find(sid).await?, Err(Dead::Ended | Dead::Reused)))
    }

    /// Ends every session of a subject; those that were alive. To be called after a revocation of
    /// the `sub`, which takes effect at once: what begins meanwhile is then dated after it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`]; some may have ended.
    pub async fn end_all(&self, subject: &str, now: UnixTime) -> Result<Vec<Login>, Unavailable> {
        let mut ended = Vec::new();
        for sid in self.store.sids(subject).await? {
            ended.extend(self.end_own(&sid, subject, now).await?);
        }
        Ok(ended)
    }

    /// Ends the logins that a revocation which stands already is about, so that nobody finds them
    /// any more; how many. Of a client's none: there is no list of them, and each is refused at its
    /// next refresh.
    ///
    /// # Errors
    ///
    /// [`Unavailable`]; some may have ended.
    pub async fn end_revoked(
        &self,
        revoked: &Selector,
        issued_before: Option<UnixTime>,
        now: UnixTime,
    ) -> Result<usize, Unavailable> {
        if revoked.issuer != self.terms.issuer {
            return Ok(0);
        }
        let sids = match revoked.kind {
            Kind::Sid => vec![revoked.value.clone()],
            Kind::Sub => self.store.sids(&revoked.value).await?,
            Kind::Client | Kind::Issuer | Kind::Jti | Kind::Kid | Kind::Token => Vec::new(),
        };
        let is_meant = |login: &Login| match revoked.kind {
            Kind::Sub => {
                login.subject == revoked.value
                    && issued_before.is_none_or(|issued_before| login.at <= issued_before)
            }
            _ => true,
        };
        let mut ended = 0;
        for sid in sids {
            ended += usize::from(self.end_if(&sid, is_meant, now).await?.is_some());
        }
        Ok(ended)
    }

    /// The revocation of a session that was just ended or reused. It is in the store already;
    /// handed to the blocklist, it is remembered against a loss, replicated, and told to everyone
    /// who holds a stream of that session. It lasts for as long as the session could have gone on
    /// unused: a store that loses the last moment, and with it the session's end, revives nothing.
    #[must_use]
    pub fn revocation(&self, login: &Login, reason: &str) -> Revocation {
        self.revocation_of(&login.sid, reason)
    }

    /// The same of a session by its name, whether or not its login is known any more.
    #[must_use]
    pub fn revocation_of(&self, sid: &str, reason: &str) -> Revocation {
        let Terms { issuer, idle, lifetime, barred, .. } = &*self.terms;
        let selector = Selector { kind: Kind::Sid, issuer: issuer.clone(), value: sid.to_owned() };
        Revocation {
            selector,
            end: End::For((*idle.min(lifetime)).saturating_add(*barred)),
            issued_before: None,
            reason: reason.to_owned(),
            by: "postern".to_owned(),
        }
    }

    /// The live sessions of a subject, the last used first.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn sessions(
        &self,
        subject: &str,
        now: UnixTime,
    ) -> Result<Vec<Session>, Unavailable> {
        let live = self.store.list(subject, &self.terms, now).await?;
        let mut sessions: Vec<Session> = live.into_iter().map(shown).collect();
        sessions.sort_by(|a, b| (b.last_used_at, &b.sid).cmp(&(a.last_used_at, &a.sid)));
        Ok(sessions)
    }

    /// A refresh token that would be rotated; `None` for any other. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub async fn introspect(
        &self,
        presented: &str,
        now: UnixTime,
    ) -> Result<Option<Introspected>, Unavailable> {
        let Some(token) = RefreshToken::parse(presented) else { return Ok(None) };
        let live = self.store.look(&token.sid(), &self.terms, now).await?.ok();
        let live = live.filter(|live| live.current == token.digest());
        Ok(live.map(|live| Introspected { login: live.login, until: live.standing.until }))
    }

    async fn advance(
        &self,
        presented: &str,
        id: Option<&SessionId>,
        client: ClientTrace<'_>,
        now: UnixTime,
    ) -> Result<Rotation, Unavailable> {
        let Some(token) = RefreshToken::parse(presented) else {
            return Ok(Rotation::Refused(RefusedWhy::Malformed));
        };
        let login = match self.store.find(&token.sid()).await? {
            Ok(login) => login,
            Err(dead) => return Ok(Rotation::Refused(RefusedWhy::Dead(dead))),
        };
        if login.session != id.map(SessionId::hash) {
            return Ok(Rotation::Refused(RefusedWhy::OtherKind));
        }
        let next = token.successor()?;
        let step = Step {
            presented: token.digest(),
            next: next.digest(),
            sealed: match id {
                Some(id) => sealed_refresh(id, &next)?,
                None => token.seal()?.seal(&login.sid, next.text().expose())?,
            },
            trace: trace(client),
        };
        Ok(match self.store.advance(&login, step, &self.terms, now).await? {
            Advanced::Rotated(standing) => Rotation::Rotated(issued(&next, None, login, standing)),
            Advanced::Again { standing, answer } => {
                let answer = match id {
                    Some(id) => id.seal()?.open(&about("refresh", &login.sid), &answer),
                    None => token.seal()?.open(&login.sid, &answer),
                };
                let next = answer.and_then(|text| RefreshToken::parse(text.expose()));
                let next = next.ok_or(store::Error::Shape("a kept answer cannot be opened"))?;
                Rotation::Again(issued(&next, None, login, standing))
            }
            Advanced::Refused(dead) => Rotation::Refused(RefusedWhy::Dead(dead)),
            Advanced::Reused { at } => Rotation::Reused { login, at },
        })
    }

    async fn end_if(
        &self,
        sid: &str,
        may_end: impl Fn(&Login) -> bool,
        now: UnixTime,
    ) -> Result<Option<Login>, Unavailable> {
        let found = self.store.find(sid).await?.ok().filter(|login| may_end(login));
        let Some(login) = found else { return Ok(None) };
        let was_alive = self.store.end(&login, &self.terms, now).await?;
        Ok(was_alive.then_some(login))
    }

    /// Those that ended; what is not ended now is ended at the next login.
    async fn end_surplus(&self, surplus: Vec<String>, now: UnixTime) -> Vec<Login> {
        let mut ended = Vec::with_capacity(surplus.len());
        for sid in surplus {
            match self.end(&sid, now).await {
                Ok(login) => {
                    tracing::info!(sid, "too many sessions: the one unused for longest ended");
                    ended.extend(login);
                }
                Err(error) => tracing::warn!(sid, %error, "a surplus session was not ended"),
            }
        }
        ended
    }
}

fn family_of(
    token: &RefreshToken,
    session: Option<&SessionId>,
    login: NewLogin<'_>,
    client: ClientTrace<'_>,
) -> Result<NewFamily, Unavailable> {
    Ok(NewFamily {
        login: Login {
            sid: token.sid(),
            subject: login.subject.to_owned(),
            client: login.client.to_owned(),
            account: login.account.to_owned(),
            known: login.rights.to_text(),
            at: UnixTime(0),
            session: session.map(SessionId::hash),
        },
        current: token.digest(),
        trace: trace(client),
        refresh: session.map(|id| sealed_refresh(id, token)).transpose()?,
    })
}

fn sealed_refresh(id: &SessionId, token: &RefreshToken) -> Result<Vec<u8>, Unavailable> {
    Ok(id.seal()?.seal(&about("refresh", &token.sid()), token.text().expose())?)
}

fn issued(
    token: &RefreshToken,
    session: Option<SessionId>,
    login: Login,
    standing: Standing,
) -> Issued {
    let Standing { at, until, turn } = standing;
    Issued { refresh: token.text(), session, login, at, until, turn, displaced: Vec::new() }
}

/// One client, as far as that can be told: the network of its address and its `User-Agent`.
fn trace(client: ClientTrace<'_>) -> Trace {
    let network = match client_network(client.address) {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() >> 8 << 8)),
        network @ IpAddr::V6(_) => network,
    };
    let network = network.to_string();
    let mark = digest("client", &[network.as_bytes(), client.user_agent.as_bytes()]);
    let end = client.user_agent.floor_char_boundary(USER_AGENT_BYTES_MAX);
    let kept = client.user_agent.get(..end).unwrap_or_default();
    Trace {
        address: client.address.to_canonical().to_string(),
        user_agent: kept.chars().filter(|c| !c.is_control()).collect(),
        mark: URL_SAFE_NO_PAD.encode(mark),
    }
}

fn shown(live: Live) -> Session {
    Session {
        sid: live.login.sid,
        created_at: live.login.at,
        last_used_at: live.used_at,
        address: live.address,
        user_agent: live.user_agent,
    }
}
