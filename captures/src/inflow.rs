//! Takes the compression off a file that is read: gzip, zstd and xz, told by their first bytes.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

/// So much memory may a compressed file ask for: what `xz -9` and `zstd --ultra` need.
const MOST_MEMORY: u64 = 128 << 20;
const ZSTD_WINDOW: u32 = 27;
const BUFFER: usize = 256 << 10;

/// What `source` holds, without its compression if it has one.
///
/// # Errors
/// When the source cannot be read.
pub fn uncompressed(source: Box<dyn Read + Send>) -> io::Result<Box<dyn BufRead + Send>> {
    let mut source = BufReader::with_capacity(BUFFER, source);
    let start = source.fill_buf()?;
    let plain: Box<dyn Read + Send> = if start.starts_with(&[0x1F, 0x8B]) {
        Box::new(MultiGzDecoder::new(source))
    } else if start.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
        let mut decoder = zstd::Decoder::with_buffer(source)?;
        decoder.window_log_max(ZSTD_WINDOW)?;
        Box::new(decoder)
    } else if start.starts_with(&[0xFD, b'7', b'z', b'X', b'Z', 0]) {
        let stream = Stream::new_stream_decoder(MOST_MEMORY, CONCATENATED).map_err(io::Error::other)?;
        Box::new(XzDecoder::new_stream(source, stream))
    } else {
        return Ok(Box::new(source));
    };
    Ok(Box::new(BufReader::with_capacity(BUFFER, plain)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(compressed: Vec<u8>) {
        let mut text = String::new();
        uncompressed(Box::new(io::Cursor::new(compressed))).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "some text, and more of it");
    }

    #[test]
    fn a_file_is_read_through_its_compression_in_several_members_too() {
        let (first, second) = ("some text, ", "and more of it");
        let gzip = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
        let xz = |text: &str| {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        check([gzip(first), gzip(second)].concat());
        check([zstd(first), zstd(second)].concat());
        check([xz(first), xz(second)].concat());
        check([first, second].concat().into_bytes());
    }
}
