//! Finds card numbers in text.
//!
//! A card number has 13 to 19 digits, begins as the numbers of a known issuer do, and passes the check (Luhn).
//! Its digits stand together or in groups, with a blank, a dash or a dot between them; in the groups that are
//! printed on cards also with two blanks, a tab, an underscore, a blank that does not break, or an en dash. All
//! of them are masked: PCI DSS 3.4.1 would let the first six and the last four stand, but nothing here needs
//! them.

use super::pseudonym::{is_grouping, passes_check};

/// The fewest digits of a card number.
const SHORTEST: usize = 13;
const LONGEST: usize = 19;
/// A number that was cut off is masked from so many digits on; before, it says no more than who issued it.
const SHORTEST_CUT: usize = 7;

/// What stands between any groups, and what stands only between those that are printed on cards: others are
/// more likely columns of a table.
const BETWEEN: [&[u8]; 3] = [b" ", b"-", b"."];
const BETWEEN_PRINTED: [&[u8]; 5] = [b"  ", b"\t", b"_", b"\xC2\xA0", b"\xE2\x80\x93"];
/// The groups that are printed: the first ones of each number, the last may be shorter.
const PRINTED: [&[usize]; 2] = [&[4, 4, 4, 4, 4], &[4, 6, 5]];
/// The digits of a number that was cut off are within so many bytes, with all that is between them.
const LONGEST_WRITTEN: usize = 80;

/// Of what a card number may be made, byte by byte.
const MAY_BELONG: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        let sign = byte as u8;
        table[byte] = sign.is_ascii_digit() || is_grouping(sign);
        byte += 1;
    }
    table
};

/// Calls `found` with the place of every card number in `text`. When `is_cut`, digits at its end may be the
/// start of one.
pub(super) fn find(text: &[u8], is_cut: bool, mut found: impl FnMut(std::ops::Range<usize>)) {
    let may_belong = |byte: u8| MAY_BELONG[usize::from(byte)];
    let (mut floor, mut at) = (0, SHORTEST - 1);
    // A card number covers one of any thirteen bytes that follow each other: the others need no look.
    while at < text.len() {
        if !may_belong(text[at]) {
            at += SHORTEST;
            continue;
        }
        let start = text[floor..at]
            .iter()
            .rposition(|byte| !may_belong(*byte))
            .map_or(floor, |last| floor + last + 1);
        let end =
            text[at..].iter().position(|byte| !may_belong(*byte)).map_or(text.len(), |length| at + length);
        if end - start >= SHORTEST {
            find_in_run(text, start, end, &mut found);
        }
        floor = end;
        at = end + SHORTEST - 1;
    }
    if is_cut {
        let start = text.iter().rposition(|byte| !may_belong(*byte)).map_or(0, |last| last + 1);
        find_at_end(text, start.max(text.len().saturating_sub(LONGEST_WRITTEN)), &mut found);
    }
}

/// One group of digits.
#[derive(Clone, Copy)]
struct Group {
    start: usize,
    end: usize,
}

/// Looks at every row of groups within `text[start..end]`, which holds digits and what groups them.
fn find_in_run(text: &[u8], start: usize, end: usize, found: &mut impl FnMut(std::ops::Range<usize>)) {
    let mut at = start;
    while let Some(first) = next_group(text, at, end) {
        at = match longest_card(text, first, end) {
            Some(card_end) => {
                found(first.start..card_end);
                card_end
            }
            None => first.end,
        };
    }
}

fn next_group(text: &[u8], from: usize, end: usize) -> Option<Group> {
    let start = from + text[from..end].iter().position(u8::is_ascii_digit)?;
    let length = text[start..end].iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(end - start);
    Some(Group { start, end: start + length })
}

