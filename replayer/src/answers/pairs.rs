//! Which values of a replay stand for which recorded ones: those that it put into requests in their place.
//!
//! The request as it was sent is laid beside the recorded one, field by field. So the order that is 18 here and was 17
//! in the recording is known for the same one wherever an answer names it, without asking how it was bound.

use std::borrow::Cow;
use std::collections::HashMap;

use captures::{Exchange, header_value};

use crate::correlate::asked;
use crate::correlate::pattern::PlaceKind;
use crate::correlate::received;

/// The most pairs of one copy of a session.
const MAX_PAIRS: usize = 2_048;
/// Of so many longer values it is also known when they are parts of others.
const MAX_LONG: usize = 64;
/// A shorter value is known only as a word of its own.
const LONG: usize = 6;
/// A longer value than this is no name of anything.
const LONGEST: usize = 8_192;

/// The values of one copy of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs {
    recorded: HashMap<String, String>,
    /// Longer ones, in the order in which they were found.
    long: Vec<String>,
}

impl Pairs {
    /// Takes in a request as it was recorded and as it was sent.
    pub(crate) fn add(&mut self, recorded: &Exchange, sent: &Exchange) {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        received(recorded, &mut old);
        received(sent, &mut new);
        let fields = |text: &[u8]| {
            let mut counts: HashMap<(PlaceKind, Vec<u8>), u32> = HashMap::new();
            let mut all = Vec::new();
            asked::walk(text, 0, &mut |field| {
                let place = (field.kind, field.name.to_vec());
                let count = counts.entry(place.clone()).or_default();
                all.push(((place, *count), String::from_utf8_lossy(&field.value).into_owned()));
                *count += 1;
            });
            all
        };
        // The server's own name, in addresses that answers are full of.
        let host = |exchange: &Exchange| {
            let value = header_value(&exchange.request.headers, "host")?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        if let (Some(old), Some(new)) = (host(recorded), host(sent))
            && old != new
            && !self.recorded.contains_key(&new)
        {
            self.note(&old, &new);
        }
        let sent: HashMap<_, _> = fields(&new).into_iter().collect();
        for (place, old) in fields(&old) {
            if let Some(new) = sent.get(&place)
                && *new != old
            {
                self.note(&old, new);
                // `Bearer x`: the token by itself as well.
                if let (Some((word, old)), Some((other, new))) = (old.split_once(' '), new.split_once(' '))
                    && word == other
                {
                    self.note(old, new);
                }
            }
        }
    }

    fn note(&mut self, recorded: &str, now: &str) {
        if recorded.is_empty() || now.is_empty() || now.len() > LONGEST || self.recorded.len() >= MAX_PAIRS {
            return;
        }
        if now.len() >= LONG && self.long.len() < MAX_LONG && !self.recorded.contains_key(now) {
            self.long.push(now.to_owned());
        }
        self.recorded.entry(now.to_owned()).or_insert_with(|| recorded.to_owned());
    }

    /// What a value stands for: the recorded one, or itself.
    pub(crate) fn recorded<'a>(&'a self, value: &'a str) -> &'a str {
        self.recorded.get(value).map_or(value, String::as_str)
    }

    /// A text with the recorded values in place of the longer ones of the replay.
    pub(crate) fn put_back<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for value in &self.long {
            if memchr::memmem::find(text.as_bytes(), value.as_bytes()).is_some() {
                text = Cow::Owned(text.replace(value, self.recorded(value)));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::{Traffic, answer};

    #[test]
    fn what_was_sent_in_place_of_a_recorded_value_stands_for_it() {
        let exchange = |line: &str, head: &str, body: &str| {
            let mut traffic = Traffic::default();
            traffic.exchange(1, line, head, body, answer(200, "text/html", ""));
            traffic.exchanges.remove(0)
        };
        let json = "Content-Type: application/json\n";
        let recorded =
            exchange("POST /orders/17", &format!("{json}Authorization: Bearer old-token\n"), r#"{"cart":5}"#);
        let mut sent =
            exchange("POST /orders/18", &format!("{json}Authorization: Bearer new-token\n"), r#"{"cart":6}"#);
        if let Some(host) = sent.request.headers.iter_mut().find(|header| header.is("host")) {
            host.value = b"127.0.0.1:8080".to_vec();
        }
        let mut pairs = Pairs::default();
        pairs.add(&recorded, &sent);
        for (now, then) in [("18", "17"), ("6", "5"), ("new-token", "old-token"), ("19", "19")] {
            assert_eq!(pairs.recorded(now), then);
        }
        assert_eq!(
            pairs.put_back("http://127.0.0.1:8080/?t=new-token&n=18"),
            "http://shop.test/?t=old-token&n=18"
        );
    }
}
