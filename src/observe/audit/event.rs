//! What is audited: an event, what came of it, who caused it and from where.
//!
//! It must never hold a token, a password or a query. A token's id (jti) may be in it: operators
//! revoke by it.

use std::net::IpAddr;

use serde_json::{Map, Value};

/// The longest text that a client chose, in bytes; the rest is cut off.
const FOREIGN_BYTES_MAX: usize = 256;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The alarm about lost revocations was acknowledged.
    Acknowledgement,
    /// A request was refused: 401, 403 or 429.
    Denial,
    /// The gateway stops accepting connections.
    Drain,
    /// The published keys of an issuer are others than before.
    KeyChange,
    /// A revocation was lifted.
    Lift,
    /// Somebody logged in, or tried to.
    Login,
    /// Somebody ended a session of theirs or all of them, or a provider's logout token came.
    Logout,
    /// The store has lost revocations.
    Loss,
    /// Events of this kind were not written in time; how many, and none of what.
    Missed,
    /// The first line of a file.
    Open,
    /// A refresh token was exchanged for new tokens, or was not accepted.
    Refresh,
    /// The configuration was read again.
    Reload,
    /// The file did not end as it should: a line that was cut short was taken out, lines are
    /// missing, or there was no file.
    Repair,
    /// A refresh token was used twice: its session was ended.
    Reuse,
    /// A token, session, user, client, issuer or key was revoked.
    Revocation,
    /// The gateway serves.
    Start,
    /// The gateway ends.
    Stop,
    /// A live connection was closed because its token was revoked or had expired.
    StreamClosed,
    /// A client was given a token in its own name, or asked for what it may not have.
    Token,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is about to be done: written before it is, so that nothing happens without a line.
    Asked,
    /// It was done, or was simply seen.
    Done,
    /// It was not done, or is not known to be.
    Failed,
    /// It was not allowed.
    Refused,
}

/// One line, but for what the log adds: number, time, gateway, code.
#[derive(Clone, Debug)]
pub struct Event {
    pub(super) kind: Kind,
    pub(super) outcome: Outcome,
    pub(super) subject: Option<Box<str>>,
    pub(super) address: Option<IpAddr>,
    /// What is revoked: the kind of selector, its value, the entry's id.
    pub(super) selector: Option<Selector>,
    /// Everything else, in the order in which it was added.
    pub(super) members: Map<String, Value>,
}

#[derive(Clone, Debug)]
pub(super) struct Selector {
    pub(super) kind: Box<str>,
    pub(super) value: Box<str>,
    pub(super) id: Option<Box<str>>,
}

impl Kind {
    /// The word in the line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledgement => "acknowledgement",
            Self::Denial => "denial",
            Self::Drain => "drain",
            Self::KeyChange => "key_change",
            Self::Lift => "lift",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::Loss => "loss",
            Self::Missed => "missed",
            Self::Open => "open",
            Self::Refresh => "refresh",
            Self::Reload => "reload",
            Self::Repair => "repair",
            Self::Reuse => "reuse",
            Self::Revocation => "revocation",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::StreamClosed => "stream_closed",
            Self::Token => "token",
        }
    }
}

impl Outcome {
    /// The word in the line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

impl Event {
    /// An event of which nothing more is known.
    #[must_use]
    pub fn new(kind: Kind, outcome: Outcome) -> Self {
        let (subject, address, selector) = (None, None, None);
        Self { kind, outcome, subject, address, selector, members: Map::new() }
    }

    /// The same event with what came of it.
    #[must_use]
    pub fn ended(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Who did it: `admin`, `cli`, an issuer entry's name.
    #[must_use]
    pub fn actor(self, actor: &str) -> Self {
        self.text("actor", actor)
    }

    /// Whose token it was (`sub`); hashed where `[audit] hash` says so.
    #[must_use]
    pub fn subject(mut self, subject: &str) -> Self {
        self.subject = Some(cut(subject).into());
        self
    }

    /// The token's issuer, as the configuration names it.
    #[must_use]
    pub fn issuer(self, issuer: &str) -> Self {
        self.text("issuer", issuer)
    }

    /// The token's client (`azp`, `client_id`).
    #[must_use]
    pub fn client(self, client: &str) -> Self {
        self.text("client", client)
    }

    /// The token's id.
    #[must_use]
    pub fn jti(self, jti: &str) -> Self {
        self.text("jti", jti)
    }

    /// Where it came from; hashed where `[audit] hash` says so.
    #[must_use]
    pub const fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The User-Agent field.
    #[must_use]
    pub fn user_agent(self, user_agent: &str) -> Self {
        self.text("user_agent", user_agent)
    }

    /// The id of the request, as in the answer and the access log.
    #[must_use]
    pub fn request(self, id: &str) -> Self {
        self.text("request_id", id)
    }

    /// Why: a word of the access log, or what the operator wrote.
    #[must_use]
    pub fn reason(self, reason: &str) -> Self {
        if reason.is_empty() { self } else { self.text("reason", reason) }
    }

    /// What a revocation is about: `jti`, `sub`, `sid`, `client`, `issuer`, `kid` or `token`, its
    /// value, and the entry's id where there is one. Hashed like the subject where it is one.
    #[must_use]
    pub fn selector(mut self, kind: &str, value: &str, id: Option<&str>) -> Self {
        let selector =
            Selector { kind: kind.into(), value: cut(value).into(), id: id.map(Into::into) };
        self.selector = Some(selector);
        self
    }

    /// Anything else worth knowing; the name is the code's, not a stranger's.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    fn text(self, name: &'static str, value: &str) -> Self {
        let value = cut(value).to_owned();
        self.detail(name, value)
    }
}

/// At most [`FOREIGN_BYTES_MAX`] of it.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(FOREIGN_BYTES_MAX)).unwrap_or_default()
}
