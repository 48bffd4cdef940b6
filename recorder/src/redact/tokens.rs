//! Finds tokens in text by their shape: whatever the field is called, these are secrets.
//!
//! JSON web tokens (`eyJ….….…`), what follows `Bearer` or `Basic`, private keys in PEM, and the few kinds of
//! keys that say by their first letters what they are. Secrets without a shape are known by name alone.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use memchr::{memchr, memmem};

/// What keys of well-known services begin with, and the fewest letters they have.
const PREFIXES: [(&[u8], usize); 35] = [
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
    (b"glptt-", 20),
    // Slack
    (b"xapp-", 16),
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
    (b"hf_", 30),
    (b"pypi-", 60),
    // DigitalOcean, Shopify, Square, Linear, age
    (b"dop_v1_", 40),
    (b"shpat_", 30),
    (b"shpss_", 30),
    (b"sq0atp-", 20),
    (b"sq0csp-", 20),
    (b"lin_api_", 30),
    (b"AGE-SECRET-KEY-", 40),
];

/// What else begins a secret, or stands before one, besides [`PREFIXES`], which follow these in the automaton.
const SIGNS: [&[u8]; 4] = [b"eyJ", b"earer ", b"asic ", b"PRIVATE KEY-----"];
const JSON_WEB_TOKEN: usize = 0;
const PRIVATE_KEY: usize = 3;

/// How far into a word it is judged whether it looks random.
const GLANCE: usize = 256;

/// Finds tokens.
pub(super) struct Tokens {
    /// All signs at once: a text is read once, many bytes at a time.
    signs: AhoCorasick,
}

impl Tokens {
    pub(super) fn new() -> Self {
        let signs = SIGNS.into_iter().chain(PREFIXES.iter().map(|(prefix, _)| *prefix));
        let signs = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(signs);
        Self { signs: signs.expect("a few dozen short signs fit into any automaton") }
    }

    /// Calls `found` with the place of every token in `text`. When `is_cut`, what stands at its end may be the
    /// start of one.
    pub(super) fn find(&self, text: &[u8], is_cut: bool, mut found: impl FnMut(Range<usize>)) {
        // Where the run of letters ends that was looked at last, and the token that was found last.
        let (mut run_end, mut token_end) = (0, 0);
        for sign in self.signs.find_iter(text) {
            let at = sign.start();
            match sign.pattern().as_usize() {
                JSON_WEB_TOKEN | SIGNS_END.. => {
                    if at < token_end || (at > 0 && text[at - 1].is_ascii_alphanumeric()) {
                        continue;
                    }
                    if run_end <= at {
                        run_end = end_of_run(text, at);
                    }
                    let at_end = is_cut && run_end == text.len();
                    if is_token(&text[at..run_end], sign.pattern().as_usize(), at_end) {
                        found(at..run_end);
                        token_end = run_end;
                    }
                }
                PRIVATE_KEY => {
                    let start = sign.end();
                    if memmem::find(&text[at.saturating_sub(20)..at], b"BEGIN ").is_some() {
                        let length = memmem::find(&text[start..], b"-----").unwrap_or(text.len() - start);
                        found(start..start + length);
                    }
                }
                _ => {
                    let starts = at > 0 && (at < 2 || !text[at - 2].is_ascii_alphanumeric());
                    if starts && text[at - 1].eq_ignore_ascii_case(&b'b') {
                        let place = word_after(text, sign.end());
                        if is_credential(text, &place) {
                            found(place);
                        }
                    }
                }
            }
        }
    }
}

const SIGNS_END: usize = SIGNS.len();

/// Of what tokens are made.
const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn end_of_run(text: &[u8], at: usize) -> usize {
    text[at..].iter().position(|byte| !is_letter(*byte)).map_or(text.len(), |length| at + length)
}

/// Whether `word`, which begins with this sign, is a token, or may be the start of one that was cut off.
fn is_token(word: &[u8], sign: usize, at_end: bool) -> bool {
    match sign.checked_sub(SIGNS_END) {
        None => at_end || is_json_web_token(word),
        Some(prefix) => {
            let (prefix, shortest) = PREFIXES[prefix];
            (at_end || word.len() >= shortest) && looks_random(&word[prefix.len()..])
        }
    }
}

/// Whether it has a head, claims, and what may be a signature.
fn is_json_web_token(word: &[u8]) -> bool {
    let Some(head) = memchr(b'.', word).filter(|head| *head >= 10) else { return false };
    memchr(b'.', &word[head + 1..]).is_some_and(|claims| claims >= 2)
}

/// Whether a word is more than a word of a language: digits, or both cases within.
fn looks_random(word: &[u8]) -> bool {
    let word = &word[..word.len().min(GLANCE)];
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
            concat!("h", "f_aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567"),
            concat!("shp", "at_0123456789abcdef0123456789abcdef"),
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
