//! In what two pages (HTML, XML) or other texts differ: element by element, each under its path.
//!
//! A page becomes a list of pieces: an element, an attribute of it that says something, a text. The path of an element
//! has its tag, its `id` or first class where those are words, and its number among siblings of that name. Two lists
//! are aligned by their shapes, then by what they say; what is left over is gone or new.

use std::collections::HashMap;

use crate::answers::difference::{Difference, What, generic};
use crate::answers::json::MAX_DIFFERENCES;
use crate::answers::words::{self, Sides};
use crate::correlate::markup::{Attributes, entities_decoded, script_end};
use crate::correlate::value::{Strength, hash, strength};

/// The most pieces of one page.
const MAX_PIECES: usize = 50_000;
const DEEPEST: usize = 128;
/// Stretches that do not fit are aligned up to this product of their lengths.
const MAX_TABLE: usize = 1 << 20;
/// Attributes that say something to people or programs.
const SAYING: [&str; 14] = [
    "href",
    "src",
    "action",
    "value",
    "content",
    "name",
    "type",
    "alt",
    "title",
    "checked",
    "selected",
    "disabled",
    "placeholder",
    "method",
];

/// A piece of a page.
struct Piece {
    path: String,
    shape: u64,
    text: String,
    says: u64,
}

/// Tells `found` in what two pages of markup differ.
pub(crate) fn compare(
    before: &[u8],
    now: &[u8],
    is_xml: bool,
    sides: Sides<'_>,
    found: &mut Vec<Difference>,
) {
    align(&pieces(before, is_xml), &pieces(now, is_xml), sides, found);
}

/// Tells `found` in what two texts differ, line by line.
pub(crate) fn compare_lines(before: &[u8], now: &[u8], sides: Sides<'_>, found: &mut Vec<Difference>) {
    let lines = |text: &[u8]| -> Vec<Piece> {
        String::from_utf8_lossy(text)
            .lines()
            .take(MAX_PIECES)
            .enumerate()
            .map(|(number, line)| {
                // A line is like another when it has the same letters at its beginning.
                let begin: String =
                    line.chars().take_while(|letter| !letter.is_ascii_digit()).take(12).collect();
                Piece {
                    path: format!("text line {}", number + 1),
                    shape: hash(3, begin.as_bytes()),
                    says: hash(4, line.as_bytes()),
                    text: line.to_owned(),
                }
            })
            .collect()
    };
    align(&lines(before), &lines(now), sides, found);
}

/// Whether the tag never has content (HTML, section 13.1.2).
fn is_void(tag: &str) -> bool {
    matches!(
        tag,
        "area"
            | "base"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "source"
            | "track"
            | "wbr"
    )
}

/// Whether an open `tag` ends where `next` begins (the end tags that HTML lets people leave out).
fn ends_before(tag: &str, next: &str) -> bool {
    match tag {
        "li" => next == "li",
        "p" => matches!(next, "p" | "div" | "ul" | "ol" | "table" | "form" | "h1" | "h2" | "h3"),
        "td" | "th" => matches!(next, "td" | "th" | "tr"),
        "tr" => next == "tr",
        "option" => next == "option",
        "dt" | "dd" => matches!(next, "dt" | "dd"),
        _ => false,
    }
}

struct Open {
    tag: String,
    /// The length of the path without it.
    path: usize,
    children: HashMap<String, u32>,
}