/// Where the longest card number ends that begins with the group `first`.
fn longest_card(text: &[u8], first: Group, end: usize) -> Option<usize> {
    let (mut digits, mut count) = ([0; LONGEST], 0);
    let (mut group, mut longest) = (first, None);
    let (mut lengths, mut groups) = ([0; LONGEST], 0);
    let between = next_group(text, first.end, end).map_or(&[][..], |next| &text[first.end..next.start]);
    let needs_print = BETWEEN_PRINTED.contains(&between);
    loop {
        let length = group.end - group.start;
        if count + length > LONGEST {
            return longest;
        }
        digits[count..count + length].copy_from_slice(&text[group.start..group.end]);
        count += length;
        lengths[groups] = length;
        groups += 1;
        let fits = !needs_print || groups == 1 || is_printed(&lengths[..groups]);
        if count >= SHORTEST && fits && is_card(&digits[..count]) && !is_fraction(text, first.start) {
            longest = Some(group.end);
        }
        // Between all groups stands the same, and none of them is a single digit.
        if first.end - first.start < 2 || !(needs_print || BETWEEN.contains(&between)) {
            return longest;
        }
        match next_group(text, group.end, end) {
            Some(next) if text[group.end..next.start] == *between => group = next,
            _ => return longest,
        }
    }
}

/// Whether groups of such lengths are printed on cards.
fn is_printed(lengths: &[usize]) -> bool {
    let Some((last, before)) = lengths.split_last() else { return false };
    PRINTED.iter().any(|printed| {
        printed.starts_with(before) && printed.get(before.len()).is_some_and(|length| last <= length)
    })
}

/// The digits at the end of a text that was cut there.
fn find_at_end(text: &[u8], start: usize, found: &mut impl FnMut(std::ops::Range<usize>)) {
    let mut at = start;
    while let Some(first) = next_group(text, at, text.len()) {
        let digits: Vec<u8> = text[first.start..].iter().copied().filter(u8::is_ascii_digit).collect();
        let fits = (SHORTEST_CUT..=LONGEST).contains(&digits.len());
        if fits
            && (SHORTEST..=LONGEST).any(|length| is_issued(&digits, length))
            && !is_fraction(text, first.start)
        {
            found(first.start..text.len());
            return;
        }
        at = first.end;
    }
}

/// Whether the digits from `start` on are those after a decimal point.
fn is_fraction(text: &[u8], start: usize) -> bool {
    start >= 2 && text[start - 1] == b'.' && text[start - 2].is_ascii_digit()
}

fn is_card(digits: &[u8]) -> bool {
    is_issued(digits, digits.len()) && passes_check(digits)
}

