//! Tells the story: record, replay, model, check, forecast; each step by a process of its own.
//!
//! Whatever fails ends the story with the name of the part and its last words; the parts that still run
//! are ended with it.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::Value;

use super::check::{self, Measured, Objective, Trial};
use super::children::{Ended, Part, Stage, interrupted};
use super::folder::Folder;
use super::prediction::{self, Prediction, found};
use super::visit::Visited;
use super::{folder, history, visit, visitors};
use crate::commands::files::read_run;
use crate::complain::{Complaint, Exit, reason};

/// Masked passwords would be refused by the shop that the capture is replayed against; those of the demo's
/// accounts are open secrets.
const MASKING: &str = "# The demo's passwords are open secrets, and a masked one would be refused when it is replayed.\n\
                       [fields]\nkeep = [\"password\"]\n";

/// How long visitors are recorded.
const RECORDED: Duration = Duration::from_secs(20);
/// The levels of the replay, as multiples of the recorded rate: 30 requests a second and a ceiling near
/// 390 make five of them easy, two near the knee and two too much.
const LEVELS: [f64; 9] = [1.0, 3.0, 5.0, 7.5, 10.0, 11.5, 12.5, 14.0, 16.0];
/// How long each level is held.
const LEVEL_SECONDS: u64 = 5;
/// How many loads are tried to check the prediction.
const TRIALS: usize = 4;
/// How many may be begun to get there, when the machine is too busy to send on time.
const MOST_TRIALS: usize = 8;
/// How long each of them is held.
const TRIAL_SECONDS: u64 = 6;
/// What the shop has promised. Unloaded, it answers nineteen of twenty within 70 ms.
const OBJECTIVE: Objective =
    Objective { quantile: 0.95, response: Duration::from_millis(200), error_ratio: 0.01 };
/// For steps that take a moment.
const SOON: Duration = Duration::from_secs(20);
/// For a replay, beyond what is planned.
const SLACK: Duration = Duration::from_secs(90);
/// How far ahead the forecast looks.
const HORIZON: &str = "26w";
const EVENT: &str = "Black Friday=2026-11-27:2x";

/// How the story is told.
pub(crate) struct Telling<'a> {
    /// The folder to write.
    pub(crate) out: &'a Path,
    /// The seed of every chance.
    pub(crate) seed: u64,
    /// Whether to say on stderr what happens.
    pub(crate) aloud: bool,
    /// Whether to pass on what the parts say.
    pub(crate) verbose: bool,
}

/// Tells it, and gives what was found as one JSON object.
///
/// # Errors
/// Which part failed, and its last words.
pub(crate) fn tell(telling: &Telling<'_>) -> Result<Value, Complaint> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| {
            Complaint::new(
                Exit::Fault,
                "demo",
                format!("cannot listen for signals: {}", reason(&error)),
                "start it from a shell",
            )
        })?;
    }
    let story = Story {
        folder: Folder::claim(telling.out)?,
        stage: Stage::new(telling.seed, telling.verbose, Arc::clone(&stop))?,
        seed: telling.seed,
        aloud: telling.aloud,
        stop,
    };
    story.tell()
}

struct Story {
    folder: Folder,
    stage: Stage,
    seed: u64,
    aloud: bool,
    stop: Arc<AtomicBool>,
}

impl Story {
    fn tell(&self) -> Result<Value, Complaint> {
        let visited = self.record()?;
        let capture_rate = self.replay_rising()?;
        let predicted = self.model()?;
        let trials = self.check(&predicted, capture_rate)?;
        let measured = check::measured(&trials, &OBJECTIVE);
        let found = found(&OBJECTIVE, capture_rate, &visited, &predicted, &trials, measured);
        self.write(&self.folder.check(), &format!("{found:#}\n"))?;
        let exhaustion = self.forecast(&predicted)?;
        self.refresh_report()?;
        self.conclude(capture_rate, &predicted, &trials, measured, &exhaustion);
        Ok(found)
    }

