//! Masks secrets that HTML and XML set apart by their own means: `<input name="token" value="…">`,
//! `<meta name="csrf-token" content="…">`, `<input type="password" value="…">`, all within
//! `<password>…</password>` or `<entry key="password">…</entry>`, and the value after
//! `<name>password</name>` or `<key>password</key>`.
//!
//! It reads tag after tag, once, and builds no tree: text that is no good markup gets an answer, too.

use std::ops::Range;

use memchr::{memchr, memchr2, memmem};

use super::masker::{Done, Masker};
use super::names::{Rule, Verdict};

/// Elements that say how the next one is called, and those whose text is then meant.
const NAMES: [&[u8]; 7] = [b"name", b"key", b"field", b"k", b"n", b"property", b"parameter"];
const VALUES: [&[u8]; 8] = [b"value", b"val", b"v", b"string", b"text", b"content", b"data", b"stringvalue"];
/// Elements of HTML that have no end tag.
const VOID: [&[u8]; 7] = [b"br", b"hr", b"img", b"input", b"meta", b"link", b"wbr"];
/// Elements of HTML with a name that is not that of what they hold.
const HOLDERS: [&[u8]; 8] = [b"form", b"fieldset", b"select", b"iframe", b"object", b"map", b"a", b"button"];

/// A name that was given by an element of its own.
struct Named {
    verdict: Verdict,
    /// Whether it is the next element's, whatever that one is called.
    is_any: bool,
    /// The open elements between it and its siblings.
    depth: usize,
}

/// What the attributes of a tag say.
struct Attributes {
    /// What the element's name among them means, if they give it one and no value.
    named: Verdict,
    /// The place of the `>` that closes the tag, or the end of the text.
    end: usize,
}

/// Masks such secrets in `text`.
pub(super) fn mask(masker: &mut Masker, text: &mut [u8], done: &mut Done) {
    let mut named: Option<Named> = None;
    let mut at = 0;
    while let Some(found) = memchr(b'<', &text[at..]) {
        let start = at + found + 1;
        at = start;
        if text.get(start) == Some(&b'/') {
            named = named.and_then(|named| named.depth.checked_sub(1).map(|depth| Named { depth, ..named }));
            continue;
        }
        let element = name_at(text, start);
        if element.is_empty() {
            continue;
        }
        let verdict = masker.fields.verdict(&text[element.clone()]);
        let attributes = mask_attributes(masker, text, element.end, verdict, done);
        at = attributes.end;
        let local = local_name(&text[element.clone()]);
        if text.get(at) != Some(&b'>') || text[at - 1] == b'/' || is_one_of(local, &VOID) {
            continue;
        }
        let sibling = named.as_ref().filter(|named| named.depth == 0);
        let sibling = sibling.filter(|named| named.is_any || is_one_of(local, &VALUES));
        let verdict = [verdict, attributes.named, sibling.map_or(Verdict::Public, |named| named.verdict)]
            .into_iter()
            .find(|verdict| *verdict != Verdict::Public)
            .filter(|_| !is_one_of(local, &HOLDERS));
        match verdict {
            Some(Verdict::Secret(rule)) => {
                at = mask_content(masker, text, &element, at + 1, rule, done);
            }
            Some(verdict) => {
                let place = text_at(text, at + 1);
                mask_place(masker, text, place, verdict, done);
                named = named.map(|named| Named { depth: named.depth + 1, ..named });
            }
            None if is_one_of(local, &NAMES) => {
                let verdict = masker.fields.verdict(text[text_at(text, at + 1)].trim_ascii());
                let is_any = local.eq_ignore_ascii_case(b"key");
                if verdict != Verdict::Public {
                    named = Some(Named { verdict, is_any, depth: 1 });
                } else if named.as_ref().is_some_and(|named| named.depth == 0) {
                    named = None;
                } else {
                    named = named.map(|named| Named { depth: named.depth + 1, ..named });
                }
            }
            None => named = named.map(|named| Named { depth: named.depth + 1, ..named }),
        }
    }
}