/// Whether an issuer gives out numbers of `length` digits that begin with `digits`.
///
/// Source: the ranges that the networks publish, as of 2025.
fn is_issued(digits: &[u8], length: usize) -> bool {
    let start = |count: usize| {
        let digits = digits.get(..count).unwrap_or_default();
        digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    let (two, three, four) = (start(2), start(3), start(4));
    match two {
        // Visa
        40..=49 => matches!(length, 13 | 16 | 19),
        // Mastercard, and the range it has besides
        51..=55 => length == 16,
        22..=27 if (2_221..=2_720).contains(&four) => length == 16,
        // Mir
        22 if (2_200..=2_204).contains(&four) => (16..=19).contains(&length),
        // American Express
        34 | 37 => length == 15,
        // JCB
        35 if (3_528..=3_589).contains(&four) => (16..=19).contains(&length),
        18 | 21 if matches!(four, 1_800 | 2_131) => length == 15,
        // Diners Club
        36 | 38 | 39 => (14..=19).contains(&length),
        30 if three <= 305 || four == 3_095 => (14..=19).contains(&length),
        // Discover
        60 if four == 6_011 => (16..=19).contains(&length),
        64 if three >= 644 => (16..=19).contains(&length),
        65 => (16..=19).contains(&length),
        // UnionPay
        62 => (16..=19).contains(&length),
        81 if (8_100..=8_171).contains(&four) => (16..=19).contains(&length),
        // Maestro
        50 | 56..=58 | 63 | 67 => (13..=19).contains(&length),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is found in `text`, as text.
    fn cards(text: &str, is_cut: bool) -> Vec<String> {
        let mut cards = Vec::new();
        find(text.as_bytes(), is_cut, |place| cards.push(text[place].to_owned()));
        cards
    }

    /// Numbers that the networks give out for tests.
    const NUMBERS: [&str; 16] = [
        "4111111111111111",
        "4012888888881881",
        "4222222222222",
        "5555555555554444",
        "2223003122003222",
        "5105105105105100",
        "378282246310005",
        "371449635398431",
        "6011111111111117",
        "6011000990139424",
        "3530111333300000",
        "3566002020360505",
        "30569309025904",
        "38520000023237",
        "6200000000000005",
        "6759649826438453",
    ];

    #[test]
    fn the_test_numbers_of_all_networks_are_found_wherever_they_stand() {
        for number in NUMBERS {
            for before in ["", "card=", "x", "1 ", "99 ", "0123456789 12", "{\"n\":"] {
                for after in ["", ".", ",", "x", " 12", "\n"] {
                    let text = format!("{before}{number}{after}");
                    let expected: &[&str] = if before == "0123456789 12" { &[] } else { &[number] };
                    assert_eq!(cards(&text, false), expected, "{text}");
                }
            }
        }
    }

    #[test]
    fn numbers_in_groups_are_found() {
        for text in ["4111 1111 1111 1111", "4111-1111-1111-1111", "3782-822463-10005", "4111.1111.1111.1111"]
        {
            assert_eq!(cards(&format!("no. {text} thanks"), false), [text]);
            assert_eq!(cards(&format!("12 {text}"), false), [text]);
        }
        for between in ["  ", "\t", "_", "\u{a0}", "\u{2013}"] {
            for groups in [&["4111", "1111", "1111", "1111"][..], &["3782", "822463", "10005"]] {
                let text = groups.join(between);
                assert_eq!(cards(&format!("no. {text} thanks"), false), [text.as_str()]);
                assert_eq!(cards(&format!("12{between}{text}"), false), [text.as_str()]);
            }
            // Columns of a table.
            assert_eq!(cards(&["41111", "11111", "11111", "1"].join(between), false), [""; 0]);
        }
        for text in ["4111 1111-1111 1111", "4111   1111   1111   1111", "4111 -1111 -1111 -1111"] {
            assert_eq!(cards(text, false), [""; 0]);
        }
    }

    #[test]
    fn what_is_no_card_number_is_left_alone() {
        for text in [
            "4111111111111112",
            "9111111111111111",
            "41111111111111111",
            "0.4111111111111111",
            "2026-11-21 08:39:06.123456789",
            "192.168.100.200 10.0.0.1",
            "                                        ",
        ] {
            assert_eq!(cards(text, false), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_number_that_was_cut_off_is_found() {
        assert_eq!(cards("card: 41111111", true), ["41111111"]);
        assert_eq!(cards("card: 4111 1111 1", true), ["4111 1111 1"]);
        assert_eq!(cards("card: 41111111", false), [""; 0]);
        assert_eq!(cards("card: 411111", true), [""; 0]);
    }

    #[test]
    fn of_a_hundred_thousand_ids_that_are_no_card_numbers_none_is_taken_for_one() {
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut checked = 0;
        while checked < 100_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let id = format!("{:016}", state % 10_000_000_000_000_000);
            if is_card(id.as_bytes()) {
                continue;
            }
            checked += 1;
            let grouped = |between| [&id[..4], &id[4..8], &id[8..12], &id[12..]].join(between);
            let grouped = [" ", "  ", "\t", "_"].map(grouped).join(", ");
            assert_eq!(cards(&format!("id {id}, {grouped}"), false), [""; 0]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(text in proptest::collection::vec(prop_oneof![any::<u8>(), b'0'..=b'9', Just(b' ')], 0..100)) {
            find(&text, true, |place| assert!(text.get(place).is_some()));
        }

        #[test]
        fn a_card_number_is_found_at_any_place(before in "[a-z]{0,40}", at in 0..NUMBERS.len()) {
            prop_assert_eq!(cards(&format!("{before}{}", NUMBERS[at]), false), [NUMBERS[at]]);
        }
    }
}
