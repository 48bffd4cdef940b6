//! What can be a name in pages and requests, and how two spellings of one are found equal.

use crate::correlate::value::{contains, hash};

/// A name is so long, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 3..=128;
/// A longer string between quotes is a text.
const LONGEST_STRING: usize = 512;
pub(super) const SEED: u64 = 0x6E61_6D65;

/// Whether a segment of a path reads like a word of the program's own.
pub(super) fn is_word(segment: &[u8]) -> bool {
    segment.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'))
}

/// The hash of a name, without case and of all between its letters and digits; `None` when it is none: too short, too
/// long, or a number.
pub(crate) fn name_hash(name: &[u8]) -> Option<u64> {
    plain_hash(name, false)
}

pub(super) fn plain_hash(name: &[u8], is_encoded: bool) -> Option<u64> {
    const LONGEST: usize = 128;
    if name.len() < *LENGTHS.start() || name.len() > 3 * LONGEST {
        return None;
    }
    let (mut plain, mut length) = ([0_u8; LONGEST], 0);
    let (mut is_gap, mut has_letter) = (false, false);
    let mut at = 0;
    while at < name.len() {
        let mut byte = name[at];
        at += 1;
        if byte == b'%' && is_encoded {
            let hex = |index: usize| name.get(index).and_then(|&digit| char::from(digit).to_digit(16));
            if let (Some(high), Some(low)) = (hex(at), hex(at + 1)) {
                byte = u8::try_from(high * 16 + low).unwrap_or(0);
                at += 2;
            }
        }
        if byte.is_ascii() && !byte.is_ascii_alphanumeric() {
            is_gap = length > 0;
            continue;
        }
        if length + 2 > LONGEST {
            return None;
        }
        if std::mem::take(&mut is_gap) {
            plain[length] = b'_';
            length += 1;
        }
        has_letter |= !byte.is_ascii_digit();
        plain[length] = byte.to_ascii_lowercase();
        length += 1;
    }
    (has_letter && LENGTHS.contains(&length)).then(|| hash(SEED, &plain[..length]))
}

/// The parts of an address that may be names.
pub(super) fn address(text: &[u8], sink: &mut impl FnMut(u64)) {
    let divides = |byte: &u8| matches!(byte, b'/' | b'?' | b'&' | b'=' | b'#' | b';' | b'\\');
    text.split(divides).filter_map(|part| plain_hash(part, true)).for_each(sink);
}

/// The names in what stands between quotes in a page, a script or a JSON text: addresses by their parts, and whole
/// values. No names of members, classes or fields.
pub(super) fn strings(text: &[u8], is_html: bool, sink: &mut impl FnMut(u64)) {
    let mut at = 0;
    while let Some(offset) = memchr::memchr2(b'"', b'\'', &text[at..]) {
        let (quote, from) = (text[at + offset], at + offset + 1);
        at = from;
        let window = &text[from..text.len().min(from + LONGEST_STRING)];
        let Some(length) = memchr::memchr(quote, window) else { continue };
        let value = &window[..length];
        // An apostrophe in a text begins no string.
        if memchr::memchr3(b'<', b'>', b'\n', value).is_some() || (quote == b'\'' && value.contains(&b'"')) {
            continue;
        }
        at = from + length + 1;
        let before = &text[from.saturating_sub(8)..from - 1];
        if text.get(at) == Some(&b':') || is_html && is_no_value(before) {
            continue;
        }
        if memchr::memchr3(b'/', b'?', b'=', value).is_some() {
            address(value, sink);
        } else if let Some(name) = plain_hash(value, true) {
            sink(name);
        }
    }
    if is_html {
        for at in memchr::memmem::find_iter(text, b"href=") {
            let value = &text[at + 5..text.len().min(at + 5 + LONGEST_STRING)];
            if !matches!(value.first(), Some(b'"' | b'\'')) {
                let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'>';
                address(value.split(ends).next().unwrap_or_default(), sink);
            }
        }
    }
}

/// Whether a string behind this is the class, style or name of an element.
fn is_no_value(before: &[u8]) -> bool {
    [&b"class="[..], b" id=", b"style=", b" name=", b"type="].iter().any(|name| before.ends_with(name))
}

