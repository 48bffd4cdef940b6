//! A whole replay: one thread that plans ahead, threads that send, and the accounts.

use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use captures::{Histogram, Interval, Offset, Rate, RunEnd, RunWriter, Stage};

use crate::addresses::Resolver;
use crate::answers::{AnswersKept, KeepAnswers, keeping};
use crate::ceiling::Ceiling;
use crate::clock::{Clock, process_cpu};
use crate::drive::{Chunk, Limits, Task, Wire, Worker};
use crate::ledger::{Ledger, Told, Totals, Usage};
use crate::machine;
use crate::observe::Observer;
use crate::plan::Plan;
use crate::preview::Peak;
use crate::schedule::{Due, Schedule, Unit, mix};
use crate::stages::scale_at;
use crate::stop::Stop;
use crate::verdict::Judge;

/// How much of the schedule is made at a time, and how many such windows are made ahead.
const WINDOW: Duration = Duration::from_millis(500);
const WINDOWS_AHEAD: usize = 4;
/// The planner has this long for the first windows.
const LEAD: Duration = Duration::from_millis(200);

/// How a plan is to be replayed.
#[derive(Debug)]
pub struct Config {
    /// Where and how connections are made.
    pub wire: Wire,
    /// The most requests that may leave within any second, reckoned by 100 ms; `None`: the plan's own peak.
    pub ceiling: Option<Rate>,
    /// So many connections are shared by all sessions, of all threads together; `None`: each recorded connection
    /// has its own.
    pub pool: Option<usize>,
    /// Whether HTTP/2 is spoken: by ALPN over TLS, in the clear without asking first.
    pub http2: bool,
    /// With HTTP/2, so many requests at a time go on a connection, which all sessions share; `None`: each recorded
    /// connection has its own, unless `pool` says otherwise.
    pub streams: Option<usize>,
    /// Whether a request waits for its recorded pause after the end of its predecessor on the connection: a
    /// slow target then slows its users down.
    pub think: bool,
    /// The load over time.
    pub stages: Vec<Stage>,
    /// What fractions of the load are made of.
    pub unit: Unit,
    /// The seed of every chance.
    pub seed: u64,
    /// Sending threads.
    pub threads: usize,
    /// The most a request may take from the beginning of its turn.
    pub timeout: Duration,
    /// How long answers are waited for once the plan is done.
    pub drain: Duration,
    /// The most connections at a time, of all threads together.
    pub max_connections: usize,
    /// The most requests that may wait for their turn, of all threads together.
    pub max_backlog: usize,
    /// What watches the target meanwhile.
    pub observer: Observer,
    /// What looks the target up again meanwhile.
    pub resolver: Option<Resolver>,
    /// Which answers are kept, if any.
    pub answers: Option<KeepAnswers>,
}

/// A look at a run that is going on, about once a second.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Time since the start.
    pub elapsed: Duration,
    /// The planned length.
    pub total: Duration,
    /// The scale in the middle of the second that was last settled; 0 once the plan is done.
    pub scale: f64,
    /// The planned rate of the second that was last settled.
    pub planned: Rate,
    /// The rate of completions in that second.
    pub completed: Rate,
    /// The mean number in flight in that second.
    pub in_flight: f64,
    /// Response times of the requests that were due in that second, as far as they have ended.
    pub response: Histogram,
    /// Errors so far.
    pub errors: u64,
    /// Requests ended so far.
    pub ended: u64,
}

/// How a replay ended.
#[derive(Debug)]
pub struct Finished {
    /// What it came to.
    pub totals: Totals,
    /// What was written at the end of the run.
    pub end: RunEnd,
    /// The length of the run, to the last answer.
    pub elapsed: Duration,
    /// How many answers were kept, if any were to be.
    pub answers: Option<AnswersKept>,
}

