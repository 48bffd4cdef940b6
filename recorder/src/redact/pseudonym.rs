//! Makes pseudonyms: what stands in the place of a secret.
//!
//! A pseudonym has the length of its secret and, byte by byte, the kind of its characters. What gives text its
//! structure (blanks, quotes, `& ; = % < > \` and the like) stays, so that no pseudonym breaks the text around
//! it; letters, digits and the other signs become different ones. It is never the secret itself, as long as
//! there is a letter or a digit in it.
//!
//! Digits in groups (a card number with blanks or dashes) are one number: its pseudonym is the same however it
//! is grouped, and never passes the check of card numbers.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Makes the pseudonyms of one key.
pub(super) struct Pseudonyms {
    /// With the key in it, before the first byte.
    keyed: Hmac<Sha256>,
}

impl Pseudonyms {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { keyed: keyed(key) }
    }

    /// What tells this key from others, and nothing more.
    pub(super) fn id(&self) -> [u8; 8] {
        let id = self.seed(b"highwater: the name of this key");
        std::array::from_fn(|at| id[at])
    }

    /// Puts the pseudonym of `secret` in its place. Blanks and quotes around it are not part of it.
    pub(super) fn replace(&self, secret: &mut [u8]) {
        let around = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'"';
        let Some(start) = secret.iter().position(|byte| !around(byte)) else { return };
        let end = secret.iter().rposition(|byte| !around(byte)).map_or(start, |last| last + 1);
        let secret = &mut secret[start..end];
        if secret.iter().all(|&byte| byte.is_ascii_digit() || is_grouping(byte))
            && secret.iter().any(u8::is_ascii_digit)
        {
            self.replace_digits(secret);
        } else {
            self.replace_text(secret);
        }
    }

    fn replace_text(&self, secret: &mut [u8]) {
        // All letters being a…f, it is a number in hexadecimal and stays one.
        let hexadecimal = secret.iter().filter(|byte| byte.is_ascii_alphabetic()).all(u8::is_ascii_hexdigit);
        let letters = if hexadecimal { 6 } else { 26 };
        let mut noise = Noise::new(self.seed(secret));
        let mut is_same = true;
        for byte in &mut *secret {
            let old = *byte;
            *byte = stand_in(old, noise.next(), letters);
            is_same &= *byte == old;
        }
        if is_same {
            secret.iter_mut().for_each(|byte| *byte = stand_in(*byte, next_of(*byte), letters));
        }
    }

    /// The digits of `secret` as one number; what groups them stays.
    fn replace_digits(&self, secret: &mut [u8]) {
        let mut digits: Vec<u8> = secret.iter().copied().filter(u8::is_ascii_digit).collect();
        let original = digits.clone();
        let mut noise = Noise::new(self.seed(&digits));
        for (at, digit) in digits.iter_mut().enumerate() {
            // A number does not begin with a nought.
            *digit = match (at, *digit) {
                (0, b'1'..=b'9') => b'1' + noise.next() % 9,
                _ => b'0' + noise.next() % 10,
            };
        }
        if let Some(last) = digits.last_mut() {
            let next = if *last == b'9' { b'1' } else { *last + 1 };
            if digits == original || passes_check(&digits) {
                digits.last_mut().into_iter().for_each(|last| *last = next);
            }
        }
        let places = secret.iter_mut().filter(|byte| byte.is_ascii_digit());
        for (place, digit) in places.zip(digits) {
            *place = digit;
        }
    }

    fn seed(&self, bytes: &[u8]) -> [u8; 32] {
        self.keyed.clone().chain_update(bytes).finalize().into_bytes().into()
    }
}

/// HMAC-SHA-256 under `key`, before its first byte.
pub(crate) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// What groups the digits of a number: also the bytes of a blank that does not break and of an en dash.
pub(super) const fn is_grouping(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'_' | b'\t' | 0xC2 | 0xA0 | 0xE2 | 0x80 | 0x93)
}

