//! Names the places that values come from and go to, as people write them in a file of rules.
//!
//! `input csrfmiddlewaretoken`, `json /data/id`, `cookie sessionid` take a value out of an answer; `form csrf`,
//! `segment 2`, `header authorization` put it into a request. While captures are read, a place is a hash of its
//! parts, so that nothing is allocated for the many that lead to nothing.

use std::fmt;

use crate::correlate::value::hash;

/// In what an answer gives a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GivenKind {
    /// A cookie that it sets.
    Cookie,
    /// A header field.
    Header,
    /// The `Location` it points to.
    Location,
    /// A leaf of a JSON body; the name is the path, with `[]` for every place in a list.
    Json,
    /// A field of an HTML form, or an option of one.
    Input,
    /// A `meta` of an HTML page.
    Meta,
    /// A link or the action of a form; the name is the path, with `{}` for what varies.
    Link,
    /// A `data-` attribute of HTML.
    Data,
    /// A string in a script of an HTML page, by the name before it.
    Script,
    /// A field of a form-encoded body.
    Form,
    /// The text or an attribute of an XML element; the name is the path.
    Xml,
    /// A body of plain text.
    Text,
}

impl GivenKind {
    const ALL: [(Self, &'static str); 12] = [
        (Self::Cookie, "cookie"),
        (Self::Header, "header"),
        (Self::Location, "location"),
        (Self::Json, "json"),
        (Self::Input, "input"),
        (Self::Meta, "meta"),
        (Self::Link, "link"),
        (Self::Data, "data"),
        (Self::Script, "script"),
        (Self::Form, "form"),
        (Self::Xml, "xml"),
        (Self::Text, "text"),
    ];

    /// Its word in rules.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }
}

/// Which part of what is found there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// All of it.
    Whole,
    /// All of it, with its percent-encoding taken off.
    Decoded,
    /// What follows its first space: of `Bearer x`, the `x`.
    AfterSpace,
    /// Of an address, this segment of the path, counted from 1.
    Segment(u8),
    /// Of an address, this parameter of the query.
    Query(String),
}

/// Where an answer gives a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extractor {
    /// In what.
    pub kind: GivenKind,
    /// Under which name; empty for kinds that need none.
    pub name: String,
    /// Which part of it.
    pub part: Part,
}

impl Extractor {
    pub(crate) fn hash(&self) -> u64 {
        pattern_hash(self.kind, self.name.as_bytes(), &borrowed(&self.part))
    }
}

/// A part while it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartRef<'a> {
    Whole,
    Decoded,
    AfterSpace,
    Segment(u8),
    Query(&'a [u8]),
}

impl PartRef<'_> {
    pub(crate) fn owned(&self) -> Part {
        match self {
            Self::Whole => Part::Whole,
            Self::Decoded => Part::Decoded,
            Self::AfterSpace => Part::AfterSpace,
            Self::Segment(number) => Part::Segment(*number),
            Self::Query(name) => Part::Query(String::from_utf8_lossy(name).into_owned()),
        }
    }
}

fn borrowed(part: &Part) -> PartRef<'_> {
    match part {
        Part::Whole => PartRef::Whole,
        Part::Decoded => PartRef::Decoded,
        Part::AfterSpace => PartRef::AfterSpace,
        Part::Segment(number) => PartRef::Segment(*number),
        Part::Query(name) => PartRef::Query(name.as_bytes()),
    }
}

/// The number of an extractor.
pub(crate) fn pattern_hash(kind: GivenKind, name: &[u8], part: &PartRef<'_>) -> u64 {
    let seed = match part {
        PartRef::Whole => 1,
        PartRef::Decoded => 2,
        PartRef::AfterSpace => 3,
        PartRef::Segment(number) => 16 + u64::from(*number),
        PartRef::Query(name) => hash(4, name),
    };
    hash(seed.wrapping_mul(31).wrapping_add(kind as u64), name)
}

impl fmt::Display for Extractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.as_str())?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        match &self.part {
            Part::Whole => Ok(()),
            Part::Decoded => write!(f, " decoded"),
            Part::AfterSpace => write!(f, " after-space"),
            Part::Segment(number) => write!(f, " segment {number}"),
            Part::Query(name) => write!(f, " query {name}"),
        }
    }
}

/// In what a request sends a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlaceKind {
    /// A segment of its path; the name is its number, counted from 1.
    Segment,
    /// A parameter of its query.
    Query,
    /// A header field.
    Header,
    /// A cookie.
    Cookie,
    /// A field of a form-encoded body.
    Form,
    /// A field of a multipart body.
    Multipart,
    /// A leaf of a JSON body.
    Json,
    /// The text or an attribute of an XML element.
    Xml,
    /// The address in `Referer`; the name is the part of it.
    Referer,
    /// A body of plain text.
    Text,
}