/// Why a replay could not be made, or its run not be written.
#[derive(Debug)]
pub enum ReplayError {
    /// A thread or its epoll set could not be made.
    Start(io::Error),
    /// The run file could not be written; the replay went on to its end.
    Write {
        /// Why.
        error: io::Error,
        /// What the replay came to, all the same.
        totals: Box<Totals>,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "the sending threads cannot start: {error}"),
            Self::Write { error, .. } => write!(f, "the run cannot be written: {error}"),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Replays `plan` and writes `run`; `stop` ends it early. `on_settled` is told what was written about once a
/// second: a look at the run (when a second on the clock is new) and the deltas of seconds. What it returns is
/// why the run must end.
///
/// # Errors
/// When the threads cannot be made or the run cannot be written.
pub fn replay<W: Write>(
    plan: &Plan,
    mut config: Config,
    run: RunWriter<W>,
    stop: &Stop,
    on_settled: impl FnMut(Option<&Progress>, &[Interval]) -> Option<String>,
) -> Result<Finished, ReplayError> {
    let threads = config.threads.max(1);
    // Ours to raise, too: the caller's flag is its own.
    let halt = &Stop::default();
    let schedule = Schedule::by(config.unit, plan, config.stages.clone(), config.seed);
    let clock = Clock::starting_in(LEAD);
    let ceiling = Ceiling::new(config.ceiling.map(|rate| (rate.as_per_second() / 10.0).ceil() as u64));
    let mut wire = config.wire.clone();
    wire.tls = wire.tls.map(|tls| if config.http2 { tls.with_http2() } else { tls });
    let (ceiling, wire) = (&ceiling, &wire);
    let limits = Limits {
        pool: config.pool.map(|connections| connections.div_ceil(threads)),
        http2: config.http2,
        streams: config.streams,
        think: config.think,
        timeout: config.timeout,
        drain: config.drain,
        max_connections: (config.max_connections / threads).max(1),
        max_backlog: (config.max_backlog / threads).max(1),
    };
    let (keeper, writing) =
        config.answers.take().map(|keep| keeping(keep, plan, schedule.expected(), config.seed)).unzip();
    let mut workers = Vec::with_capacity(threads);
    for number in 0..threads {
        let limits = limits.clone();
        let task =
            Task { number, threads, plan, clock, wire, limits, ceiling, stop: halt, keeper: keeper.clone() };
        workers.push(Worker::new(task).map_err(ReplayError::Start)?);
    }
    let (ledger_sender, ledger_receiver) = mpsc::channel();
    let mut running = Vec::new();
    let mut observing = None;
    let observer = std::mem::take(&mut config.observer);
    let resolver = config.resolver.take();
    drop(keeper);
    let config = &config;
    let schedule = &schedule;
    std::thread::scope(|scope| {
        let mut senders = Vec::with_capacity(threads);
        for (number, worker) in workers.into_iter().enumerate() {
            let (sender, receiver) = mpsc::sync_channel(WINDOWS_AHEAD);
            senders.push(sender);
            let ledger = ledger_sender.clone();
            std::thread::Builder::new()
                .name(format!("send-{number}"))
                .spawn_scoped(scope, move || {
                    // A sender that wakes is due: it does not wait for the slice of another. Where the kernel does not
                    // take it on, it is late by that, and its lag says so.
                    let _ = timeslice::ask(timeslice::SHORTEST);
                    worker.run(&receiver, &ledger)
                })
                .map_err(ReplayError::Start)?;
        }
        if let Some(resolver) = resolver {
            let ledger = ledger_sender.clone();
            let (sender, over) = mpsc::channel();
            running.push(sender);
            std::thread::Builder::new()
                .name("resolve".to_owned())
                .spawn_scoped(scope, move || resolver.run(&wire.addresses, &over, &ledger))
                .map_err(ReplayError::Start)?;
        }
        if !observer.is_empty() {
            let ledger = ledger_sender.clone();
            let (sender, over) = mpsc::channel();
            observing = Some(sender);
            std::thread::Builder::new()
                .name("observe".to_owned())
                .spawn_scoped(scope, move || observer.run(clock, &over, &ledger))
                .map_err(ReplayError::Start)?;
        }
        drop(ledger_sender);
        let writing = writing
            .map(|writing| {
                std::thread::Builder::new()
                    .name("answers".to_owned())
                    .spawn_scoped(scope, move || writing.run(plan))
                    .map_err(ReplayError::Start)
            })
            .transpose()?;
        std::thread::Builder::new()
            .name("plan".to_owned())
            .spawn_scoped(scope, move || plan_ahead(schedule, &senders, ceiling, halt))
            .map_err(ReplayError::Start)?;
        let mut finished = Accounts {
            ledger: Ledger::new(threads, schedule.expected(), config.seed),
            judge: Judge::new(config.stages.clone(), config.ceiling.is_none()),
            clock,
            run,
            write_error: None,
            working: threads,
            running,
            observing,
            ended: None,
            usage_told: None,
            stopped_by: None,
            halt,
        }
        .keep(&ledger_receiver, config, schedule.end(), stop, on_settled)?;
        finished.answers = writing.and_then(|writing| writing.join().ok());
        Ok(finished)
    })
}

/// Makes the schedule, window by window, a little ahead of the workers; their full queues hold it back.
fn plan_ahead(schedule: &Schedule<'_>, senders: &[SyncSender<Chunk>], ceiling: &Ceiling, stop: &Stop) {
    let mut peak = Peak::default();
    let mut from = Offset::ZERO;
    while from < schedule.end() && !stop.is_asked() {
        let until = from.plus(WINDOW).min(schedule.end());
        let mut shares: Vec<Vec<Due>> = senders.iter().map(|_| Vec::new()).collect();
        for due in schedule.window(from, until) {
            peak.on_due(due.at);
            schedule.read_ahead(&due);
            let share = mix(schedule.connection_of(&due)) % senders.len() as u64;
            shares[usize::try_from(share).unwrap_or(0)].push(due);
        }
        ceiling.on_peak(peak.most);
        for (sender, dues) in senders.iter().zip(shares) {
            // A worker that was stopped listens no more.
            let _ = sender.send(Chunk { until, dues });
        }
        from = until;
    }
}

struct Accounts<'run, W> {
    /// Ends the run at all workers.
    halt: &'run Stop,
    ledger: Ledger,
    judge: Judge,
    clock: Clock,
    run: RunWriter<W>,
    write_error: Option<io::Error>,
    /// Workers that have not finished yet.
    working: usize,
    /// Dropped when the last worker has finished, so that those that watch meanwhile end.
    running: Vec<mpsc::Sender<()>>,
    /// Told when the last worker has finished, and dropped when nobody wants to wait any longer.
    observing: Option<mpsc::Sender<()>>,
    /// When the last worker had finished, and whether it had to.
    ended: Option<(Offset, bool)>,
    usage_told: Option<u64>,
    stopped_by: Option<String>,
}

