//! Follows the body of an HTTP/1 request to its end, so that the next request is known to begin there.
//!
//! Chunked bodies are held to the grammar of RFC 9112, section 7.1, also inside of extensions. Nothing of a
//! body is kept but its trailers.

use crate::gate::head::{self, Refusal};

/// How long the line before a chunk may be, with its extensions.
const CHUNK_LINE: u32 = 4096;
/// How much the fields after a body may weigh.
const TRAILERS: usize = 16 << 10;

/// What is still to come of a body.
#[derive(Debug)]
pub(crate) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Box<Chunks>),
}

/// A chunked body.
#[derive(Debug)]
pub(crate) struct Chunks {
    place: Place,
    /// The bytes left of the chunk, or of its size what has been read.
    left: u64,
    /// The bytes of the line before the chunk.
    line: u32,
    /// The fields after the body, in wire format.
    trailers: Vec<u8>,
    /// Where the last of their lines begins.
    trailer: usize,
}

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    SizeStart,
    Size,
    /// Behind whitespace that only an extension may follow.
    BeforeExtension,
    NameStart,
    Name,
    AfterName,
    ValueStart,
    Value,
    Quoted,
    QuotedPair,
    AfterQuoted,
    SizeEnd,
    Content,
    ContentCr,
    ContentLf,
    Trailers,
    Done,
}

impl Body {
    pub(crate) fn chunked() -> Self {
        let chunks = Chunks { place: Place::SizeStart, left: 0, line: 0, trailers: Vec::new(), trailer: 0 };
        Self::Chunked(Box::new(chunks))
    }

    /// How many of the next bytes belong to the body.
    pub(crate) fn on_bytes(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                Ok(taken)
            }
            Self::Chunked(chunks) => chunks.on_bytes(bytes),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.place == Place::Done,
        }
    }

    /// The fields after the body, in wire format, when it is done; nothing where there were none.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        match self {
            Self::Length(_) => Vec::new(),
            Self::Chunked(chunks) => {
                // Without the empty line that ends them.
                chunks.trailers.truncate(chunks.trailer);
                std::mem::take(&mut chunks.trailers)
            }
        }
    }
}

impl Chunks {
    fn on_bytes(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() && self.place != Place::Done {
            if self.place == Place::Content {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= taken as u64;
                at += taken;
                if self.left == 0 {
                    self.place = Place::ContentCr;
                }
            } else {
                self.place = self.after(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn after(&mut self, byte: u8) -> Result<Place, Refusal> {
        use Place as At;
        let next = match (self.place, byte) {
            (At::SizeStart | At::Size, digit) if digit.is_ascii_hexdigit() => {
                if self.left >> 59 != 0 {
                    return Err(Refusal::bad("the size of a chunk is too large"));
                }
                self.left = self.left << 4 | u64::from((digit as char).to_digit(16).unwrap_or(0));
                At::Size
            }
            (At::Size | At::Name | At::Value | At::AfterQuoted, b'\r') => At::SizeEnd,
            (At::Size | At::BeforeExtension, b' ' | b'\t') => At::BeforeExtension,
            (
                At::Size | At::BeforeExtension | At::Name | At::AfterName | At::Value | At::AfterQuoted,
                b';',
            ) => At::NameStart,
            (At::NameStart, b' ' | b'\t') => At::NameStart,
            (At::Name | At::AfterName, b' ' | b'\t') => At::AfterName,
            (At::Name | At::AfterName, b'=') => At::ValueStart,
            (At::ValueStart, b' ' | b'\t') => At::ValueStart,
            (At::ValueStart, b'"') => At::Quoted,
            (At::Value | At::AfterQuoted, b' ' | b'\t') => At::BeforeExtension,
            (At::NameStart | At::Name, byte) if head::is_token(&byte) => At::Name,
            (At::ValueStart | At::Value, byte) if head::is_token(&byte) => At::Value,
            (At::Quoted, b'"') => At::AfterQuoted,
            (At::Quoted, b'\\') => At::QuotedPair,
            (At::Quoted | At::QuotedPair, byte) if byte == b'\t' || (byte >= b' ' && byte != 0x7f) => {
                At::Quoted
            }
            (At::SizeEnd, b'\n') if self.left == 0 => At::Trailers,
            (At::SizeEnd, b'\n') => At::Content,
            (At::ContentCr, b'\r') => At::ContentLf,
            (At::ContentLf, b'\n') => At::SizeStart,
            (At::Trailers, byte) => return self.on_trailer(byte),
            (At::ContentCr | At::ContentLf, _) => {
                return Err(Refusal::bad("a chunk does not end where it says"));
            }
            _ => return Err(Refusal::bad("the size of a chunk is none")),
        };
        self.line = if next == At::SizeStart { 0 } else { self.line + 1 };
        if self.line > CHUNK_LINE {
            return Err(Refusal::bad("the extensions of a chunk are too long"));
        }
        Ok(next)
    }

    fn on_trailer(&mut self, byte: u8) -> Result<Place, Refusal> {
        if self.trailers.len() == TRAILERS {
            return Err(Refusal { status: 431, reason: "the trailers are too large" });
        }
        self.trailers.push(byte);
        if byte != b'\n' {
            return Ok(Place::Trailers);
        }
        let Some(line) = self.trailers[self.trailer..].strip_suffix(b"\r\n") else {
            return Err(Refusal::bad("a line ends in a bare line feed"));
        };
        if line.is_empty() {
            return Ok(Place::Done);
        }
        let (name, _) = head::field(line)?;
        if head::OWN_FIELDS.iter().any(|own| head::is(name, own)) {
            return Err(Refusal::bad("a trailer frames the request"));
        }
        self.trailer = self.trailers.len();
        Ok(Place::Trailers)
    }
}

#[cfg(test)]
mod tests;
