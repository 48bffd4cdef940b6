//! What the gate and the engine's hooks tell each other of the request that is on its way between them.
//!
//! One for each connection, since HTTP/1 has one request at a time on it. A head that the gate let through
//! and that no hook takes was refused by the engine in parsing; it is recorded with the answer the engine
//! gave. So every request that came is seen once, whoever ended it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use captures::{Ending, Offset, Version};

use crate::assembly::{Assembly, ResponseHead};
use crate::connection::Connection;
use crate::gate::head::Refusal;
use crate::head;
use crate::metrics::{Meter, Passed};
use crate::proxy::{REPLAY_MARKER, Tap};

/// A client connection's request.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) connection: Arc<Connection>,
    tap: Arc<Tap>,
    meter: Arc<Meter>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The head that was let through, until a hook takes it.
    head: Option<RequestHead>,
    /// The answer's head while no hook has taken the request.
    answer: Vec<u8>,
    /// Why the rest of the body was not let through.
    refusal: Option<Refusal>,
    trailers: Vec<u8>,
    /// The `Date` line of the upstream's answer.
    date: Option<DateLine>,
}

/// `Date: Sun, 06 Nov 1994 08:49:37 GMT`, in whatever case.
type DateLine = [u8; 35];

/// A head as it was received.
#[derive(Debug)]
pub(crate) struct RequestHead {
    /// The moment of its first byte.
    pub(crate) arrived: Offset,
    pub(crate) bytes: Vec<u8>,
}

/// How a request ended that the engine never saw.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) head: RequestHead,
    pub(crate) ending: Ending,
    pub(crate) detail: &'static str,
    /// The head of the answer; nothing when there was none.
    pub(crate) answer: &'a [u8],
}

impl Visit {
    pub(crate) fn new(tap: Arc<Tap>, meter: Arc<Meter>, connection: Arc<Connection>) -> Self {
        Self { connection, tap, meter, state: Mutex::default() }
    }

    /// Whether this request is to be the last on its connection.
    pub(crate) fn is_last(&self) -> bool {
        self.tap.leaving.load(Ordering::Relaxed)
    }

    /// The time.
    pub(crate) fn now(&self) -> Offset {
        self.tap.clock.now()
    }

    /// A request is let through.
    pub(crate) fn begin(&self, head: RequestHead) {
        *self.state() = State { head: Some(head), ..State::default() };
    }

    /// A hook has the request now.
    pub(crate) fn take(&self) -> Option<RequestHead> {
        self.state().head.take()
    }

    /// The engine answers with the head `answer`.
    pub(crate) fn on_answer(&self, answer: &[u8]) {
        let mut state = self.state();
        if state.head.is_some() {
            state.answer = answer.to_vec();
        }
    }

    /// The upstream dates its answer so; the engine would put its own time there. A date in an obsolete form
    /// is not kept.
    pub(crate) fn keep_date(&self, name: &[u8], value: &[u8]) {
        let line: Option<DateLine> = [name, b": ", value].concat().try_into().ok();
        self.state().date = line;
    }

    /// The answer is not the upstream's after all.
    pub(crate) fn forget_date(&self) {
        self.state().date = None;
    }

    /// Puts the upstream's date into the head of the answer.
    pub(crate) fn restore_date(&self, answer: &mut [u8]) {
        if let Some(date) = self.state().date.take() {
            set_date(answer, &date);
        }
    }

    /// The rest of the body is not let through.
    pub(crate) fn on_bad_body(&self, refusal: Refusal) {
        self.state().refusal = Some(refusal);
    }

    /// Why the rest of the body was not let through, when it was not.
    pub(crate) fn bad_body(&self) -> Option<Refusal> {
        self.state().refusal
    }

    /// The body is done, and these fields stood behind it.
    pub(crate) fn on_trailers(&self, trailers: Vec<u8>) {
        self.state().trailers = trailers;
    }

    /// The fields behind the body.
    pub(crate) fn take_trailers(&self) -> Vec<u8> {
        std::mem::take(&mut self.state().trailers)
    }

    /// The engine is done with the request; records it when no hook has seen it.
    pub(crate) fn settle(&self) {
        let State { head, answer, .. } = std::mem::take(&mut *self.state());
        if let Some(head) = head {
            let ending = if answer.is_empty() { Ending::ProxyFailed } else { Ending::RequestInvalid };
            self.record(Refused { head, ending, detail: "the engine could not read it", answer: &answer });
        }
    }

    /// Records a request that the engine never saw.
    pub(crate) fn record(&self, refused: Refused<'_>) {
        let tap = &self.tap;
        let Refused { head: RequestHead { arrived, bytes }, ending, detail, answer } = refused;
        let now = self.now();
        let status = status_of(answer);
        self.meter.on_refused(&Passed { status, took: now.since(arrived), ..Passed::default() });
        let replayed = || head::request_head(&bytes).headers.iter().any(|header| header.is(REPLAY_MARKER));
        if !tap.recording || (!tap.record_replayed && replayed()) {
            tap.queue.pass_over();
            return;
        }
        if tap.queue.is_paused() {
            tap.queue.pass_paused();
            return;
        }
        let mut assembly = Box::new(Assembly::begin(tap.next_id(), self.connection.id, arrived, bytes));
        assembly.passage.secure = self.connection.secure;
        assembly.client = self.connection.peer.ip();
        detail.clone_into(&mut assembly.passage.detail);
        if let Some((status, fields)) = answer_parts(answer) {
            assembly.on_response_head(ResponseHead { began: now, status, version: Version::Http11, fields });
        }
        assembly.end(now, ending);
        tap.queue.offer(assembly);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.settle();
    }
}

fn set_date(answer: &mut [u8], date: &DateLine) {
    const LINE: &[u8] = b"\r\nDate: ";
    let found = answer.windows(LINE.len()).position(|part| part == LINE).map(|at| at + 2);
    if let Some(at) = found
        && let Some(line) = answer.get_mut(at..at + date.len() + 2)
        && line.ends_with(b"\r\n")
    {
        line[..date.len()].copy_from_slice(date);
    }
}

/// Status and fields of an answer's head.
fn answer_parts(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let status = status_of(answer)?;
    let line = answer.iter().position(|&byte| byte == b'\n')?;
    Some((status, answer[line + 1..].to_vec()))
}

/// The status in the first line of an answer's head.
pub(crate) fn status_of(answer: &[u8]) -> Option<u16> {
    let code = answer.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(code).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_takes_the_place_of_the_engines() {
        let date: DateLine = *b"date: Sun, 06 Nov 1994 08:49:37 GMT";
        let check = |before: &str, after: &str| {
            let mut answer = before.as_bytes().to_vec();
            set_date(&mut answer, &date);
            assert_eq!(String::from_utf8(answer).unwrap(), after);
        };
        check(
            "HTTP/1.1 200 OK\r\nA: b\r\nDate: Sat, 21 Nov 2026 09:00:00 GMT\r\nC: d\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nC: d\r\n\r\n",
        );
        check("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
        check("HTTP/1.1 200 OK\r\nDate: now\r\n\r\n", "HTTP/1.1 200 OK\r\nDate: now\r\n\r\n");
    }
}
