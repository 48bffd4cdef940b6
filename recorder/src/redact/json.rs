//! Masks JSON in place: strings and numbers of the fields that are secrets, and all within lists and objects
//! that are. The structure stays, so that JSON stays JSON; `true`, `false` and `null` stay.
//!
//! A field is called by its name, or by another one beside it (`{"name":"password","value":"…"}`).
//!
//! It reads one value after the other (lines of JSON, too) and stops where the text is no JSON any longer; a
//! text that was cut just ends.

use std::ops::Range;

use beside::{Beside, Role};
use memchr::{memchr, memchr2};

use super::escape::Escape;
use super::masker::{Done, Masker};
use super::names::{Rule, Verdict};
use super::path::At;
use super::text::{Look, Shown, credential_start};

/// An object or a list that is open.
struct Level {
    is_object: bool,
    /// The rule by which everything within is a secret.
    rule: Option<Rule>,
    /// The name of the field that is being read.
    name: Range<usize>,
    /// What that is for the other fields.
    role: Role,
    /// Whether it is a list within a list, and may be a pair of a name and a value.
    may_be_pair: bool,
    /// The element that is being read.
    index: usize,
    beside: Beside,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expects {
    Value,
    /// A value or the end of the list.
    Element,
    Name,
    /// A name or the end of the object.
    Field,
    Colon,
    /// A comma or the end of what is open.
    Next,
}

/// Masks the JSON at the start of `text`; gives the place where it is none any longer, if there is one.
pub(super) fn mask(
    masker: &mut Masker,
    text: &mut [u8],
    from: usize,
    shown: Shown,
    done: &mut Done,
) -> Option<usize> {
    let mut levels: Vec<Level> = Vec::new();
    let mut expects = Expects::Value;
    let mut pending = Verdict::Public;
    let mut at = from;
    let has_roles = Role::may_be_in(&text[from..]);
    while at < text.len() {
        let byte = text[at];
        match (byte, expects) {
            (b' ' | b'\t' | b'\r' | b'\n', _) => at += 1,
            (b'"', Expects::Name | Expects::Field) => {
                let (name, end) = string(text, at);
                pending = verdict(masker, &text[name.clone()]);
                let level = levels.last_mut()?;
                level.role = if has_roles { Role::of(&text[name.clone()]) } else { Role::Other };
                level.name = name;
                at = end;
                expects = Expects::Colon;
            }
            (b':', Expects::Colon) => {
                at += 1;
                expects = Expects::Value;
            }
            (b'"', Expects::Value | Expects::Element) => {
                let (inner, end) = string(text, at);
                let rule = rule_of(masker, text, &levels, pending, &inner);
                let code = if has_roles { card_beside(masker, text, &mut levels, &inner) } else { None };
                let shown = shown.only_if(end == text.len());
                mask_string(masker, text, inner.clone(), rule, shown, done);
                if let Some((code, rule)) = code {
                    mask_scalar(masker, text, code, rule, done);
                }
                if rule.is_none() {
                    note(masker, text, &mut levels, &inner, done);
                }
                pending = Verdict::Public;
                at = end;
                expects = Expects::Next;
            }
            (b'-' | b'0'..=b'9', Expects::Value | Expects::Element) => {
                let in_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let length = text[at..].iter().position(|byte| !in_number(byte)).unwrap_or(text.len() - at);
                let place = at..at + length;
                let code = if has_roles { card_beside(masker, text, &mut levels, &place) } else { None };
                match rule_of(masker, text, &levels, pending, &place) {
                    Some(rule) => mask_scalar(masker, text, place, rule, done),
                    None => note(masker, text, &mut levels, &place, done),
                }
                if let Some((code, rule)) = code {
                    mask_scalar(masker, text, code, rule, done);
                }
                pending = Verdict::Public;
                at += length;
                expects = Expects::Next;
            }
            (b't' | b'f' | b'n', Expects::Value | Expects::Element) => {
                let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| word[0] == byte)?;
                let there = &text[at..text.len().min(at + word.len())];
                if !word.starts_with(there) {
                    return Some(at);
                }
                pending = Verdict::Public;
                at += there.len();
                expects = Expects::Next;
            }
            (b'{' | b'[', Expects::Value | Expects::Element) => {
                let is_object = byte == b'{';
                let rule = rule_of(masker, text, &levels, secret_only(pending), &(at..at));
                let may_be_pair = !is_object && levels.last().is_some_and(|level| !level.is_object);
                levels.push(Level {
                    is_object,
                    rule,
                    name: 0..0,
                    role: Role::Other,
                    may_be_pair,
                    index: 0,
                    beside: Beside::default(),
                });
                pending = Verdict::Public;
                at += 1;
                expects = if is_object { Expects::Field } else { Expects::Element };
            }
            (b'}', Expects::Next | Expects::Field) if levels.last().is_some_and(|level| level.is_object) => {
                levels.pop();
                at += 1;
                expects = Expects::Next;
            }
            (b']', Expects::Next | Expects::Element)
                if levels.last().is_some_and(|level| !level.is_object) =>
            {
                // A pair in a list of pairs.
                if let Some(list) = levels.last().filter(|list| list.may_be_pair)
                    && let Some((value, rule)) = list.beside.pair(masker, text, list.index + 1)
                {
                    mask_scalar(masker, text, value, rule, done);
                }
                levels.pop();
                at += 1;
                expects = Expects::Next;
            }
            (b',', Expects::Next) if !levels.is_empty() => {
                at += 1;
                expects = match levels.last_mut() {
                    Some(level) if !level.is_object => {
                        level.index += 1;
                        Expects::Value
                    }
                    _ => Expects::Name,
                };
            }
            // The next value of a row of them.
            (_, Expects::Next) if levels.is_empty() => expects = Expects::Value,
            _ => return Some(at),
        }
    }
    None
}

