//! Masks the parts of a multipart body: those whose name is a secret's as a whole, others (files, too) as the
//! text they are. A part that is gzip stays as it is when nothing in it is a secret, and is masked as a whole
//! when something is.

use std::ops::Range;

use memchr::memmem;

use super::body;
use super::escape::Escape;
use super::masker::Masker;
use super::text::{Look, Shown};

/// The line between the parts of a body whose `Content-Type` is `declared`.
pub(super) fn boundary(declared: &[u8]) -> Option<Vec<u8>> {
    if !declared.get(..10)?.eq_ignore_ascii_case(b"multipart/") {
        return None;
    }
    let value = parameter(declared, b"boundary")?;
    (!value.is_empty()).then(|| [b"--", value].concat())
}

/// The line between the parts of what looks like a multipart body: it begins with one.
pub(super) fn boundary_by_look(text: &[u8]) -> Option<Vec<u8>> {
    let line = text.split(|byte| *byte == b'\n').next().filter(|line| line.len() < text.len())?;
    let line = line.trim_ascii_end();
    let next = &text[line.len()..text.len().min(line.len() + 256)];
    let is_head = next.to_ascii_lowercase().windows(8).any(|window| window == b"content-");
    (line.starts_with(b"--") && (3..=80).contains(&line.len()) && is_head).then(|| line.to_vec())
}

/// Masks the parts of `text`; whether that changed anything.
pub(super) fn mask(masker: &mut Masker, text: &mut [u8], boundary: &[u8], shown: Shown) -> bool {
    let starts: Vec<usize> = memmem::find_iter(text, boundary).collect();
    let mut changed = false;
    let mut from = 0;
    for (end, next) in
        starts.iter().map(|start| (*start, start + boundary.len())).chain([(text.len(), text.len())])
    {
        if from < end {
            let is_last = end == text.len();
            changed |= mask_part(masker, &mut text[from..end], shown.only_if(is_last));
        }
        from = next;
    }
    changed
}

/// One part, from the end of the line before it to the line after it.
fn mask_part(masker: &mut Masker, part: &mut [u8], shown: Shown) -> bool {
    let head = memmem::find(part, b"\r\n\r\n")
        .map(|at| at + 4)
        .or_else(|| memmem::find(part, b"\n\n").map(|at| at + 2));
    let (head, content) = part.split_at_mut(head.unwrap_or(0));
    // The line's end before the next boundary belongs to the boundary.
    let length =
        content.strip_suffix(b"\r\n").or_else(|| content.strip_suffix(b"\n")).unwrap_or(content).len();
    let length = if shown.is_cut { content.len() } else { length };
    let content = &mut content[..length];
    let name = field(head, b"content-disposition").and_then(|value| parameter(&head[value], b"name"));
    let verdict = match name {
        Some(name) if Escape::Percent.is_in(name) => masker.fields.verdict(&Escape::Percent.meaning(name)),
        Some(name) => masker.fields.verdict(name),
        None => super::names::Verdict::Public,
    };
    let coding =
        field(head, b"content-transfer-encoding").map(|value| head[value].trim_ascii().to_ascii_lowercase());
    let is_coded = coding.is_some_and(|coding| matches!(coding.as_slice(), b"base64" | b"quoted-printable"));
    let rule = verdict.of(content).or(is_coded.then_some(masker.wrapped));
    let declared = field(head, b"content-type").map(|value| head[value].to_vec()).unwrap_or_default();
    let changed = masker.wrapped_text(head, Look::Plain, Shown { is_cut: false, ..shown });
    changed
        | match rule {
            Some(rule) => masker.replace(rule, content),
            None if let Some(changed) = body::mask_gzip_part(masker, &declared, content) => changed,
            None => {
                let look = match Look::declared(&declared, content) {
                    Look::Form | Look::Events if declared.is_empty() => Look::Plain,
                    other => other,
                };
                masker.wrapped_text(content, look, shown)
            }
        }
}

/// The value of a field in the head of a part.
fn field(head: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let mut start = 0;
    for line in head.split(|byte| *byte == b'\n') {
        let is_it = line.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name));
        if is_it && line.get(name.len()) == Some(&b':') {
            return Some(start + name.len() + 1..start + line.len());
        }
        start += line.len() + 1;
    }
    None
}

/// The value of a parameter after a `;`, without its quotes.
fn parameter<'a>(value: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    value.split(|byte| *byte == b';').skip(1).find_map(|part| {
        let part = part.trim_ascii();
        let (found, rest) = part.split_at_checked(name.len())?;
        let rest = rest.strip_prefix(b"*").unwrap_or(rest).trim_ascii().strip_prefix(b"=")?.trim_ascii();
        let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
        let rest = rest.strip_suffix(b"\"").unwrap_or(rest);
        found.eq_ignore_ascii_case(name).then_some(rest)
    })
}