    fn record(&self) -> Result<Visited, Complaint> {
        self.say(&format!("1/6 recording {} s of visitors through the proxy", RECORDED.as_secs()));
        let (_shop, origin) = self.open_shop("the recorded shop")?;
        let masking = self.folder.masking();
        std::fs::write(&masking, MASKING).map_err(|error| Complaint::cannot_write(&masking, &error))?;
        let mut recorder = self.stage.start(
            "record",
            &arguments(["record", "--listen", "127.0.0.1:0", "--upstream", &origin.to_string(), "--out"])
                .with(self.folder.capture())
                .with("--mask")
                .with(masking),
        )?;
        let ready = recorder.hear("recording ", SOON)?;
        let proxy = address(ready.split_whitespace().next().unwrap_or_default(), "record")?;
        let visits = visitors::plan(self.seed, RECORDED);
        let visited = visit::send(visits, proxy, RECORDED, &self.stop).map_err(|error| {
            Complaint::new(Exit::Fault, "demo: visitors", reason(&error), "free some threads and try again")
        })?;
        if self.stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(interrupted());
        }
        recorder.ask_to_end()?;
        succeeded(recorder.finish(SOON)?)?;
        self.say(&format!(
            "    {} visitors made {} requests; {} failed",
            visited.visitors, visited.answered, visited.failed
        ));
        if visited.failed * 100 > visited.answered {
            return Err(Complaint::new(
                Exit::Fault,
                "demo: visitors",
                format!("{} of {} requests failed", visited.failed, visited.answered + visited.failed),
                "try again on an idle machine",
            ));
        }
        Ok(visited)
    }

    /// The rate that `1x` means.
    fn replay_rising(&self) -> Result<f64, Complaint> {
        let levels = LEVELS.map(|level| format!("={LEVEL_SECONDS}s:{level}x")).join(",");
        let length = Duration::from_secs(LEVEL_SECONDS * LEVELS.len() as u64);
        self.say(&format!(
            "2/6 replaying them at {:.0}x to {:.0}x against a second shop ({} s)",
            LEVELS[0],
            LEVELS[LEVELS.len() - 1],
            length.as_secs()
        ));
        let path = self.folder.run();
        if !(self.replay("replay at rising load", &levels, length, &path)?
            || self.replay("replay at rising load", &levels, length, &path)?)
        {
            return Err(Complaint::new(
                Exit::Invalid,
                "demo: replay at rising load",
                "the machine was too busy to send on time, twice",
                "close what else is running, then run the demo again",
            ));
        }
        Ok(read_run(&path)?.header.capture_rate.as_per_second())
    }

    fn model(&self) -> Result<Prediction, Complaint> {
        self.say(&format!("3/6 fitting the capacity curve for {}", OBJECTIVE.spelled()));
        let part = self.stage.start(
            "model",
            &arguments(["model"])
                .with(self.folder.run())
                .with("--slo")
                .with(OBJECTIVE.spelled())
                .with("--out")
                .with(self.folder.root()),
        )?;
        succeeded(part.finish(SOON)?)?;
        let predicted = Prediction::read(&self.folder.model())?;
        self.say(&format!("    predicted capacity: {predicted}"));
        Ok(predicted)
    }

    fn check(&self, predicted: &Prediction, capture_rate: f64) -> Result<Vec<Trial>, Complaint> {
        self.say(&format!("4/6 checking the prediction: {TRIALS} loads around it, against fresh shops"));
        let mut trials = Vec::new();
        // A trial that the machine was too busy for is repeated, within the bound.
        for _ in 0..MOST_TRIALS {
            if trials.len() == TRIALS {
                break;
            }
            let share = check::next_share(&trials);
            let scale = share * predicted.rate_per_second / capture_rate;
            let levels = format!("={TRIAL_SECONDS}s:{scale:.3}x");
            let path = self.folder.check_run(trials.len() + 1);
            if !self.replay("replay to check", &levels, Duration::from_secs(TRIAL_SECONDS), &path)? {
                continue;
            }
            let trial = OBJECTIVE.judge(share, &read_run(&path)?, TRIAL_SECONDS);
            self.say(&format!(
                "    at {:.0} req/s ({:.0} % of the prediction): p{:.0} {:.0} ms, {:.1} % errors: {}",
                trial.offered_per_second,
                trial.share_of(predicted.rate_per_second) * 100.0,
                OBJECTIVE.quantile * 100.0,
                trial.response_ms,
                trial.error_ratio * 100.0,
                if trial.met { "holds" } else { "fails" }
            ));
            trials.push(trial);
        }
        Ok(trials)
    }

    /// When the synthetic growth meets the capacity, in words.
    fn forecast(&self, predicted: &Prediction) -> Result<String, Complaint> {
        self.say("5/6 forecasting growth on a synthetic year of traffic");
        let history = self.folder.history();
        self.write(&history, &history::invent(self.seed, predicted.rate_per_second))?;
        let part = self.stage.start(
            "forecast",
            &arguments(["forecast", "--history"])
                .with(&history)
                .with("--model")
                .with(self.folder.root())
                .with("--peak-factor")
                .with(history::PEAK_FACTOR.to_string())
                .with("--horizon")
                .with(HORIZON)
                .with("--event")
                .with(EVENT)
                .with("--instances")
                .with("1")
                .with("--scenario")
                .with("twice the growth=growth:2")
                .with("--scenario")
                .with("better code=cost:0.8")
                .with("--out")
                .with(self.folder.forecast()),
        )?;
        succeeded(part.finish(SOON)?)?;
        Ok(prediction::exhaustion(&self.folder.forecast().join("forecast.json")))
    }

    /// Draws the page again, now with the check in it.
    fn refresh_report(&self) -> Result<(), Complaint> {
        self.say("6/6 writing the report");
        let part = self.stage.start(
            "report",
            &arguments(["report", "--title", "The demo's shop"])
                .with(self.folder.root())
                .with("--out")
                .with(self.folder.root()),
        )?;
        succeeded(part.finish(SOON)?)
    }

    fn conclude(
        &self,
        capture_rate: f64,
        predicted: &Prediction,
        trials: &[Trial],
        measured: Option<Measured>,
        exhaustion: &str,
    ) {
        self.say("");
        self.say(&format!("recorded rate       {capture_rate:.1} req/s"));
        self.say(&format!("predicted capacity  {predicted} for {}", OBJECTIVE.spelled()));
        match measured {
            Some(measured) if measured.bracketed => self.say(&format!(
                "measured by check   {:.0} req/s ({} loads tried); the prediction is off by {:+.1} %",
                measured.rate_per_second,
                trials.len(),
                predicted.deviation_ratio(measured) * 100.0
            )),
            Some(measured) => self.say(&format!(
                "measured by check   no answer: {:.0} req/s is the nearest load tried, and the limit lies beyond it",
                measured.rate_per_second
            )),
            None => self.say("measured by check   no answer: the machine was too busy to send on time"),
        }
        self.say(&format!("report              {}", self.folder.page().display()));
        self.say(&format!("synthetic growth    {} ({})", exhaustion, self.folder.forecast().display()));
    }

    /// Replays the capture against a fresh shop. Whether the run may be believed: not when the generator was
    /// the bottleneck.
    fn replay(&self, name: &str, levels: &str, length: Duration, run: &Path) -> Result<bool, Complaint> {
        folder::remove(run).map_err(|error| Complaint::cannot_write(run, &error))?;
        let (_shop, target) = self.open_shop("the replayed shop")?;
        let part = self.stage.start(
            name,
            &arguments(["replay"])
                .with(self.folder.capture())
                .with("--target")
                .with(format!("http://{target}"))
                .with("--allow-unsafe")
                .with("--stages")
                .with(levels)
                .with("--out")
                .with(run),
        )?;
        let ended = part.finish(length + SLACK)?;
        if ended.is(Exit::Invalid) {
            self.say(&format!("    does not count: {}", ended.last_words()));
            return Ok(false);
        }
        succeeded(ended).map(|()| true)
    }

    fn open_shop(&self, name: &str) -> Result<(Part, SocketAddr), Complaint> {
        let mut shop =
            self.stage.start(name, &arguments(["demo", "--serve-shop", "127.0.0.1:0", "--with-parent"]))?;
        let ready = shop.hear("shop listening on ", SOON)?;
        let open_at = address(&ready, name)?;
        Ok((shop, open_at))
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Complaint> {
        fs::write(path, text).map_err(|error| Complaint::cannot_write(path, &error))
    }

    fn say(&self, text: &str) {
        if self.aloud {
            // A closed stderr must not end the story.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

fn succeeded(ended: Ended) -> Result<(), Complaint> {
    if ended.is_success() { Ok(()) } else { Err(ended.complaint()) }
}

fn address(text: &str, name: &str) -> Result<SocketAddr, Complaint> {
    text.parse().map_err(|_| {
        Complaint::new(
            Exit::Fault,
            format!("demo: {name}"),
            format!("says it listens on {text:?}, which is no address"),
            "report this",
        )
    })
}

/// A command line in the making.
struct Arguments(Vec<OsString>);

fn arguments<const N: usize>(words: [&str; N]) -> Arguments {
    Arguments(words.iter().map(OsString::from).collect())
}

impl Arguments {
    fn with(mut self, word: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.push(word.as_ref().to_owned());
        self
    }
}

impl std::ops::Deref for Arguments {
    type Target = [OsString];

    fn deref(&self) -> &[OsString] {
        &self.0
    }
}
