//! Requests that ask first whether their body is welcome: `Expect: 100-continue`.
//!
//! The head leaves alone; the body follows when the target says so, or after a second without an answer, as curl
//! does it (RFC 9110, section 10.1.1). A final answer instead ends the turn, and the connection with it.

use std::sync::LazyLock;
use std::time::Duration;

use captures::Offset;
use memchr::memmem::Finder;

use super::Worker;
use crate::response::head_end;

/// So long a body is kept back.
const PATIENCE: Duration = Duration::from_secs(1);

// Written so by the plan, whatever was recorded.
static EXPECTS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\nExpect: 100-continue\r\n"));

/// Where the body of `text` begins, if its head asks for it to be kept back; else 0.
pub(super) fn kept_back_from(text: &[u8]) -> usize {
    let Some(end) = head_end(text).filter(|end| end + 4 < text.len()) else { return 0 };
    if EXPECTS.find(&text[..end + 2]).is_some() { end + 4 } else { 0 }
}

impl Worker<'_> {
    /// The head of a request whose body is kept back has left.
    pub(super) fn keep_back(&mut self, index: u32, serial: u64, now: Offset) {
        self.expecting.push_back((now.plus(PATIENCE), index, serial));
    }

    /// Sends the bodies that were kept back for long enough.
    pub(super) fn release_bodies(&mut self, now: Offset) {
        while let Some(&(until, index, serial)) = self.expecting.front()
            && until <= now
        {
            self.expecting.pop_front();
            if self.current(index, serial).is_some() && !self.release_body(index) {
                self.advance(index);
            }
        }
    }

    /// Sends the body of the active request; `false` when its turn ended by that.
    pub(super) fn release_body(&mut self, index: u32) -> bool {
        if let Some(active) = self.lanes[index as usize].active() {
            active.body_at = 0;
        }
        self.write(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_is_asked_for_is_kept_back() {
        let asking = b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(kept_back_from(asking), asking.len() - 1);
        assert_eq!(kept_back_from(&asking[..asking.len() - 1]), 0);
        let other = b"PUT / HTTP/1.1\r\nContent-Length: 30\r\n\r\n\r\nExpect: 100-continue\r\n......";
        assert_eq!(kept_back_from(other), 0);
    }
}