fn pieces(page: &[u8], is_xml: bool) -> Vec<Piece> {
    let mut all = Vec::new();
    let mut path = String::from("page ");
    let mut open = vec![Open { tag: String::new(), path: path.len(), children: HashMap::new() }];
    let mut at = 0;
    while at < page.len() && all.len() < MAX_PIECES {
        let tag_at = memchr::memchr(b'<', &page[at..]).map_or(page.len(), |offset| at + offset);
        push_text(&page[at..tag_at], &path, &mut open, &mut all);
        let Some(rest) = page.get(tag_at + 1..).filter(|rest| !rest.is_empty()) else { break };
        at = tag_at + 1;
        if rest.starts_with(b"!--") {
            at += memchr::memmem::find(rest, b"-->").map_or(rest.len(), |end| end + 3);
            continue;
        }
        let is_end = rest[0] == b'/';
        let name = &rest[usize::from(is_end)..];
        let length = name
            .iter()
            .take_while(|byte| !byte.is_ascii_whitespace() && !matches!(byte, b'>' | b'/'))
            .count();
        let mut tag = String::from_utf8_lossy(&name[..length]).into_owned();
        if !is_xml {
            tag.make_ascii_lowercase();
        }
        let starts_well = name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        if is_end || !starts_well {
            at += memchr::memchr(b'>', rest).map_or(rest.len(), |end| end + 1);
            if is_end
                && let Some(level) =
                    open.iter().rposition(|element| element.tag == tag).filter(|level| *level > 0)
            {
                path.truncate(open[level].path);
                open.truncate(level);
            }
            continue;
        }
        while !is_xml && open.last().is_some_and(|top| ends_before(&top.tag, &tag)) {
            path.truncate(open.pop().map_or(0, |top| top.path));
        }
        let mut attributes = Attributes { text: rest, at: length };
        let said: Vec<(String, String)> = attributes
            .by_ref()
            .take(64)
            .map(|(name, value)| {
                let value = entities_decoded(value);
                (
                    String::from_utf8_lossy(name).to_ascii_lowercase(),
                    String::from_utf8_lossy(&value).into_owned(),
                )
            })
            .collect();
        at += attributes.at;
        let ends_itself = is_xml && page.get(..at).is_some_and(|until| until.ends_with(b"/>"));
        let before = path.len();
        step_into(&mut path, &mut open, &tag, &said);
        all.push(piece(path.clone(), String::new()));
        for (name, value) in said {
            if is_xml || SAYING.contains(&name.as_str()) || name.starts_with("data-") {
                all.push(piece(format!("{path}@{name}"), value));
            }
        }
        if tag == "script" || tag == "style" {
            let end = if tag == "script" { script_end(&page[at..]) } else { style_end(&page[at..]) };
            let text = String::from_utf8_lossy(&page[at..at + end]).trim().to_owned();
            if !text.is_empty() {
                all.push(piece(format!("{path}/text"), text));
            }
            at += end;
        }
        if ends_itself || (!is_xml && is_void(&tag)) || open.len() >= DEEPEST {
            path.truncate(before);
        } else {
            open.push(Open { tag, path: before, children: HashMap::new() });
        }
    }
    all
}

fn style_end(text: &[u8]) -> usize {
    memchr::memmem::find(text, b"</style").unwrap_or(text.len())
}

fn piece(path: String, text: String) -> Piece {
    let shape = hash(1, generic(&path).as_bytes());
    Piece { shape, says: hash(shape, text.as_bytes()), path, text }
}

fn push_text(raw: &[u8], path: &str, open: &mut [Open], all: &mut Vec<Piece>) {
    if raw.trim_ascii().is_empty() {
        return;
    }
    let decoded = entities_decoded(raw);
    let text = String::from_utf8_lossy(&decoded).split_whitespace().collect::<Vec<_>>().join(" ");
    let number = open.last_mut().map_or(1, |element| count(&mut element.children, "text"));
    all.push(piece(if number > 1 { format!("{path}/text:{number}") } else { format!("{path}/text") }, text));
}

fn count(children: &mut HashMap<String, u32>, name: &str) -> u32 {
    let number = children.entry(name.to_owned()).or_default();
    *number += 1;
    *number
}

