//! The moments of an access log alone: all that a history of rates needs of it.
//!
//! A line in one of the common formats is known by what stands between its brackets, without a look at the rest:
//! most of a log is of the minute before, so a line costs little more than finding its bracket. A line in JSON that
//! begins like the one before, up to its moment, has its moment there too. Every other line is read as a whole.

use std::io::BufRead;

use super::{LogFormat, Reading, jsonlog, moment};
use crate::foreign::{Account, ForeignError};
use crate::units::Offset;

/// Gives `take` the moment of each line of `source`, since 1970-01-01 UTC: that of the request or of its end, as the
/// server writes it; of a line in a common format to the minute.
///
/// # Errors
/// When none of the first thousand lines, or of all, is a line of a log.
pub fn read_log_moments(
    source: impl BufRead,
    format: &LogFormat,
    mut take: impl FnMut(Offset),
) -> Result<Account, ForeignError> {
    let mut reading = Reading::new(format)?;
    let (mut minute, mut same) = (Minute::default(), Same::default());
    reading.each_line(source, |reading, line| {
        let quick = *format == LogFormat::Known && reading.fields.is_none();
        let found = match line[0] {
            b'{' if quick => same.of(line),
            _ if quick => minute.of(line),
            _ => None,
        };
        if let Some(at) = found.or_else(|| reading.moment(line)) {
            take(at);
            if found.is_none() && line[0] == b'{' {
                same = Same::learnt(line, at);
            }
        }
        reading.account.entries += u64::from(found.is_some());
        reading.account.read += u64::from(found.is_some());
    })?;
    reading.close()
}

impl Reading {
    /// The moment of a line that has to be read as a whole.
    fn moment(&mut self, line: &[u8]) -> Option<Offset> {
        if line.starts_with(b"#") {
            if let Some(fields) = super::Fields::read(line) {
                self.fields = Some(fields);
            }
            return None;
        }
        self.account.entries += 1;
        let Some(said) = self.said(line) else {
            self.account.skip("unknown_format");
            return None;
        };
        let Some(told) = said.at else {
            self.account.skip("no_time");
            return None;
        };
        self.account.read += 1;
        Some(told.at)
    }
}

/// How the line before began, when it was one in JSON.
#[derive(Default)]
struct Same {
    /// Up to its moment; empty when there is nothing to go by.
    head: Vec<u8>,
    /// The name of the status: a line without one is no request.
    status: Vec<u8>,
}

/// A moment stands within so many bytes.
const FAR: usize = 512;

impl Same {
    /// From a line whose moment is `at`.
    fn learnt(line: &[u8], at: Offset) -> Self {
        let named = |name: &&&str| holds(line, format!("\"{name}\"").as_bytes());
        let status = jsonlog::STATUSES.iter().find(named).map(|name| format!("\"{name}\"").into_bytes());
        let near = &line[..line.len().min(FAR)];
        let ends = near.windows(2).enumerate().filter(|(_, pair)| *pair == b"\":").map(|(at, _)| at + 2);
        let head = ends
            .map(|begin| {
                let blanks = line[begin..].iter().take_while(|byte| **byte == b' ').count();
                begin + blanks + usize::from(line.get(begin + blanks) == Some(&b'"'))
            })
            .find(|&begin| value_at(line, begin) == Some(at));
        match (head, status) {
            (Some(head), Some(status)) => Self { head: line[..head].to_vec(), status },
            _ => Self::default(),
        }
    }

    /// The moment of a line that begins in the same way.
    fn of(&self, line: &[u8]) -> Option<Offset> {
        let alike = !self.head.is_empty() && line.starts_with(&self.head) && holds(line, &self.status);
        alike.then(|| value_at(line, self.head.len())).flatten()
    }
}

fn holds(line: &[u8], name: &[u8]) -> bool {
    line.windows(name.len()).any(|part| part == name)
}

/// The moment that begins at `begin`, a number or a text.
fn value_at(line: &[u8], begin: usize) -> Option<Offset> {
    let rest = line.get(begin..)?;
    let is_text = line.get(begin.wrapping_sub(1)) == Some(&b'"');
    let ends = |byte: &u8| if is_text { *byte == b'"' } else { matches!(byte, b',' | b'}' | b' ') };
    let text = &rest[..rest.iter().position(ends)?];
    let told = moment::epoch(text).or_else(|| moment::iso(text)).or_else(|| moment::common(text));
    told.map(|told| told.at)
}