impl PlaceKind {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Segment, "segment"),
        (Self::Query, "query"),
        (Self::Header, "header"),
        (Self::Cookie, "cookie"),
        (Self::Form, "form"),
        (Self::Multipart, "multipart"),
        (Self::Json, "json"),
        (Self::Xml, "xml"),
        (Self::Referer, "referer"),
        (Self::Text, "text"),
    ];

    /// Its word in rules.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }
}

/// Where a request sends a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// In what.
    pub kind: PlaceKind,
    /// Under which name.
    pub name: String,
}

impl Place {
    pub(crate) fn hash(&self) -> u64 {
        place_hash(self.kind, self.name.as_bytes())
    }
}

/// The number of a place.
pub(crate) fn place_hash(kind: PlaceKind, name: &[u8]) -> u64 {
    hash(0x1000 + kind as u64, name)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.as_str())?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " {}", self.name) }
    }
}

/// Why a text names no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// Its first word is none of those that there are.
    Unknown(String),
    /// The kind needs a name.
    Nameless(&'static str),
    /// A segment is no number from 1 to 64.
    Segment(String),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => write!(f, "'{word}' is no place of a value"),
            Self::Nameless(kind) => write!(f, "'{kind}' lacks a name"),
            Self::Segment(text) => write!(f, "'{text}' is no segment; they count from 1"),
        }
    }
}

impl PatternError {
    /// What to do about it.
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::Unknown(_) => {
                "take: cookie, header, location, json, input, meta, link, data, script, form, xml, text; put: \
                 segment, query, header, cookie, form, multipart, json, xml, referer, text"
            }
            Self::Nameless(_) => "write it like `cookie sessionid` or `json /data/id`",
            Self::Segment(_) => "write it like `segment 2`: of /orders/17, that is 17",
        }
    }
}

impl std::error::Error for PatternError {}

impl std::str::FromStr for Extractor {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (word, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let Some((kind, word)) = GivenKind::ALL.into_iter().find(|(_, known)| *known == word) else {
            return Err(PatternError::Unknown(word.to_owned()));
        };
        let spaced = format!(" {}", rest.trim());
        let (name, part) = if let Some((name, number)) = spaced.rsplit_once(" segment ") {
            (name, Part::Segment(segment(number)?))
        } else if let Some((name, parameter)) = spaced.rsplit_once(" query ") {
            (name, Part::Query(parameter.trim().to_owned()))
        } else if let Some(name) = spaced.strip_suffix(" decoded") {
            (name, Part::Decoded)
        } else if let Some(name) = spaced.strip_suffix(" after-space") {
            (name, Part::AfterSpace)
        } else {
            (spaced.as_str(), Part::Whole)
        };
        let name = match kind {
            GivenKind::Header => name.trim().to_ascii_lowercase(),
            _ => name.trim().to_owned(),
        };
        if name.is_empty() && !matches!(kind, GivenKind::Location | GivenKind::Text) {
            return Err(PatternError::Nameless(word));
        }
        Ok(Self { kind, name, part })
    }
}

impl std::str::FromStr for Place {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (word, name) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let Some((kind, word)) = PlaceKind::ALL.into_iter().find(|(_, known)| *known == word) else {
            return Err(PatternError::Unknown(word.to_owned()));
        };
        let name = match kind {
            PlaceKind::Segment => segment(name)?.to_string(),
            PlaceKind::Header => name.trim().to_ascii_lowercase(),
            _ => name.trim().to_owned(),
        };
        if name.is_empty() && !matches!(kind, PlaceKind::Text | PlaceKind::Referer) {
            return Err(PatternError::Nameless(word));
        }
        Ok(Self { kind, name })
    }
}

fn segment(text: &str) -> Result<u8, PatternError> {
    match text.trim().parse() {
        Ok(number) if (1..=64).contains(&number) => Ok(number),
        _ => Err(PatternError::Segment(text.trim().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_it_is_written() {
        for text in [
            "cookie sessionid",
            "cookie XSRF-TOKEN decoded",
            "header x-csrf-token",
            "header authorization after-space",
            "location segment 2",
            "location query state",
            "json /data/[]/id",
            "json /links/self segment 3",
            "input csrfmiddlewaretoken",
            "link /orders/{}/edit segment 2",
            "text",
        ] {
            let extractor: Extractor = text.parse().unwrap();
            assert_eq!(extractor.to_string(), text);
            assert_eq!(extractor.hash(), text.parse::<Extractor>().unwrap().hash());
        }
        for text in ["segment 2", "query id", "header authorization", "cookie sid", "json /order/id", "text"]
        {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_names_no_place_is_refused_with_the_words_there_are() {
        assert_eq!("cooky sid".parse::<Extractor>(), Err(PatternError::Unknown("cooky".to_owned())));
        assert_eq!("cookie".parse::<Extractor>(), Err(PatternError::Nameless("cookie")));
        assert_eq!("segment 0".parse::<Place>(), Err(PatternError::Segment("0".to_owned())));
        assert_eq!("location segment x".parse::<Extractor>(), Err(PatternError::Segment("x".to_owned())));
    }
}
