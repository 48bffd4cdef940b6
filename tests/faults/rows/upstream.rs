//! Services that break off, hang, drip, or are gone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use captures::Ending;

use crate::drive::{Outcome, send};
use crate::mix::Kind;
use crate::scenario::{Fault, Run, Scene};

/// Sends `count` requests of a kind, each on a connection of its own, and notes what came of them.
fn send_each(scene: &mut Scene, kinds: &[Kind]) {
    for kind in kinds {
        let id = scene.next.fetch_add(1, Ordering::SeqCst);
        let sent = send(&mut None, scene.to(), id, *kind);
        scene.came.push(format!("{kind:?} {:?}", sent.outcome));
        scene.sent.push(sent);
    }
}

/// Records of a kind that do not end as they should.
fn ending_otherwise(run: &Run, wanted: fn(Kind) -> bool, ending: Ending) -> Vec<(usize, String)> {
    let kept = run.kept.as_ref().unwrap();
    let others = run.sent.iter().filter(|one| wanted(one.kind)).filter_map(|one| {
        let exchange = kept.exchanges.get(&one.id)?;
        (exchange.ending != ending)
            .then(|| (2, format!("{:?} was recorded as {}", one.kind, exchange.ending.as_str())))
    });
    others.collect()
}

/// R13: the answer breaks off by a reset.
#[derive(Default)]
pub(crate) struct Resets;

impl Fault for Resets {
    fn begin(&mut self, scene: &mut Scene) {
        let kinds: Vec<Kind> = (0..scene.effort.of(100)).map(|at| Kind::Reset(at * 1_000)).collect();
        send_each(scene, &kinds);
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        ending_otherwise(run, |kind| matches!(kind, Kind::Reset(_)), Ending::UpstreamReset)
    }
}

/// R14: no answer, or one that takes its time.
#[derive(Default)]
pub(crate) struct Hangs;

impl Fault for Hangs {
    fn flags(&self) -> Vec<String> {
        ["--timeout", "1s"].map(str::to_owned).to_vec()
    }

    fn begin(&mut self, scene: &mut Scene) {
        send_each(scene, &[Kind::Hang, Kind::Drip(20), Kind::Hang, Kind::Drip(5)]);
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        let mut problems = ending_otherwise(run, |kind| kind == Kind::Hang, Ending::UpstreamTimedOut);
        problems.extend(ending_otherwise(run, |kind| matches!(kind, Kind::Drip(_)), Ending::Completed));
        let slow = run
            .sent
            .iter()
            .filter(|one| one.kind == Kind::Hang && one.done.duration_since(one.at) > Duration::from_secs(3));
        problems.extend(slow.map(|_| (5, "the time limit of 1 s was not kept".to_owned())));
        problems
    }
}

/// R15: nobody listens.
#[derive(Default)]
pub(crate) struct Gone;

impl Fault for Gone {
    fn begin(&mut self, scene: &mut Scene) {
        scene.origin.refuse();
    }

    fn end(&mut self, scene: &mut Scene) {
        scene.origin.serve_again();
    }

    fn tolerates(&self, outcome: &Outcome, within: bool) -> bool {
        // An answer that was under way when the service went is broken off, too.
        within && matches!(outcome, Outcome::Status(502) | Outcome::Broken(_))
    }

    fn delays(&self) -> bool {
        true
    }

    fn metric(&self) -> Option<&'static str> {
        Some("highwater_responses_total{code=\"502\"")
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        let kept = run.kept.as_ref().unwrap();
        let wrong = run.sent.iter().filter(|one| one.outcome == Outcome::Status(502)).filter_map(|one| {
            let ending = kept.exchanges.get(&one.id)?.ending;
            let known = matches!(ending, Ending::UpstreamRefused | Ending::UpstreamReset);
            (!known).then(|| (2, format!("a 502 was recorded as {}", ending.as_str())))
        });
        wrong.collect()
    }
}
