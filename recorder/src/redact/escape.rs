//! Lets text be looked at and changed as it is meant while it stays written as it was: percent signs, JSON's
//! backslashes, HTML's entities, UTF-16.
//!
//! Every byte that is meant has its place in the text as written, and is written back into that very place and
//! in the same form: no length ever changes, and what was not changed stays as it was, byte for byte.

use memchr::{memchr, memchr2};

/// How text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// `%41`
    Percent,
    /// `%41`, and `+` for a blank.
    Form,
    /// `\u0041`, `\n`
    Json,
    /// `&#65;`, `&quot;`
    Html,
    Utf16Le,
    Utf16Be,
}

/// Where a byte that is meant is written.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    /// As itself.
    Plain,
    /// As a `+` for a blank.
    Plus,
    /// As `%` and two digits.
    Percent,
    /// As `\u` and four digits.
    Unicode,
    /// As a number of so many digits after `&#` or `&#x`.
    Entity { digits: u8, hexadecimal: bool },
    /// In two bytes of UTF-16, and beyond ASCII.
    Wide,
    /// In a way that leaves no room for another one.
    Fixed,
}

impl Escape {
    /// Whether anything in `raw` is not written as itself.
    pub(super) fn is_in(self, raw: &[u8]) -> bool {
        match self {
            Self::Percent => memchr(b'%', raw).is_some(),
            Self::Form => memchr2(b'%', b'+', raw).is_some(),
            Self::Json => memchr(b'\\', raw).is_some(),
            Self::Html => memchr(b'&', raw).is_some(),
            Self::Utf16Le | Self::Utf16Be => true,
        }
    }

    /// What `raw` means.
    pub(super) fn meaning(self, raw: &[u8]) -> Vec<u8> {
        self.read(raw).0
    }

    /// Lets `change` change what `raw` means, and says what it says: whether it changed anything.
    pub(super) fn within(self, raw: &mut [u8], change: impl FnOnce(&mut [u8]) -> bool) -> bool {
        if !self.is_in(raw) {
            return change(raw);
        }
        let (mut meant, places) = self.read(raw);
        let before = meant.clone();
        if !change(&mut meant) {
            return false;
        }
        let wide = matches!(self, Self::Utf16Be);
        for ((new, old), place) in meant.iter().zip(&before).zip(places) {
            if new != old {
                write(raw, place, *new, wide);
            }
        }
        true
    }

    fn read(self, raw: &[u8]) -> (Vec<u8>, Vec<Place>) {
        let (mut meant, mut places) = (Vec::with_capacity(raw.len()), Vec::with_capacity(raw.len()));
        let mut at = 0;
        while at < raw.len() {
            let (length, form) = match self {
                Self::Percent | Self::Form => percent(raw, at, self, &mut meant),
                Self::Json => json(raw, at, &mut meant),
                Self::Html => html(raw, at, &mut meant),
                Self::Utf16Le => utf16(raw, at, [at, at + 1], &mut meant),
                Self::Utf16Be => utf16(raw, at, [at + 1, at], &mut meant),
            };
            while places.len() < meant.len() {
                // A sign that takes several bytes has one place: only its first byte can be written back.
                let form = if places.last().is_some_and(|last: &Place| last.start == at) {
                    Form::Fixed
                } else {
                    form
                };
                places.push(Place { start: at, form });
            }
            at += length;
        }
        (meant, places)
    }
}

/// Writes `byte` into `place`.
fn write(raw: &mut [u8], place: Place, byte: u8, wide: bool) {
    let Place { start, form } = place;
    let digit = |value: u8| char::from_digit(u32::from(value & 15), 16).map_or(b'0', |digit| digit as u8);
    match form {
        Form::Plain => raw[start + usize::from(wide)] = byte,
        Form::Wide => raw[start..start + 2].copy_from_slice(&if wide { [0, byte] } else { [byte, 0] }),
        Form::Plus | Form::Fixed => {}
        Form::Percent => raw[start + 1..start + 3].copy_from_slice(&[digit(byte >> 4), digit(byte)]),
        Form::Unicode => {
            raw[start + 2..start + 6].copy_from_slice(&[b'0', b'0', digit(byte >> 4), digit(byte)]);
        }
        Form::Entity { digits, hexadecimal } => {
            let (base, start) = if hexadecimal { (16, start + 3) } else { (10, start + 2) };
            // In two decimal digits there is room for capital letters alone.
            let small = digits == 2 && !hexadecimal;
            let mut rest = if small { byte.to_ascii_uppercase() } else { byte };
            for place in raw[start..start + usize::from(digits)].iter_mut().rev() {
                *place = digit(rest % base);
                rest /= base;
            }
        }
    }
}

fn percent(raw: &[u8], at: usize, escape: Escape, meant: &mut Vec<u8>) -> (usize, Form) {
    match raw[at] {
        b'%' => {
            if let Some([high, low]) = raw.get(at + 1..at + 3)
                && let (Some(high), Some(low)) = (hex(*high), hex(*low))
            {
                meant.push(high << 4 | low);
                return (3, Form::Percent);
            }
        }
        b'+' if escape == Escape::Form => {
            meant.push(b' ');
            return (1, Form::Plus);
        }
        _ => {}
    }
    meant.push(raw[at]);
    (1, Form::Plain)
}

