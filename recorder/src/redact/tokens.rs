//! Finds tokens in text by their shape: whatever the field is called, these are secrets.
//!
//! JSON web tokens (`eyJ….….…`), what follows `Bearer` or `Basic`, private keys in PEM, and the few kinds of
//! keys that say by their first letters what they are. Secrets without a shape are known by name alone.

use std::ops::Range;

use memchr::memmem::Finder;

/// What keys of well-known services begin with, and the fewest letters they have.
const PREFIXES: [(&[u8], usize); 24] = [
    // Stripe
    (b"sk_live_", 20),
    (b"sk_test_", 20),
    (b"rk_live_", 20),
    (b"rk_test_", 20),
    (b"whsec_", 20),
    // GitHub
    (b"ghp_", 20),
    (b"gho_", 20),
    (b"ghu_", 20),
    (b"ghs_", 20),
    (b"ghr_", 20),
    (b"github_pat_", 24),
    // GitLab
    (b"glpat-", 20),
    // Slack
    (b"xoxb-", 16),
    (b"xoxp-", 16),
    (b"xoxa-", 16),
    (b"xoxr-", 16),
    (b"xoxs-", 16),
    // AWS
    (b"AKIA", 20),
    (b"ASIA", 20),
    // Google
    (b"AIza", 35),
    (b"ya29.", 20),
    // SendGrid, npm, OpenAI and others
    (b"SG.", 40),
    (b"npm_", 30),
    (b"sk-", 32),
];

/// The fewest letters of a token that is known by its beginning.
const SHORTEST: usize = 16;

/// Finds tokens.
pub(super) struct Tokens {
    bearer: Finder<'static>,
    basic: Finder<'static>,
    private_key: Finder<'static>,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self {
            bearer: Finder::new(b"earer "),
            basic: Finder::new(b"asic "),
            private_key: Finder::new(b"PRIVATE KEY-----"),
        }
    }

    /// Calls `found` with the place of every token in `text`. When `is_cut`, what stands at its end may be the
    /// start of one.
    pub(super) fn find(&self, text: &[u8], is_cut: bool, mut found: impl FnMut(Range<usize>)) {
        for finder in [&self.bearer, &self.basic] {
            for at in finder.find_iter(text) {
                let starts = at > 0 && (at < 2 || !text[at - 2].is_ascii_alphanumeric());
                if starts && text[at - 1].eq_ignore_ascii_case(&b'b') {
                    let place = word_after(text, at + finder.needle().len());
                    if is_credential(text, &place) {
                        found(place);
                    }
                }
            }
        }
        for at in self.private_key.find_iter(text) {
            let start = at + self.private_key.needle().len();
            if memchr::memmem::find(&text[at.saturating_sub(20)..at], b"BEGIN ").is_none() {
                continue;
            }
            let length = memchr::memmem::find(&text[start..], b"-----").unwrap_or(text.len() - start);
            found(start..start + length);
        }
        let (mut floor, mut at) = (0, SHORTEST - 1);
        while at < text.len() {
            if !is_letter(text[at]) {
                at += SHORTEST;
                continue;
            }
            let start = text[floor..at]
                .iter()
                .rposition(|byte| !is_letter(*byte))
                .map_or(floor, |last| floor + last + 1);
            let end =
                text[at..].iter().position(|byte| !is_letter(*byte)).map_or(text.len(), |length| at + length);
            if let Some(place) = token_in(text, start..end, is_cut) {
                found(place);
            }
            floor = end;
            at = end + SHORTEST - 1;
        }
        if is_cut {
            let start = text.iter().rposition(|byte| !is_letter(*byte)).map_or(0, |last| last + 1);
            if text.len() - start < SHORTEST
                && let Some(place) = token_in(text, start..text.len(), true)
            {
                found(place);
            }
        }
    }
}

