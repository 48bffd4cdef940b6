//! Takes the content codings of bodies off, and puts them on again: gzip, deflate, br and zstd, one over another.
//!
//! What a decoder gives is bounded before it gives it: a small body that decodes to a huge one (a bomb) ends at
//! the limit. A body that goes on after the end of its coding is not decoded: nobody would look at the rest.

use std::io::{self, BufRead, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, Decompress, FlushDecompress, Status};

use crate::exchange::Header;

/// As many codings may lie over one another.
const STACKED: usize = 4;
/// Decoders take a window of at most so much memory, as a power of two: what RFC 9659 allows for zstd.
const ZSTD_WINDOW: u32 = 23;
/// Bodies are coded again for size, not for the last percent.
const BROTLI_QUALITY: u32 = 4;

/// One content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// `deflate` as it was meant: with the head and the checksum of zlib.
    Zlib,
    /// `deflate` as many understood it.
    RawDeflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

/// What a coded body holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The content, or the first of it.
    pub content: Vec<u8>,
    /// Whether that is all.
    pub is_whole: bool,
    /// In the order in which they were put on; which `deflate` it was is known now.
    pub codings: Vec<Coding>,
}

/// The whole content of a body whose `Content-Encoding` is `named`; `None` when it has an unknown coding, is
/// damaged or cut, or is longer than `limit`. Without a coding (or with `identity`) it is the body itself.
pub fn decode(named: &[u8], body: &[u8], limit: usize) -> Option<Vec<u8>> {
    decode_start(&codings(named)?, body, limit).filter(|found| found.is_whole).map(|found| found.content)
}

/// The codings of a `Content-Encoding` in the order in which they were put on; `None` when one is unknown or
/// they are too many.
pub fn codings(named: &[u8]) -> Option<Vec<Coding>> {
    let mut found = Vec::new();
    for name in named.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        let coding = match name.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => continue,
            b"gzip" | b"x-gzip" => Coding::Gzip,
            b"deflate" => Coding::Zlib,
            b"br" => Coding::Brotli,
            b"zstd" => Coding::Zstd,
            _ => return None,
        };
        found.push(coding);
    }
    (found.len() <= STACKED).then_some(found)
}

/// The codings that the fields of a message name, however many fields do.
pub fn codings_of(headers: &[Header]) -> Option<Vec<Coding>> {
    let mut found = Vec::new();
    for header in headers.iter().filter(|header| header.is("content-encoding")) {
        found.extend(codings(&header.value)?);
    }
    (found.len() <= STACKED).then_some(found)
}

/// As much of the content as there is in a body that may be cut; `None` when that is nothing at all, or when
/// it is longer than `limit`.
pub fn decode_start(codings: &[Coding], body: &[u8], limit: usize) -> Option<Decoded> {
    let mut found = Decoded { content: Vec::new(), is_whole: true, codings: codings.to_vec() };
    for (at, coding) in found.codings.iter_mut().enumerate().rev() {
        let input = if at + 1 == codings.len() { body } else { &found.content };
        let mut output = Vec::new();
        let mut done = coding.decode(input, limit, &mut output);
        if *coding == Coding::Zlib && output.is_empty() && !matches!(done, Done::Whole) {
            *coding = Coding::RawDeflate;
            done = coding.decode(input, limit, &mut output);
        }
        match done {
            Done::Whole => {}
            Done::Part if !output.is_empty() => found.is_whole = false,
            Done::Part | Done::TooLong => return None,
        }
        found.content = output;
    }
    if codings.is_empty() {
        found.content = body.to_vec();
    }
    Some(found)
}

/// `content` with `codings` put on in order.
///
/// # Errors
/// When an encoder has no memory.
pub fn encode(codings: &[Coding], content: &[u8]) -> io::Result<Vec<u8>> {
    let mut coded = content.to_vec();
    for coding in codings {
        coded = coding.encode(&coded)?;
    }
    Ok(coded)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// The coding ended where the body ended.
    Whole,
    /// It did not: what was decoded may not be all, or not be right.
    Part,
    TooLong,
}

impl Coding {
    fn decode(self, mut body: &[u8], limit: usize, output: &mut Vec<u8>) -> Done {
        match self {
            Self::Gzip => read_all(MultiGzDecoder::new(body), limit, output),
            Self::Zlib => inflate(Decompress::new(true), body, limit, output),
            Self::RawDeflate => inflate(Decompress::new(false), body, limit, output),
            Self::Brotli => {
                let mut decoder = brotli::Decompressor::new(&mut body, 4_096);
                let done = read_all(&mut decoder, limit, output);
                // Asked once more than it needs, it tells of bytes that it read and had no use for.
                let has_rest = done == Done::Whole && decoder.read(&mut [0]).is_err();
                drop(decoder);
                if has_rest || (done == Done::Whole && !body.is_empty()) { Done::Part } else { done }
            }
            Self::Zstd => {
                let Ok(mut decoder) = zstd::Decoder::with_buffer(body) else { return Done::Part };
                if decoder.window_log_max(ZSTD_WINDOW).is_err() {
                    return Done::Part;
                }
                read_all(decoder, limit, output)
            }
        }
    }