fn name_at(text: &[u8], start: usize) -> Range<usize> {
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    let length = text[start..].iter().position(|byte| !in_name(byte)).unwrap_or(text.len() - start);
    start..start + length
}

/// The name without its namespace.
fn local_name(name: &[u8]) -> &[u8] {
    memchr::memrchr(b':', name).map_or(name, |colon| &name[colon + 1..])
}

fn is_one_of(name: &[u8], list: &[&[u8]]) -> bool {
    list.iter().any(|entry| name.eq_ignore_ascii_case(entry))
}

/// The text from `start` to the next tag, or what lies within the section of CDATA there.
fn text_at(text: &[u8], start: usize) -> Range<usize> {
    let end = memchr(b'<', &text[start..]).map_or(text.len(), |length| start + length);
    match section(text, end) {
        Some(inner) if text[start..end].trim_ascii().is_empty() => inner,
        _ => start..end,
    }
}

/// What lies within the section of CDATA, or the comment, that begins at `start`.
fn section(text: &[u8], start: usize) -> Option<Range<usize>> {
    let rest = &text[start..];
    let (open, close) = match rest {
        _ if rest.starts_with(b"<![CDATA[") => (9, &b"]]>"[..]),
        _ if rest.starts_with(b"<!--") => (4, &b"-->"[..]),
        _ => return None,
    };
    let length = memmem::find(&rest[open..], close).unwrap_or(rest.len() - open);
    Some(start + open..start + open + length)
}

/// Where the tag ends that begins at the `<` at `start`, if there is one.
fn tag_end(text: &[u8], start: usize) -> Option<usize> {
    let begins = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'_' | b'?' | b'!');
    text.get(start + 1).filter(|byte| begins(byte))?;
    let end = start + 1 + memchr2(b'<', b'>', &text[start + 1..])?;
    (text[end] == b'>').then_some(end)
}

/// Masks everything within the `element` whose content begins at `start`; gives the place where that ends: at
/// its end tag, or at that of the element around it.
fn mask_content(
    masker: &mut Masker,
    text: &mut [u8],
    element: &Range<usize>,
    start: usize,
    rule: Rule,
    done: &mut Done,
) -> usize {
    let (mut at, mut depth, mut same) = (start, 0_usize, 0_usize);
    let (mut has_elements, mut has_sections, mut end) = (false, false, text.len());
    while let Some(found) = memchr(b'<', &text[at..]) {
        let sign = at + found;
        at = sign + 1;
        if let Some(inner) = section(text, sign) {
            has_sections = true;
            at = inner.end;
            continue;
        }
        let Some(tag) = tag_end(text, sign) else { continue };
        if text[at] == b'/' {
            let is_same = text[name_at(text, at + 1)].eq_ignore_ascii_case(&text[element.clone()]);
            if depth == 0 || (is_same && same == 0) {
                end = sign;
                break;
            }
            depth -= 1;
            same -= usize::from(is_same);
            has_elements = true;
        } else {
            let name = name_at(text, at);
            if text[tag - 1] == b'/' {
                has_elements = true;
            } else if !is_one_of(&text[name.clone()], &VOID) && !name.is_empty() {
                depth += 1;
                same += usize::from(text[name].eq_ignore_ascii_case(&text[element.clone()]));
            }
        }
        at = tag;
    }
    let first = start + text[start..end].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    if has_elements || has_sections || (first < end && tag_end(text, first).is_some()) {
        mask_pieces(masker, text, start..end, rule, done);
    } else {
        // In words without any end tag, a `<` is a sign of the secret.
        mask_place(masker, text, start..end, Verdict::Secret(rule), done);
    }
    end
}

