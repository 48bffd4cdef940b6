//! Masks tables of text (RFC 4180, or with tabs or semicolons): the columns whose head is a secret's name.
//!
//! The first row is the head. A table without one is text like any other.

use std::ops::Range;

use memchr::{memchr, memchr_iter};

use super::masker::{Done, Masker};
use super::names::Verdict;

/// So many columns are looked at; what stands in later ones is text like any other.
const COLUMNS: usize = 4_096;

/// The sign between the cells of a table whose `Content-Type` is `declared`, if it is one of a table.
pub(super) fn separator(declared: &[u8], text: &[u8]) -> Option<u8> {
    let declares = |kind: &[u8]| declared.get(..kind.len()).is_some_and(|d| d.eq_ignore_ascii_case(kind));
    if declares(b"text/tab-separated-values") {
        return Some(b'\t');
    }
    if !declares(b"text/csv") && !declares(b"application/csv") && !declares(b"text/x-csv") {
        return None;
    }
    // What is called CSV is separated by what its head has the most of.
    let head = &text[..memchr(b'\n', text).unwrap_or(text.len())];
    let count = |sign: &u8| memchr_iter(*sign, head).count();
    b"\t;,".iter().copied().max_by_key(count)
}

/// Masks the cells of such columns in `text`.
pub(super) fn mask(masker: &mut Masker, text: &mut [u8], separator: u8, done: &mut Done) {
    let mut verdicts: Vec<Verdict> = Vec::new();
    let mut at = if text.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let (mut is_head, mut column) = (true, 0);
    while at < text.len() {
        let (cell, end) = cell(text, at, separator);
        if is_head {
            if column < COLUMNS {
                verdicts.push(masker.fields.verdict(text[cell].trim_ascii()));
            }
        } else if let Some(rule) = verdicts.get(column).and_then(|verdict| verdict.of(&text[cell.clone()]))
            && masker.replace(rule, &mut text[cell.clone()])
        {
            done.push(cell);
        }
        if text.get(end) == Some(&separator) {
            column += 1;
        } else {
            column = 0;
            if is_head && verdicts.iter().all(|verdict| *verdict == Verdict::Public) {
                return;
            }
            is_head = false;
        }
        at = end + 1;
    }
}

/// What the cell at `start` holds, without its quotes, and the place of the sign after it.
fn cell(text: &[u8], start: usize, separator: u8) -> (Range<usize>, usize) {
    let ends = |byte: &u8| *byte == separator || matches!(byte, b'\n' | b'\r');
    let end_from = |at: usize| text[at..].iter().position(ends).map_or(text.len(), |length| at + length);
    if text[start] != b'"' {
        let end = end_from(start);
        return (start..end, end);
    }
    let mut at = start + 1;
    while let Some(found) = memchr(b'"', &text[at..]) {
        at += found;
        if text.get(at + 1) != Some(&b'"') {
            // What stands between a closing quote and the next sign is no good table, and masked with the rest.
            let end = end_from(at + 1);
            return (start + 1..if end == at + 1 { at } else { end }, end);
        }
        at += 2;
    }
    (start + 1..text.len(), text.len())
}

#[cfg(test)]
mod tests {
    use crate::redact::masker::Masker;
    use crate::redact::policy::MaskRules;
    use crate::redact::text::{Look, Shown};

    fn masked(declared: &str, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        let look = Look::declared(declared.as_bytes(), &bytes);
        Masker::new(&[7; 32], &MaskRules::usual()).text(&mut bytes, look, Shown::ALL);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn columns_with_the_head_of_a_secret_are_masked_and_others_are_not() {
        let name = masked("text/csv", "password\nS3cret").replace("password\n", "");
        assert_ne!(name, "S3cret");
        let check = |kind: &str, text: &str| {
            assert_eq!(masked(kind, text), text.replace("S3cret", &name), "{text}");
        };
        check("text/csv", "user,password,age\nbob,S3cret,12\r\nann,S3cret,13\n");
        check("text/csv; charset=utf-8", "\u{feff}Password;note\r\nS3cret;\"a\nb\"\r\nS3cret;x");
        check("text/csv", "\"name\",\"API Key\"\n\"a, b\",\"S3cret\"\n\n\"a \"\"b\"\"\",S3cret\n");
        check("TEXT/Tab-Separated-Values", "a\ttoken\nword, x\tS3cret\n");
        check("text/csv", "a,b\nx,https://shop/?token=S3cret\n");
        check("text/csv", "{\"password\":\"S3cret\"}");
        check("text/csv", "user,age\nS,12");
        let codes = masked("text/csv", "cid,cid\n123,word\n123456,x\n");
        assert!(codes.contains(",word\n123456,x") && !codes.contains("\n123,"), "{codes}");
    }

    #[test]
    fn a_secret_with_quotes_or_without_an_end_is_masked() {
        for text in
            ["token\n\"abc\"\"9def\"\n", "token\n\"abc9def", "token\n\"abc\"9def\n", "token\nabc\"9def\""]
        {
            let masked = masked("text/csv", text);
            assert!(!masked.contains("abc") && !masked.contains("9def"), "{masked}");
        }
    }
}