/// The minute of the line before.
#[derive(Default)]
struct Minute {
    text: [u8; SHAPE.len()],
    at: Offset,
}

/// What a moment in the common formats looks like.
const SHAPE: &[u8; 26] = b"00/Aaa/0000:00:00:00 +0000";
/// Where its seconds stand.
const SECONDS: std::ops::Range<usize> = 18..20;

impl Minute {
    /// The moment of a line in a common format, to the minute.
    fn of(&mut self, line: &[u8]) -> Option<Offset> {
        let text = bracketed(line)?;
        let same = |range: std::ops::Range<usize>| self.text[range.clone()] == text[range];
        if !(same(0..SECONDS.start) && same(SECONDS.end..SHAPE.len())) {
            let told = moment::common(text)?.at;
            self.at = Offset::from_nanos(told.as_nanos() / 60_000_000_000 * 60_000_000_000);
            self.text.copy_from_slice(text);
        }
        Some(self.at)
    }
}

/// Of `… [27/Nov/2026:08:15:59 +0100] …` what stands between the brackets.
fn bracketed(line: &[u8]) -> Option<&[u8]> {
    let mut from = 0;
    while let Some(at) = line[from..].iter().position(|&byte| byte == b'[') {
        from += at + 1;
        let text = line.get(from..from + SHAPE.len())?;
        let fits = text.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            b'A' | b'a' => byte.is_ascii_alphabetic(),
            b'+' => matches!(byte, b'+' | b'-'),
            _ => byte == shape,
        });
        if fits {
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds that are found in `log`, and how many entries it has.
    fn check(log: &str, expected: &[u64], entries: u64) {
        let mut found = Vec::new();
        let read = read_log_moments(log.as_bytes(), &LogFormat::Known, |at| found.push(at.second()));
        assert_eq!(found, expected, "{log}");
        assert_eq!(read.map(|account| account.entries).unwrap_or_default(), entries, "{log}");
    }

    /// Expected seconds are those of `date -d … +%s`.
    #[test]
    fn lines_of_many_servers_tell_their_moment() {
        // 2026-11-27 08:15 UTC, twice, and a line that is none.
        let common = "10.0.0.1 - - [27/Nov/2026:09:15:59 +0100] \"GET / HTTP/1.1\" 200 12\n\
                      [a] - [27/Nov/2026:08:15:03 +0000] \"GET / HTTP/1.1\" 200 12\nno line\n";
        check(common, &[1_795_767_300, 1_795_767_300], 3);
        check(
            "{\"ts\":1693840791.75,\"request\":{\"method\":\"GET\",\"uri\":\"/\",\"host\":\"a\"},\"status\":200,\
             \"duration\":0.25}\n",
            &[1_693_840_791],
            1,
        );
        // The third line is no request, and the fourth begins otherwise.
        let caddy = |second: u64| {
            format!(
                "{{\"level\":\"info\",\"ts\":{second}.5,\"request\":{{\"method\":\"GET\",\"uri\":\"/\"}},\"status\":200}}\n"
            )
        };
        let other = "{\"level\":\"info\",\"ts\":1693840795.5,\"msg\":\"started\"}\n";
        let later = caddy(1_693_840_797).replace("info", "warn");
        check(
            &format!("{}{}{other}{later}", caddy(1_693_840_791), caddy(1_693_840_793)),
            &[1_693_840_791, 1_693_840_793, 1_693_840_797],
            4,
        );
        check(
            "#Version: 1.0\n#Fields: date time cs-method cs-uri-stem sc-status\n\
             2015-02-23\t03:28:12\tGET\t/\t200\n",
            &[1_424_662_092],
            1,
        );
        check(
            "[2015-02-23T03:28:12.136Z] \"GET / HTTP/1.1\" 200 - 0 5 2 1 \"-\" \"a\" \"id\" \"h\" \"1.2.3.4:80\"\n",
            &[1_424_662_092],
            1,
        );
        check("ds,y\n2026-01-01,5\n", &[], 0);
    }
}