/// Masks the texts between the tags of `place`, and what their attributes give as values.
fn mask_pieces(masker: &mut Masker, text: &mut [u8], place: Range<usize>, rule: Rule, done: &mut Done) {
    let secret = Verdict::Secret(rule);
    let (mut from, mut at) = (place.start, place.start);
    while let Some(found) = memchr(b'<', &text[at..place.end]) {
        let sign = at + found;
        at = sign + 1;
        if let Some(inner) = section(text, sign) {
            mask_place(masker, text, from..sign, secret, done);
            at = inner.end.min(place.end);
            mask_place(masker, text, inner.start.min(at)..at, secret, done);
            // What closes it is no text.
            at = (at + 3).min(place.end);
            from = at;
        } else if let Some(tag) = tag_end(text, sign).filter(|tag| *tag < place.end) {
            mask_place(masker, text, from..sign, secret, done);
            let name = name_at(text, sign + 1);
            mask_attributes(masker, &mut text[..=tag], name.end, secret, done);
            at = tag + 1;
            from = at;
        }
    }
    mask_place(masker, text, from..place.end, secret, done);
}

/// Masks `value` or `content` of a tag whose element's name means `verdict`, or whose `name` (or `id`, or
/// `property`, or `key`) is a secret's, or which is a field for a password.
fn mask_attributes(
    masker: &mut Masker,
    text: &mut [u8],
    mut at: usize,
    verdict: Verdict,
    done: &mut Done,
) -> Attributes {
    let (mut verdict, mut named, mut value) = (verdict, Verdict::Public, None);
    loop {
        at += text[at..].iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'/').count();
        let Some(&first) = text.get(at) else { break };
        if first == b'>' {
            break;
        }
        let stops = |byte: &u8| byte.is_ascii_whitespace() || b"=>/".contains(byte);
        let length = text[at..].iter().position(stops).unwrap_or(text.len() - at).max(1);
        let name = at..at + length;
        at = name.end;
        at += text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if text.get(at) != Some(&b'=') {
            continue;
        }
        at += 1;
        at += text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let place = attribute_value(text, at);
        at = place.end + usize::from(matches!(text.get(place.end), Some(b'"' | b'\'')));
        let name = &text[name];
        if is_one_of(name, &[b"name", b"id", b"property", b"key"]) {
            let found = masker.fields.verdict(&text[place.clone()]);
            if found != Verdict::Public {
                verdict = found;
                // What has an id holds anything.
                named = if name.eq_ignore_ascii_case(b"id") { named } else { found };
            }
        } else if name.eq_ignore_ascii_case(b"type") && text[place.clone()].eq_ignore_ascii_case(b"password")
        {
            if verdict == Verdict::Public {
                verdict = masker.fields.verdict(b"password");
            }
        } else if is_one_of(name, &[b"value", b"content"]) {
            value = Some(place);
        }
    }
    if let Some(place) = value {
        mask_place(masker, text, place, verdict, done);
        named = Verdict::Public;
    }
    Attributes { named, end: at.min(text.len()) }
}

fn attribute_value(text: &[u8], at: usize) -> Range<usize> {
    match text.get(at) {
        Some(&quote @ (b'"' | b'\'')) => {
            let length = memchr(quote, &text[at + 1..]).unwrap_or(text.len() - at - 1);
            at + 1..at + 1 + length
        }
        _ => {
            let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'>';
            let length = text[at..].iter().position(ends).unwrap_or(text.len() - at);
            at..at + length
        }
    }
}

fn mask_place(masker: &mut Masker, text: &mut [u8], place: Range<usize>, verdict: Verdict, done: &mut Done) {
    if !text[place.clone()].trim_ascii().is_empty()
        && let Some(rule) = verdict.of(&text[place.clone()])
        && done.is_free(&place)
        && masker.replace(rule, &mut text[place.clone()])
    {
        done.push(place);
    }
}

#[cfg(test)]
mod tests {
    use crate::redact::masker::Masker;
    use crate::redact::policy::MaskRules;
    use crate::redact::text::{Look, Shown};

