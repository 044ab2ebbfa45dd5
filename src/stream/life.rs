//! What whoever carries a stream holds of it.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::index::{Entry, Key};
use super::{Exit, Index, Kind, Why};
use crate::auth::Verified;

/// That a request was let through, and as of when.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The token's facts.
    pub verified: Arc<Verified>,
    /// What had been announced when the blocklist was asked
    /// ([`crate::blocklist::WorkerBlocklist::announced`], read before asking).
    pub heard: u64,
    /// Whether the route goes on when the blocklist cannot be asked.
    pub allow_unreachable: bool,
}

/// A stream's place in the index. Costs nothing until it is [entered](Life::enter), which is for
/// streams that are not over at once; leaves the index when it is dropped.
pub struct Life {
    index: Arc<Index>,
    pass: Pass,
    kind: Kind,
    key: Option<Key>,
    why: Option<Why>,
}

impl Life {
    /// Of a stream that is not in the index yet.
    #[must_use]
    pub const fn new(index: Arc<Index>, pass: Pass, kind: Kind) -> Self {
        Self { index, pass, kind, key: None, why: None }
    }

    /// What kind of stream it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it was entered.
    #[must_use]
    pub const fn is_entered(&self) -> bool {
        self.key.is_some()
    }

    /// Enters the stream into the index; from now on the task of `cx` is woken when it is to end.
    /// What was announced since its request was checked has it looked at again at once.
    pub fn enter(&mut self, cx: &Context<'_>, exit: Exit) {
        if self.key.is_none() {
            let Pass { verified, heard, allow_unreachable } = &self.pass;
            self.key = Some(self.index.enter(Entry {
                verified: Arc::clone(verified),
                heard: *heard,
                allow_unreachable: *allow_unreachable,
                kind: self.kind,
                waker: cx.waker().clone(),
                exit,
            }));
        }
    }

    /// Ready once the stream is to end, and from then on. One that was not entered never is.
    pub fn poll_end(&mut self, cx: &Context<'_>) -> Poll<Why> {
        if self.why.is_none()
            && let Some(key) = self.key
        {
            self.why = self.index.look(key, cx.waker());
        }
        self.why.map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes the stream out of the index; why it was to end, if it was.
    pub fn leave(&mut self) -> Option<Why> {
        if let Some(key) = self.key.take() {
            self.why = self.index.leave(key).or(self.why);
        }
        self.why
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.leave();
    }
}
