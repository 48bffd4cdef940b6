//! One difference between two answers: in what, where, and what stood there before and now.

/// In what two answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// The status, or there is no answer.
    Status,
    /// A header field.
    Header,
    /// Something is missing that was there.
    Gone,
    /// Something is there that was not.
    New,
    /// A value is of another kind: a number became a text.
    Kind,
    /// A list has more or fewer elements, or a page other parts.
    Length,
    /// A value.
    Value,
    /// A body of which no more can be said.
    Body,
}

impl What {
    /// Its word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Header => "header",
            Self::Gone => "gone",
            Self::New => "new",
            Self::Kind => "kind",
            Self::Length => "length",
            Self::Value => "value",
            Self::Body => "body",
        }
    }

    /// Whether what lies below the place differs with it.
    pub(crate) const fn is_structure(self) -> bool {
        matches!(self, Self::Gone | Self::New | Self::Kind | Self::Length | Self::Body)
    }
}

/// The whole of a text, not one of its words.
pub(crate) const WHOLE: u32 = u32::MAX;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) what: What,
    /// Where, with the numbers of elements in it: `page html/body/p:2`.
    pub(crate) place: String,
    /// Which word of the text there; [`WHOLE`] for all of it.
    pub(crate) word: u32,
    pub(crate) before: String,
    pub(crate) now: String,
    /// It reads like a time or a token, which differ from answer to answer.
    pub(crate) is_presumed: bool,
}

impl Difference {
    pub(crate) fn new(what: What, place: impl Into<String>, before: &str, now: &str) -> Self {
        let from = begin(before, now);
        Self {
            what,
            place: place.into(),
            word: WHOLE,
            before: shortened(before, from),
            now: shortened(now, from),
            is_presumed: false,
        }
    }
}

/// So much of a value is shown.
const SHOWN: usize = 80;

/// So much is shown of what stands before the first letter that differs.
const LEADING: usize = 24;

/// From which letter on two texts are shown, so that what differs is seen.
fn begin(before: &str, now: &str) -> usize {
    let same = before.chars().zip(now.chars()).take_while(|(old, new)| old == new).count();
    if same <= SHOWN / 2 { 0 } else { same - LEADING }
}

/// A text from a letter on, short enough to be shown.
fn shortened(text: &str, from: usize) -> String {
    let mut letters = text.chars().skip(from);
    let mut short = String::from(if from > 0 { "…" } else { "" });
    short.extend(letters.by_ref().take(SHOWN));
    if letters.next().is_some() {
        short.push('…');
    }
    short
}

/// A place without the numbers of its elements, but for the columns of a table: all rows are alike, columns are not.
pub(crate) fn generic(place: &str) -> String {
    let Some((language, path)) = place.split_once(' ') else { return place.to_owned() };
    if language != "page" {
        return place.to_owned();
    }
    let parts = path.split('/').map(|part| match part.rsplit_once(':') {
        Some((name, number))
            if !matches!(name, "td" | "th") && number.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        _ => part,
    });
    format!("page {}", parts.collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_texts_the_part_that_differs_is_shown() {
        let text = |end: &str| format!("{}{end}", "x".repeat(100));
        let one = Difference::new(What::Value, "json /a", &text("5 apples"), &text("6 apples"));
        let leading = "x".repeat(24);
        assert_eq!((one.before, one.now), (format!("…{leading}5 apples"), format!("…{leading}6 apples")));
        let long = Difference::new(What::Gone, "json /a", &text(""), "");
        assert_eq!(long.before, format!("{}…", "x".repeat(80)));
    }

    #[test]
    fn rows_are_alike_and_columns_are_not() {
        assert_eq!(generic("page html/body/tr:3/td:2/a:2@href"), "page html/body/tr/td:2/a:2@href");
        assert_eq!(generic("page html/p:3/text"), "page html/p/text");
        assert_eq!(generic("json /a:1/b"), "json /a:1/b");
    }
}