/// Of what tokens are made.
const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// The token in a run of letters: from where it is known to the end of the run.
fn token_in(text: &[u8], run: Range<usize>, is_cut: bool) -> Option<Range<usize>> {
    let at_end = is_cut && run.end == text.len();
    if run.len() < SHORTEST && !at_end {
        return None;
    }
    let starts = run.clone().filter(|&at| at == run.start || !text[at - 1].is_ascii_alphanumeric());
    for start in starts {
        let word = &text[start..run.end];
        // Most words begin as no token does.
        if !b"eswrgxASyn".contains(&word[0]) {
            continue;
        }
        let known = if word.starts_with(b"eyJ") {
            let mut parts = word.split(|byte| *byte == b'.');
            let is_whole = parts.next().is_some_and(|head| head.len() >= 10)
                && parts.next().is_some_and(|claims| claims.len() >= 2)
                && parts.next().is_some();
            is_whole || at_end
        } else {
            PREFIXES.iter().any(|(prefix, shortest)| {
                word.starts_with(prefix)
                    && (word.len() >= *shortest || at_end)
                    && looks_random(&word[prefix.len()..])
            })
        };
        if known {
            return Some(start..run.end);
        }
    }
    None
}

/// Whether a word is more than a word of a language: digits, or both cases within.
fn looks_random(word: &[u8]) -> bool {
    let inner = word.get(1..).unwrap_or_default();
    word.iter().any(u8::is_ascii_digit)
        || (inner.iter().any(u8::is_ascii_uppercase) && word.iter().any(u8::is_ascii_lowercase))
}

fn word_after(text: &[u8], at: usize) -> Range<usize> {
    let blanks = text[at..].iter().position(|byte| *byte != b' ').unwrap_or(0);
    let start = at + blanks;
    let belongs = |byte: u8| is_letter(byte) || matches!(byte, b'~' | b'+' | b'/' | b'=');
    let length = text[start..].iter().position(|byte| !belongs(*byte)).unwrap_or(text.len() - start);
    start..start + length
}

/// Whether what follows `Bearer` or `Basic` is a credential, not the next word of a sentence or a parameter.
fn is_credential(text: &[u8], place: &Range<usize>) -> bool {
    let word = &text[place.clone()];
    let is_parameter = word.last() == Some(&b'=') && text.get(place.end) == Some(&b'"');
    !is_parameter && word.len() >= 6 && (looks_random(word) || word.len() >= 20 || word.ends_with(b"="))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(text: &str, is_cut: bool) -> Vec<String> {
        let mut tokens = Vec::new();
        Tokens::new().find(text.as_bytes(), is_cut, |place| tokens.push(text[place].to_owned()));
        tokens
    }

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";

    #[test]
    fn tokens_are_known_by_their_shape() {
        for token in [
            JWT,
            concat!("sk_li", "ve_4eC39HqLyjWDarjtT1zdp7dc"),
            concat!("gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"),
            concat!("xox", "b-123456789012-abcdefGHIJ"),
            "AKIAIOSFODNN7EXAMPLE",
        ] {
            for (before, after) in
                [("", ""), ("\"", "\""), ("/reset/", "?x=1"), ("a=", "&b=c"), ("<b>", "</b>")]
            {
                assert_eq!(tokens(&format!("{before}{token}{after}"), false), [token]);
            }
        }
        assert_eq!(tokens("Authorization: Bearer abc123, x", false), ["abc123"]);
        assert_eq!(tokens("bearer  0123456789", false), ["0123456789"]);
        assert_eq!(tokens("Basic dXNlcjpwYXNz", false), ["dXNlcjpwYXNz"]);
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcC\nAQ==\n-----END EC PRIVATE KEY-----";
        assert_eq!(tokens(key, false), ["\nMHcC\nAQ==\n"]);
    }

    #[test]
    fn words_are_no_tokens() {
        for text in [
            "the bearer of this message, basic training and Basic Authentication",
            "WWW-Authenticate: Bearer realm=\"shop\"",
            "sk-learn-something-that-is-rather-long",
            "eyJust-a-word.com",
            "AKIA",
            "https://shop.example.com/some/long/path-with-many-words_and.dots",
        ] {
            assert_eq!(tokens(text, false), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_token_that_was_cut_off_is_found() {
        assert_eq!(tokens(&format!("x {}", &JWT[..30]), true), [&JWT[..30]]);
        assert_eq!(tokens("x eyJhbG", true), ["eyJhbG"]);
        assert_eq!(tokens(&format!("x {}", &JWT[..30]), false), [""; 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(text in "[ .eyJB-z]{0,60}(Bearer |eyJ|)[ -~]{0,60}") {
            tokens(&text, true);
        }

        #[test]
        fn a_token_is_found_at_any_place(before in "[a-z]{0,40} ") {
            prop_assert_eq!(tokens(&format!("{before}{JWT}"), false), [JWT]);
        }
    }
}