    fn masked(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        Masker::new(&[7; 32], &MaskRules::usual()).text(&mut bytes, Look::Markup, Shown::ALL);
        String::from_utf8(bytes).unwrap()
    }

    /// Every `S3cret` becomes its pseudonym, and nothing else changes.
    fn check(text: &str) {
        let name = masked("<password>S3cret</password>");
        let name = name.trim_start_matches("<password>").trim_end_matches("</password>");
        assert_ne!(name, "S3cret");
        assert_eq!(masked(text), text.replace("S3cret", name), "{text}");
    }

    #[test]
    fn all_within_a_secret_element_is_masked() {
        check("<a><password>S3cret</password><b>word</b></a>");
        check("<a><password><![CDATA[S3cret]]></password><b>word</b></a>");
        check("<a><password> <![CDATA[S3cret]]> <!-- S3cret --></password><b>word</b></a>");
        check("<a><password><v>S3cret</v><v x='word'>S3cret</v></password><b>word</b></a>");
        check("<a><password><password>S3cret</password>S3cret</password><b>word</b></a>");
        check("<a><ns:password><ns:v>S3cret</ns:v><w value='S3cret'/></ns:password><b>word</b></a>");
        check("<a><password value=\"S3cret\"/><b>word</b></a>");
        check("<a><password><v>S3cret");
        check("<a><cvv><![CDATA[S3cret]]></cvv></a>");
    }

    #[test]
    fn the_end_of_what_is_around_ends_an_element_that_has_none() {
        check("<p>Bearer <token>S3cret</p><p>word</p>");
        check("<p>Bearer <token><br>S3cret</p><p>word</p>");
        let text = "<p>&lt;token&gt;</p><p>word</p>";
        assert_eq!(masked(text), text);
    }

    #[test]
    fn signs_of_markup_in_a_secret_hide_nothing() {
        for text in
            ["<password>a9x&lt;b9x</password><b>word</b>", "<password>a9x&lt;b9x&gt;c</password><b>word</b>"]
        {
            let masked = masked(text);
            assert!(!masked.contains("a9x") && !masked.contains("b9x"), "{masked}");
            assert!(masked.ends_with("</password><b>word</b>"), "{masked}");
        }
    }

    #[test]
    fn an_element_is_called_by_an_attribute_or_by_its_sibling() {
        check("<entry key=\"password\">S3cret</entry><entry key=\"x\">word</entry>");
        check("<property name='db.password'><value>S3cret</value></property><value>word</value>");
        check("<textarea name=token>S3cret</textarea>");
        check(
            "<param><name>password</name><value>S3cret</value></param><param><name>x</name><value>word</value></param>",
        );
        check(
            "<m><name> password </name><type>word</type><value><string>S3cret</string></value></m><value>word</value>",
        );
        check(
            "<dict><key>a</key><string>word</string><key>password</key><string>S3cret</string><string>word</string></dict>",
        );
        check(
            "<dict><key>password</key><array><string>S3cret</string></array><key>x</key><string>word</string></dict>",
        );
        check("<a><name>password</name></a><a><value>word</value></a>");
        check("<form name=\"password\"><p>word</p></form><div id=\"password\">word</div>");
    }

    #[test]
    fn a_field_for_a_password_is_one_whatever_its_name() {
        check("<input type=\"password\" value=\"S3cret\"><input type=text value=word>");
        check("<input value='S3cret' name='x' TYPE='Password'/>word");
        check("<input type=password name=password value=S3cret>");
    }

    #[test]
    fn codes_are_masked_when_they_are_short() {
        let text = "<cid>word</cid><cid>123456</cid>";
        assert_eq!(masked(text), text);
        assert_ne!(masked("<cid><![CDATA[123]]></cid>"), "<cid><![CDATA[123]]></cid>");
    }
}
