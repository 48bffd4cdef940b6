//! How often somebody hears of what.
//!
//! Each kind of notice is given at most once a minute. Whether the file can be written is a state, not a
//! news: when a change was kept back, the state that lasts is told as soon as the minute is over.

use std::io;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use captures::Offset;

use crate::notice::Notice;

/// A kind of notice is not repeated within this time.
const PAUSE: Duration = Duration::from_secs(60);

/// Notices that wait to be heard.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    waiting: Vec<Notice>,
    /// When each kind was given.
    last: Vec<(Discriminant<Notice>, Offset)>,
    /// What was said last about whether the file can be written.
    failing: bool,
}

impl Notices {
    /// Gives `notice`, unless its kind was given a short time ago.
    pub(crate) fn give(&mut self, at: Offset, notice: Notice) -> bool {
        self.last.retain(|(_, given)| at.since(*given) < PAUSE);
        let kind = discriminant(&notice);
        let is_time = self.last.iter().all(|(given, _)| *given != kind);
        if is_time {
            self.last.push((kind, at));
            self.waiting.push(notice);
        }
        is_time
    }

    /// Whether writing fails, and by which error; said when it is not what was said last.
    pub(crate) fn writing(&mut self, at: Offset, error: Option<&io::Error>, lost: u64) {
        let notice = match (error, self.failing) {
            (Some(error), false) => Notice::WriteFailed(same(error)),
            (None, true) => Notice::WriteResumed { lost },
            _ => return,
        };
        self.failing ^= self.give(at, notice);
    }

    /// The notices since this was last asked.
    pub(crate) fn take(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.waiting)
    }
}

/// Another error that says the same.
fn same(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_comes_and_goes_is_told_of_once_a_minute_and_truly() {
        let mut notices = Notices::default();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let mut said = Vec::new();
        for second in 0..200 {
            let fails = second % 10 < 5 || second >= 130;
            notices.writing(Offset::from_secs(second), fails.then_some(&full), 0);
            let failing = |notice: &Notice| matches!(notice, Notice::WriteFailed(_));
            said.extend(notices.take().iter().map(|notice| (second, failing(notice))));
        }

        assert_eq!(
            said,
            [(0, true), (5, false), (60, true), (65, false), (120, true), (125, false), (180, true)]
        );
    }
}
