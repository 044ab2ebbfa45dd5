//! Probes and canaries: as of when what was reported is all there is.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, Core, Phase, Probe, ProbeStep};
use crate::blocklist::tracked::Noticed;
use crate::store::Reading;
use crate::time::Moment;

/// Between two probes at most.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// Between two canaries at most.
const CANARY_EVERY: Duration = Duration::from_secs(1);

impl Core {
    /// Between two probes; a short lease needs more of them.
    pub(super) fn probe_every(&self) -> Duration {
        PROBE_EVERY.min(self.limits.max_staleness / 5)
    }

    pub(super) fn canary_every(&self) -> Duration {
        CANARY_EVERY.min(self.limits.max_staleness / 4)
    }

    pub(super) fn next_probe(&mut self, now: Moment) -> Option<Command> {
        match self.probe.step {
            ProbeStep::Idle if now >= self.probe.due => {
                let due = now.plus(self.probe_every());
                let number = self.probe.number + 1;
                self.probe = Probe { number, began: now, step: ProbeStep::Pinged, due };
                Some(Command::Ping)
            }
            ProbeStep::Ponged => {
                self.probe.step = ProbeStep::Confirming;
                Some(Command::Confirm)
            }
            ProbeStep::Idle | ProbeStep::Pinged | ProbeStep::Confirming => None,
        }
    }

    pub(super) fn ponged(&mut self) {
        if self.probe.step == ProbeStep::Pinged {
            self.probe.step = ProbeStep::Ponged;
        }
    }

    pub(super) fn confirmed(&mut self, generation: Option<Arc<str>>, listed: u64, now: Moment) {
        if self.probe.step != ProbeStep::Confirming {
            return;
        }
        self.probe.step = ProbeStep::Idle;
        self.lease = Some(self.probe.began);
        self.is_strange = generation.is_none() || generation != self.known.0;
        let number = self.probe.number;
        match self.phase {
            Phase::Meeting { after } if number > after => self.met(generation, listed, now),
            Phase::Aging { .. } if generation != self.next_base => self.start_over(),
            Phase::Scanning
            | Phase::Verifying { .. }
            | Phase::Sweeping { .. }
            | Phase::Following { .. }
                if generation != self.base =>
            {
                self.start_over();
            }
            Phase::Full { after: Some(after), .. } if number > after => {
                if let Some(generation) = &generation {
                    self.shed(generation);
                }
            }
            Phase::Verifying { after } if number > after => {
                self.phase = Phase::Sweeping { part: 0 }
            }
            _ => {}
        }
        if self.doubt.is_some_and(|doubt| number > doubt) {
            self.doubt = None;
        }
    }

    pub(super) fn next_canary(&mut self, now: Moment) -> Option<Command> {
        if self.canary.is_writing || now < self.canary.due {
            return None;
        }
        // The report of one canary must not vouch for the next: as long as one is missed, it is
        // written again, and counts from when it was first written.
        if !self.canary.is_missed {
            self.canary.written = (self.canary.written.0.wrapping_add(1), now);
            self.canary.is_missed = true;
        }
        self.canary.is_writing = true;
        self.canary.due = now.plus(self.canary_every());
        Some(Command::Canary(self.canary.written.0))
    }

    pub(super) fn canary_read(&mut self, reading: &Reading) {
        let (value, written) = self.canary.written;
        let read = match reading {
            Reading::Present { value: Some(read), .. } => read,
            Reading::Present { value: None, .. } | Reading::Absent => return,
        };
        if *read == value.to_string().into_bytes() && self.canary.seen < Some(written) {
            self.canary.seen = Some(written);
            self.canary.is_missed = false;
            self.noticed.push(Noticed::Canary(value));
        }
    }
}
