//! Keeps of an answer what its values are looked for in, piece by piece, and no more.

use crate::answers::MAX_ANSWER;
use crate::correlate::take::{MAX_KEPT, is_informational, sets_cookie};
use crate::response::head_end;

/// How much of an answer is to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing.
    #[default]
    Nothing,
    /// Its head, if it sets a cookie.
    Cookies,
    /// No more than has been kept.
    Enough,
    /// All of it.
    All,
    /// Its beginning, for a look at it and not for its values.
    Sample,
}

/// Keeps what is needed of the next `piece` of an answer.
pub(crate) fn keep_piece(kept: &mut Vec<u8>, keep: &mut Keep, piece: &[u8]) {
    match keep {
        Keep::Nothing | Keep::Enough => {}
        // A head comes whole, nearly always; else its beginning is kept until its end has come.
        Keep::Cookies if kept.is_empty() => keep_cookies(kept, keep, piece),
        Keep::Cookies => {
            let begun = std::mem::take(kept);
            keep_cookies(kept, keep, &[&begun, piece].concat());
        }
        Keep::Sample => {
            let room = MAX_ANSWER.saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        Keep::All => {
            if kept.len() + piece.len() <= MAX_KEPT {
                kept.extend_from_slice(piece);
            }
        }
    }
}

/// Of the bytes at the beginning of an answer; informational answers before it have no cookies.
fn keep_cookies(kept: &mut Vec<u8>, keep: &mut Keep, mut bytes: &[u8]) {
    while let Some(end) = head_end(bytes) {
        let (head, rest) = bytes.split_at(end + 4);
        if !is_informational(head) {
            *keep = Keep::Enough;
            if sets_cookie(head) {
                kept.extend_from_slice(head);
            }
            return;
        }
        bytes = rest;
    }
    kept.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_of(mut keep: Keep, pieces: &[&str]) -> String {
        let mut kept = Vec::new();
        for piece in pieces {
            keep_piece(&mut kept, &mut keep, piece.as_bytes());
        }
        String::from_utf8(kept).unwrap()
    }

    #[test]
    fn only_heads_with_cookies_are_kept_for_cookies() {
        let with = "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\n\r\n";
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        for pieces in [
            vec![with],
            vec![with, "body", "Set-Cookie: no"],
            vec![&with[..9], &with[9..30], &with[30..], "body"],
            vec![hints, with, "body"],
            vec![&hints[..20], &hints[20..], &with[..20], &with[20..]],
        ] {
            assert_eq!(kept_of(Keep::Cookies, &pieces), with, "{pieces:?}");
        }
        let both = [hints, with, "body"].concat();
        assert_eq!(kept_of(Keep::Cookies, &[&both, "more"]), with);
        for pieces in [
            vec!["HTTP/1.1 200 OK\r\nX: y\r\n\r\nbody", "a body's next piece", "Set-Cookie: a=b\r\n\r\n"],
            vec![hints, "HTTP/1.1 200 OK\r\n", "X: y\r\n\r\n", "Set-Cookie: a=b\r\n\r\n"],
        ] {
            assert_eq!(kept_of(Keep::Cookies, &pieces), "", "{pieces:?}");
        }
    }

    #[test]
    fn all_or_nothing_is_what_it_says() {
        assert_eq!(kept_of(Keep::All, &["a", "b"]), "ab");
        assert_eq!(kept_of(Keep::Nothing, &["a", "b"]), "");
        assert_eq!(kept_of(Keep::Sample, &["a", "b"]), "ab");
    }
}
