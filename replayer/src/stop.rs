//! A wish to end a run early.

use std::sync::atomic::{AtomicU8, Ordering};

/// Asked once, it lets answers that are under way come in for a moment; asked again, it waits for nothing. Either way the
/// run is closed and valid.
#[derive(Debug, Default)]
pub struct Stop {
    asked: AtomicU8,
}

impl Stop {
    /// Asks to end; the second time, to end at once.
    pub fn ask(&self) {
        self.raise(if self.is_asked() { 2 } else { 1 });
    }

    /// Whether the run is to end.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    /// Whether nothing is to be waited for any more.
    pub fn is_urgent(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 1
    }

    /// As urgent as `other`, if that is more urgent.
    pub(crate) fn follow(&self, other: &Self) {
        self.raise(other.asked.load(Ordering::Relaxed));
    }

    /// Asks to end, unless that was asked already; whether it was not.
    pub(crate) fn ask_first(&self) -> bool {
        self.raise(1) == 0
    }

    fn raise(&self, to: u8) -> u8 {
        self.asked.fetch_max(to, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_urgent_the_second_time() {
        let (stop, other) = (Stop::default(), Stop::default());
        let said = |stop: &Stop| (stop.is_asked(), stop.is_urgent());
        assert_eq!(said(&stop), (false, false));
        stop.ask();
        assert_eq!(said(&stop), (true, false));
        assert!(other.ask_first() && !other.ask_first());
        assert_eq!(said(&other), (true, false));
        stop.ask();
        assert_eq!(said(&stop), (true, true));
        other.follow(&stop);
        stop.ask();
        assert_eq!((said(&stop), said(&other)), ((true, true), (true, true)));
    }
}
