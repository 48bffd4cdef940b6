//! The wall clock of the command line: it stamps lines of the log, and nothing else.

/// This moment.
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
