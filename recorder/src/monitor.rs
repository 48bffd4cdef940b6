//! Watches a recording from outside: what it has counted, and whether it takes connections.

use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::metrics::{Meters, Metrics};
use crate::serve::Phase;
use crate::spool::{Queue, Told};
use crate::upstream::Servers;

/// A view of a recording, for any thread; it may outlive the recording.
#[derive(Clone, Debug)]
pub struct Monitor {
    meters: Arc<Meters>,
    queue: Arc<Queue>,
    servers: Arc<Servers>,
    phase: watch::Receiver<Phase>,
    clock: Clock,
}

impl Monitor {
    pub(crate) const fn new(
        meters: Arc<Meters>,
        queue: Arc<Queue>,
        servers: Arc<Servers>,
        phase: watch::Receiver<Phase>,
        clock: Clock,
    ) -> Self {
        Self { meters, queue, servers, phase, clock }
    }

    /// Whether new connections are taken: from the start until a stop.
    pub fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Running
    }

    /// Waits until a newer process has taken over.
    pub async fn taken_over(mut self) {
        let _ = self.phase.wait_for(|phase| *phase == Phase::Leaving).await;
    }

    /// Lets exchanges pass unrecorded that begin from now on; they count as dropped.
    pub fn pause(&self) {
        self.queue.pause(true, self.clock.moment());
    }

    /// Records again.
    pub fn resume(&self) {
        self.queue.pause(false, self.clock.moment());
    }

    /// Goes on in a new file when somebody moved the old one away, or when files rotate anyway; otherwise
    /// nothing happens.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// What it has counted so far.
    ///
    /// What became of the exchanges is at most half a second old: `accounts` adds up when nothing passes.
    pub fn metrics(&self) -> Metrics {
        let Told { accounts, file, failing, .. } = self.queue.told();
        let (queued, queue_limit) = self.queue.depth();
        let paused = self.queue.is_paused();
        let upstreams = self.servers.states();
        Metrics { accounts, upstreams, file, failing, paused, queued, queue_limit, ..self.meters.sum() }
    }
}