fn json(raw: &[u8], at: usize, meant: &mut Vec<u8>) -> (usize, Form) {
    let Some(&sign) = raw.get(at + 1).filter(|_| raw[at] == b'\\') else {
        meant.push(raw[at]);
        return (1, Form::Plain);
    };
    if sign == b'u'
        && let Some(digits) = raw.get(at + 2..at + 6)
        && let Some(code) = digits.iter().try_fold(0, |code, digit| Some(code << 4 | u32::from(hex(*digit)?)))
    {
        push_char(meant, code);
        return (6, Form::Unicode);
    }
    meant.push(match sign {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        other => other,
    });
    (2, Form::Fixed)
}

fn html(raw: &[u8], at: usize, meant: &mut Vec<u8>) -> (usize, Form) {
    const NAMED: [(&[u8], u8); 6] =
        [(b"quot", b'"'), (b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"apos", b'\''), (b"nbsp", b' ')];
    let entity = (raw[at] == b'&').then(|| &raw[at + 1..raw.len().min(at + 10)]);
    let entity = entity.and_then(|rest| memchr(b';', rest).map(|end| &rest[..end]));
    if let Some(entity) = entity {
        let length = entity.len() + 2;
        if let Some((_, byte)) = NAMED.iter().find(|(name, _)| *name == entity) {
            meant.push(*byte);
            return (length, Form::Fixed);
        }
        let number = entity.strip_prefix(b"#").unwrap_or_default();
        let (digits, hexadecimal) = match number.strip_prefix(b"x").or_else(|| number.strip_prefix(b"X")) {
            Some(digits) => (digits, true),
            None => (number, false),
        };
        let base = if hexadecimal { 16 } else { 10 };
        let code = digits.iter().try_fold(0_u32, |code, digit| {
            let digit = hex(*digit).map(u32::from).filter(|digit| *digit < base)?;
            Some(code.wrapping_mul(base).wrapping_add(digit))
        });
        if let (Some(code), 2..) = (code, digits.len()) {
            push_char(meant, code);
            // There are at most eight of them.
            let digits = u8::try_from(digits.len()).unwrap_or(u8::MAX);
            return (length, Form::Entity { digits, hexadecimal });
        }
    }
    meant.push(raw[at]);
    (1, Form::Plain)
}

fn utf16(raw: &[u8], at: usize, [low, high]: [usize; 2], meant: &mut Vec<u8>) -> (usize, Form) {
    match (raw.get(low), raw.get(high)) {
        (Some(&byte), Some(0)) if byte < 0x80 => meant.push(byte),
        (Some(_), Some(_)) => {
            meant.push(0x80);
            return (2, Form::Wide);
        }
        _ => {
            meant.push(raw[at]);
            return (1, Form::Fixed);
        }
    }
    (2, Form::Plain)
}

/// Half of a surrogate pair is no character; that it is none of ASCII is all that matters here.
fn push_char(meant: &mut Vec<u8>, code: u32) {
    let mut buffer = [0; 4];
    let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    meant.extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Escape; 6] =
        [Escape::Percent, Escape::Form, Escape::Json, Escape::Html, Escape::Utf16Le, Escape::Utf16Be];

    /// `raw` after every `a` that it means became a `b`.
    fn changed(escape: Escape, raw: &[u8]) -> Vec<u8> {
        let mut raw = raw.to_vec();
        escape.within(&mut raw, |meant| {
            meant.iter_mut().filter(|byte| **byte == b'a').for_each(|byte| *byte = b'b');
            true
        });
        raw
    }

    #[test]
    fn what_is_meant_is_changed_as_it_is_written() {
        assert_eq!(changed(Escape::Percent, b"a+%61%zz%"), b"b+%62%zz%");
        assert_eq!(changed(Escape::Json, br"a\u0061\n\\u0061\u00"), br"b\u0062\n\\u0061\u00");
        assert_eq!(changed(Escape::Html, b"a&#97;&#x61;&#0097;&amp;&#a;"), b"b&#66;&#x62;&#0098;&amp;&#b;");
        assert_eq!(changed(Escape::Utf16Le, b"a\0b\0\x61\x01"), b"b\0b\0\x61\x01");
        assert_eq!(changed(Escape::Utf16Be, b"\0a\0b\x01\x61"), b"\0b\0b\x01\x61");
    }

    #[test]
    fn what_is_written_is_read_as_it_is_meant() {
        assert_eq!(Escape::Form.meaning(b"a+b%2Bc%"), b"a b+c%");
        assert_eq!(Escape::Percent.meaning(b"a+b"), b"a+b");
        assert_eq!(Escape::Json.meaning(br#"\"\/\\\t\u00e9"#), "\"/\\\té".as_bytes());
        assert_eq!(Escape::Html.meaning(b"&quot;&#34;&#x22;&lt&"), b"\"\"\"&lt&");
        assert_eq!(Escape::Utf16Le.meaning(b"p\0w\0d\0!"), b"pwd!");
    }

    proptest! {
        #[test]
        fn nothing_changes_where_nothing_is_changed(raw in proptest::collection::vec(any::<u8>(), 0..100)) {
            for escape in ALL {
                let mut copy = raw.clone();
                escape.within(&mut copy, |_| true);
                prop_assert_eq!(&copy, &raw);
                escape.within(&mut copy, |meant| { meant.fill(b'z'); true });
                prop_assert_eq!(copy.len(), raw.len());
            }
        }
    }
}