/// What lies between the quotes of the string at `start`, and where it ends. One without an end goes on to the
/// end of the text.
fn string(text: &[u8], start: usize) -> (Range<usize>, usize) {
    let mut at = start + 1;
    while let Some(found) = memchr2(b'"', b'\\', &text[at.min(text.len())..]) {
        at += found;
        if text[at] == b'"' {
            return (start + 1..at, at + 1);
        }
        at += 2;
    }
    (start + 1..text.len(), text.len())
}

fn verdict(masker: &mut Masker, name: &[u8]) -> Verdict {
    if Escape::Json.is_in(name) {
        masker.fields.verdict(&Escape::Json.meaning(name))
    } else {
        masker.fields.verdict(name)
    }
}

/// Lists and objects are no short codes.
const fn secret_only(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::ShortCode(_) => Verdict::Public,
        other => other,
    }
}

/// The rule by which the value at `place` is a secret: its name's, that of something around it, or its path's.
fn rule_of(
    masker: &mut Masker,
    text: &[u8],
    levels: &[Level],
    name: Verdict,
    place: &Range<usize>,
) -> Option<Rule> {
    let level = levels.last();
    let above = || level?.rule;
    let beside = |level: &Level| level.beside.rule(masker, text, level.role, place);
    let known = name.of(&text[place.clone()]).or_else(above);
    let known = known.or_else(|| level.filter(|level| level.role != Role::Other).and_then(beside));
    known.or_else(|| {
        if masker.paths.is_empty() {
            return None;
        }
        let here: Vec<At<'_>> = levels
            .iter()
            .map(|level| match level.is_object {
                true => At::Name(&text[level.name.clone()]),
                false => At::Element(level.index),
            })
            .collect();
        masker.paths.iter().find(|path| path.fits(&here)).map(|path| path.rule)
    })
}

fn mask_string(
    masker: &mut Masker,
    text: &mut [u8],
    inner: Range<usize>,
    rule: Option<Rule>,
    shown: Shown,
    done: &mut Done,
) {
    let changed = match rule {
        Some(rule) => Escape::Json.within(&mut text[inner.clone()], |meant| {
            let start = credential_start(meant);
            masker.replace(rule, &mut meant[start..])
        }),
        None if Escape::Json.is_in(&text[inner.clone()]) => {
            let changed = Escape::Json.within(&mut text[inner.clone()], |meant| {
                let look = Look::of(meant);
                masker.wrapped_text(meant, look, shown)
            });
            if !changed && memchr(b'%', &text[inner.clone()]).is_some() {
                done.note(inner.clone());
            }
            changed
        }
        // Card numbers and tokens are looked for in the whole text at once.
        None => return masker.pairs(text, inner, shown, done),
    };
    if changed {
        done.push(inner);
    }
}

/// Takes note of a string or number at `place` for what comes beside it, and masks what is a secret by it.
fn note(masker: &mut Masker, text: &mut [u8], levels: &mut [Level], place: &Range<usize>, done: &mut Done) {
    let Some(level) = levels.last_mut().filter(|level| level.role != Role::Other || level.may_be_pair) else {
        return;
    };
    if level.may_be_pair {
        if is_string(text, place) {
            level.beside.on_element(level.index, place);
        }
    } else if is_string(text, place) || level.role != Role::Name {
        level.beside.on_member(masker, text, level.role, place, |masker, text, place, rule| {
            mask_scalar(masker, text, place, rule, done);
        });
    }
}

/// Takes note of the number of a card at `place`; gives the code that was seen beside it.
fn card_beside(
    masker: &Masker,
    text: &[u8],
    levels: &mut [Level],
    place: &Range<usize>,
) -> Option<(Range<usize>, Rule)> {
    if !beside::may_be_card(text, place) {
        return None;
    }
    let rule = masker.cards?;
    let level = levels.last_mut().filter(|level| level.is_object)?;
    level.beside.on_card(text, place).map(|code| (code, rule))
}

/// Whether the value at `place` stands in quotes.
fn is_string(text: &[u8], place: &Range<usize>) -> bool {
    place.start > 0 && text[place.start - 1] == b'"'
}

/// Masks a string or a number by `rule`.
fn mask_scalar(masker: &mut Masker, text: &mut [u8], place: Range<usize>, rule: Rule, done: &mut Done) {
    if is_string(text, &place) {
        mask_string(masker, text, place, Some(rule), Shown::ALL, done);
    } else {
        mask_number(masker, &mut text[place.clone()], rule);
        done.push(place);
    }
}

/// A number stays a number: sign, point and exponent stay where they are.
fn mask_number(masker: &mut Masker, number: &mut [u8], rule: Rule) {
    for digits in number.split_mut(|byte| !byte.is_ascii_digit()) {
        masker.replace(rule, digits);
    }
}

mod beside;
#[cfg(test)]
mod tests;
