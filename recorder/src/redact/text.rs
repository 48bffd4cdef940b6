//! Looks at text of any kind, and lets those who know the kind look for secrets in it.
//!
//! What a text is, is told by how it looks more than by what its sender calls it: a wrong `Content-Type` must
//! not let a secret through. In whatever is not JSON, and in the strings of JSON, secrets are found by pairs of
//! a name and a value (`"name": "value"`, `name=value`, `name: value`) wherever they stand.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2};

use super::escape::Escape;
use super::masker::{Done, Masker};
use super::names::Verdict;
use super::{csv, form, json, markup, multipart};

/// As often may text be wrapped in text (JSON in a string of JSON in a form…); what is wrapped more often is
/// masked as a whole.
const DEEPEST: u8 = 5;
/// The longest name of a pair.
const LONGEST_NAME: usize = 64;
/// How far into a text its look is judged.
const GLANCE: usize = 512;

/// What is shown of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Whether it goes on beyond what is shown.
    pub(super) is_cut: bool,
    /// How often it is wrapped.
    pub(super) depth: u8,
}

impl Shown {
    pub(super) const ALL: Self = Self { is_cut: false, depth: 0 };

    /// The same, cut only if it was and `condition` holds.
    pub(super) const fn only_if(self, condition: bool) -> Self {
        Self { is_cut: self.is_cut && condition, depth: self.depth }
    }
}

/// What kind of text it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// JSON from this place on.
    Json(usize),
    Form,
    /// HTML or XML.
    Markup,
    /// Server-sent events.
    Events,
    /// A table with this sign between its cells.
    Table(u8),
    /// Parts with this line between them.
    Multipart(Vec<u8>),
    Plain,
    /// No text.
    Binary,
}

impl Look {
    /// How a text without a declared kind looks.
    pub(super) fn of(text: &[u8]) -> Self {
        Self::declared(b"", text)
    }

    /// How a text looks whose `Content-Type` is `declared`.
    pub(super) fn declared(declared: &[u8], text: &[u8]) -> Self {
        let bom = text.starts_with(b"\xEF\xBB\xBF");
        let blanks = if bom { 3 } else { 0 };
        let start = text[blanks..].iter().position(|byte| !byte.is_ascii_whitespace());
        let start = start.map_or(text.len(), |start| start + blanks);
        let rest = &text[start..];
        let declares = |part: &[u8]| contains(declared, part);
        match rest.first() {
            Some(b'"') if let Some(separator) = csv::separator(declared, text) => {
                return Self::Table(separator);
            }
            Some(b'{' | b'[' | b'"') => return Self::Json(start),
            Some(b'-') if let Some(boundary) = multipart::boundary_by_look(rest) => {
                return Self::Multipart(boundary);
            }
            _ => {}
        }
        if let Some(boundary) = multipart::boundary(declared) {
            return Self::Multipart(boundary);
        }
        if rest.first() == Some(&b'<') {
            return Self::Markup;
        }
        // What keeps scripts from including it stands before it.
        if [&b")]}'"[..], b"while(1);", b"for(;;);"].iter().any(|guard| rest.starts_with(guard))
            && let Some(found) = rest.iter().skip(4).position(|byte| matches!(byte, b'{' | b'['))
        {
            return Self::Json(start + 4 + found);
        }
        if let Some(separator) = csv::separator(declared, text) {
            return Self::Table(separator);
        }
        if declares(b"json") {
            return Self::Json(start);
        }
        if declares(b"event-stream")
            || [&b"data:"[..], b"event:", b"id:"].iter().any(|field| rest.starts_with(field))
        {
            return Self::Events;
        }
        if declares(b"x-www-form-urlencoded") || form::looks_like_one(&rest[..rest.len().min(GLANCE)]) {
            return Self::Form;
        }
        if declares(b"html") || declares(b"xml") {
            return Self::Markup;
        }
        let is_text = [&b"text/"[..], b"javascript", b"yaml", b"graphql"].iter().any(|kind| declares(kind));
        if !is_text && is_binary(&text[..text.len().min(GLANCE)]) { Self::Binary } else { Self::Plain }
    }
}

/// Whether `text` holds `part`, which is in lower case, in any case.
fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// Whether there are control characters that no text has.
fn is_binary(start: &[u8]) -> bool {
    let odd = |byte: &&u8| matches!(**byte, 0..=8 | 14..=26 | 28..=31);
    memchr(0, start).is_some() || start.iter().filter(odd).count() * 16 > start.len()
}