pub(super) fn attribute<'a>(tag: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = memchr::memmem::find_iter(tag, name).find(|&at| at > 0 && tag[at - 1].is_ascii_whitespace())?;
    let value = &tag[at + name.len()..];
    match value.first()? {
        quote @ (b'"' | b'\'') => value[1..].split(|byte| byte == quote).next(),
        _ => value.split(u8::is_ascii_whitespace).next(),
    }
}

/// Whether a page that begins so is hidden: it asks not to be indexed, and names no canonical address.
pub(super) fn is_hidden(head: &[u8]) -> bool {
    let is_asked = memchr::memmem::find_iter(head, b"noindex").any(|at| {
        let around = &head[at.saturating_sub(80)..head.len().min(at + 80)];
        contains(&around.to_ascii_lowercase(), b"robots")
    });
    let is_canonical = |at: usize| {
        let before = head[..at].strip_suffix(b"\"").or_else(|| head[..at].strip_suffix(b"'"));
        before.unwrap_or(&head[..at]).ends_with(b"rel=")
    };
    is_asked && !memchr::memmem::find_iter(head, b"canonical").any(is_canonical)
}

/// A set of hashes that may hold more than was put into it: two bits of one word for each.
pub(super) struct Filter(Vec<u64>);

impl Default for Filter {
    fn default() -> Self {
        Self(vec![0; 1 << 18])
    }
}

impl Filter {
    fn place(&self, hash: u64) -> (usize, u64) {
        let word = usize::try_from(hash & (self.0.len() as u64 - 1)).unwrap_or(0);
        (word, 1 << (hash >> 58) | 1 << ((hash >> 52) & 63))
    }

    pub(super) fn insert(&mut self, hash: u64) {
        let (word, bits) = self.place(hash);
        self.0[word] |= bits;
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        let (word, bits) = self.place(hash);
        self.0[word] & bits == bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_are_one_and_numbers_are_none() {
        for (one, other) in
            [("My Page", "my_page"), ("Hello, World!", "hello-world"), ("wiki:Syntax", "wiki/syntax")]
        {
            assert_eq!(name_hash(one.as_bytes()), name_hash(other.as_bytes()), "{one}");
        }
        assert_eq!(plain_hash(b"My%20Page", true), name_hash(b"my+page"));
        assert_ne!(name_hash(b"First"), name_hash(b"Firsts"));
        for none in ["17", "2024-01-02", "x", "--", ""] {
            assert_eq!(name_hash(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn what_stands_between_quotes_is_given_but_no_class_and_no_name_of_a_member() {
        let given = |text: &str, is_html: bool, name: &str| {
            let (mut is_given, wanted) = (false, name_hash(name.as_bytes()).unwrap());
            strings(text.as_bytes(), is_html, &mut |found| is_given |= found == wanted);
            is_given
        };
        for (text, is_html, is_given) in [
            ("<a href=\"/wiki/First?x=1\">", true, true),
            ("<a href='/doku.php?id=first&amp;do=edit'>", true, true),
            ("<a href=/wiki/first>", true, true),
            ("<option value=\"First\">", true, true),
            ("<p class=\"first\" id=\"first\">First of all", true, false),
            ("it's the <b>first</b> one's", true, false),
            ("{\"title\":\"First\"}", false, true),
            ("{\"u\":\"\\/wiki\\/First\"}", false, true),
            ("{\"first\":\"at first\"}", false, false),
        ] {
            assert_eq!(given(text, is_html, "first"), is_given, "{text}");
        }
    }

    #[test]
    fn a_page_hides_that_asks_not_to_be_indexed_unless_it_has_a_canonical_address() {
        for (head, hides) in [
            ("<meta name=\"robots\" content=\"noindex,follow\"/>", true),
            ("<META CONTENT=noindex NAME=ROBOTS>", true),
            ("<meta name=robots content=noindex><link rel=\"canonical\" href=/a>", false),
            ("<meta name=robots content=noindex><script>var canonicalName = 1", true),
            ("<meta name=robots content=index>", false),
        ] {
            assert_eq!(is_hidden(head.as_bytes()), hides, "{head}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_page_makes_it_panic(page in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            strings(&page, true, &mut |_| {});
            is_hidden(&page);
            attribute(&page, b"name=");
            plain_hash(&page, true);
        }
    }
}
