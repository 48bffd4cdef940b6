//! Walks an HTML page: fields of forms, metas, links, `data-` attributes, and the strings in its scripts.
//!
//! It is no parser of documents: tags are taken as they stand, whatever they are nested in. What is fetched for a
//! page (images, styles, scripts) is no link: nobody carries a token there.

use std::borrow::Cow;

use crate::correlate::answer::{Given, is_address, path_and_query, segments, walk_address, walk_text};
use crate::correlate::pattern::{GivenKind, PartRef};
use crate::correlate::value::{Strength, is_variable, strength};

/// The most attributes that are looked at in one tag.
const MAX_ATTRIBUTES: usize = 64;
/// What htmx sends a request to.
const HX_ADDRESSES: [&[u8]; 5] = [b"hx-get", b"hx-post", b"hx-put", b"hx-patch", b"hx-delete"];
/// A longer string in a script is a text.
const LONGEST_STRING: usize = 4_096;

/// Gives out the values of the page until `sink` says that it has enough.
pub(super) fn walk(page: &[u8], sink: &mut impl FnMut(Given<'_>) -> bool) {
    let mut select: Vec<u8> = Vec::new();
    let mut at = 0;
    while let Some(offset) = memchr::memchr(b'<', &page[at..]) {
        at += offset + 1;
        let rest = &page[at..];
        if rest.starts_with(b"!--") {
            at += memchr::memmem::find(rest, b"-->").unwrap_or(rest.len());
            continue;
        }
        let name_length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if name_length == 0 {
            if rest.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case(b"/select")) {
                select.clear();
            }
            continue;
        }
        let tag = Tag::of(&rest[..name_length]);
        let mut attributes = Attributes { text: rest, at: name_length };
        let mut tag_values = Values::default();
        let mut goes_on = true;
        for _ in 0..MAX_ATTRIBUTES {
            let Some((name, value)) = attributes.next() else { break };
            tag_values.note(tag, name, value, &mut |given| goes_on = sink(given) && goes_on);
        }
        at += attributes.at;
        tag_values.give(tag, &mut select, &mut |given| goes_on = sink(given) && goes_on);
        if !goes_on {
            return;
        }
        if tag == Tag::Script {
            let end = script_end(&page[at..]);
            if !walk_script(&page[at..at + end], sink) {
                return;
            }
            at += end;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Input,
    Meta,
    Select,
    Option,
    Script,
    /// What is followed by people, or by the page for them.
    Linking,
    /// What is fetched for the page.
    Resource,
    Other,
}

impl Tag {
    fn of(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            1 if is(b"a") => Self::Linking,
            3 if is(b"img") => Self::Resource,
            4 if is(b"form") || is(b"area") => Self::Linking,
            4 if is(b"meta") => Self::Meta,
            4 if is(b"link") => Self::Resource,
            5 if is(b"input") => Self::Input,
            5 if is(b"video") || is(b"audio") => Self::Resource,
            6 if is(b"button") => Self::Input,
            6 if is(b"select") => Self::Select,
            6 if is(b"option") => Self::Option,
            6 if is(b"script") => Self::Script,
            6 if is(b"source") => Self::Resource,
            _ => Self::Other,
        }
    }
}

/// What a tag's attributes say together.
#[derive(Default)]
struct Values<'a> {
    name: Option<Cow<'a, [u8]>>,
    value: Option<Cow<'a, [u8]>>,
}

