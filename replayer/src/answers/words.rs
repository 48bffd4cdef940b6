//! Compares two texts word by word, so that a time in a sentence does not hide what else is said in it.

use crate::answers::difference::{Difference, WHOLE, What};
use crate::answers::pairs::Pairs;
use crate::correlate::value::{Strength, strength};

/// The most words that are compared one by one.
const MAX_WORDS: usize = 4_096;
/// The most words of one text that are told to differ one by one.
const MAX_TOLD: usize = 16;

/// Two sides of a comparison: each says which of its values stand for which recorded ones.
#[derive(Clone, Copy)]
pub(crate) struct Sides<'a> {
    pub(crate) before: &'a Pairs,
    pub(crate) now: &'a Pairs,
}

impl Sides<'_> {
    /// Whether both stand for the same recorded value.
    fn are_same(&self, before: &str, now: &str) -> bool {
        before == now || self.before.recorded(before) == self.now.recorded(now)
    }
}

/// Tells `found` in what the texts at `place` differ.
pub(crate) fn compare(place: &str, before: &str, now: &str, sides: Sides<'_>, found: &mut Vec<Difference>) {
    if sides.are_same(before, now) {
        return;
    }
    let (plain_before, plain_now) = (sides.before.put_back(before), sides.now.put_back(now));
    if plain_before == plain_now {
        return;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (words(&plain_before), words(&plain_now));
    let is_time = speaks_of_time(before) && speaks_of_time(now);
    let whole =
        |is_presumed: bool| Difference { is_presumed, ..Difference::new(What::Value, place, before, now) };
    if old.len() != new.len() || old.len() > MAX_WORDS {
        let is_token = are_tokens(before, now);
        let differs = |words: &[&str], other: &[&str]| {
            (0..words.len()).all(|at| other.contains(&words[at]) || is_of_time(words, at))
        };
        let only_time = is_time && old.len() <= MAX_TOLD * 4 && differs(&old, &new) && differs(&new, &old);
        found.push(whole(is_token || only_time));
        return;
    }
    let mut parts: Vec<Difference> = Vec::new();
    for number in 0..old.len() {
        let (word, other) = (old[number], new[number]);
        if sides.are_same(word, other) {
            continue;
        }
        if parts.len() >= MAX_TOLD {
            found.push(whole(false));
            return;
        }
        let is_token = are_tokens(word, other);
        parts.push(Difference {
            word: if old.len() == 1 { WHOLE } else { u32::try_from(number).unwrap_or(WHOLE) },
            is_presumed: is_token || (is_time && is_of_time(&old, number) && is_of_time(&new, number)),
            ..Difference::new(What::Value, place, before, now)
        });
    }
    // A token with marks in it (a UUID) falls into words that are none.
    if are_tokens(before, now) {
        found.push(whole(true));
    } else {
        found.append(&mut parts);
    }
}

fn are_tokens(before: &str, now: &str) -> bool {
    [before, now].iter().all(|text| strength(text.as_bytes()) == Strength::Token)
}

/// Runs of letters and digits, and what stands between them.
pub(crate) fn words(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut from = 0;
    let mut last = None;
    for (at, letter) in text.char_indices() {
        // A token is one word, whatever marks it has.
        let kind = letter.is_alphanumeric() || letter == '_';
        if last.is_some_and(|last| last != kind) {
            all.push(&text[from..at]);
            from = at;
        }
        last = Some(kind);
    }
    if from < text.len() {
        all.push(&text[from..]);
    }
    all
}

/// Whether a word is prose: what varies there varies in words, too.
pub(crate) fn is_prose(word: &str) -> bool {
    word.chars().count() >= 2 && word.chars().all(char::is_alphabetic) && !is_time_word(word)
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const OTHERS: [&str; 12] =
    ["a", "p", "m", "am", "pm", "now", "just", "ago", "less", "than", "noon", "midnight"];
const UNITS: [&str; 8] = ["second", "minute", "hour", "day", "week", "month", "year", "ms"];

/// Whether a text has a date, a time of day or a length of time in it.
fn speaks_of_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let has_clock = bytes.windows(3).enumerate().any(|(at, three)| {
        three[1] == b':' && three[0].is_ascii_digit() && three[2].is_ascii_digit() && digit(at + 3)
    });
    let has_date = bytes.windows(10).any(|ten| {
        (ten[4] == b'-' && ten[7] == b'-' || ten[4] == b'/' && ten[7] == b'/')
            && ten[..4].iter().chain(&ten[5..7]).chain(&ten[8..]).all(u8::is_ascii_digit)
    });
    if has_clock || has_date {
        return true;
    }
    let words = words(text);
    let has = |known: &[&str]| words.iter().any(|word| begins(word, known));
    let has_year =
        words.iter().any(|word| word.len() == 4 && (word.starts_with("19") || word.starts_with("20")));
    let has_number = words.iter().any(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    (has(&MONTHS) && has_year) || (has_number && has(&UNITS)) || words.contains(&"now") || words.contains(&"ago")
        // Seconds or milliseconds since 1970, of this decade or so.
        || words.iter().any(|word| is_epoch(word))
}

fn is_epoch(word: &str) -> bool {
    matches!(word.len(), 10 | 13 | 16)
        && word.starts_with('1')
        && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the word at `at` may be a part of a date or time: a number beside a colon, a month or a unit, or such a word.
fn is_of_time(words: &[&str], at: usize) -> bool {
    let word = words[at];
    if !word.bytes().any(|byte| byte.is_ascii_digit()) {
        return is_time_word(word);
    }
    let around = |distance: usize| [at.checked_sub(distance), at.checked_add(distance)];
    let beside = |distance: usize| around(distance).into_iter().flatten().filter_map(|at| words.get(at));
    word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'T' | b'Z'))
        && (is_epoch(word)
            || (word.len() == 4 && (word.starts_with("19") || word.starts_with("20")))
            || is_moment(word)
            || beside(1).any(|mark| matches!(*mark, ":" | "-" | "/"))
            || beside(2).any(|word| begins(word, &MONTHS) || begins(word, &UNITS) || is_moment(word)))
}

/// The parts of `2026-11-26T10:00:00Z` that are no numbers by themselves.
fn is_moment(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit()) && word.contains(['T', 'Z'])
}

