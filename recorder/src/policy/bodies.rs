//! How much of a body is kept, by its content type.

use captures::Bytes;

use super::glob::Glob;
use crate::head;

/// What is kept of a body. The length always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it up to this size; of a larger one only a digest.
    Whole(Bytes),
    /// So much from its start, and a digest when there is more.
    Prefix(Bytes),
    /// A digest.
    Digest,
    /// Nothing.
    Nothing,
}

impl Kept {
    /// The most bytes that are stored.
    const fn limit(self) -> u64 {
        match self {
            Self::Whole(limit) | Self::Prefix(limit) => limit.as_u64(),
            Self::Digest | Self::Nothing => 0,
        }
    }
}

/// What is kept of which body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyRules {
    by_type: Vec<(Glob, Kept)>,
    otherwise: Kept,
}

impl BodyRules {
    /// The first of `by_type` whose pattern fits the content type decides, `otherwise` when none does. A
    /// pattern is e.g. `text/*`; parameters of the type (`; charset=…`) are left out, and so is case. A body
    /// without a type has the empty one.
    ///
    /// # Errors
    /// When a pattern is longer than any type; gives that pattern.
    pub fn new(by_type: &[(String, Kept)], otherwise: Kept) -> Result<Self, String> {
        let read = |(pattern, kept): &(String, Kept)| {
            let glob = Glob::parse(&pattern.to_ascii_lowercase());
            glob.map(|glob| (glob, *kept)).ok_or_else(|| pattern.clone())
        };
        Ok(Self { by_type: by_type.iter().map(read).collect::<Result<_, _>>()?, otherwise })
    }

    /// What is kept of the body of a message with this raw head.
    pub(crate) fn of(&self, head: &[u8]) -> Kept {
        if self.by_type.is_empty() {
            return self.otherwise;
        }
        let value = head::first_value(head, b"content-type").unwrap_or_default();
        let media = value.split(|&byte| byte == b';').next().unwrap_or_default();
        let media = media.trim_ascii().to_ascii_lowercase();
        let found = self.by_type.iter().find(|(pattern, _)| pattern.fits(&media));
        found.map_or(self.otherwise, |(_, kept)| *kept)
    }

    /// The most bytes that are stored of any body.
    pub(crate) fn limit(&self) -> u64 {
        let limits = self.by_type.iter().map(|(_, kept)| kept.limit());
        limits.fold(self.otherwise.limit(), u64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_type_that_fits_decides() {
        let whole = Kept::Whole(Bytes::new(9));
        let rules = [("application/json", whole), ("text/*", Kept::Digest), ("", Kept::Nothing)];
        let rules = rules.map(|(pattern, kept)| (pattern.to_owned(), kept));
        let rules = BodyRules::new(&rules, Kept::Prefix(Bytes::new(5))).unwrap();
        let check = |head: &str, expected| assert_eq!(rules.of(head.as_bytes()), expected, "{head}");

        check("POST /content-type: HTTP/1.1\r\nA: b\r\ncontent-TYPE: Application/JSON; x=y\r\n\r\n", whole);
        check("Content-Type:text/html;charset=utf-8\r\n", Kept::Digest);
        check("Content-Type: image/png\r\nContent-Type: text/css\r\n", Kept::Prefix(Bytes::new(5)));
        check("Content-Length: 3\r\n", Kept::Nothing);
        assert_eq!(rules.limit(), 9);
    }
}
