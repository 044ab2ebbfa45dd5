//! What is counted of live streams, over all workers of the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::blocklist::Cause;

/// Why a stream was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its token has expired.
    Expired,
    /// Its token was revoked.
    Revoked(Cause),
    /// The blocklist could not be asked for as long as `[streams] grace`.
    Unanswered,
    /// The issuer or the key that its token rests on is no longer configured or published.
    Untrusted,
}

impl Why {
    /// One word from a fixed list, for log lines and metric labels.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked(cause) => cause.reason(),
            Self::Unanswered => "store_unavailable",
            Self::Untrusted => "unknown_key",
        }
    }
}

/// How many streams were ended for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// [`Why::reason`].
    pub reason: &'static str,
    /// So many since the start.
    pub streams: u64,
}

/// The numbers of one process.
#[derive(Debug, Default)]
pub struct Tally {
    open: AtomicU64,
    ended: Mutex<BTreeMap<&'static str, u64>>,
    unanswered: AtomicU64,
    deaf: AtomicBool,
}

impl Tally {
    /// Streams that are open now (`postern_streams`): WebSockets, and bodies that have been on
    /// their way for more than a second, of callers with a token.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Streams that were ended before their time, by reason.
    pub fn ended(&self) -> Vec<Ended> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.iter().map(|(reason, streams)| Ended { reason, streams: *streams }).collect()
    }

    /// Second looks at a stream that got no answer from the blocklist; most went on.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }

    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts streams that end together, with one line in the log for all of them.
    pub(super) fn note_ended(&self, why: Why, streams: usize) {
        if streams == 0 {
            return;
        }
        let reason = why.reason();
        {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            *ended.entry(reason).or_default() += streams as u64;
        }
        tracing::info!(reason, streams, "live streams end: their token counts no longer");
    }

    /// Counts second looks without an answer; says so once, for all workers.
    pub(super) fn note_unanswered(&self, streams: usize, reason: &'static str) {
        self.unanswered.fetch_add(streams as u64, Ordering::Relaxed);
        if !self.deaf.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                reason,
                streams,
                "the blocklist cannot be asked about live streams; those of routes with \
                 on_unreachable = \"deny\" end after [streams] grace"
            );
        }
    }

    /// Every stream that was asked about got its answer.
    pub(super) fn note_answered(&self) {
        if self.deaf.load(Ordering::Relaxed) && self.deaf.swap(false, Ordering::Relaxed) {
            tracing::info!("the blocklist can be asked about live streams again");
        }
    }
}