/// Adds an element to the path.
fn step_into(path: &mut String, open: &mut [Open], tag: &str, said: &[(String, String)]) {
    let word = |name: &str| {
        let value = said.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())?;
        let first = value.split_ascii_whitespace().next()?;
        let is_word =
            strength(first.as_bytes()) == Strength::Plain && first.len() <= 40 && !first.contains(['/', ':']);
        (is_word && !first.bytes().any(|byte| byte.is_ascii_digit())).then_some(first)
    };
    let mut name = tag.to_owned();
    if !matches!(tag, "td" | "th" | "html" | "body") {
        if let Some(id) = word("id") {
            name.push('#');
            name.push_str(id);
        } else if let Some(class) = word("class") {
            name.push('.');
            name.push_str(class);
        }
    }
    let number = open.last_mut().map_or(1, |element| count(&mut element.children, &name));
    if !path.ends_with(' ') {
        path.push('/');
    }
    path.push_str(&name);
    if number > 1 || matches!(tag, "td" | "th") {
        path.push_str(&format!(":{number}"));
    }
}

fn align(old: &[Piece], new: &[Piece], sides: Sides<'_>, found: &mut Vec<Difference>) {
    if old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.shape == new.shape) {
        for (old, new) in old.iter().zip(new) {
            lay(old, new, sides, found);
        }
        return;
    }
    let same = |pair: &(&Piece, &Piece)| pair.0.says == pair.1.says;
    let head = old.iter().zip(new).take_while(same).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(same).count();
    let shorter = old.len().min(new.len());
    let (head, tail) = if shorter == head + tail {
        let longer = if old.len() > new.len() { old } else { new };
        let head = slid(longer, head, longer.len() - tail);
        (head, shorter - head)
    } else {
        (head, tail)
    };
    let (old, new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    if old.len() * new.len() > MAX_TABLE {
        let count = |pieces: &[Piece]| format!("{} parts", pieces.len());
        let place = old.first().or(new.first()).map_or("page", |piece| piece.path.as_str());
        found.push(Difference::new(What::Length, parent(place), &count(old), &count(new)));
        return;
    }
    for (left, right) in best(old, new) {
        match (left, right) {
            (Some(old), Some(new)) => lay(old, new, sides, found),
            (Some(old), None) => leave_over(What::Gone, old, found),
            (None, Some(new)) => leave_over(What::New, new, found),
            (None, None) => {}
        }
    }
}

/// Where a stretch that only one page has begins, of several places where it could: with the outermost element. Between
/// two rows of a table lies a row, not the end of one and the beginning of another.
fn slid(pieces: &[Piece], from: usize, to: usize) -> usize {
    let depth = |at: usize| pieces.get(at).map_or(usize::MAX, |piece| piece.path.matches(['/', '@']).count());
    let steps =
        (0..from.min(to)).take_while(|step| pieces[from - 1 - step].says == pieces[to - 1 - step].says);
    steps.map(|step| from - 1 - step).chain([from]).min_by_key(|&at| (depth(at), from - at)).unwrap_or(from)
}

fn lay(old: &Piece, new: &Piece, sides: Sides<'_>, found: &mut Vec<Difference>) {
    if old.text != new.text && found.len() < MAX_DIFFERENCES {
        words::compare(&old.path, &old.text, &new.text, sides, found);
    }
}

/// What only one page has; of an element with all that is in it, the element.
fn leave_over(what: What, piece: &Piece, found: &mut Vec<Difference>) {
    let is_inside = found.iter().rev().take(64).any(|known| {
        known.what == what
            && piece.path.strip_prefix(&known.place).is_some_and(|rest| rest.starts_with(['/', '@']))
    });
    if !is_inside && found.len() < MAX_DIFFERENCES {
        let (before, now) =
            if what == What::Gone { (piece.text.as_str(), "") } else { ("", piece.text.as_str()) };
        found.push(Difference::new(what, piece.path.as_str(), before, now));
    }
}

/// The place in which an element is.
pub(crate) fn parent(place: &str) -> &str {
    let path = place.split('@').next().unwrap_or(place);
    path.rsplit_once('/').map_or(path, |(parent, _)| parent)
}

