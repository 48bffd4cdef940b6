//! The pages of the program's own files, and of its libraries: code and constants that a start touches.
//!
//! The system maps a file's pages in stretches of sixteen around each that is touched, and takes none back while memory
//! is plentiful. So a process that parsed flags, read a capture and planned carries all that code for as long as it runs.
//! Only mappings that hold nothing but what the file holds are given back: private ones that nobody may write to and of
//! which no page was ever changed. Relocated constants lie in mappings of the same kind, but have changed.

use std::ops::Range;

use rustix::mm::{Advice, madvise};

/// Gives them back. Where the system does not list its mappings, nothing happens.
pub(super) fn give_back() {
    for range in std::fs::read_to_string("/proc/self/smaps").iter().flat_map(|smaps| unchanged(smaps)) {
        let begin = std::ptr::with_exposed_provenance_mut(range.start);
        #[expect(unsafe_code, reason = "what the pages held comes back when it is read")]
        // SAFETY: the range is one whole mapping of a file, private, not writable and without a changed page, so that the
        // next access reads the same bytes from the same file.
        let _ = unsafe { madvise(begin, range.len(), Advice::LinuxDontNeed) };
    }
}

/// The mappings in a listing as of proc_pid_smaps(5) that hold nothing but what their file holds.
fn unchanged(smaps: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut current: Option<Range<usize>> = None;
    for line in smaps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(first), Some(second)) = (fields.next(), fields.next()) else { continue };
        if !first.ends_with(':') {
            // The head of a mapping: addresses, rights, offset, device, inode, file.
            let is_file = fields.nth(3).is_some_and(|file| file.starts_with('/'));
            let is_constant = second.starts_with('r') && second.ends_with('p') && !second.contains('w');
            current = range(first).filter(|_| is_file && is_constant);
        } else if matches!(first, "Anonymous:" | "Swap:") {
            // Pages of its own, in memory or swapped out; `Swap:` comes later, and is always there.
            if second != "0" {
                current = None;
            } else if first == "Swap:" {
                ranges.extend(current.take());
            }
        }
    }
    ranges
}

fn range(text: &str) -> Option<Range<usize>> {
    let (begin, end) = text.split_once('-')?;
    Some(usize::from_str_radix(begin, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mapping as the system lists it, cut to what matters.
    fn mapping(head: &str, anonymous: u64, swap: u64) -> String {
        format!(
            "{head}\nRss:  8 kB\nAnonymous:  {anonymous} kB\nKSM: 0 kB\nSwap:  {swap} kB\nSwapPss: 0 kB\nVmFlags: rd mr\n"
        )
    }

    fn check(head: &str, anonymous: u64, swap: u64, expected: Option<Range<usize>>) {
        let listing = mapping(head, anonymous, swap) + &mapping("10-20 rw-p 00000000 00:00 0", 0, 0);
        assert_eq!(unchanged(&listing), Vec::from_iter(expected), "{head}");
    }

    #[test]
    fn only_what_a_file_holds_unchanged_is_given_back() {
        let code = "1000-3000 r-xp 00001000 fe:00 77 /usr/bin/highwater";
        check(code, 0, 0, Some(0x1000..0x3000));
        check("1000-2000 r--p 00000000 fe:00 77 /usr/lib/with a blank.so", 0, 0, Some(0x1000..0x2000));
        check("1000-2000 r-xp 00000000 fe:00 77 /usr/bin/highwater (deleted)", 0, 0, Some(0x1000..0x2000));
        // Relocated, or changed and swapped out.
        check(code, 4, 0, None);
        check(code, 0, 4, None);
        // Writable, shared, without rights, without a file.
        check("1000-2000 rw-p 00000000 fe:00 77 /usr/bin/highwater", 0, 0, None);
        check("1000-2000 r--s 00000000 fe:00 77 /usr/share/locale", 0, 0, None);
        check("1000-2000 ---p 00000000 fe:00 77 /usr/bin/highwater", 0, 0, None);
        check("1000-2000 r-xp 00000000 00:00 0 [vdso]", 0, 0, None);
        check("1000-2000 r--p 00000000 00:00 0", 0, 0, None);
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        let before = std::fs::read_to_string("/proc/self/smaps").unwrap();
        assert!(!unchanged(&before).is_empty());

        give_back();

        assert_eq!("constants are read again".len(), 24);
    }
}
