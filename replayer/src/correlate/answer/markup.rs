//! Walks an XML text: what elements and attributes hold, each under its path.

use crate::correlate::answer::Given;
use crate::correlate::pattern::{GivenKind, PartRef};

/// Deeper elements are passed over.
const DEEPEST: usize = 64;
/// A longer text is a text, not a value.
const LONGEST_VALUE: usize = 64 << 10;

/// A value, with where it stands in the text.
pub(crate) struct Piece<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Gives out the values of the text until `sink` says that it has enough.
pub(super) fn walk(text: &[u8], sink: &mut impl FnMut(Given<'_>) -> bool) {
    pieces(text, &mut |piece| {
        let value = &text[piece.start..piece.end];
        sink(Given { kind: GivenKind::Xml, name: piece.path, part: PartRef::Whole, value, before: b"" })
    });
}

/// Calls `piece` for each attribute and each text of an element, until it says that it has enough. Texts with
/// references are passed over: tokens have none.
pub(crate) fn pieces(text: &[u8], piece: &mut impl FnMut(&Piece<'_>) -> bool) {
    let mut path: Vec<u8> = Vec::with_capacity(64);
    let mut lengths: Vec<usize> = Vec::new();
    let (mut at, mut text_from) = (0, 0);
    while let Some(offset) = memchr::memchr(b'<', &text[at..]) {
        let open = at + offset;
        if !lengths.is_empty() && !give(text, text_from, open, &path, piece) {
            return;
        }
        let rest = &text[open..];
        let Some(close) = memchr::memchr(b'>', rest) else { return };
        at = open + close + 1;
        text_from = at;
        match rest.get(1) {
            Some(b'?' | b'!') => {}
            Some(b'/') => {
                if let Some(length) = lengths.pop() {
                    path.truncate(length);
                }
            }
            _ => {
                let inside = &rest[1..close];
                let ends_itself = inside.ends_with(b"/");
                let name_length = inside
                    .iter()
                    .position(|&byte| byte.is_ascii_whitespace() || byte == b'/')
                    .unwrap_or(inside.len());
                if lengths.len() >= DEEPEST {
                    return;
                }
                lengths.push(path.len());
                path.push(b'/');
                path.extend_from_slice(&inside[..name_length]);
                if !give_attributes(text, open + 1 + name_length, open + close, &mut path, piece) {
                    return;
                }
                if ends_itself && let Some(length) = lengths.pop() {
                    path.truncate(length);
                }
            }
        }
    }
}

fn give(
    text: &[u8],
    from: usize,
    to: usize,
    path: &[u8],
    piece: &mut impl FnMut(&Piece<'_>) -> bool,
) -> bool {
    let raw = &text[from..to];
    let value = raw.trim_ascii();
    if value.is_empty() || value.len() > LONGEST_VALUE || value.contains(&b'&') {
        return true;
    }
    let start = from + (raw.len() - raw.trim_ascii_start().len());
    piece(&Piece { path, start, end: start + value.len() })
}

fn give_attributes(
    text: &[u8],
    from: usize,
    to: usize,
    path: &mut Vec<u8>,
    piece: &mut impl FnMut(&Piece<'_>) -> bool,
) -> bool {
    let mut at = from;
    while let Some(offset) = memchr::memchr(b'=', &text[at..to]) {
        let equals = at + offset;
        let name = text[at..equals].trim_ascii();
        let Some(&quote) = text.get(equals + 1).filter(|byte| matches!(byte, b'"' | b'\'')) else {
            return true;
        };
        let start = equals + 2;
        let Some(end) = text.get(start..to).and_then(|rest| memchr::memchr(quote, rest)) else { return true };
        let length = path.len();
        path.extend_from_slice(b"/@");
        path.extend_from_slice(name);
        let goes_on = give(text, start, start + end, path, piece);
        path.truncate(length);
        if !goes_on {
            return false;
        }
        at = start + end + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use crate::correlate::answer::tests::values_of;

    #[test]
    fn elements_and_attributes_have_their_path() {
        let text = "<?xml version='1.0'?><s:Envelope><s:Body id=\"7\"><token a='x'> t1 </token><empty/><id>9</id>\
                    </s:Body></s:Envelope>";
        assert_eq!(
            values_of("application/soap+xml", text),
            [
                "xml /s:Envelope/s:Body/@id = 7",
                "xml /s:Envelope/s:Body/token/@a = x",
                "xml /s:Envelope/s:Body/token = t1",
                "xml /s:Envelope/s:Body/id = 9",
            ]
        );
    }
}
