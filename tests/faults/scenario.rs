//! How a fault is tried: the same traffic with recording off and on, then once more until a kill -9.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::accounts::Kept;
use crate::drive::{Drive, Ledger, Outcome, Sent};
use crate::origin::Origin;
use crate::subject::{Subject, Used};
use crate::support::{highwater, now, pause, until};
use crate::table::{Cells, Verdict, failed, skipped};

/// How thoroughly.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Requests of the usual mix in each run.
    pub(crate) requests: usize,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Runs killed at random moments.
    pub(crate) kills: usize,
    /// A tenth of what is long.
    pub(crate) quick: bool,
}

impl Effort {
    pub(crate) const FULL: Self = Self { requests: 10_000, rate: 1_000.0, kills: 200, quick: false };
    pub(crate) const QUICK: Self = Self { requests: 400, rate: 600.0, kills: 5, quick: true };

    /// `full`, or a tenth of it.
    pub(crate) const fn of(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(10) } else { full }
    }
}

/// Everything that a fault can get at.
pub(crate) struct Scene<'a> {
    pub(crate) effort: Effort,
    pub(crate) subject: &'a mut Subject,
    pub(crate) origin: &'a Origin,
    pub(crate) next: &'a Arc<AtomicU64>,
    /// Requests that the fault itself consists of.
    pub(crate) sent: Ledger,
    /// What came of the fault's own doings, comparable between recording off and on.
    pub(crate) came: Vec<String>,
    /// Problems of other promises that the fault noticed, by the promise's number.
    pub(crate) noticed: Vec<(usize, String)>,
    /// Connections that it held open at most.
    pub(crate) connections: u64,
}

impl Scene<'_> {
    pub(crate) fn to(&self) -> SocketAddr {
        self.subject.address
    }
}

/// One fault.
pub(crate) trait Fault {
    /// Makes ready under `folder`; where the captures go, or why it cannot be tried here.
    fn prepare(&mut self, folder: &Path, _effort: Effort) -> Result<PathBuf, String> {
        Ok(folder.to_owned())
    }

    /// How the binary is started.
    fn command(&self) -> Command {
        highwater()
    }

    /// Flags that only make sense with a file.
    fn file_flags(&self) -> Vec<String> {
        Vec::new()
    }

    /// Flags of both runs.
    fn flags(&self) -> Vec<String> {
        Vec::new()
    }

    fn begin(&mut self, _scene: &mut Scene) {}

    /// How long it lasts after it has begun.
    fn lasts(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn end(&mut self, _scene: &mut Scene) {}

    /// Whether a failure in the usual mix is the fault's own doing; `within` says whether it fell into it.
    fn tolerates(&self, _outcome: &Outcome, _within: bool) -> bool {
        false
    }

    /// Whether answers may be late while it lasts, whatever is recorded.
    fn delays(&self) -> bool {
        false
    }

    /// How the lines of the metrics begin that tell of it within a second.
    fn metric(&self) -> Option<&'static str> {
        None
    }

    /// Whether files may go, as a quota asks for.
    fn removes(&self) -> bool {
        false
    }

    /// Whether the disk takes nothing while it lasts: a kill then costs what came since it began.
    fn stalls(&self) -> bool {
        false
    }

    /// Whether files are damaged on purpose: what they lost is named as damage, and nothing else is lost.
    fn damages(&self) -> bool {
        false
    }

    /// What else is to hold: promise and problem.
    fn also(&mut self, _run: &Run) -> Vec<(usize, String)> {
        Vec::new()
    }

    /// Bytes that the files may take.
    fn disk_limit(&self) -> Option<u64> {
        None
    }

    /// Bytes that the recorder may take beyond its beginning.
    fn memory_limit_kib(&self, connections: u64) -> u64 {
        // The queue, as much again, and what connections take.
        (128 << 10) + 56 * connections
    }
}

