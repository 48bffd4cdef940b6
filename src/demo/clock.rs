//! The only place of the demo that reads a clock or waits for time to pass.

use std::time::Instant;

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "the demo's clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until `moment`; returns at once when it has passed.
#[expect(clippy::disallowed_methods, reason = "the demo's clock")]
pub(crate) fn sleep_until(moment: Instant) {
    let left = moment.saturating_duration_since(now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}
