//! Sends the visitors: one thread and one kept-alive connection each, answers read to the end.
//!
//! This is a source of ordinary traffic, not a load generator: it waits for its answers, as people do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::clock;
use super::visitors::{Ask, Visit};

/// How many visitors may be in the shop at once; who comes beyond that stays away and is counted.
const VISITOR_LIMIT: usize = 200;
/// How long a visitor waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const ANSWER_LIMIT: u64 = 16 << 20;

const BROWSERS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
];

/// What came of the visits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Visited {
    pub(crate) visitors: usize,
    pub(crate) turned_away: usize,
    pub(crate) answered: usize,
    pub(crate) failed: usize,
}

#[derive(Default)]
struct Tally {
    present: AtomicUsize,
    answered: AtomicUsize,
    failed: AtomicUsize,
}

/// Sends all visitors to `shop`; they leave when `span` is over or `stop` is set.
///
/// # Errors
/// When the machine gives no threads.
pub(crate) fn send(
    visits: Vec<Visit>,
    shop: SocketAddr,
    span: Duration,
    stop: &AtomicBool,
) -> io::Result<Visited> {
    let opened = clock::now();
    let closes = opened + span;
    let tally = Arc::new(Tally::default());
    let mut visited = Visited::default();
    let mut threads = Vec::with_capacity(visits.len());
    for visit in visits {
        clock::sleep_until((opened + visit.arrives).min(closes));
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if tally.present.load(Ordering::Relaxed) >= VISITOR_LIMIT {
            visited.turned_away += 1;
            continue;
        }
        visited.visitors += 1;
        tally.present.fetch_add(1, Ordering::Relaxed);
        let tally = Arc::clone(&tally);
        threads.push(thread::Builder::new().stack_size(256 << 10).spawn(move || {
            Visitor { shop, browser: visit.browser, session: None, line: None }
                .stroll(&visit, closes, &tally);
            tally.present.fetch_sub(1, Ordering::Relaxed);
        })?);
    }
    if !stop.load(Ordering::Relaxed) {
        for thread in threads {
            // A visitor that panicked has been counted as present for ever, and that is all it does.
            let _ = thread.join();
        }
    }
    visited.answered = tally.answered.load(Ordering::Relaxed);
    visited.failed = tally.failed.load(Ordering::Relaxed);
    Ok(visited)
}

struct Visitor {
    shop: SocketAddr,
    browser: usize,
    session: Option<String>,
    line: Option<BufReader<TcpStream>>,
}

impl Visitor {
    fn stroll(mut self, visit: &Visit, closes: Instant, tally: &Tally) {
        for step in &visit.steps {
            let moment = clock::now() + step.think;
            if moment >= closes {
                return;
            }
            clock::sleep_until(moment);
            match self.ask(&step.ask) {
                Ok(200..400) => tally.answered.fetch_add(1, Ordering::Relaxed),
                Ok(_) | Err(_) => tally.failed.fetch_add(1, Ordering::Relaxed),
            };
        }
    }

    /// Asks, and reads the answer to its end; its status.
    fn ask(&mut self, ask: &Ask) -> io::Result<u16> {
        let request = self.request(ask);
        let mut line = match self.line.take() {
            Some(line) => line,
            None => self.connect()?,
        };
        line.get_mut().write_all(&request)?;
        let answer = Answer::read(&mut line)?;
        if let Some(session) = answer.session {
            self.session = Some(session);
        }
        if answer.keeps_alive {
            self.line = Some(line);
        }
        Ok(answer.status)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.shop, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }

    fn request(&self, ask: &Ask) -> Vec<u8> {
        let browser = BROWSERS[self.browser % BROWSERS.len()];
        let mut request = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {browser}\r\nAccept: text/html,*/*;q=0.8\r\n\
             Accept-Language: en-GB,en;q=0.7\r\n",
            ask.method, ask.target, self.shop
        );
        if let Some(session) = &self.session {
            request.push_str(&format!("Cookie: sid={session}\r\n"));
        }
        if let Some((kind, body)) = &ask.body {
            request
                .push_str(&format!("Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        } else {
            request.push_str("\r\n");
        }
        request.into_bytes()
    }
}

/// What a visitor keeps of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    session: Option<String>,
    keeps_alive: bool,
}

impl Answer {
    fn read(source: &mut impl BufRead) -> io::Result<Self> {
        let status_line = text_line(source)?;
        let status =
            status_line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
        let mut answer = Self { status, session: None, keeps_alive: true };
        let (mut length, mut chunked) = (None, false);
        loop {
            let line = text_line(source)?;
            let Some((name, value)) = line.split_once(':') else { break };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = Some(value.parse::<u64>().map_err(|_| malformed())?),
                "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
                "connection" if value.eq_ignore_ascii_case("close") => answer.keeps_alive = false,
                "set-cookie" => {
                    let key = value.split(';').next().and_then(|pair| pair.strip_prefix("sid="));
                    answer.session = key.map(str::to_owned).or(answer.session);
                }
                _ => {}
            }
        }
        if chunked {
            skip_chunks(source)?;
        } else if let Some(length) = length {
            skip(source, length)?;
        } else if status != 204 && status != 304 {
            answer.keeps_alive = false;
            io::copy(&mut source.take(ANSWER_LIMIT), &mut io::sink())?;
        }
        Ok(answer)
    }
}

fn skip_chunks(source: &mut impl BufRead) -> io::Result<()> {
    loop {
        let line = text_line(source)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| malformed())?;
        if size == 0 {
            while !text_line(source)?.is_empty() {}
            return Ok(());
        }
        skip(source, size.saturating_add(2))?;
    }
}

fn skip(source: &mut impl BufRead, length: u64) -> io::Result<()> {
    if length > ANSWER_LIMIT || io::copy(&mut source.take(length), &mut io::sink())? != length {
        return Err(malformed());
    }
    Ok(())
}

/// A line without its end; at most 16 kB of it.
fn text_line(source: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    source.take(16 << 10).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(malformed());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| malformed())
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Answer> {
        Answer::read(&mut text.as_bytes()).ok()
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let mut both = "HTTP/1.1 200 OK\r\nSet-Cookie: sid=abc; Path=/\r\nContent-Length: 3\r\n\r\nyesHTTP/1.1 303 See Other\r\nContent-Length: 0\r\n\r\n".as_bytes();

        let first = Answer::read(&mut both).unwrap();
        let second = Answer::read(&mut both).unwrap();

        assert_eq!(first, Answer { status: 200, session: Some("abc".into()), keeps_alive: true });
        assert_eq!(second, Answer { status: 303, session: None, keeps_alive: true });
    }

    #[test]
    fn chunks_are_read_and_torn_answers_are_failures() {
        let whole = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";

        assert_eq!(read(whole).map(|answer| answer.status), Some(200));
        assert_eq!(read(&whole[..whole.len() - 4]), None);
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), None);
    }
}
