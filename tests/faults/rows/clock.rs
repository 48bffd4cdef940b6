//! Time that jumps, and time that passes without us.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use captures::EventKind;

use crate::chaos::WallClock;
use crate::scenario::{Effort, Fault, Run, Scene};
use crate::support::{highwater, pause};

/// R10: the wall clock is set forth and back, by hours and years.
#[derive(Default)]
pub(crate) struct Jumps {
    clock: Option<WallClock>,
}

impl Fault for Jumps {
    fn prepare(&mut self, folder: &Path, _: Effort) -> Result<PathBuf, String> {
        self.clock = Some(WallClock::of(folder)?);
        Ok(folder.to_owned())
    }

    fn command(&self) -> Command {
        self.clock.as_ref().unwrap().command(&highwater().get_program().to_string_lossy())
    }

    fn begin(&mut self, _: &mut Scene) {
        const YEAR: i64 = 31_536_000;
        for seconds in [3_600, -3_600, YEAR, -YEAR, 1, 0] {
            self.clock.as_ref().unwrap().set_off_by(seconds);
            pause(Duration::from_millis(1_500));
        }
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        // Offsets and the harness's own clock tell the same, but for a constant.
        let kept = run.kept.as_ref().unwrap();
        let mut problems = Vec::new();
        let apart: Vec<f64> = run
            .sent
            .iter()
            .filter_map(|one| {
                let exchange = kept.exchanges.get(&one.id)?;
                let at = one.at.saturating_duration_since(run.sent[0].at);
                Some(Duration::from_nanos(exchange.arrived.as_nanos()).as_secs_f64() - at.as_secs_f64())
            })
            .collect();
        let lowest = apart.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = apart.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Half a second for a busy machine: the smallest jump was a second.
        if highest - lowest > 0.5 {
            problems.push((2, format!("offsets jumped by {:.3} s", highest - lowest)));
        }
        if !kept.events.iter().any(|event| event.kind == EventKind::ClockSet) {
            problems.push((5, "the file has no word of it".to_owned()));
        }
        problems
    }
}

/// R11: the process does not run for ten seconds.
#[derive(Default)]
pub(crate) struct Suspended;

impl Fault for Suspended {
    fn begin(&mut self, scene: &mut Scene) {
        scene.subject.signal("STOP");
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn end(&mut self, scene: &mut Scene) {
        scene.subject.signal("CONT");
    }

    fn delays(&self) -> bool {
        true
    }

    fn stalls(&self) -> bool {
        true
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        let kept = run.kept.as_ref().unwrap();
        let marked = kept.events.iter().any(|event| event.kind == EventKind::Suspended);
        if marked { Vec::new() } else { vec![(5, "the gap is not marked in the file".to_owned())] }
    }
}
