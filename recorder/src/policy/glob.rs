//! Matches text against a pattern in which `*` stands for anything, also for nothing, and `{}` for one segment
//! of a path.
//!
//! Takes the same few steps for each byte of the text, whatever the pattern: clients choose the text.

use std::fmt;

/// The most steps a pattern has: one for each of its bytes.
const LONGEST: usize = 127;

/// A pattern. All its states are tried at once, one bit each.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Glob {
    typed: String,
    /// For each byte, the states that it leads one further.
    step: Box<[u128; 256]>,
    /// The states that any byte leaves as they are, and those that any but a slash does: repetitions.
    anything: u128,
    segment: u128,
    end: u128,
}

impl Glob {
    /// Reads a pattern; `None` when it is too long.
    pub(super) fn parse(typed: &str) -> Option<Self> {
        if typed.len() > LONGEST {
            return None;
        }
        let (mut step, mut anything, mut segment) = (Box::new([0_u128; 256]), 0, 0);
        let (mut rest, mut state) = (typed.as_bytes(), 1_u128);
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            if first == b'*' {
                anything |= state;
            } else if let Some(after) = rest.strip_prefix(b"}").filter(|_| first == b'{') {
                rest = after;
                (0..=u8::MAX).filter(|&byte| byte != b'/').for_each(|byte| step[usize::from(byte)] |= state);
                state <<= 1;
                segment |= state;
            } else {
                step[usize::from(first)] |= state;
            }
            state <<= 1;
        }
        Some(Self { typed: typed.to_owned(), step, anything, segment, end: state })
    }

    /// Whether all of `text` fits.
    pub(super) fn fits(&self, text: &[u8]) -> bool {
        let mut states = self.settled(1);
        for &byte in text {
            let repeated = if byte == b'/' { self.anything } else { self.anything | self.segment };
            states = self.settled((states & self.step[usize::from(byte)]) << 1 | states & repeated);
            if states == 0 {
                return false;
            }
        }
        states & self.end != 0
    }

    /// With the states behind repetitions, for they may be over.
    fn settled(&self, mut states: u128) -> u128 {
        loop {
            let more = states | (states & (self.anything | self.segment)) << 1;
            if more == states {
                return states;
            }
            states = more;
        }
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.typed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_stand_for_anything_and_for_one_segment() {
        let check = |pattern: &str, text: &str, expected| {
            let glob = Glob::parse(pattern).unwrap();
            assert_eq!(glob.fits(text.as_bytes()), expected, "{pattern} {text}");
        };
        check("/health", "/health", true);
        check("/health", "/health2", false);
        check("/health*", "/health", true);
        check("/health*", "/healthz/live", true);
        check("*.css", "/a/b.css", true);
        check("*.css", "/a/b.css2", false);
        check("/*/c*d", "/a/b/cxd", true);
        check("*", "", true);
        check("", "", true);
        check("", "/", false);
        check("/product/{}", "/product/4711", true);
        check("/product/{}", "/product/", false);
        check("/product/{}", "/product/4711/reviews", false);
        check("/product/{}/reviews", "/product/4711/reviews", true);
        check("/{}/{}*", "/a/b/c", true);
        check("*{}{}", "/ab", true);
        check("*{}{}", "a/b", false);
        check("{x}", "{x}", true);
        assert_eq!(Glob::parse(&"a".repeat(128)), None);
        assert!(Glob::parse(&"a".repeat(127)).unwrap().fits(&[b'a'; 127]));
    }

    /// The same, by trying everything.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|taken| slowly(rest, &text[taken..])),
            [b'{', b'}', rest @ ..] => {
                let segment = text.iter().take_while(|&&byte| byte != b'/').count();
                (1..=segment).any(|taken| slowly(rest, &text[taken..]))
            }
            [first, rest @ ..] => text.first() == Some(first) && slowly(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_answers_as_trying_everything_does(pattern in "([ab/*]|\\{\\}){0,8}", text in "[ab/]{0,10}") {
            let fast = Glob::parse(&pattern).unwrap().fits(text.as_bytes());
            prop_assert_eq!(fast, slowly(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