/// What one run came to.
pub(crate) struct Run {
    pub(crate) sent: Ledger,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// How long the fault took to begin.
    pub(crate) begin_took: Duration,
    pub(crate) came: Vec<String>,
    pub(crate) noticed: Vec<(usize, String)>,
    pub(crate) connections: u64,
    pub(crate) used: Used,
    pub(crate) kept: Option<Kept>,
    pub(crate) seen: std::collections::BTreeMap<u64, u32>,
    pub(crate) spoilt: u64,
    pub(crate) chatter: Vec<String>,
    pub(crate) said: Vec<String>,
    /// How long the stop took, and its code.
    pub(crate) stopped: Option<(Duration, Option<i32>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Off,
    On,
    Killed,
}

/// The clients of the usual mix.
const CLIENTS: usize = 8;

/// Why a fault could not be tried.
enum Untried {
    /// This machine lacks something.
    Machine(String),
    /// The recorder would not start.
    Refused(String),
}

/// Tries a fault.
pub(crate) fn examine(fault: &mut dyn Fault, effort: Effort) -> Cells {
    let runs = [Way::Off, Way::On, Way::Killed].map(|way| run(fault, effort, way));
    match runs {
        [Ok(off), Ok(on), Ok(killed)] => judge(fault, effort, &off, &on, &killed),
        [Err(why), ..] | [_, Err(why), _] | [_, _, Err(why)] => match why {
            Untried::Machine(why) => skipped(&why),
            Untried::Refused(said) => failed(&format!("it would not start: {said}")),
        },
    }
}

fn run(fault: &mut dyn Fault, effort: Effort, way: Way) -> Result<Run, Untried> {
    let folder = tempfile::tempdir().unwrap();
    let place = fault.prepare(folder.path(), effort).map_err(Untried::Machine)?;
    let origin = Origin::start();
    let out = place.join("fault.capture");
    let recorded = way != Way::Off;
    let mut flags = fault.flags();
    if recorded {
        flags.extend(fault.file_flags());
    }
    let mut subject =
        Subject::start(fault.command(), origin.address, recorded.then_some(out.as_path()), &flags)
            .map_err(Untried::Refused)?;
    let next = Arc::new(AtomicU64::new(0));
    let drive = Drive::start(subject.address, CLIENTS, effort.rate, &next);
    wait_for(&drive, effort.requests / 5);
    subject.watch(recorded.then(|| place.clone()), fault.metric());

    let mut scene = Scene {
        effort,
        subject: &mut subject,
        origin: &origin,
        next: &next,
        sent: Vec::new(),
        came: Vec::new(),
        noticed: Vec::new(),
        connections: 0,
    };
    let began = now();
    fault.begin(&mut scene);
    let begin_took = began.elapsed();
    let lasts = if effort.quick { fault.lasts().min(Duration::from_secs(2)) } else { fault.lasts() };
    let end_due = began + lasts;
    if way == Way::Killed {
        // In the middle of it.
        pause((began + lasts / 2).saturating_duration_since(now()).max(Duration::from_millis(1_200)));
        scene.subject.signal("KILL");
        let ended = now();
        let parts = (std::mem::take(&mut scene.sent), scene.connections);
        subject.ended();
        let mut sent = drive.stop();
        sent.extend(parts.0);
        let mut scene = Scene {
            effort,
            subject: &mut subject,
            origin: &origin,
            next: &next,
            sent: Vec::new(),
            came: Vec::new(),
            noticed: Vec::new(),
            connections: parts.1,
        };
        fault.end(&mut scene);
        return Ok(finished(subject, &origin, &place, sent, began, ended, way, None));
    }
    pause(end_due.saturating_duration_since(now()));
    fault.end(&mut scene);
    let ended = now();
    let (own, came, noticed, connections) = (
        std::mem::take(&mut scene.sent),
        std::mem::take(&mut scene.came),
        std::mem::take(&mut scene.noticed),
        scene.connections,
    );
    // Recovery is seen in what follows.
    wait_for(&drive, effort.requests);
    let wanted = Duration::from_secs(if effort.quick { 1 } else { 7 });
    pause((ended + wanted).saturating_duration_since(now()));
    let mut sent = drive.stop();
    sent.extend(own);
    sent.sort_by_key(|one| one.id);
    let asked = now();
    subject.signal("TERM");
    let code = subject.ended().code();
    let stopped = Some((asked.elapsed(), code));
    let mut run = finished(subject, &origin, &place, sent, began, ended, way, stopped);
    run.came = came;
    run.noticed = noticed;
    run.begin_took = begin_took;
    run.connections = connections + CLIENTS as u64;
    Ok(run)
}

#[expect(clippy::too_many_arguments, reason = "what two ways of ending a run have in common")]
fn finished(
    mut subject: Subject,
    origin: &Origin,
    place: &Path,
    sent: Ledger,
    began: Instant,
    ended: Instant,
    way: Way,
    stopped: Option<(Duration, Option<i32>)>,
) -> Run {
    Run {
        sent,
        began,
        ended,
        begin_took: Duration::ZERO,
        came: Vec::new(),
        noticed: Vec::new(),
        connections: CLIENTS as u64,
        used: subject.used(),
        kept: (way != Way::Off).then(|| Kept::read(place)),
        seen: origin.seen(),
        spoilt: origin.spoilt(),
        chatter: subject.chatter(),
        said: subject.lines().into_iter().map(|(_, line)| line).collect(),
        stopped,
    }
}

fn wait_for(drive: &Drive, requests: usize) {
    let start = now();
    while drive.sent() < requests && start.elapsed() < Duration::from_secs(240) {
        pause(Duration::from_millis(20));
    }
    until("traffic to flow", || (drive.sent() > 0).then_some(()));
}

fn judge(fault: &mut dyn Fault, effort: Effort, off: &Run, on: &Run, killed: &Run) -> Cells {
    let mut problems: [Vec<String>; 5] = Default::default();
    for (promise, problem) in on.noticed.iter().cloned().chain(fault.also(on)) {
        problems[promise - 1].push(problem);
    }
    let mut late = transparent(fault, off, on, &mut problems[0]);
    // On a busy machine a percentile may be another's doing: a fault of ours comes again.
    for _ in 0..2 {
        if !late.1 || effort.quick {
            break;
        }
        let again = [Way::Off, Way::On].map(|way| run(fault, effort, way));
        if let [Ok(off), Ok(on)] = &again {
            late = transparent(fault, off, on, &mut problems[0]);
        }
    }
    // A short run beside other work says nothing about percentiles.
    if late.1 && !effort.quick {
        problems[0]
            .push(format!("99 % within {:.1} ms with recording, {:.1} ms without", late.0[1], late.0[0]));
    }
    let kept = on.kept.as_ref().unwrap();
    problems[1].extend(kept.problems(&on.sent, &on.seen, fault.removes() || fault.damages()));
    durable(fault, on, killed, &mut problems[2]);
    bounded(fault, on, &mut problems[3]);
    recovered(fault, on, &mut problems[4]);

    let [p1, p2, p3, p4, p5] = problems;
    let used = &on.used;
    let in_killed = killed.kept.as_ref().unwrap();
    [
        Verdict::of(
            &p1,
            format!(
                "{} requests off, {} on, p99 {:.1} and {:.1} ms",
                off.sent.len(),
                on.sent.len(),
                late.0[0],
                late.0[1]
            ),
        ),
        Verdict::of(
            &p2,
            format!(
                "seen {} = recorded {} + dropped {}",
                kept.tally.seen,
                kept.tally.recorded,
                kept.dropped()
            ),
        ),
        Verdict::of(
            &p3,
            format!("killed: {} of {} sent are in the file", in_killed.count(), killed.sent.len()),
        ),
        Verdict::of(
            &p4,
            format!(
                "{:.1} MiB at first, {:.1} at most, {} descriptors, {} threads, {:.1} MiB of files",
                used.resident_kib_at_first as f64 / 1024.0,
                used.resident_kib as f64 / 1024.0,
                used.descriptors,
                used.threads,
                used.disk as f64 / 1_048_576.0
            ),
        ),
        Verdict::of(&p5, "as before within 5 s"),
    ]
}

/// The 99th percentiles without and with recording in ms, and whether the second is late.
fn transparent(fault: &dyn Fault, off: &Run, on: &Run, problems: &mut Vec<String>) -> ([f64; 2], bool) {
    for (run, name) in [(off, "off"), (on, "on")] {
        let bad = |one: &&Sent| {
            let within = one.done >= run.began && one.at <= run.ended + Duration::from_secs(5);
            one.outcome != Outcome::Right && !run.is_own(one) && !fault.tolerates(&one.outcome, within)
        };
        let failed: Vec<&Sent> = run.sent.iter().filter(bad).collect();
        if let Some(first) = failed.first() {
            problems.push(format!(
                "with recording {name}, {} of {} requests failed; the first, {:?} {:?}, {:.1} s after the fault began",
                failed.len(),
                run.sent.len(),
                first.kind,
                first.outcome,
                first.at.saturating_duration_since(run.began).as_secs_f64()
            ));
        }
        if run.spoilt > 0 {
            problems.push(format!("with recording {name}, {} request bodies arrived spoilt", run.spoilt));
        }
    }
    if off.came != on.came {
        let first = off.came.iter().zip(&on.came).find(|(off, on)| off != on);
        problems.push(format!("with recording off and on, {first:?}"));
    }
    let p99 = [off, on].map(|run| {
        let counted = |one: &&Sent| {
            let within = one.done >= run.began && one.at <= run.ended + Duration::from_millis(500);
            one.outcome == Outcome::Right && !run.is_own(one) && !(fault.delays() && within)
        };
        let mut took: Vec<f64> = run
            .sent
            .iter()
            .filter(counted)
            .map(|one| one.done.duration_since(one.at).as_secs_f64() * 1e3)
            .collect();
        took.sort_by(f64::total_cmp);
        took.get(took.len() * 99 / 100).copied().unwrap_or(0.0)
    });
    (p99, p99[1] > p99[0] + 2.0)
}

impl Run {
    /// Whether a request is of a kind that a fault consists of.
    fn is_own(&self, one: &Sent) -> bool {
        one.kind != crate::mix::Kind::usual(one.id)
    }
}

fn durable(fault: &dyn Fault, on: &Run, killed: &Run, problems: &mut Vec<String>) {
    let kept = on.kept.as_ref().unwrap();
    if !fault.damages() {
        // A file that had to be left on a failing disk stays as it is, and the recorder said so.
        let was_left = |damage: &str| {
            let left = format!("{}: could not be continued", damage.split(':').next().unwrap_or_default());
            damage.contains("was not closed") && on.said.iter().any(|line| line.contains(&left))
        };
        let damage = kept.damage.iter().filter(|damage| !was_left(damage));
        problems.extend(damage.map(|damage| format!("stopped in order, yet {damage}")));
    }
    problems.extend(kept.unreadable.iter().cloned());
    let kept = killed.kept.as_ref().unwrap();
    problems.extend(kept.unreadable.iter().map(|error| format!("killed: {error}")));
    if kept.damage.len() > 1 + kept.files.len() && !fault.damages() {
        problems.push(format!("killed: {} places are damaged", kept.damage.len()));
    }
    // What came before must be there even then.
    let settled = if fault.stalls() { killed.began } else { killed.ended } - Duration::from_secs(1);
    let missing = killed.sent.iter().filter(|one| {
        one.outcome == Outcome::Right && one.done < settled && !kept.exchanges.contains_key(&one.id)
    });
    let missing = missing.count();
    if missing > 0 && !fault.removes() && !fault.damages() {
        problems.push(format!("killed: {missing} exchanges older than a second are gone"));
    }
    problems.extend(
        kept.wrong(&killed.sent, &killed.seen).into_iter().map(|problem| format!("killed: {problem}")),
    );
}

fn bounded(fault: &dyn Fault, on: &Run, problems: &mut Vec<String>) {
    let used = &on.used;
    let limit = used.resident_kib_at_first + fault.memory_limit_kib(on.connections);
    if used.resident_kib > limit {
        problems.push(format!("{} KiB resident, the limit is {limit}", used.resident_kib));
    }
    if used.descriptors > 2 * on.connections + 64 {
        problems.push(format!("{} descriptors for {} connections", used.descriptors, on.connections));
    }
    if used.threads != used.threads_at_first {
        problems.push(format!("{} threads became {}", used.threads_at_first, used.threads));
    }
    if let Some(limit) = fault.disk_limit()
        && used.disk > limit
    {
        problems.push(format!("{} bytes of files, the limit is {limit}", used.disk));
    }
}

fn recovered(fault: &dyn Fault, on: &Run, problems: &mut Vec<String>) {
    let settled = on.ended + Duration::from_secs(5);
    let after: Vec<&Sent> = on.sent.iter().filter(|one| one.at > settled).collect();
    let failed = after.iter().filter(|one| one.outcome != Outcome::Right && !on.is_own(one)).count();
    if failed > 0 {
        problems.push(format!(
            "{failed} of {} requests failed more than 5 s after the fault had ended",
            after.len()
        ));
    }
    let kept = on.kept.as_ref().unwrap();
    let missing = after.iter().filter(|one| !kept.exchanges.contains_key(&one.id)).count();
    if missing > 0 && !fault.removes() {
        problems.push(format!(
            "{missing} of {} requests were not recorded more than 5 s after the fault had ended",
            after.len()
        ));
    }
    if let Some(metric) = fault.metric() {
        match on.used.metric_rose.map(|rose| rose.saturating_duration_since(on.began)) {
            None => problems.push(format!("{metric} never rose")),
            // A second, and what asking takes.
            Some(late) if late > on.begin_took + Duration::from_millis(1_500) => {
                problems.push(format!("{metric} rose {late:.1?} after the fault"));
            }
            Some(_) => {}
        }
    }
    problems.extend(on.chatter.iter().map(|line| format!("more than a line a second: {line}")));
    match on.stopped {
        Some((took, Some(0))) if took < Duration::from_secs(6) => {}
        stopped => problems.push(format!("the stop: {stopped:?}; {:?}", on.said.last())),
    }
}
