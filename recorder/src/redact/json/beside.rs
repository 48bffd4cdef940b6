//! What the members of an object of JSON say of one another: `{"name":"password","value":"…"}` in either
//! order, `["authorization","…"]` in a list of pairs, a code beside the number of a card.
//!
//! Nothing is looked up before both halves are there: most objects have a name, few have a value with it.

use std::ops::Range;

use memchr::memmem;

use crate::redact::cards;
use crate::redact::escape::Escape;
use crate::redact::masker::Masker;
use crate::redact::names::{Rule, Verdict};

/// Card numbers with what groups them have from so many bytes to so many.
const CARD_LENGTHS: std::ops::RangeInclusive<usize> = 13..=31;

/// What a member is for the others, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It says how the value is called.
    Name,
    Value,
    /// It may be the verification code of a card.
    Code,
    Other,
}

impl Role {
    /// Whether any member of `text` can be one that says something of others, or of which others do: in most
    /// texts none is, and they pay for none. Names and values go together, numbers of cards and codes do.
    pub(super) fn may_be_in(text: &[u8]) -> bool {
        [&b"\"v"[..], b"\"V", b"ode\""].iter().any(|sign| memmem::find(text, sign).is_some())
    }

    /// The role of a member by its name.
    pub(super) fn of(name: &[u8]) -> Self {
        let is = |list: &[&[u8]]| list.iter().any(|entry| name.eq_ignore_ascii_case(entry));
        match name.first().map(u8::to_ascii_lowercase) {
            Some(b'n') if is(&[b"name", b"n"]) => Self::Name,
            Some(b'k') if is(&[b"key", b"k"]) => Self::Name,
            Some(b'f') if is(&[b"field"]) => Self::Name,
            Some(b'h') if is(&[b"header"]) => Self::Name,
            Some(b'p') if is(&[b"param", b"parameter", b"property"]) => Self::Name,
            Some(b'v') if is(&[b"value", b"val", b"v", b"values"]) => Self::Value,
            Some(b'v') if is(&[b"verification", b"vcode"]) => Self::Code,
            Some(b'c') if is(&[b"code"]) => Self::Code,
            _ => Self::Other,
        }
    }
}

/// What an object, or a list, held so far that others of its members may need.
#[derive(Default)]
pub(super) struct Beside {
    name: Option<Range<usize>>,
    /// Values that came before their name.
    values: [Option<Range<usize>>; 2],
    has_card: bool,
    code: Option<Range<usize>>,
}

impl Beside {
    /// The rule by which `place` is a secret for what came before it.
    pub(super) fn rule(
        &self,
        masker: &mut Masker,
        text: &[u8],
        role: Role,
        place: &Range<usize>,
    ) -> Option<Rule> {
        match role {
            Role::Value => self.named(masker, text)?.of(&text[place.clone()]),
            Role::Code if self.has_card && is_code(&text[place.clone()]) => masker.cards,
            _ => None,
        }
    }

    /// What the name means that was given, if one was.
    fn named(&self, masker: &mut Masker, text: &[u8]) -> Option<Verdict> {
        let name = &text[self.name.clone()?];
        let meant: Vec<u8>;
        let name = if Escape::Json.is_in(name) {
            meant = Escape::Json.meaning(name);
            &meant
        } else {
            name
        };
        let name = name.trim_ascii();
        match masker.fields.verdict(name) {
            Verdict::Public => Some(masker.headers.verdict(name)),
            secret => Some(secret),
        }
    }

    /// Takes note of a string or number of an object; calls `mask` with what is a secret since then.
    pub(super) fn on_member(
        &mut self,
        masker: &mut Masker,
        text: &mut [u8],
        role: Role,
        place: &Range<usize>,
        mut mask: impl FnMut(&mut Masker, &mut [u8], Range<usize>, Rule),
    ) {
        match role {
            Role::Name => {
                // Of two names the one that is a secret's counts.
                let is_known = self.name.is_some()
                    && self.named(masker, text).is_some_and(|named| named != Verdict::Public);
                if !is_known {
                    self.name = Some(place.clone());
                }
                for value in self.values.iter_mut().filter_map(Option::take).collect::<Vec<_>>() {
                    match self.rule(masker, text, Role::Value, &value) {
                        Some(rule) => mask(masker, text, value, rule),
                        None => self.keep(value),
                    }
                }
            }
            Role::Value => self.keep(place.clone()),
            Role::Code => self.code = Some(place.clone()),
            Role::Other => {}
        }
    }

    fn keep(&mut self, value: Range<usize>) {
        let free = usize::from(self.values[0].is_some());
        self.values[free] = Some(value);
    }

    /// Takes note of the number of a card, if `place`, which [`may_be_card`], is one; gives the code that is a secret since then.
    pub(super) fn on_card(&mut self, text: &[u8], place: &Range<usize>) -> Option<Range<usize>> {
        if self.has_card {
            return None;
        }
        cards::find(&text[place.clone()], false, |_| self.has_card = true);
        self.code.take().filter(|code| self.has_card && is_code(&text[code.clone()]))
    }

    /// Takes note of a string of a list: of two, the first may be the name of the second.
    pub(super) fn on_element(&mut self, index: usize, place: &Range<usize>) {
        match index {
            0 => self.name = Some(place.clone()),
            1 => self.values[0] = Some(place.clone()),
            _ => self.name = None,
        }
    }

    /// At the end of a list of so many elements: the second one, when the first says that it is a secret.
    pub(super) fn pair(
        &self,
        masker: &mut Masker,
        text: &[u8],
        count: usize,
    ) -> Option<(Range<usize>, Rule)> {
        let value = self.values[0].as_ref().filter(|_| count == 2)?;
        Some((value.clone(), self.rule(masker, text, Role::Value, value)?))
    }
}

/// Whether the string or number at `place` can be the number of a card at all.
pub(super) fn may_be_card(text: &[u8], place: &Range<usize>) -> bool {
    let is_digit = |at: usize| text[at].is_ascii_digit();
    CARD_LENGTHS.contains(&place.len()) && is_digit(place.start) && is_digit(place.end - 1)
}

fn is_code(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    (3..=4).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}
