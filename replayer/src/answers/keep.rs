//! Keeps the answers of a sample of sessions while a replay goes on, as exchanges of a capture.
//!
//! Whole copies of sessions are chosen, by a number that depends on the seed alone: two replays of one capture choose
//! the same ones, and a smaller sample is part of a larger one. Sending never waits for this: what the writing thread
//! cannot take at once is left out and counted, like everything above the limits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};

use captures::{
    Body, Bytes, ConnectionId, Ending, Exchange, ExchangeId, Failure, Header, Outcome, Passage, Request,
    Response, SessionId, SessionKey, Version, header_value,
};

use crate::correlate::{dechunked, final_answer};
use crate::plan::{MARKER, Plan, PlannedRequest};
use crate::schedule::{Due, FIRST_LAP, mix};

/// The longest answer that is kept whole, and as much of a request.
pub(crate) const MAX_ANSWER: usize = 256 << 10;
/// So many answers wait for the thread that writes them.
const WAITING: usize = 128;
const MAX_FIELDS: usize = 256;

/// Which answers of a replay are kept, and where they go.
pub struct KeepAnswers {
    /// About so many: a sample of the sessions is chosen accordingly. Never more than twice as many.
    pub most: u64,
    /// Never more than so many bytes of requests and answers.
    pub most_bytes: Bytes,
    /// Takes each one; `false` when it cannot.
    pub sink: Box<dyn FnMut(&Exchange) -> bool + Send>,
}

impl fmt::Debug for KeepAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepAnswers")
            .field("most", &self.most)
            .field("most_bytes", &self.most_bytes)
            .finish_non_exhaustive()
    }
}

/// How many answers were kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswersKept {
    /// Those that the sink took.
    pub kept: u64,
    /// Of those, how many not whole.
    pub cut: u64,
    /// Chosen, but not kept: above a limit, or not taken in time.
    pub left_out: u64,
}

/// Which recorded exchange an answer of a replay belongs to, and whose repetition it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repeated {
    /// The number of the recorded exchange.
    pub exchange: u64,
    /// Which copy of its session.
    pub copy: u32,
    /// In which repetition of the capture, counted from 0.
    pub lap: u32,
}

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exchange={} copy={} lap={}", self.exchange, self.copy, self.lap)
    }
}

/// What an exchange in a file of answers repeats; `None` when it says nothing of it.
pub fn repeated(answer: &Exchange) -> Option<Repeated> {
    let text = std::str::from_utf8(header_value(&answer.request.headers, MARKER)?).ok()?;
    let mut of = Repeated::default();
    for part in text.split(' ') {
        let (name, number) = part.split_once('=')?;
        match name {
            "exchange" => of.exchange = number.parse().ok()?,
            "copy" => of.copy = number.parse().ok()?,
            "lap" => of.lap = number.parse().ok()?,
            _ => return None,
        }
    }
    Some(of)
}

/// Which copies of sessions are chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Numbers up to this one are.
    threshold: u64,
    seed: u64,
    /// One session of the first copy always is.
    always: u32,
}

impl Sample {
    /// Of `expected` requests of `sessions` recorded sessions, about `most`.
    pub(crate) fn new(most: u64, expected: u64, sessions: u32, seed: u64) -> Self {
        let share = most as f64 / expected.max(1) as f64;
        Self {
            threshold: if share >= 1.0 { u64::MAX } else { (share * u64::MAX as f64) as u64 },
            seed,
            always: u32::try_from(mix(seed) % u64::from(sessions.max(1))).unwrap_or(0),
        }
    }

    pub(crate) fn takes(&self, due: Due, session: u32) -> bool {
        number(self.seed, due, session) <= self.threshold || (due.copy == 0 && session == self.always)
    }
}

/// A number for one copy of a session.
fn number(seed: u64, due: Due, session: u32) -> u64 {
    mix(mix(seed ^ (u64::from(due.copy) << 32 | u64::from(due.lap))) ^ u64::from(session))
}

/// An answer, as it came.
#[derive(Debug)]
pub(crate) struct KeptAnswer {
    pub(crate) due: Due,
    /// The request as it was sent.
    pub(crate) text: Vec<u8>,
    pub(crate) raw: Vec<u8>,
    pub(crate) outcome: Outcome,
}

/// What a sending thread needs to keep answers.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    sample: Sample,
    sender: SyncSender<KeptAnswer>,
    left_out: Arc<AtomicU64>,
    is_full: Arc<AtomicBool>,
}

