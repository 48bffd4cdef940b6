//! The names of segments: from `shop.capture` come `shop-000001-20261121T081500Z.capture` and so on.
//!
//! The number goes on where the folder's highest ends, also across recordings, so that names sort by age;
//! the moment is when the segment began, for people.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const DIGITS: usize = 6;
const MOMENT: usize = "20261121T081500Z".len();

/// How the segments of one `--out` are called.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    folder: PathBuf,
    stem: OsString,
    /// With its dot, when there is one.
    extension: OsString,
}

impl Naming {
    /// The names that belong to `out`.
    pub(crate) fn of(out: &Path) -> Self {
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        let extension = out.extension().map_or_else(OsString::new, |extension| {
            let mut dotted = OsString::from(".");
            dotted.push(extension);
            dotted
        });
        Self {
            folder: parent.unwrap_or(Path::new(".")).to_owned(),
            stem: out.file_stem().unwrap_or_default().to_owned(),
            extension,
        }
    }

    /// Where the segments are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file by which recorders of the same name keep one another out.
    pub(crate) fn lock(&self) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(&self.stem);
        name.push(&self.extension);
        name.push(".lock");
        self.folder.join(name)
    }

    /// The segment `number`, begun at `wall` nanoseconds since 1970-01-01 UTC.
    pub(crate) fn segment(&self, number: u32, wall: i128) -> PathBuf {
        let moment = jiff::Timestamp::from_nanosecond(wall).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let mut name = self.stem.clone();
        name.push(format!("-{number:0DIGITS$}-{}", moment.strftime("%Y%m%dT%H%M%SZ")));
        name.push(&self.extension);
        self.folder.join(name)
    }

    /// The number in a segment's file name; `None` when it is called otherwise.
    pub(crate) fn number_of(&self, name: &OsStr) -> Option<u32> {
        let rest = name.as_bytes().strip_prefix(self.stem.as_bytes())?.strip_prefix(b"-")?;
        let rest = rest.strip_suffix(self.extension.as_bytes())?;
        let (number, moment) = rest.split_at_checked(rest.iter().position(|&byte| byte == b'-')?)?;
        let is_moment = moment.len() == MOMENT + 1 && moment.ends_with(b"Z") && moment[9] == b'T';
        let digits = number.len() >= DIGITS && number.iter().all(u8::is_ascii_digit);
        (is_moment && digits).then(|| std::str::from_utf8(number).ok()?.parse().ok()).flatten()
    }

    /// All segments' names, for messages.
    pub(crate) fn pattern(&self) -> PathBuf {
        let all = [self.stem.as_bytes(), b"-*", self.extension.as_bytes()].concat();
        self.folder.join(OsString::from_vec(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_name_sorts_by_age_and_is_known_again() {
        let naming = Naming::of(Path::new("/var/lib/shop.capture"));
        let (first, second) = (naming.segment(1, 1_795_248_900_000_000_000), naming.segment(12, 0));

        assert_eq!(first, Path::new("/var/lib/shop-000001-20261121T081500Z.capture"));
        assert!(first < second);
        assert_eq!(naming.number_of(first.file_name().unwrap()), Some(1));
        assert_eq!(naming.number_of(second.file_name().unwrap()), Some(12));
        for other in [
            "shop.capture",
            "shop-1-20261121T081500Z.capture",
            "shop-000001-x.capture",
            "x-000001-20261121T081500Z.capture",
        ] {
            assert_eq!(naming.number_of(OsStr::new(other)), None, "{other}");
        }
        assert_eq!(Naming::of(Path::new("shop")).segment(7, 0), Path::new("./shop-000007-19700101T000000Z"));
    }
}