/// The alignment of most weight: three for pieces that say the same, one for those of the same shape.
///
/// Source: Needleman and Wunsch, *J. Mol. Biol.* 48 (1970), without a penalty for gaps.
fn best<'a>(old: &'a [Piece], new: &'a [Piece]) -> Vec<(Option<&'a Piece>, Option<&'a Piece>)> {
    let width = new.len() + 1;
    let weight = |left: &Piece, right: &Piece| {
        if left.says == right.says { 3 } else { u32::from(left.shape == right.shape) }
    };
    let mut table = vec![0_u32; (old.len() + 1) * width];
    for left in (0..old.len()).rev() {
        for right in (0..new.len()).rev() {
            let of_pair = match weight(&old[left], &new[right]) {
                0 => 0,
                weight => weight + table[(left + 1) * width + right + 1],
            };
            let skipped = table[(left + 1) * width + right].max(table[left * width + right + 1]);
            table[left * width + right] = of_pair.max(skipped);
        }
    }
    let (mut left, mut right) = (0, 0);
    let mut pairs = Vec::with_capacity(old.len() + new.len());
    while left < old.len() && right < new.len() {
        let here = table[left * width + right];
        let weight = weight(&old[left], &new[right]);
        if weight > 0 && here == weight + table[(left + 1) * width + right + 1] {
            pairs.push((Some(&old[left]), Some(&new[right])));
            (left, right) = (left + 1, right + 1);
        } else if here == table[(left + 1) * width + right] {
            pairs.push((Some(&old[left]), None));
            left += 1;
        } else {
            pairs.push((None, Some(&new[right])));
            right += 1;
        }
    }
    pairs.extend(old[left..].iter().map(|piece| (Some(piece), None)));
    pairs.extend(new[right..].iter().map(|piece| (None, Some(piece))));
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::answers::pairs::Pairs;

    fn check(before: &str, now: &str) -> Vec<String> {
        let none = Pairs::default();
        let mut found = Vec::new();
        compare(before.as_bytes(), now.as_bytes(), false, Sides { before: &none, now: &none }, &mut found);
        found
            .into_iter()
            .map(|one| format!("{} {}: {} → {}", one.what.as_str(), one.place, one.before, one.now))
            .collect()
    }

    #[test]
    fn a_changed_text_is_named_by_the_path_of_its_element() {
        let page = |price: &str, rows: &str| {
            format!(
                "<html><body><h1>Shop</h1><div id=main><p>Price: {price}<p>More</div><table>{rows}</table></body>"
            )
        };
        let rows = "<tr><td>a<td>1</tr><tr><td>b<td>2</tr>";
        assert_eq!(check(&page("5", rows), &page("5", rows)), [""; 0]);
        assert_eq!(
            check(&page("5", rows), &page("6", rows)),
            ["value page html/body/div#main/p/text: Price: 5 → Price: 6"]
        );
        let longer = "<tr><td>a<td>1</tr><tr><td>new<td>9</tr><tr><td>b<td>2</tr>";
        assert_eq!(check(&page("5", rows), &page("5", longer)), ["new page html/body/table/tr:2:  → "]);
    }

    #[test]
    fn an_attribute_that_is_missing_is_gone() {
        assert_eq!(
            check("<form><input name=a value=1></form>", "<form><input name=a></form>"),
            ["gone page form/input@value: 1 → "]
        );
    }

    #[test]
    fn lines_are_compared_as_lines() {
        let none = Pairs::default();
        let mut found = Vec::new();
        let sides = Sides { before: &none, now: &none };
        compare_lines(b"a: 1\nb: 2\nc: 3", b"a: 1\nb: 7\nc: 3", sides, &mut found);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].what, found[0].place.as_str()), (What::Value, "text line 2"));
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic(before in "[<>/a-c=\"' {}!\\-&;td]{0,120}", now in "[<>/a-c=\"' {}!\\-&;td]{0,120}", is_xml: bool) {
            let none = Pairs::default();
            compare(before.as_bytes(), now.as_bytes(), is_xml, Sides { before: &none, now: &none }, &mut Vec::new());
        }
    }
}