impl<W: Write> Accounts<'_, W> {
    /// Books what the workers tell until all have finished; then closes the run.
    fn keep(
        mut self,
        told: &Receiver<Told>,
        config: &Config,
        end: Offset,
        stop: &Stop,
        mut on_settled: impl FnMut(Option<&Progress>, &[Interval]) -> Option<String>,
    ) -> Result<Finished, ReplayError> {
        loop {
            match told.recv_timeout(Duration::from_millis(500)) {
                Ok(Told::Batch(batch)) => {
                    self.working -= usize::from(batch.finished);
                    if self.working == 0 {
                        self.on_all_finished();
                    }
                    self.ledger.on_batch(batch);
                }
                Ok(Told::Observed(second, observed)) if self.at_rest(second) => {
                    self.ledger.on_rest(second, observed);
                }
                Ok(Told::Observed(second, observed)) => self.ledger.on_observed(second, observed),
                Ok(Told::Refused(why)) => {
                    if self.halt.ask_first() {
                        self.stopped_by = Some(why);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.halt.follow(stop);
            if self.ended.is_some() && self.halt.is_asked() {
                self.observing = None;
            }
            self.look_at_ourselves();
            if let Some(reason) = self.settle(config, end, &mut on_settled)
                && self.halt.ask_first()
            {
                self.stopped_by = Some(reason);
            }
        }
        self.settle(config, end, &mut on_settled);
        let halted = self.halt.is_asked();
        let (elapsed, halted) = self.ended.unwrap_or((self.clock.now(), halted));
        let interrupted = halted && elapsed < end;
        let invalid_reason = self.judge.verdict(self.ledger.totals());
        let end = RunEnd { ended: elapsed, interrupted, invalid_reason, stopped_by: self.stopped_by };
        let totals = self.ledger.totals().clone();
        let finished = self.run.finish(&end).and_then(|mut sink| sink.flush());
        match self.write_error.map_or(finished, Err) {
            Ok(()) => Ok(Finished { totals, end, elapsed: elapsed.since_start(), answers: None }),
            Err(error) => Err(ReplayError::Write { error, totals: Box::new(totals) }),
        }
    }

    /// Nothing is in flight any more.
    fn on_all_finished(&mut self) {
        self.ended = Some((self.clock.now(), self.halt.is_asked()));
        self.running.clear();
        if let Some(observer) = &self.observing {
            let _ = observer.send(());
        }
    }

    /// Whether nothing was in flight during `second`.
    fn at_rest(&self, second: u64) -> bool {
        self.ended.is_some_and(|(ended, _)| second > ended.second())
    }

    /// Once a second.
    fn look_at_ourselves(&mut self) {
        let at = self.clock.now();
        if self.usage_told.replace(at.second()) != Some(at.second()) {
            self.ledger.on_usage(Usage { at, cpu: process_cpu(), resident: machine::resident() });
        }
    }

    /// Writes what is settled. A run that cannot be written is said at the end; the replay goes on.
    fn settle(
        &mut self,
        config: &Config,
        end: Offset,
        on_settled: &mut impl FnMut(Option<&Progress>, &[Interval]) -> Option<String>,
    ) -> Option<String> {
        let settled = self.ledger.settled();
        if settled.is_empty() {
            return None;
        }
        let mut written = Ok(());
        for interval in &settled {
            self.judge.on_interval(interval);
            written = written.and_then(|()| self.run.push(interval));
        }
        for outcome in self.ledger.take_samples() {
            written = written.and_then(|()| self.run.push_sample(&outcome));
        }
        written = written.and_then(|()| self.run.flush());
        if let Err(error) = written {
            self.write_error.get_or_insert(error);
        }
        // What is seen at rest is no news of the run: it breaks no limit, and nothing is there to be ended.
        let settled: Vec<Interval> =
            settled.into_iter().filter(|interval| !self.at_rest(interval.second)).collect();
        if settled.is_empty() {
            return None;
        }
        // The newest second that the clock has left; late outcomes of older ones are no news of the load.
        let Some(newest) = settled.iter().rfind(|interval| interval.generator_cpu > 0.0) else {
            return on_settled(None, &settled);
        };
        let now = self.clock.now();
        let totals = self.ledger.totals();
        let second = Duration::from_secs(1);
        let progress = Progress {
            elapsed: now.since_start(),
            total: end.since_start(),
            scale: scale_at(&config.stages, Offset::from_secs(newest.second).plus(second / 2)),
            planned: Rate::of(newest.planned, second),
            completed: Rate::of(newest.completed, second),
            in_flight: newest.in_flight,
            response: newest.overall().response,
            errors: totals.overall.errors(),
            ended: totals.overall.total(),
        };
        on_settled(Some(&progress), &settled)
    }
}
