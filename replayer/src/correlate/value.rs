//! Tells what a value could be: a token, an identifier, or nothing that anybody would bind.
//!
//! 'en-US', '1', 'true', a date or a file name occur everywhere by coincidence; 'kJ8s…' does not. Between the two
//! lie identifiers (17, `p1234`): they are bound only where the places they stand in say so.

/// How much a value says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    /// Never bound.
    Plain,
    /// A short number, or a word that ends in one: equal ones are often a coincidence.
    Id,
    /// Random enough that equal ones are the same one.
    Token,
}

/// Longer values are no tokens: a page's state field may be long, a document is not sent back as it came.
const LONGEST: usize = 256 << 10;
/// A number of so many digits is not met again by chance.
const LONG_NUMBER: usize = 9;

/// What `value` could be.
pub(crate) fn strength(value: &[u8]) -> Strength {
    if value.is_empty() || value.len() > LONGEST {
        return Strength::Plain;
    }
    let (mut digits, mut lower, mut upper, mut marks) = (0_usize, 0_usize, 0_usize, 0_usize);
    // Changes from letters to digits and back, and from one case of letters to the other.
    let (mut kinds, mut cases) = (0_usize, 0_usize);
    let mut last = 0_u8;
    for &byte in value {
        let kind = match byte {
            b'0'..=b'9' => {
                digits += 1;
                1
            }
            b'a'..=b'z' => {
                lower += 1;
                2
            }
            b'A'..=b'Z' => {
                upper += 1;
                3
            }
            b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=' | b'%' | b':' | b'|' | b'!' | b'$' | b'*'
            // MediaWiki's tokens end with one.
            | b'\\' => {
                marks += 1;
                continue;
            }
            // White space, quotes, brackets, other scripts: text, not a token.
            _ => return Strength::Plain,
        };
        if last != 0 && kind != last {
            kinds += usize::from(kind == 1 || last == 1);
            cases += usize::from(kind != 1 && last != 1);
        }
        last = kind;
    }
    let letters = lower + upper;
    if letters == 0 {
        return number(value, digits, marks);
    }
    if value[0] == b'/' || scheme_end(value).is_some() {
        // Base64 may begin so: the state of an ASP.NET page does.
        let is_base64 = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte));
        let is_random = digits > 0 && upper > 0 && lower > 0 && (kinds + cases) * 3 >= value.len();
        return if is_base64 && is_random && value.len() >= 16 { Strength::Token } else { Strength::Plain };
    }
    if marks > 0 && is_written(value) {
        return if ends_as_id(value) { Strength::Id } else { Strength::Plain };
    }
    let length = value.len();
    let mixed = digits > 0 && kinds >= 2 && length >= 8;
    let long_hex = digits > 0 && length >= 12 && value.iter().all(u8::is_ascii_hexdigit);
    let many_cases = upper > 0 && lower > 0 && length >= 16 && cases * 5 >= length * 2;
    if mixed || long_hex || many_cases {
        return Strength::Token;
    }
    if digits > 0 && length <= 16 && (ends_as_id(value) || (length < 8 && marks == 0)) {
        return Strength::Id;
    }
    Strength::Plain
}

/// A number by itself, or one with marks: a date, a version, an address, an amount.
fn number(value: &[u8], digits: usize, marks: usize) -> Strength {
    match (marks, digits) {
        (0, LONG_NUMBER..=40) => Strength::Token,
        (0, 1..LONG_NUMBER) if value.iter().any(|&byte| byte != b'0') => Strength::Id,
        // Two long numbers in one value: no date is as long.
        (1.., 20..=64) if !value.contains(&b':') => Strength::Token,
        _ => Strength::Plain,
    }
}

