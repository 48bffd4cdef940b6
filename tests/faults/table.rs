//! The table: a row for each fault, a column for each promise.

use std::fmt;

/// What a recorder promises whatever happens around it.
pub(crate) const PROMISES: [&str; 5] =
    ["P1 transparent", "P2 truthful", "P3 durable", "P4 bounded", "P5 recovers"];

/// Whether one promise holds under one fault.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It does; what was measured.
    Holds(String),
    /// It does not; what was seen instead.
    Fails(String),
    /// It could not be tried on this machine; what is missing.
    Skipped(String),
}

impl Verdict {
    /// Holds when there are no problems.
    pub(crate) fn of(problems: &[String], measured: impl Into<String>) -> Self {
        match problems {
            [] => Self::Holds(measured.into()),
            [first] => Self::Fails(first.clone()),
            [first, rest @ ..] => Self::Fails(format!("{first} (and {} more)", rest.len())),
        }
    }

    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Holds(_) => "holds",
            Self::Fails(_) => "FAILS",
            Self::Skipped(_) => "skipped",
        }
    }

    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Holds(why) | Self::Fails(why) | Self::Skipped(why) => why,
        }
    }
}

/// The verdicts of one fault, in the order of [`PROMISES`].
pub(crate) type Cells = [Verdict; 5];

/// All five, for the same reason.
pub(crate) fn skipped(why: &str) -> Cells {
    std::array::from_fn(|_| Verdict::Skipped(why.to_owned()))
}

/// All five, for the same reason.
pub(crate) fn failed(why: &str) -> Cells {
    std::array::from_fn(|_| Verdict::Fails(why.to_owned()))
}

/// What was found, row by row.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(&'static str, &'static str, Cells)>,
}

impl Table {
    pub(crate) fn push(&mut self, id: &'static str, title: &'static str, cells: Cells) {
        self.rows.push((id, title, cells));
    }

    /// The verdicts of the newest row, a word each.
    pub(crate) fn last(&self) -> String {
        let words = self.rows.last().map(|(_, _, cells)| cells.iter().map(Verdict::word).collect::<Vec<_>>());
        words.unwrap_or_default().join(" ")
    }

    pub(crate) fn count(&self, word: &str) -> usize {
        self.rows.iter().flat_map(|(_, _, cells)| cells).filter(|cell| cell.word() == word).count()
    }

    fn listed(&self, f: &mut fmt::Formatter<'_>, word: &str, about: &str) -> fmt::Result {
        if self.count(word) == 0 {
            return Ok(());
        }
        writeln!(f, "\n{about}")?;
        for (id, title, cells) in &self.rows {
            for (cell, promise) in cells.iter().zip(PROMISES).filter(|(cell, _)| cell.word() == word) {
                writeln!(f, "  {id:<4} {title}, {promise}: {}", cell.why())?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<4} {:<44}", "", "")?;
        for promise in PROMISES {
            write!(f, " {promise:<14}")?;
        }
        writeln!(f)?;
        for (id, title, cells) in &self.rows {
            write!(f, "{id:<4} {title:<44}")?;
            for cell in cells {
                write!(f, " {:<14}", cell.word())?;
            }
            writeln!(f)?;
        }
        self.listed(f, "holds", "What was measured where a promise holds:")?;
        self.listed(f, "skipped", "What could not be tried here:")?;
        self.listed(f, "FAILS", "What does not hold:")?;
        let all = self.rows.len() * PROMISES.len();
        writeln!(
            f,
            "\n{}/{all} cells hold, {} fail, {} are skipped",
            self.count("holds"),
            self.count("FAILS"),
            self.count("skipped")
        )
    }
}
