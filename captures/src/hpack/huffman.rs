//! Takes HPACK's Huffman code off strings (RFC 7541, 5.2 and Appendix B).
//!
//! The code is canonical: codes of one length are consecutive, in the order of their bytes, and those of the next
//! length go on from there. So the lengths say everything, and a code is found by comparing it with the first one
//! of each length.

/// The length in bits of the code of each byte (RFC 7541, Appendix B); the last is the end of a string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];
const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// The bytes in the order of their codes, and where each length begins.
struct Codes {
    symbols: [u16; 257],
    /// The first code of each length, how many there are, and where the first one's byte stands.
    lengths: [(u32, u32, usize); LONGEST + 1],
}

const CODES: Codes = Codes::new();

impl Codes {
    const fn new() -> Self {
        let (mut symbols, mut lengths) = ([0; 257], [(0, 0, 0); LONGEST + 1]);
        let (mut code, mut count, mut length) = (0, 0, 1);
        while length <= LONGEST {
            code <<= 1;
            lengths[length] = (code, 0, count);
            let mut symbol = 0;
            while symbol < 257 {
                if LENGTHS[symbol as usize] as usize == length {
                    symbols[count] = symbol;
                    count += 1;
                    code += 1;
                    lengths[length].1 += 1;
                }
                symbol += 1;
            }
            length += 1;
        }
        Self { symbols, lengths }
    }
}

/// The string that `coded` stands for; `None` when it stands for none.
pub(super) fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
    let mut string = Vec::with_capacity(coded.len() * 8 / SHORTEST);
    let mut rest = coded.iter();
    // The next bits, from the highest down.
    let (mut window, mut bits) = (0_u64, 0_usize);
    loop {
        while bits <= 56
            && let Some(&byte) = rest.next()
        {
            window |= u64::from(byte) << (56 - bits);
            bits += 8;
        }
        let (symbol, length) = first_of(window)?;
        if length > bits {
            break;
        }
        // The end of a string is no part of one: this refuses it, being no byte.
        string.push(u8::try_from(symbol).ok()?);
        window <<= length;
        bits -= length;
    }
    // What is left is the beginning of the end's code, which is all ones, and less than a byte of it.
    (bits < 8 && window == !(u64::MAX.checked_shr(u32::try_from(bits).ok()?)?)).then_some(string)
}

/// The first code in `window`, and its length.
fn first_of(window: u64) -> Option<(u16, usize)> {
    (SHORTEST..=LONGEST).find_map(|length| {
        let (first, count, place) = CODES.lengths[length];
        let code = u32::try_from(window >> (64 - length)).ok()?;
        let index = code.checked_sub(first).filter(|index| *index < count)?;
        Some((CODES.symbols[place + usize::try_from(index).ok()?], length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_appendix() {
        // A few of RFC 7541, Appendix B, as it prints them: byte, code, length.
        for (symbol, code, length) in [
            (u16::from(b'0'), 0x0, 5_usize),
            (u16::from(b' '), 0x14, 6),
            (u16::from(b'z'), 0x7b, 7),
            (u16::from(b';'), 0xfb, 8),
            (u16::from(b'!'), 0x3f8, 10),
            (u16::from(b'\\'), 0x7fff0, 19),
            (0x80, 0xfffe6, 20),
            (0xff, 0x3ffffee, 26),
            (0xfe, 0x7fffff0, 27),
            (0xf9, 0xffffffe, 28),
            (0x16, 0x3ffffffe, 30),
            (256, 0x3fffffff, 30),
        ] {
            assert_eq!(first_of(code << (64 - length)), Some((symbol, length)), "{symbol}");
        }
    }

    #[test]
    fn a_string_ends_with_less_than_a_byte_of_ones() {
        assert_eq!(
            decoded(&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]).as_deref(),
            Some(&b"www.example.com"[..])
        );
        assert_eq!(decoded(b""), Some(Vec::new()));
        // Eight ones, other bits than ones, and the end itself within.
        assert_eq!(decoded(&[0xff]), None);
        assert_eq!(decoded(&[0x00]), None);
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None);
    }
}