/// Whether a value with marks reads like what people and programs write: words and short numbers, a date, a name of
/// a file, a language.
fn is_written(value: &[u8]) -> bool {
    let parts = || value.split(|byte| !byte.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let is_word = |part: &[u8]| {
        let digits = part.iter().filter(|byte| byte.is_ascii_digit()).count();
        let letters = part.len() - digits;
        // Words, numbers, `v2`, `10px`, `T12`: digits at one end only.
        let at_an_end = part.iter().take(digits).all(u8::is_ascii_digit)
            || part.iter().rev().take(digits).all(u8::is_ascii_digit);
        let cases =
            part.windows(2).filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
        (digits == 0 && (letters < 16 || cases.count() * 8 < letters))
            || (letters == 0 && digits <= 8)
            || (at_an_end && part.len() <= 8 && letters <= 4)
            // The middle of a moment: `02T03`.
            || (letters == 1 && part.len() <= 8 && part.contains(&b'T'))
    };
    parts().all(is_word)
}

/// Whether it is a short word with a number at its end: `p1234`, `ORD-17`.
fn ends_as_id(value: &[u8]) -> bool {
    let digits = value.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let stem = &value[..value.len() - digits];
    (1..=10).contains(&digits)
        && (1..=8).contains(&stem.len())
        && stem.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'))
        && stem[0].is_ascii_alphabetic()
}

/// Whether a path segment or the value of a parameter is one of many.
pub(crate) fn is_variable(value: &[u8]) -> bool {
    strength(value) != Strength::Plain
}

/// Where `://` stands in a text. (To make a searcher for it costs more than to look through an address.)
pub(crate) fn scheme_end(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(colon) = memchr::memchr(b':', &text[from..]) {
        let at = from + colon;
        if text[at..].starts_with(b"://") {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// The golden ratio's fraction, as 64 bits.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A number for some bytes; different bytes have, for all that matters here, different numbers.
pub(crate) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed ^ (bytes.len() as u64).wrapping_mul(SPREAD);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = fold(state ^ u64::from_le_bytes(word), SPREAD);
    }
    let rest = chunks.remainder();
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    fold(state ^ u64::from_le_bytes(word), 0xD1B5_4A32_D192_ED03)
}

/// Both halves of a full product, one upon the other (wyhash's mixing step; Wang, 2019).
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0xA076_1D64_78BD_642F) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Hashes that are keys already, and small numbers beside them, are only spread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AsIs(u64);

impl std::hash::Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(self.0, bytes);
    }

    // The tables tell keys apart by their highest bits first, which small numbers leave empty.
    fn write_u64(&mut self, number: u64) {
        self.0 = fold(number, SPREAD);
    }
}

/// Hashes numbers and bytes from a file, by a key of its own: nobody can make a file whose numbers collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed(u64);

impl Default for Keyed {
    fn default() -> Self {
        Self(std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u8))
    }
}

impl Keyed {
    /// The hash of some bytes under this key.
    pub(crate) fn hash(self, bytes: &[u8]) -> u64 {
        hash(self.0, bytes)
    }
}

impl std::hash::BuildHasher for Keyed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

/// The hasher of [`Keyed`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folded(u64);

impl std::hash::Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(self.0, bytes);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = fold(self.0 ^ number, SPREAD);
    }
}

/// A map from numbers out of a file.
pub(crate) type ByNumber<T> = std::collections::HashMap<u64, T, Keyed>;

/// A map from hashes.
pub(crate) type ByHash<T> = std::collections::HashMap<u64, T, std::hash::BuildHasherDefault<AsIs>>;
/// A set of hashes.
pub(crate) type Hashes = std::collections::HashSet<u64, std::hash::BuildHasherDefault<AsIs>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_from_what_everybody_writes() {
        for plain in [
            "",
            "true",
            "en-US",
            "en-US,en;q=0.9",
            "hello world",
            "/static/app.js",
            "/Shop/Product/Details2/Version17",
            "/api/v1/users/17/orders/23",
            "https://shop.test/a1b2c3d4e5",
            "2024-01-02",
            "2024-01-02T03:04:05Z",
            "12:30:00",
            "1.2.3",
            "19.99",
            "jquery-3.6.1.min.js",
            "application/json",
            "Mozilla/5.0",
            "main.css",
            "iphone-15-pro",
            "administrator",
            "shoppingCartItems",
            "user@example.com",
            "127.0.0.1",
            "10.0.0.1:8080",
            "no-cache",
            "image/webp",
        ] {
            assert_eq!(strength(plain.as_bytes()), Strength::Plain, "{plain}");
        }
        for id in ["1", "17", "99999999", "p1234", "ORD-17", "a1b2c3", "utf-8"] {
            assert_eq!(strength(id.as_bytes()), Strength::Id, "{id}");
        }
        for token in [
            "550e8400-e29b-41d4-a716-446655440000",
            "kJ8sQ2mNv0ZpL4xT",
            "d41d8cd98f00b204e9800998ecf8427e",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "s%3AkJ8sQ2mNv0ZpL4xT.abcdefgh1234",
            "1690000000123456",
            "HvBnRtYkLpQwErTyUiOpAsDfGh",
            "5f3a2b1c9d8e7f60+\\",
            "/wEPDwUKLTI2MjY4NzY1MmRkq8Z0",
        ] {
            assert_eq!(strength(token.as_bytes()), Strength::Token, "{token}");
        }
    }

    #[test]
    fn hashes_depend_on_every_byte_and_on_the_length() {
        let all = ["", "a", "b", "aa", "abcdefgh", "abcdefghi", "abcdefg\0", "abcdefg"];
        let hashes: std::collections::BTreeSet<u64> =
            all.iter().map(|text| hash(1, text.as_bytes())).collect();
        assert_eq!(hashes.len(), all.len());
        assert_ne!(hash(1, b"a"), hash(2, b"a"));
    }
}