impl<'a> Values<'a> {
    fn note(&mut self, tag: Tag, name: &'a [u8], value: &'a [u8], pass: &mut impl FnMut(Given<'_>)) {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if name.len() > 5 && name[..5].eq_ignore_ascii_case(b"data-") {
            let value = entities_decoded(value);
            if !value.is_empty() && !value.contains(&b' ') {
                walk_text(GivenKind::Data, &name[5..], &value, pass);
            }
            return;
        }
        if is(b"hx-headers") || is(b"hx-vals") {
            let mut all = |given: Given<'_>| {
                pass(given);
                true
            };
            super::json::walk(&entities_decoded(value), &mut all);
            return;
        }
        if HX_ADDRESSES.iter().any(|known| is(known)) {
            walk_link(&entities_decoded(value), pass);
            return;
        }
        match tag {
            Tag::Input | Tag::Option | Tag::Select => {
                if is(b"name") {
                    self.name = Some(entities_decoded(value));
                } else if is(b"value") {
                    self.value = Some(entities_decoded(value));
                } else if is(b"formaction") {
                    walk_link(&entities_decoded(value), pass);
                }
            }
            Tag::Meta => {
                if is(b"name") || is(b"property") || is(b"http-equiv") {
                    self.name = Some(entities_decoded(value));
                } else if is(b"content") {
                    self.value = Some(entities_decoded(value));
                }
            }
            Tag::Resource | Tag::Script => {}
            Tag::Linking | Tag::Other => {
                if is(b"href") || is(b"action") || is(b"src") {
                    walk_link(&entities_decoded(value), pass);
                }
            }
        }
    }

    fn give(self, tag: Tag, select: &mut Vec<u8>, pass: &mut impl FnMut(Given<'_>)) {
        let whole = PartRef::Whole;
        match (tag, self.name, self.value) {
            (Tag::Select, name, _) => {
                select.clear();
                select.extend_from_slice(&name.unwrap_or_default());
            }
            (Tag::Option, _, Some(value)) if !select.is_empty() => {
                pass(Given { kind: GivenKind::Input, name: select, part: whole, value: &value, before: b"" });
            }
            (Tag::Input, Some(name), Some(value)) => {
                pass(Given { kind: GivenKind::Input, name: &name, part: whole, value: &value, before: b"" });
            }
            (Tag::Meta, Some(name), Some(value)) => {
                if is_address(&value) {
                    walk_address(GivenKind::Meta, &name, &value, false, pass);
                } else {
                    pass(Given {
                        kind: GivenKind::Meta,
                        name: &name,
                        part: whole,
                        value: &value,
                        before: b"",
                    });
                }
            }
            _ => {}
        }
    }
}

/// What varies in an address, under the shape of its path.
fn walk_link(address: &[u8], pass: &mut impl FnMut(Given<'_>)) {
    if address.starts_with(b"#") || address.starts_with(b"javascript:") || address.starts_with(b"mailto:") {
        return;
    }
    let (path, query) = path_and_query(address);
    if query.is_empty() && !path.iter().any(u8::is_ascii_digit) {
        return;
    }
    let mut shape = Vec::with_capacity(path.len());
    for segment in segments(path) {
        shape.push(b'/');
        shape.extend_from_slice(if is_variable(segment.text) { b"{}" } else { segment.text });
    }
    if path.ends_with(b"/") || shape.is_empty() {
        shape.push(b'/');
    }
    walk_address(GivenKind::Link, &shape, address, false, pass);
}

/// The attributes of one tag: names and raw values. `at` ends behind the tag.
pub(crate) struct Attributes<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.text;
        while text.get(self.at).is_some_and(|&byte| byte.is_ascii_whitespace() || byte == b'/') {
            self.at += 1;
        }
        let start = self.at;
        let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'>' | b'/');
        let length = text[start..].iter().position(ends).unwrap_or(text.len() - start);
        let name = &text[start..start + length];
        self.at = start + length;
        if name.is_empty() {
            // The end of the tag, or a stray `=`.
            self.at += usize::from(self.at < text.len());
            return None;
        }
        while text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        if text.get(self.at) != Some(&b'=') {
            return Some((name, b""));
        }
        self.at += 1;
        while text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        let value = match text.get(self.at) {
            Some(&quote @ (b'"' | b'\'')) => {
                let from = self.at + 1;
                let end = memchr::memchr(quote, &text[from..]).map_or(text.len(), |end| from + end);
                self.at = (end + 1).min(text.len());
                &text[from..end]
            }
            _ => {
                let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'>';
                let end = text[self.at..].iter().position(ends).map_or(text.len(), |end| self.at + end);
                let value = &text[self.at..end];
                self.at = end;
                value
            }
        };
        Some((name, value))
    }
}

pub(crate) fn script_end(text: &[u8]) -> usize {
    memchr::memmem::find(text, b"</script")
        .or_else(|| memchr::memmem::find(text, b"</SCRIPT"))
        .unwrap_or(text.len())
}