    fn encode(self, content: &[u8]) -> io::Result<Vec<u8>> {
        let mut coded = Vec::new();
        match self {
            Self::Gzip => GzEncoder::new(&mut coded, Compression::fast()).write_all(content)?,
            Self::Zlib => ZlibEncoder::new(&mut coded, Compression::fast()).write_all(content)?,
            Self::RawDeflate => DeflateEncoder::new(&mut coded, Compression::fast()).write_all(content)?,
            Self::Brotli => {
                brotli::CompressorWriter::new(&mut coded, 4_096, BROTLI_QUALITY, 18).write_all(content)?;
            }
            Self::Zstd => coded = zstd::encode_all(content, 1)?,
        }
        Ok(coded)
    }
}

fn read_all(mut decoder: impl Read, limit: usize, output: &mut Vec<u8>) -> Done {
    let mut piece = [0; 8_192];
    loop {
        match decoder.read(&mut piece) {
            Ok(0) => return Done::Whole,
            Ok(count) if output.len() + count > limit => return Done::TooLong,
            Ok(count) => output.extend_from_slice(&piece[..count]),
            Err(_) => return Done::Part,
        }
    }
}

/// Without flate2's readers, to which a stream that is cut looks like one that ended.
fn inflate(mut state: Decompress, mut body: &[u8], limit: usize, output: &mut Vec<u8>) -> Done {
    let mut piece = [0; 8_192];
    loop {
        let (before_in, before_out) = (state.total_in(), state.total_out());
        let status = state.decompress(body, &mut piece, FlushDecompress::None);
        let moved = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
        let count = moved(state.total_out(), before_out).min(piece.len());
        body.consume(moved(state.total_in(), before_in).min(body.len()));
        if output.len() + count > limit {
            return Done::TooLong;
        }
        output.extend_from_slice(&piece[..count]);
        match status {
            Ok(Status::StreamEnd) if body.is_empty() => return Done::Whole,
            Ok(Status::Ok) if count > 0 || !body.is_empty() => {}
            Ok(_) | Err(_) => return Done::Part,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;
    const ALL: [&[u8]; 6] = [b"gzip", b"deflate", b"br", b"zstd", b"gzip, br", b"identity, X-GZIP ,zstd"];

    fn coded(named: &[u8], content: &[u8]) -> Vec<u8> {
        encode(&codings(named).unwrap(), content).unwrap()
    }

    #[test]
    fn what_was_coded_is_decoded() {
        let content = b"the quick brown fox ".repeat(50);
        for named in ALL {
            assert_eq!(decode(named, &coded(named, &content), LIMIT).as_deref(), Some(&content[..]));
            assert_eq!(decode(named, &coded(named, b""), LIMIT).as_deref(), Some(&b""[..]));
        }
        assert_eq!(decode(b"", b"plain", LIMIT).as_deref(), Some(&b"plain"[..]));
    }

    #[test]
    fn both_kinds_of_deflate_are_told_apart() {
        let raw = encode(&[Coding::RawDeflate], b"some text").unwrap();

        let found = decode_start(&[Coding::Zlib], &raw, LIMIT).unwrap();

        assert_eq!(found.content, b"some text");
        assert_eq!(found.codings, [Coding::RawDeflate]);
    }

    #[test]
    fn a_bomb_an_unknown_coding_a_cut_and_a_tail_are_not_decoded() {
        let content = vec![b'x'; LIMIT];
        for named in ALL {
            let whole = coded(named, &content);
            assert!(decode(named, &whole, LIMIT - 1).is_none());
            assert!(decode(named, &whole[..whole.len() - 1], LIMIT).is_none());
            let tail = [&whole[..], b"password=secret"].concat();
            assert!(decode(named, &tail, LIMIT).is_none(), "{}", String::from_utf8_lossy(named));
        }
        assert_eq!(decode(b"compress", b"x", LIMIT), None);
        assert_eq!(decode(b"gzip,gzip,gzip,gzip,gzip", b"x", LIMIT), None);
    }

    #[test]
    fn of_a_cut_body_the_start_is_known() {
        let content: Vec<u8> =
            (0..20_000_u32).flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
        for named in ALL {
            let whole = coded(named, &content);
            let found = decode_start(&codings(named).unwrap(), &whole[..whole.len() / 2], LIMIT).unwrap();
            assert!(!found.is_whole);
            assert!(!found.content.is_empty() && content.starts_with(&found.content));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for named in ALL {
                decode(named, &body, LIMIT);
            }
        }
    }
}