/// Whether a word without digits stands in dates and times.
fn is_time_word(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    begins(&lower, &MONTHS)
        || begins(&lower, &DAYS)
        || begins(&lower, &UNITS)
        || OTHERS.contains(&lower.as_str())
        || word.chars().all(|letter| !letter.is_alphanumeric())
}

fn begins(word: &str, known: &[&str]) -> bool {
    let lower = word.to_ascii_lowercase();
    known.iter().any(|short| {
        lower
            .strip_prefix(short)
            .is_some_and(|rest| rest.len() <= 6 && rest.bytes().all(|byte| byte.is_ascii_lowercase()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, now: &str) -> Vec<(u32, bool)> {
        let none = Pairs::default();
        let mut found = Vec::new();
        compare("x", before, now, Sides { before: &none, now: &none }, &mut found);
        found.into_iter().map(|difference| (difference.word, difference.is_presumed)).collect()
    }

    #[test]
    fn a_time_in_a_sentence_does_not_hide_what_else_is_said() {
        assert_eq!(check("Total 5.00 at 12:03", "Total 5.00 at 12:04"), [(10, true)]);
        assert_eq!(check("Total 5.00 at 12:03", "Total 6.00 at 12:04"), [(2, false), (10, true)]);
        assert_eq!(check("Total 5.00", "Total 6.00"), [(2, false)]);
    }

    #[test]
    fn times_and_tokens_are_presumed_to_vary_and_nothing_else() {
        for (before, now) in [
            ("2026-11-20T10:00:00Z", "2026-11-26T14:31:55.123Z"),
            ("Nov. 20, 2026, 3:04 p.m.", "Nov. 26, 2026, noon"),
            ("3 minutes ago", "just now"),
            ("1795696496", "1795699999"),
            ("550e8400-e29b-41d4-a716-446655440000", "7d444840-9dc0-11d1-b245-5ffdce74fad2"),
        ] {
            assert!(check(before, now).iter().all(|(_, is_presumed)| *is_presumed), "{before}");
            assert!(!check(before, now).is_empty(), "{before}");
        }
        for (before, now) in [("1999", "2099"), ("open", "closed"), ("12", "13"), ("v1.2.3", "v1.2.4")] {
            assert!(check(before, now).iter().all(|(_, is_presumed)| !is_presumed), "{before}");
        }
    }
}