impl Keeper {
    pub(crate) fn takes(&self, due: Due, session: u32) -> bool {
        self.sample.takes(due, session)
    }

    /// Hands an answer over, or counts it as left out.
    pub(crate) fn keep(&self, answer: KeptAnswer) {
        if self.is_full.load(Ordering::Relaxed) || self.sender.try_send(answer).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the writing thread works on.
pub(crate) struct Writing {
    keep: KeepAnswers,
    answers: Receiver<KeptAnswer>,
    left_out: Arc<AtomicU64>,
    is_full: Arc<AtomicBool>,
    seed: u64,
}

/// Both ends of the way that answers take.
pub(crate) fn keeping(keep: KeepAnswers, plan: &Plan, expected: u64, seed: u64) -> (Keeper, Writing) {
    let (sender, answers) = mpsc::sync_channel(WAITING);
    let (left_out, is_full) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sample = Sample::new(keep.most, expected, plan.sessions(), seed);
    let keeper = Keeper { sample, sender, left_out: Arc::clone(&left_out), is_full: Arc::clone(&is_full) };
    (keeper, Writing { keep, answers, left_out, is_full, seed })
}

impl Writing {
    /// Writes until the sending threads have ended.
    pub(crate) fn run(mut self, plan: &Plan) -> AnswersKept {
        let (mut kept, mut bytes) = (AnswersKept::default(), 0_u64);
        for answer in &self.answers {
            bytes += (answer.text.len().min(MAX_ANSWER) + answer.raw.len().min(MAX_ANSWER)) as u64;
            if kept.kept >= self.keep.most.saturating_mul(2) || bytes > self.keep.most_bytes.as_u64() {
                self.is_full.store(true, Ordering::Relaxed);
                kept.left_out += 1;
                continue;
            }
            let request = &plan.requests[answer.due.request as usize];
            let exchange = as_exchange(&answer, request, kept.kept, self.seed);
            if (self.keep.sink)(&exchange) {
                kept.kept += 1;
                let is_cut = exchange.response.as_ref().is_some_and(|response| !response.body.is_whole());
                kept.cut += u64::from(is_cut);
            } else {
                kept.left_out += 1;
            }
        }
        kept.left_out += self.left_out.load(Ordering::Relaxed);
        kept
    }
}

/// An answer as an exchange of a capture.
pub(crate) fn as_exchange(answer: &KeptAnswer, planned: &PlannedRequest, id: u64, seed: u64) -> Exchange {
    let KeptAnswer { due, outcome, .. } = answer;
    let of =
        Repeated { exchange: planned.exchange.0, copy: due.copy, lap: due.lap.saturating_sub(FIRST_LAP) };
    let copy = u64::from(due.copy) << 32 | u64::from(due.lap);
    Exchange {
        id: ExchangeId(id),
        connection: ConnectionId(mix(copy ^ mix(u64::from(planned.connection)))),
        session: SessionId(number(seed, *due, planned.session)),
        session_key: SessionKey::Connection,
        arrived: outcome.sent.unwrap_or(outcome.ready),
        request_done: outcome.sent,
        response_began: outcome.first_byte,
        ended: outcome.done.max(outcome.sent.unwrap_or(outcome.ready)),
        attempts: 1 + u32::from(outcome.retried),
        request: request(&answer.text, of),
        response: outcome.result.is_ok().then(|| response(&answer.raw, outcome.received.as_u64())).flatten(),
        ending: match outcome.result {
            Ok(_) => Ending::Completed,
            Err(Failure::Refused | Failure::Unreachable | Failure::Tls) => Ending::UpstreamRefused,
            Err(Failure::TimedOut | Failure::CutOff) => Ending::UpstreamTimedOut,
            Err(Failure::Invalid) => Ending::UpstreamInvalid,
            Err(_) => Ending::UpstreamReset,
        },
        passage: Passage {
            server: Some(0),
            detail: outcome.result.err().map_or(String::new(), |failure| failure.as_str().to_owned()),
            ..Passage::default()
        },
    }
}

fn request(text: &[u8], of: Repeated) -> Request {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let head = match parsed.parse(text) {
        Ok(httparse::Status::Complete(length)) => length,
        _ => text.len(),
    };
    let mut headers = copied(parsed.headers);
    if let Some(marker) = headers.iter_mut().find(|header| header.is(MARKER)) {
        marker.value = of.to_string().into_bytes();
    }
    Request {
        method: parsed.method.unwrap_or_default().as_bytes().to_vec(),
        target: parsed.path.unwrap_or_default().as_bytes().to_vec(),
        version: Version::Http11,
        headers,
        body: body(&text[head.min(text.len())..], 0),
        trailers: Vec::new(),
    }
}

/// The final answer of what came; `received` bytes came in all.
fn response(raw: &[u8], received: u64) -> Option<Response> {
    let missing = received.saturating_sub(raw.len() as u64);
    let (head, content) = final_answer(raw)?;
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    parsed.parse(head).ok()?;
    let is_chunked = parsed.headers.iter().any(|field| {
        field.name.eq_ignore_ascii_case("transfer-encoding")
            && field.value.to_ascii_lowercase().ends_with(b"chunked")
    });
    let whole = if is_chunked { &dechunked(content) } else { content };
    Some(Response {
        status: parsed.code?,
        version: if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 },
        headers: copied(parsed.headers),
        body: body(whole, missing),
        trailers: Vec::new(),
    })
}

fn copied(fields: &[httparse::Header<'_>]) -> Vec<Header> {
    fields
        .iter()
        .filter(|field| !field.name.is_empty())
        .map(|field| Header { name: field.name.as_bytes().to_vec(), value: field.value.to_vec() })
        .collect()
}

fn body(bytes: &[u8], missing: u64) -> Body {
    let stored = bytes[..bytes.len().min(MAX_ANSWER)].to_vec();
    let length = bytes.len() as u64 + missing;
    Body { cut: (stored.len() as u64) < length, length, stored, digest: None, decoded: false }
}

#[cfg(test)]
mod tests {
    use captures::Offset;

    use super::*;
    use crate::plan::tests::{exchange, plan_of};

    fn due(copy: u32) -> Due {
        Due { at: Offset::ZERO, copy, request: 0, lap: FIRST_LAP }
    }

    fn answer(raw: &[u8], received: u64) -> Exchange {
        let plan = plan_of([exchange(7, 0, 1)]);
        let at = Offset::from_millis(1);
        let outcome = Outcome {
            exchange: ExchangeId(7),
            copy: 3,
            route: 0,
            recorded_status: Some(200),
            due: at,
            ready: at,
            sent: Some(at),
            first_byte: Some(at),
            connecting: std::time::Duration::ZERO,
            done: at,
            result: Ok(200),
            received: Bytes::new(received),
            reused: false,
            retried: false,
        };
        let text = b"POST /a HTTP/1.1\r\nHighwater-Replay: 1\r\nContent-Length: 2\r\n\r\nxy".to_vec();
        as_exchange(&KeptAnswer { due: due(3), text, raw: raw.to_vec(), outcome }, &plan.requests[0], 0, 1)
    }

    #[test]
    fn an_answer_is_kept_with_what_it_repeats() {
        let raw = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let kept = answer(raw, raw.len() as u64);
        assert_eq!(repeated(&kept), Some(Repeated { exchange: 7, copy: 3, lap: 0 }));
        assert_eq!(
            (kept.request.target.as_slice(), kept.request.body.stored.as_slice()),
            (&b"/a"[..], &b"xy"[..])
        );
        let response = kept.response.unwrap();
        assert_eq!(
            (response.status, response.body.stored.as_slice(), response.body.cut),
            (200, &b"abc"[..], false)
        );
    }

    #[test]
    fn what_was_not_kept_whole_says_so() {
        let response = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 47).response.unwrap();
        assert!(response.body.cut);
        assert_eq!(response.body.length, 9);
    }

    #[test]
    fn a_smaller_sample_is_part_of_a_larger_one() {
        let (small, large) = (Sample::new(100, 1_000, 50, 9), Sample::new(500, 1_000, 50, 9));
        let all: Vec<(u32, u32)> =
            (0..200).flat_map(|copy| (0..50).map(move |session| (copy, session))).collect();
        let count =
            |sample: &Sample| all.iter().filter(|(copy, session)| sample.takes(due(*copy), *session)).count();
        assert!(
            all.iter().all(|&(copy, session)| {
                !small.takes(due(copy), session) || large.takes(due(copy), session)
            })
        );
        // A tenth and a half of 10 000, by the binomial law within five standard deviations.
        assert!((850..=1_150).contains(&count(&small)), "{}", count(&small));
        assert!((4_750..=5_250).contains(&count(&large)), "{}", count(&large));
        assert_eq!(count(&Sample::new(5_000, 1_000, 50, 9)), all.len());
    }
}
