//! Reads compressed header blocks (HPACK, RFC 7541).
//!
//! A block means something only after all the blocks before it: a fault in one makes everything after it on that
//! side of the connection unreadable. The table and what a block may unfold to are bounded, whatever the parties
//! agreed on: a few bytes can stand for many.

mod huffman;

use std::collections::VecDeque;

use crate::exchange::Header;

/// A table larger than what browsers ask for is not followed.
const LARGEST_TABLE: usize = 64 << 10;
/// The size of a table that nobody spoke about (RFC 7540, 6.5.2).
const USUAL_TABLE: usize = 4_096;
/// What every field counts beyond its bytes (RFC 7541, 4.1).
const FIELD: usize = 32;

/// Fields that need not be sent (RFC 7541, Appendix A).
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// What one side of a connection has taught the other.
#[derive(Debug)]
pub struct Decoder {
    /// The newest first.
    table: VecDeque<Header>,
    size: usize,
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), size: 0, limit: USUAL_TABLE }
    }
}

impl Decoder {
    /// The bytes that the table holds.
    pub const fn held(&self) -> usize {
        self.size
    }

    /// The fields of the next block, at most `limit` bytes of them as RFC 7541 counts; `None` when it cannot be
    /// read.
    pub fn fields(&mut self, block: &[u8], limit: usize) -> Option<Vec<Header>> {
        let (mut fields, mut total) = (Vec::new(), 0);
        let mut rest = block;
        while let Some(&first) = rest.first() {
            let field = match first {
                0x80.. => {
                    let index = number(&mut rest, 7)?;
                    self.known(index)?
                }
                0x40..0x80 => {
                    let field = self.literal(&mut rest, 6)?;
                    self.learn(field.clone());
                    field
                }
                0x20..0x40 => {
                    self.limit = number(&mut rest, 5).filter(|size| *size <= LARGEST_TABLE)?;
                    self.shrink(0);
                    continue;
                }
                // Not to be remembered, or never by anybody.
                0x00..0x20 => self.literal(&mut rest, 4)?,
            };
            total += size(&field);
            if total > limit {
                return None;
            }
            fields.push(field);
        }
        Some(fields)
    }

    fn literal(&self, rest: &mut &[u8], bits: u32) -> Option<Header> {
        let name = match number(rest, bits)? {
            0 => string(rest)?,
            index => self.known(index)?.name,
        };
        Some(Header { name, value: string(rest)? })
    }

    /// The field of number `index`, counted from one: first those that all know, then the newest.
    fn known(&self, index: usize) -> Option<Header> {
        let index = index.checked_sub(1)?;
        match STATIC.get(index) {
            Some((name, value)) => Some(Header { name: (*name).into(), value: (*value).into() }),
            None => self.table.get(index - STATIC.len()).cloned(),
        }
    }

    fn learn(&mut self, field: Header) {
        let size = size(&field);
        self.shrink(size);
        // One that is larger than the table empties it.
        if size <= self.limit {
            self.size += size;
            self.table.push_front(field);
        }
    }

    /// Forgets the oldest until there is room for `wanted` bytes.
    fn shrink(&mut self, wanted: usize) {
        while self.size + wanted > self.limit
            && let Some(oldest) = self.table.pop_back()
        {
            self.size -= size(&oldest);
        }
    }
}

fn size(field: &Header) -> usize {
    field.name.len() + field.value.len() + FIELD
}

/// A number whose first part has `bits` bits (RFC 7541, 5.1); none that no table and no string needs.
fn number(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let (&first, mut after) = rest.split_first()?;
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (&byte, more) = after.split_first()?;
            after = more;
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
            if shift > 28 {
                return None;
            }
        }
    }
    *rest = after;
    Some(value)
}

