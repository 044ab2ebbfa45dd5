//! A bound on signatures that are checked in vain, over all clients together.
//!
//! The limit by client (`[auth_failures]`) does not hold whoever has many addresses. This one does,
//! and must not become a way to keep real logouts out: clients that have delivered one are exempt.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limit::{Decision, Limiter, Quota, client_network};

/// A thousand at once, then a hundred a second: of RSA, about a hundredth of a core.
const VAIN_CHECKS: Quota = Quota { count: NonZeroU32::MIN.saturating_add(999), per: TEN_SECONDS };
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// Clients that are remembered for having delivered something real.
const SENDERS_MAX: usize = 256;

/// What many clients together may cost.
pub struct Flood {
    vain: Limiter,
    /// Networks, the one that delivered last at the end.
    senders: Mutex<VecDeque<IpAddr>>,
}

impl Default for Flood {
    fn default() -> Self {
        Self { vain: Limiter::new(VAIN_CHECKS), senders: Mutex::default() }
    }
}

impl Flood {
    /// The refusal (429) while too much was checked in vain; `None` when this client may try.
    pub(super) fn would_block(&self, client: IpAddr) -> Option<Decision> {
        let decision = self.vain.ask(self.vain.key().finish(), NonZeroU32::MIN);
        let is_blocked = !decision.allowed && !self.senders().contains(&client_network(client));
        is_blocked.then_some(decision)
    }

    /// A signature was checked in vain.
    pub(super) fn in_vain(&self) {
        let _ = self.vain.admit(self.vain.key().finish());
    }

    /// This client has delivered something real.
    pub(super) fn delivered(&self, client: IpAddr) {
        let network = client_network(client);
        let mut senders = self.senders();
        senders.retain(|known| *known != network);
        if senders.len() >= SENDERS_MAX {
            senders.pop_front();
        }
        senders.push_back(network);
    }

    /// The list stays whole when a holder panicked: each change is one step.
    fn senders(&self) -> MutexGuard<'_, VecDeque<IpAddr>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn a_flood_ends_and_known_senders_pass() {
        let flood = Flood::default();
        flood.delivered(address(1));
        for _ in 0..VAIN_CHECKS.count.get() + 10 {
            flood.in_vain();
        }
        assert!(flood.would_block(address(2)).is_some(), "whoever it is");
        assert!(flood.would_block(address(1)).is_none(), "but not who has delivered");
    }

    #[test]
    fn the_senders_that_delivered_last_are_remembered() {
        let flood = Flood::default();
        let sender = |n: u16| IpAddr::from([10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        for n in 0..400 {
            flood.delivered(sender(n));
            flood.delivered(sender(7));
        }
        let senders = flood.senders();
        assert_eq!(senders.len(), SENDERS_MAX);
        assert!(senders.contains(&sender(7)) && senders.contains(&sender(399)));
        assert!(!senders.contains(&sender(0)));
    }
}
