//! Masks JSON in place: strings and numbers of the fields that are secrets, and all within lists and objects
//! that are. The structure stays, so that JSON stays JSON; `true`, `false` and `null` stay.
//!
//! It reads one value after the other (lines of JSON, too) and stops where the text is no JSON any longer; a
//! text that was cut just ends.

use std::ops::Range;

use memchr::memchr2;

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
    /// The element that is being read.
    index: usize,
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
    while at < text.len() {
        let byte = text[at];
        match (byte, expects) {
            (b' ' | b'\t' | b'\r' | b'\n', _) => at += 1,
            (b'"', Expects::Name | Expects::Field) => {
                let (name, end) = string(text, at);
                pending = verdict(masker, &text[name.clone()]);
                let level = levels.last_mut()?;
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
                let shown = shown.only_if(end == text.len());
                mask_string(masker, text, inner, rule, shown, done);
                pending = Verdict::Public;
                at = end;
                expects = Expects::Next;
            }
            (b'-' | b'0'..=b'9', Expects::Value | Expects::Element) => {
                let in_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let length = text[at..].iter().position(|byte| !in_number(byte)).unwrap_or(text.len() - at);
                let place = at..at + length;
                if let Some(rule) = rule_of(masker, text, &levels, pending, &place) {
                    mask_number(masker, &mut text[place.clone()], rule);
                    done.push(place);
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
                levels.push(Level { is_object, rule, name: 0..0, index: 0 });
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
    masker: &Masker,
    text: &[u8],
    levels: &[Level],
    name: Verdict,
    place: &Range<usize>,
) -> Option<Rule> {
    name.of(&text[place.clone()]).or_else(|| levels.last()?.rule).or_else(|| {
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
            Escape::Json.within(&mut text[inner.clone()], |meant| {
                let look = Look::of(meant);
                masker.wrapped_text(meant, look, shown)
            })
        }
        // Card numbers and tokens are looked for in the whole text at once.
        None => return masker.pairs(text, inner, shown, done),
    };
    if changed {
        done.push(inner);
    }
}

/// A number stays a number: sign, point and exponent stay where they are.
fn mask_number(masker: &mut Masker, number: &mut [u8], rule: Rule) {
    for digits in number.split_mut(|byte| !byte.is_ascii_digit()) {
        masker.replace(rule, digits);
    }
}

#[cfg(test)]
mod tests;
