//! What a command that runs for long says meanwhile: one line on stderr for each thing worth knowing.
//!
//! As text, lines for people stay as they are and what happens later is stamped with the time. As JSON every
//! line is one object with `at`, `level`, `place` and `message`. Of one kind of event at most one line a
//! second is said, and the next one tells how many were kept back. No control character gets out, whatever a
//! message quotes.
//!
//! The proxy engine's own log goes the same way. What it says may quote requests, and so secrets: without
//! --verbose only the place in its source is said.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};

use jiff::{SignedDuration, Timestamp};
use log::{LevelFilter, Log, Metadata, Record};

use crate::Globals;
use crate::clock;
use crate::complain::Complaint;

/// Kinds of events that are told apart; what the engine says at more places counts as one.
const MAX_KINDS: usize = 256;
const PAUSE: SignedDuration = SignedDuration::from_secs(1);

static JOURNAL: OnceLock<Journal> = OnceLock::new();

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One object a line
    Json,
}

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Info,
    Warning,
    Error,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

#[derive(Debug)]
struct Journal {
    format: LogFormat,
    verbose: bool,
    pace: Mutex<Pace>,
}

/// Says things the way `globals` ask for, from now on.
pub(crate) fn begin(globals: &Globals) {
    let journal =
        Journal { format: globals.log_format, verbose: globals.verbose, pace: Mutex::new(Pace::default()) };
    let journal = JOURNAL.get_or_init(|| journal);
    if log::set_logger(journal).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

/// Says a line. When it begins with `highwater: PLACE: `, something happened to that place: then it is stamped,
/// and kept back if `kind`, where in the program it comes from, said something less than a second ago.
pub(crate) fn line(kind: &str, what: fmt::Arguments<'_>) {
    let text = what.to_string();
    let happened = text.strip_prefix("highwater: ").and_then(|text| text.split_once(": "));
    match (JOURNAL.get(), happened) {
        (Some(journal), Some((place, what))) => journal.tell(Level::Warning, kind, place, what),
        (Some(Journal { format: LogFormat::Json, .. }), None) => {
            print(&json(clock::now(), Level::Info, "highwater", &text));
        }
        _ => print(&text),
    }
}

/// Says why the command ends.
pub(crate) fn complain(complaint: &Complaint) {
    let text = complaint.to_string();
    match JOURNAL.get() {
        Some(journal) if journal.format == LogFormat::Json => {
            let text = text.strip_prefix("highwater: ").unwrap_or(&text);
            let (place, what) = text.split_once(": ").unwrap_or(("highwater", text));
            print(&json(clock::now(), Level::Error, place, what));
        }
        _ => print(&text),
    }
}

/// What cannot be said (a closed pipe, a full disk) is no reason to stop.
fn print(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

impl Journal {
    fn tell(&self, level: Level, kind: &str, place: &str, what: &str) {
        let now = clock::now();
        let kept_back = self.pace.lock().unwrap_or_else(PoisonError::into_inner).ask(kind, now);
        let Some(kept_back) = kept_back else { return };
        let mut what = what.to_owned();
        if kept_back > 0 {
            let _ = write!(what, " ({kept_back} more like it were not said)");
        }
        match self.format {
            LogFormat::Text => {
                print(&format!("{now:.3} {}: {}: {}", level.as_str(), plain(place), plain(&what)));
            }
            LogFormat::Json => print(&json(now, level, place, &what)),
        }
    }
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let kind = format!("{}:{}", record.target(), record.line().unwrap_or(0));
        let level = if record.level() == log::Level::Error { Level::Error } else { Level::Warning };
        let what = if self.verbose {
            format!("{} ({kind})", record.args())
        } else {
            format!("complains at {kind}; --verbose says of what, and may quote requests")
        };
        self.tell(level, &kind, "the proxy engine", &what);
    }

    fn flush(&self) {}
}

/// When each kind of event was said last, and how often it was not since.
#[derive(Debug, Default)]
struct Pace {
    kinds: BTreeMap<String, (Timestamp, u64)>,
}

impl Pace {
    /// How many were kept back before this one; `None` when it is kept back, too.
    fn ask(&mut self, kind: &str, now: Timestamp) -> Option<u64> {
        let kind =
            if self.kinds.len() < MAX_KINDS || self.kinds.contains_key(kind) { kind } else { "others" };
        let Some((said, kept_back)) = self.kinds.get_mut(kind) else {
            self.kinds.insert(kind.to_owned(), (now, 0));
            return Some(0);
        };
        // A clock that was set back must not silence anything.
        if now.duration_since(*said) < PAUSE && now >= *said {
            *kept_back += 1;
            return None;
        }
        *said = now;
        Some(std::mem::take(kept_back))
    }
}

fn json(at: Timestamp, level: Level, place: &str, message: &str) -> String {
    serde_json::json!({
        "at": format!("{at:.3}"),
        "level": level.as_str(),
        "place": plain(place),
        "message": plain(message),
    })
    .to_string()
}

/// `text` with its control characters escaped.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            plain.extend(letter.escape_default());
        } else {
            plain.push(letter);
        }
    }
    plain
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_kind_at_most_one_a_second_is_said_and_the_rest_is_counted() {
        let mut pace = Pace::default();
        let at = |millis: i64| Timestamp::from_millisecond(1_790_000_000_000 + millis).unwrap();
        let said: Vec<Option<u64>> = [0, 10, 999, 1_000, 1_500, 2_600]
            .into_iter()
            .map(|millis| pace.ask("full", at(millis)))
            .collect();
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
        assert_eq!(pace.ask("other", at(10)), Some(0));
        assert_eq!(pace.ask("full", at(-60_000)), Some(0));
    }

    #[test]
    fn kinds_without_end_take_room_for_a_few() {
        let mut pace = Pace::default();
        for at in 0..10_000 {
            pace.ask(&at.to_string(), Timestamp::UNIX_EPOCH);
        }
        assert_eq!(pace.kinds.len(), MAX_KINDS + 1);
    }

    #[test]
    fn no_control_character_gets_out() {
        let nasty = "a\u{1b}[31m\r\nb\u{7f}\u{9b}";
        let text = plain(nasty);
        assert!(!text.chars().any(char::is_control), "{text:?}");
        let line = json(Timestamp::UNIX_EPOCH, Level::Warning, nasty, nasty);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["at"], &read["level"]), (&"1970-01-01T00:00:00.000Z".into(), &"warning".into()));
    }
}