/// Whether `digits` pass the check of card numbers.
///
/// Source: ISO/IEC 7812-1, annex B (Luhn): from the right, every second digit doubled, sums of digits added up.
pub(super) fn passes_check(digits: &[u8]) -> bool {
    let sum: u32 = (digits.iter().rev().enumerate())
        .map(|(at, digit)| match (at % 2, u32::from(digit - b'0')) {
            (0, digit) => digit,
            (_, digit) if digit < 5 => digit * 2,
            (_, digit) => digit * 2 - 9,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// What stands for `byte`, by chance of `noise`.
fn stand_in(byte: u8, noise: u8, letters: u8) -> u8 {
    match byte {
        b'0'..=b'9' => b'0' + noise % 10,
        b'A'..=b'Z' => b'A' + noise % letters,
        b'a'..=b'z' | 0x80.. => b'a' + noise % letters,
        b'!' | b'$' | b'(' | b')' | b'*' | b'?' | b'@' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => {
            b"!$*@"[usize::from(noise % 4)]
        }
        kept => kept,
    }
}

/// The noise that makes [`stand_in`] give another byte of the same kind.
const fn next_of(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0' + 1,
        b'A'..=b'Z' => byte - b'A' + 1,
        b'a'..=b'z' => byte - b'a' + 1,
        b'!' => 1,
        _ => 0,
    }
}

/// Bytes without end from one seed.
struct Noise {
    seed: [u8; 32],
    block: [u8; 32],
    count: u32,
    used: usize,
}

impl Noise {
    fn new(seed: [u8; 32]) -> Self {
        Self { seed, block: [0; 32], count: 0, used: 32 }
    }

    fn next(&mut self) -> u8 {
        if self.used == self.block.len() {
            let count = self.count.to_le_bytes();
            self.block = Sha256::new().chain_update(self.seed).chain_update(count).finalize().into();
            self.count = self.count.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pseudonym(secret: &str) -> String {
        let mut bytes = secret.as_bytes().to_vec();
        Pseudonyms::new(&[7; 32]).replace(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn hexadecimal_stays_hexadecimal_and_quotes_stay_outside() {
        let name = pseudonym("0f9e8d7c6b5a43210f9e8d7c6b5a4321");

        assert!(name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)), "{name}");
        assert_eq!(pseudonym("\"xyz\" "), format!("\"{}\" ", pseudonym("xyz")));
    }

    #[test]
    fn another_key_gives_another_pseudonym() {
        let mut secret = b"correct horse battery staple".to_vec();
        Pseudonyms::new(&[8; 32]).replace(&mut secret);

        assert_ne!(secret, pseudonym("correct horse battery staple").into_bytes());
    }

    #[test]
    fn a_number_is_the_same_however_it_is_grouped() {
        let number = pseudonym("4111111111111111");

        assert!(!passes_check(number.as_bytes()));
        let grouped = [&number[..4], &number[4..8], &number[8..12], &number[12..]];
        assert_eq!(pseudonym("4111 1111 1111 1111"), grouped.join(" "));
        for between in ["-", "  ", "\t", "_", "\u{a0}", "\u{2013}"] {
            assert_eq!(pseudonym(&["4111", "1111", "1111", "1111"].join(between)), grouped.join(between));
        }
    }

    #[test]
    fn no_short_number_is_its_own_pseudonym() {
        for code in 0..10_000 {
            let code = format!("{code:04}");
            assert_ne!(pseudonym(&code), code);
            assert_ne!(pseudonym(&code[1..]), code[1..]);
            assert_ne!(pseudonym(&code[3..]), code[3..]);
        }
        for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!$*@".chars() {
            assert_ne!(pseudonym(&letter.to_string()), letter.to_string());
        }
    }

    #[test]
    fn card_numbers_pass_the_check_and_others_do_not() {
        for number in ["4111111111111111", "5555555555554444", "378282246310005", "6011111111111117"] {
            assert!(passes_check(number.as_bytes()), "{number}");
        }
        assert!(!passes_check(b"4111111111111112"));
    }

    proptest! {
        #[test]
        fn a_pseudonym_has_the_length_and_the_classes_of_its_secret(secret in "[ -~]{0,100}") {
            let name = pseudonym(&secret);

            prop_assert_eq!(name.len(), secret.len());
            for (new, old) in name.bytes().zip(secret.bytes()) {
                prop_assert_eq!(new.is_ascii_digit(), old.is_ascii_digit());
                prop_assert_eq!(new.is_ascii_lowercase(), old.is_ascii_lowercase());
                prop_assert_eq!(new.is_ascii_uppercase(), old.is_ascii_uppercase());
            }
            prop_assert!(name != secret || !secret.bytes().any(|byte| byte.is_ascii_alphanumeric()));
        }
    }
}
