//! What goes wrong, as one line and an exit code.
//!
//! A complaint says where, what and how to mend: `highwater: shop.capture: is not a Highwater file; give …`.
//! The exit codes are documented API.

use std::fmt;

/// Says one line on stderr, the way the journal is told to. One that begins with `highwater: PLACE: ` tells that
/// something happened there.
macro_rules! say {
    ($($what:tt)*) => {
        $crate::journal::line(concat!(module_path!(), ":", line!()), format_args!($($what)*))
    };
}
pub(crate) use say;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A fault of ours or of the machine.
    Fault = 1,
    /// The command line.
    Usage = 2,
    /// An input file.
    Input = 3,
    /// A target or upstream that cannot be reached.
    Unreachable = 4,
    /// A run whose bottleneck was the generator.
    Invalid = 5,
    /// A threshold or an SLO that said no.
    Gate = 99,
}

/// One line for the user, and the exit code that goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Complaint {
    pub(crate) exit: Exit,
    place: String,
    what: String,
    mend: String,
}

impl Complaint {
    /// `place` is a file, a flag or an address; `what` is wrong with it; `mend` says what to do.
    pub(crate) fn new(
        exit: Exit,
        place: impl fmt::Display,
        what: impl fmt::Display,
        mend: impl fmt::Display,
    ) -> Self {
        Self { exit, place: one_line(place), what: one_line(what), mend: one_line(mend) }
    }

    /// Flags at `place` that make no sense: the first line of what clap says, which names the flag.
    pub(crate) fn of_flags(error: &clap::Error, place: &str) -> Self {
        let text = error.render().to_string();
        let mut parts: Vec<&str> = text
            .split("\n\n")
            .next()
            .unwrap_or_default()
            .lines()
            .map(|line| line.trim().trim_start_matches("error: ").trim_end_matches(':'))
            .filter(|line| !line.is_empty())
            .collect();
        if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            parts = vec!["a command is missing"];
        }
        let what = match parts.split_first() {
            Some((first, [])) => (*first).to_owned(),
            Some((first, rest)) => format!("{first}: {}", rest.join(", ")),
            None => "cannot be understood".to_owned(),
        };
        Self::new(Exit::Usage, place, what, "--help says what there is, with an example")
    }

    /// A file that cannot be read as what it should be.
    pub(crate) fn unreadable(path: &std::path::Path, error: &captures::ReadError) -> Self {
        // The system's own words end in a number that helps nobody.
        let what = error.to_string();
        Self::new(Exit::Input, path.display(), what.split(" (os error").next().unwrap_or(&what), error.mend())
    }

    /// A file or folder that cannot be opened for reading.
    pub(crate) fn cannot_open(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(
            Exit::Input,
            path.display(),
            format!("cannot be opened: {}", reason(error)),
            "check the path and its permissions",
        )
    }

    /// A file or folder that cannot be written.
    pub(crate) fn cannot_write(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(
            Exit::Fault,
            path.display(),
            format!("cannot be written: {}", reason(error)),
            "give a path in a folder that exists and may be written",
        )
    }
}

/// The reason of an I/O error without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Control characters never reach a terminal: whatever a file or a flag holds, a complaint is one line.
fn one_line(text: impl fmt::Display) -> String {
    text.to_string().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "highwater: {}: {}; {}", self.place, self.what, self.mend)
    }
}
