//! Masks what forms and addresses hold: `name=value` pairs between `&`, written with percent signs.

use memchr::{memchr, memchr_iter};

use super::escape::Escape;
use super::masker::{Done, Masker};
use super::path::At;
use super::text::{Look, Shown};

/// Whose names the pairs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Fields,
    Query,
}

/// Whether the beginning of a text looks like a form: a name, `=`, and no blank.
pub(super) fn looks_like_one(start: &[u8]) -> bool {
    let Some(equals) = memchr(b'=', start) else { return false };
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.%+[]*~$@:".contains(byte);
    equals > 0
        && start[..equals].iter().all(in_name)
        && !start.trim_ascii_end().iter().any(|byte| byte.is_ascii_whitespace() || b"<{\"".contains(byte))
}

/// Masks the pairs in `text`; whether that changed anything.
pub(super) fn mask(masker: &mut Masker, text: &mut [u8], list: List, shown: Shown) -> bool {
    let length = text.len();
    let (mut start, mut changed) = (0, false);
    while start < length {
        let end = memchr(b'&', &text[start..]).map_or(length, |found| start + found);
        changed |= mask_pair(masker, &mut text[start..end], list, shown.only_if(end == length));
        start = end + 1;
    }
    changed
}

fn mask_pair(masker: &mut Masker, pair: &mut [u8], list: List, shown: Shown) -> bool {
    let (name, value) = match memchr(b'=', pair) {
        Some(equals) => {
            let (name, value) = pair.split_at_mut(equals);
            (name, &mut value[1..])
        }
        None => (&mut [][..], pair),
    };
    if value.is_empty() {
        return false;
    }
    let meant: Vec<u8>;
    let name: &[u8] = if Escape::Form.is_in(name) {
        meant = Escape::Form.meaning(name);
        &meant
    } else {
        name
    };
    let names = if list == List::Query { &mut masker.query } else { &mut masker.fields };
    let verdict = names.verdict(name);
    let path = if masker.paths.is_empty() { None } else { rule_of_path(masker, name) };
    Escape::Form.within(value, |meant| match verdict.of(meant).or(path) {
        Some(rule) => masker.replace(rule, meant),
        None => {
            let look = match Look::of(meant) {
                Look::Form | Look::Events => Look::Plain,
                other => other,
            };
            masker.wrapped_text(meant, look, shown)
        }
    })
}

/// `user[address][zip]` is a path, too.
fn rule_of_path(masker: &Masker, name: &[u8]) -> Option<super::names::Rule> {
    let parts = name.split(|byte| b"[].".contains(byte)).filter(|part| !part.is_empty());
    let place: Vec<At<'_>> = parts
        .map(|part| match std::str::from_utf8(part).ok().and_then(|part| part.parse().ok()) {
            Some(index) => At::Element(index),
            None => At::Name(part),
        })
        .collect();
    masker.paths.iter().find(|path| path.fits(&place)).map(|path| path.rule)
}

/// Masks an address, or the target of a request: user and password, parameters of the path, the query, and
/// the fragment, in which some logins hand tokens over.
pub(super) fn mask_address(masker: &mut Masker, address: &mut [u8]) -> bool {
    let mut done = Done::default();
    if let Some(found) = memchr::memmem::find(address, b"//") {
        masker.user_in(address, found + 2..address.len(), &mut done);
    }
    let mut changed = done.is_any();
    let query = address.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(address.len());
    let (path, query) = address.split_at_mut(query);
    changed |= mask_path(masker, path);
    for part in query.split_mut(|byte| matches!(byte, b'?' | b'#')) {
        changed |= mask(masker, part, List::Query, Shown::ALL);
    }
    changed
}

fn mask_path(masker: &mut Masker, path: &mut [u8]) -> bool {
    let mut changed = false;
    let semicolons: Vec<usize> = memchr_iter(b';', path).collect();
    for semicolon in semicolons {
        let start = semicolon + 1;
        let length =
            path[start..].iter().position(|byte| matches!(byte, b'/' | b';')).unwrap_or(path.len() - start);
        changed |= mask_pair(masker, &mut path[start..start + length], List::Query, Shown::ALL);
    }
    changed
        | if Escape::Percent.is_in(path) {
            // An address within the path of another one.
            Escape::Percent.within(path, |meant| masker.text(meant, Look::Plain, Shown::ALL))
        } else {
            let mut done = Done::default();
            masker.shapes(path, false, &mut done);
            done.is_any()
        }
}
