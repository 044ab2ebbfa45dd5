//! Word of changes to the blocklist, as soon as this process knows of them: its own revocations,
//! those that other gateways publish, those that a local copy notices.
//!
//! A word decides nothing. Whoever listens asks the blocklist again about the tokens that it
//! concerns; so a word too many costs a lookup, and a word that is lost must become
//! [`News::Doubt`], never silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// Words that a listener may be behind; one that is further behind is told to doubt everything.
const BACKLOG: usize = 1024;

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The entry with this suffix (see [`crate::token::Selector::suffix`]).
    Entry(Arc<str>),
    /// Anything: whatever rests on an earlier answer is to be asked again.
    Doubt,
}

/// Where changes are announced; one per process, cheap to clone.
#[derive(Clone, Debug)]
pub struct Announcer {
    sender: broadcast::Sender<News>,
    count: Arc<AtomicU64>,
}

/// What a listener hears from the moment it was made.
#[derive(Debug)]
pub struct Listener(broadcast::Receiver<News>);

impl Announcer {
    /// An announcer that nobody listens to yet.
    #[must_use]
    pub fn new() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG), count: Arc::default() }
    }

    /// The entry of this suffix may be there now.
    pub fn announce(&self, suffix: &str) {
        self.tell(|| News::Entry(suffix.into()));
    }

    /// Something may have changed, and nobody knows what: words may have been missed.
    pub fn announce_doubt(&self) {
        self.tell(|| News::Doubt);
    }

    /// Listens from now on.
    #[must_use]
    pub fn subscribe(&self) -> Listener {
        Listener(self.sender.subscribe())
    }

    /// Words so far. Whoever reads it before asking the blocklist, and finds it changed once it
    /// can be found by those who listen, knows that it may have missed a word in between.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    fn tell(&self, news: impl FnOnce() -> News) {
        // Counted before it can be heard: see `count`.
        self.count.fetch_add(1, Ordering::AcqRel);
        if self.sender.receiver_count() > 0 {
            // An error means that the last listener has just left.
            drop(self.sender.send(news()));
        }
    }
}

impl Default for Announcer {
    fn default() -> Self {
        Self::new()
    }
}

impl News {
    /// The suffix that it names.
    #[must_use]
    pub fn suffix(&self) -> Option<&str> {
        match self {
            Self::Entry(suffix) => Some(suffix),
            Self::Doubt => None,
        }
    }
}

impl Listener {
    /// A word that has already come.
    pub fn try_next(&mut self) -> Option<News> {
        match self.0.try_recv() {
            Ok(news) => Some(news),
            Err(TryRecvError::Lagged(_)) => Some(News::Doubt),
            Err(TryRecvError::Closed | TryRecvError::Empty) => None,
        }
    }

    /// The next word; `None` once every announcer is gone. May be dropped while it waits: no word
    /// is lost.
    pub async fn next(&mut self) -> Option<News> {
        match self.0.recv().await {
            Ok(news) => Some(news),
            Err(RecvError::Lagged(_)) => Some(News::Doubt),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_listener_hears_every_word() {
        let announcer = Announcer::new();
        announcer.announce("jti:i:unheard");
        let (mut one, mut two) = (announcer.subscribe(), announcer.subscribe());
        announcer.announce("jti:i:1");
        announcer.announce_doubt();
        for listener in [&mut one, &mut two] {
            assert_eq!(listener.next().await, Some(News::Entry("jti:i:1".into())));
            assert_eq!(listener.next().await, Some(News::Doubt));
        }
        drop(announcer);
        assert_eq!(one.next().await, None);
    }

    /// A flood is no way to have a revocation overlooked.
    #[tokio::test]
    async fn a_listener_that_falls_behind_doubts() {
        let announcer = Announcer::new();
        let mut listener = announcer.subscribe();
        for number in 0..=BACKLOG {
            announcer.announce(&number.to_string());
        }
        assert_eq!(listener.next().await, Some(News::Doubt));
        assert_eq!(listener.next().await, Some(News::Entry("1".into())), "the rest is heard");
    }
}