fn string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let is_coded = rest.first()? & 0x80 != 0;
    let length = number(rest, 7)?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    if is_coded { huffman::decoded(text) } else { Some(text.to_vec()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// Decodes the blocks one after the other; beside each are its fields and the size of the table afterwards.
    fn check(limit: usize, blocks: &[(&str, &str, usize)]) {
        let mut decoder = Decoder { limit, ..Decoder::default() };
        for (block, expected, size) in blocks {
            let fields = decoder.fields(&bytes(block), 1 << 16).unwrap();
            let shown: Vec<String> = fields
                .iter()
                .map(|field| {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    format!("{}: {}", text(&field.name), text(&field.value))
                })
                .collect();
            assert_eq!(shown.join("\n"), *expected);
            assert_eq!(decoder.held(), *size, "{expected}");
        }
    }

    const FIRST: &str = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com";
    const SECOND: &str =
        ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache";
    const THIRD: &str = ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value";

    #[test]
    fn numbers_are_those_of_rfc_7541_c_1() {
        for (coded, bits, expected) in [("0a", 5, 10), ("1f9a0a", 5, 1_337), ("2a", 8, 42)] {
            let coded = bytes(coded);
            let mut rest = &coded[..];
            assert_eq!((number(&mut rest, bits), rest.len()), (Some(expected), 0));
        }
        assert_eq!(number(&mut &bytes("1fffffffffffffffff01")[..], 5), None);
    }

    #[test]
    fn single_fields_are_those_of_rfc_7541_c_2() {
        check(
            4_096,
            &[(
                "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
                "custom-key: custom-header",
                55,
            )],
        );
        check(4_096, &[("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", 0)]);
        check(4_096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret", 0)]);
        check(4_096, &[("82", ":method: GET", 0)]);
    }

    #[test]
    fn requests_are_those_of_rfc_7541_c_3_and_c_4() {
        check(
            4_096,
            &[
                ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST, 57),
                ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND, 110),
                ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", THIRD, 164),
            ],
        );
        check(
            4_096,
            &[
                ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST, 57),
                ("8286 84be 5886 a8eb 1064 9cbf", SECOND, 110),
                ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", THIRD, 164),
            ],
        );
    }

    #[test]
    fn responses_that_push_each_other_out_are_those_of_rfc_7541_c_6() {
        let answer = |status: &str, second: &str| {
            format!(
                ":status: {status}\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:{second} GMT\nlocation: https://www.example.com"
            )
        };
        let third = format!(
            "{}\ncontent-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            answer("200", "22")
        );
        check(
            256,
            &[
                (
                    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
                     919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                    &answer("302", "21"),
                    222,
                ),
                ("4883 640e ffc1 c0bf", &answer("307", "21"), 222),
                (
                    "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
                     821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
                     4ee5 b106 3d50 07",
                    &third,
                    215,
                ),
            ],
        );
    }

    #[test]
    fn a_few_bytes_that_stand_for_many_are_refused() {
        let mut decoder = Decoder::default();
        // A field of 3 kB, then a thousand times its number.
        let long = [&[0x40, 1, b'a', 0x7f, 0xb9, 0x16][..], &[b'x'; 3_000], &[0xbe; 1_000]].concat();
        assert_eq!(decoder.fields(&long, 1 << 18), None);
        // A table of 1 GiB, and a number of nothing.
        assert_eq!(Decoder::default().fields(&bytes("3fe1ffffff03"), 1 << 18), None);
        assert_eq!(Decoder::default().fields(&bytes("80"), 1 << 18), None);
        assert_eq!(Decoder::default().fields(&bytes("be"), 1 << 18), None);
    }

    proptest! {
        #[test]
        fn any_blocks_get_an_answer(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..8)) {
            let mut decoder = Decoder::default();
            for block in blocks {
                decoder.fields(&block, 4_096);
                prop_assert!(decoder.held() <= LARGEST_TABLE);
                prop_assert_eq!(decoder.held(), decoder.table.iter().map(size).sum::<usize>());
            }
        }
    }
}