/// Strings of a script that may be tokens, by the name before `:` or `=`; whether to go on.
fn walk_script(script: &[u8], sink: &mut impl FnMut(Given<'_>) -> bool) -> bool {
    let mut at = 0;
    while let Some(offset) = memchr::memchr2(b'"', b'\'', &script[at..]) {
        let (quote, from) = (script[at + offset], at + offset + 1);
        let window = &script[from..script.len().min(from + LONGEST_STRING)];
        let Some(length) = window.iter().position(|&byte| byte == quote || byte == b'\n') else {
            at = from;
            continue;
        };
        at = from + length + 1;
        // In a string of another quote's, an apostrophe: begin again after it.
        if window[length] == b'\n' {
            at = from;
            continue;
        }
        let value = &window[..length];
        if value.len() < 8 || strength(value) != Strength::Token {
            continue;
        }
        let name = name_before(&script[..from - 1]);
        if !name.is_empty()
            && !sink(Given { kind: GivenKind::Script, name, part: PartRef::Whole, value, before: b"" })
        {
            return false;
        }
    }
    true
}

/// The name that a value after `:` or `=` belongs to.
fn name_before(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_end();
    let Some(text) = text.strip_suffix(b":").or_else(|| text.strip_suffix(b"=")) else { return b"" };
    let text = text.trim_ascii_end();
    let text = text.strip_suffix(b"\"").or_else(|| text.strip_suffix(b"'")).unwrap_or(text);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$' | b'.');
    let length = text.iter().rev().take(80).take_while(|byte| is_name(byte)).count();
    &text[text.len() - length..]
}

/// A text without its character references: those that stand in values, and numbers.
pub(crate) fn entities_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'&', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let reference = rest.iter().take(12).position(|&byte| byte == b';').filter(|_| rest[0] == b'&');
        let decoded = reference.and_then(|end| reference_of(&rest[1..end]).map(|letter| (letter, end + 1)));
        match decoded {
            Some((letter, used)) => {
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                at += used;
            }
            None => {
                out.push(rest[0]);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

fn reference_of(name: &[u8]) -> Option<char> {
    match name {
        b"amp" => Some('&'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        _ => {
            let digits = std::str::from_utf8(name.strip_prefix(b"#")?).ok()?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::correlate::answer::tests::values_of;

    #[test]
    fn what_htmx_sends_along_is_given() {
        assert_eq!(
            values_of(
                "text/html",
                "<body hx-headers='{\"X-CSRFToken\": \"kJ8sQ2mNv0ZpL4xT\"}'><button hx-delete=/orders/17 \
                 hx-vals=\"{&quot;version&quot;: 3}\">x</button>"
            ),
            ["json /X-CSRFToken = kJ8sQ2mNv0ZpL4xT", "link /orders/{} segment 2 = 17", "json /version = 3"]
        );
    }

    #[test]
    fn a_page_gives_fields_metas_links_data_and_strings_of_scripts() {
        let page = r#"<!doctype html><html><head><meta name="csrf-token" content="a&amp;b">
            <link rel=stylesheet href="/static/app.8f3a2b1c.css"><script src="/x.1a2b3c4d5e.js"></script>
            <script>var cfg = {"user": 'x', csrfToken: "kJ8sQ2mNv0ZpL4xT"}; // it's "nothing"
              nonce = 'd41d8cd98f00b204e9800998ecf8427e'</script></head>
            <!-- <input name=no value=no> -->
            <body data-user-id='42'><form action="/orders/17/pay/?step=2"><input type="hidden" name="csrf" value='t1'>
            <input value=t2 name=other><select name="kind"><option value="3" selected>c</option></select>
            <option value=4></form><a href="https://x.test/orders/18/?q=p1234&amp;z=w">x</a><a href="/about">y</a>"#;
        assert_eq!(
            values_of("text/html; charset=utf-8", page),
            [
                "meta csrf-token = a&b",
                "script csrfToken = kJ8sQ2mNv0ZpL4xT",
                "script nonce = d41d8cd98f00b204e9800998ecf8427e",
                "data user-id = 42",
                "link /orders/{}/pay/ segment 2 = 17",
                "link /orders/{}/pay/ query step = 2",
                "input csrf = t1",
                "input other = t2",
                "input kind = 3",
                "link /orders/{}/ segment 2 = 18",
                "link /orders/{}/ query q = p1234",
            ]
        );
    }
}