/// Where the secret begins in a credential: after a known scheme, if there is one.
pub(super) fn credential_start(value: &[u8]) -> usize {
    [&b"bearer "[..], b"basic ", b"digest ", b"token "]
        .iter()
        .find(|scheme| value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map_or(0, |scheme| scheme.len())
}

impl Masker {
    /// Masks `text`; whether that changed anything.
    pub(super) fn text(&mut self, text: &mut [u8], look: Look, shown: Shown) -> bool {
        let mut done = Done::default();
        let all = 0..text.len();
        match look {
            Look::Json(start) => {
                if let Some(odd) = json::mask(self, text, start, shown, &mut done) {
                    self.pairs(text, odd..all.end, shown, &mut done);
                }
            }
            Look::Form => return form::mask(self, text, form::List::Fields, shown),
            Look::Multipart(boundary) => return multipart::mask(self, text, &boundary, shown),
            Look::Markup if Escape::Html.is_in(text) => {
                // As it is meant, with quotes for `&quot;`, everything can be found that can be found as written.
                return Escape::Html.within(text, |meant| {
                    let (mut done, all) = (Done::default(), 0..meant.len());
                    markup::mask(self, meant, &mut done);
                    self.pairs(meant, all, shown, &mut done);
                    self.coded_words(meant, shown, &mut done);
                    self.shapes(meant, shown.is_cut, &mut done);
                    done.is_any()
                });
            }
            Look::Markup => {
                markup::mask(self, text, &mut done);
                self.pairs(text, all, shown, &mut done);
            }
            Look::Table(separator) => {
                csv::mask(self, text, separator, &mut done);
                self.pairs(text, all, shown, &mut done);
            }
            Look::Events => return self.events(text, shown),
            Look::Plain => self.pairs(text, all, shown, &mut done),
            Look::Binary => {}
        }
        self.coded_words(text, shown, &mut done);
        self.shapes(text, shown.is_cut, &mut done);
        done.is_any()
    }

    /// The same for a text that stands within another one, in its own writing.
    pub(super) fn wrapped_text(&mut self, text: &mut [u8], look: Look, shown: Shown) -> bool {
        if shown.depth >= DEEPEST {
            return self.replace(self.wrapped, text);
        }
        self.text(text, look, Shown { depth: shown.depth + 1, ..shown })
    }

    /// Server-sent events: each line's content for itself.
    fn events(&mut self, text: &mut [u8], shown: Shown) -> bool {
        let ends: Vec<usize> = memchr_iter(b'\n', text).chain([text.len()]).collect();
        let (mut start, mut changed) = (0, false);
        for end in ends {
            let is_last = end == text.len();
            let line = &mut text[start..end];
            let content = if line.starts_with(b"data:") { 5 } else { 0 };
            let content = &mut line[content..];
            let look = Look::of(content);
            // A field of an event is no event.
            let look = if look == Look::Events { Look::Plain } else { look };
            changed |= self.text(content, look, shown.only_if(is_last));
            start = (end + 1).min(text.len());
        }
        changed
    }

    /// Masks the values of pairs within `place`.
    pub(super) fn pairs(&mut self, text: &mut [u8], place: Range<usize>, shown: Shown, done: &mut Done) {
        let mut at = place.start;
        while let Some(found) = memchr2(b':', b'=', &text[at..place.end]) {
            let sign = at + found;
            at = sign + 1;
            if text[sign] == b':' && text[at..place.end].starts_with(b"//") {
                self.user_in(text, at + 2..place.end, done);
                continue;
            }
            let Some(name) = name_before(text, place.start, sign) else { continue };
            let verdict = self.verdict_of(&name, text);
            let value = value_after(text, at, place.end, &name);
            let Some(value) = value.filter(|value| done.is_free(&value.place)) else { continue };
            if let Some(rule) = verdict.of(&text[value.place.clone()]) {
                let changed =
                    value.escape.within(&mut text[value.place.clone()], |meant| self.replace(rule, meant));
                if changed {
                    done.push(value.place.clone());
                }
                at = at.max(value.place.end);
            } else if value.escape == Escape::Form && memchr(b'%', &text[value.place.clone()]).is_some() {
                // An address within an address, a form within a form.
                let shown = shown.only_if(value.place.end == text.len());
                let changed = value.escape.within(&mut text[value.place.clone()], |meant| {
                    let look = Look::of(meant);
                    self.wrapped_text(meant, look, shown)
                });
                at = at.max(value.place.end);
                if changed { done.push(value.place) } else { done.note(value.place) }
            }
        }
    }

    /// Looks into words that are written with percent signs, as [`hides_signs`] of pairs, wherever they stand.
    fn coded_words(&mut self, text: &mut [u8], shown: Shown, done: &mut Done) {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`<>&;=?#\\".contains(byte);
        let mut at = 0;
        while let Some(found) = memchr(b'%', &text[at..]) {
            let sign = at + found;
            let start = text[at..sign].iter().rposition(ends).map_or(at, |last| at + last + 1);
            let end = text[sign..].iter().position(ends).map_or(text.len(), |length| sign + length);
            at = end;
            if !hides_signs(&text[sign..end]) || !done.is_free(&(start..end)) {
                continue;
            }
            let shown = shown.only_if(end == text.len());
            let changed = Escape::Percent.within(&mut text[start..end], |meant| {
                let look = Look::of(meant);
                self.wrapped_text(meant, look, shown)
            });
            if changed {
                done.push(start..end);
            }
        }
    }

    fn verdict_of(&mut self, name: &Name, text: &[u8]) -> Verdict {
        let list = if name.is_parameter { &mut self.query } else { &mut self.fields };
        let written = &text[name.place.clone()];
        if Escape::Percent.is_in(written) {
            list.verdict(&Escape::Percent.meaning(written))
        } else {
            list.verdict(written)
        }
    }

    /// Masks user and password in front of a host; `place` begins after the `//` of an address.
    pub(super) fn user_in(&mut self, text: &mut [u8], place: Range<usize>, done: &mut Done) {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/?#\"'<>\\".contains(byte);
        let length = text[place.clone()].iter().position(ends).unwrap_or(place.len());
        let Some(end) = text[place.start..place.start + length].iter().rposition(|byte| *byte == b'@') else {
            return;
        };
        let user = place.start..place.start + end;
        let colon = memchr(b':', &text[user.clone()]).map_or(user.end, |colon| user.start + colon);
        let rule = self.userinfo;
        for part in [user.start..colon, (colon + 1).min(user.end)..user.end] {
            if Escape::Percent.within(&mut text[part.clone()], |meant| self.replace(rule, meant)) {
                done.push(part);
            }
        }
    }
}

/// Whether percent signs stand for `=`, `:`, `"` or further percent signs.
fn hides_signs(word: &[u8]) -> bool {
    memchr_iter(b'%', word).any(|at| {
        matches!(word.get(at + 1..at + 3), Some([b'3', b'a' | b'A' | b'd' | b'D'] | [b'2', b'2' | b'5']))
    })
}

/// The name of a pair.
struct Name {
    place: Range<usize>,
    /// Whether it is one of a query or a form: `?name=`, `&name=`.
    is_parameter: bool,
    /// What its value must be quoted with to be as the name is.
    quote: Option<u8>,
}

/// The name that ends before `sign`, with or without quotes around it.
fn name_before(text: &[u8], floor: usize, sign: usize) -> Option<Name> {
    let floor = floor.max(sign.saturating_sub(LONGEST_NAME + 8));
    let before = &text[floor..sign];
    let blanks = before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let mut end = sign - blanks;
    let quote = (end > floor).then(|| text[end - 1]).filter(|byte| matches!(byte, b'"' | b'\''));
    if let Some(quote) = quote {
        end -= 1;
        // `\"name\"`: a quote within a quoted text.
        if end > floor && text[end - 1] == b'\\' {
            end -= 1;
        }
        let start = floor + memchr::memrchr(quote, &text[floor..end])? + 1;
        return (start < end).then_some(Name { place: start..end, is_parameter: false, quote: Some(quote) });
    }
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.$[]%@".contains(&byte);
    let start =
        text[floor..end].iter().rposition(|byte| !belongs(*byte)).map_or(floor, |last| floor + last + 1);
    let is_parameter = text[sign] == b'='
        && blanks == 0
        && start.checked_sub(1).is_some_and(|at| b"?&;#".contains(&text[at]));
    (start < end && end - start <= LONGEST_NAME).then_some(Name {
        place: start..end,
        is_parameter,
        quote: None,
    })
}

/// The value of a pair.
struct Value {
    place: Range<usize>,
    escape: Escape,
}

/// The value after the sign before `at`.
fn value_after(text: &[u8], mut at: usize, end: usize, name: &Name) -> Option<Value> {
    // `:=`, `==`, `=>`
    if at < end && matches!(text[at], b'=' | b'>') {
        at += 1;
    }
    at += text[at..end].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let first = *text[at..end].first()?;
    let second = text[at..end].get(1).copied();
    if matches!(first, b'"' | b'\'' | b'`') {
        let (start, mut close) = (at + 1, at + 1);
        while close < end && text[close] != first {
            close += if text[close] == b'\\' { 2 } else { 1 };
        }
        return Some(Value { place: start..close.min(end), escape: Escape::Json });
    }
    if first == b'\\' && matches!(second, Some(b'"' | b'\'')) {
        let start = at + 2;
        let length = memchr::memmem::find(&text[start..end], &text[at..at + 2]).unwrap_or(end - start);
        return Some(Value { place: start..start + length, escape: Escape::Json });
    }
    let ends = |byte: u8| {
        let stop = if name.is_parameter { &b"&;#\"'<>\\"[..] } else { &b"&;,\"'<>(){}[]|\\"[..] };
        byte.is_ascii_whitespace() || stop.contains(&byte)
    };
    let word =
        |at: usize| text[at..end].iter().position(|byte| ends(*byte)).map_or(end, |length| at + length);
    let mut close = word(at);
    // A scheme, and then the credential.
    let scheme = credential_start(&text[at..end]);
    if scheme > 0 && !name.is_parameter {
        at += scheme;
        close = word(at);
    }
    let escape = if name.is_parameter { Escape::Form } else { Escape::Percent };
    let _ = name.quote;
    (at < close).then_some(Value { place: at..close, escape })
}
