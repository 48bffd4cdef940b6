//! Signals that end a command.

use std::sync::Arc;

use replayer::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::complain::{Complaint, Exit, reason};

/// Those that are listened to. The loss of the terminal is none of them when it is ignored already: that
/// is what `nohup` is for.
pub(super) fn heard() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let hangup_is_ignored = mask >> (SIGHUP - 1) & 1 == 1;
    [SIGINT, SIGTERM].into_iter().chain((!hangup_is_ignored).then_some(SIGHUP)).collect()
}

/// The first ends a run once the answers that are under way have had a moment, the second at once, and the third the
/// process. A lost terminal says so more than once, by the kernel and by the shell, and is one of them.
pub(super) fn stop_on_signals() -> Result<Arc<Stop>, Complaint> {
    let stop = Arc::new(Stop::default());
    let mut signals = Signals::new(heard()).map_err(|error| {
        Complaint::new(Exit::Fault, "signals", reason(&error), "run it from an ordinary shell")
    })?;
    let asked = Arc::clone(&stop);
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if asked.is_urgent() && signal != SIGHUP {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            if signal != SIGHUP || !asked.is_asked() {
                asked.ask();
            }
        }
    });
    Ok(stop)
}
