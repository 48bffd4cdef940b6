//! The requests that are sent, and what belongs to each: all of it follows from its number.

/// What a request asks for, or what the service is to do to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A body of that many bytes down, with its length.
    Get(usize),
    /// The same in chunks.
    Chunked(usize),
    /// A body of that many bytes up, with its length.
    Post(usize),
    /// The same in chunks.
    PostChunked(usize),
    /// The head of the answer alone.
    Head(usize),
    /// An answer that has no body.
    NoContent,
    /// An answer that has no body, though it tells of a length.
    NotModified,
    /// The connection is reset after so many bytes of the answer's body.
    Reset(usize),
    /// No answer ever.
    Hang,
    /// An answer of so many bytes, one each tenth of a second.
    Drip(usize),
}

impl Kind {
    /// The usual mix.
    pub(crate) const fn usual(id: u64) -> Self {
        let vary = (id / 20 % 200) as usize;
        match id % 20 {
            0..10 => Self::Get(20 + vary),
            10..13 => Self::Post(500 + 15 * vary),
            13 => Self::PostChunked(5_000 + vary),
            14 => Self::Chunked(3_000 + vary),
            // Above what is stored of a body by default.
            15 => Self::Get(70_000 + vary),
            16 => Self::Post(80_000 + vary),
            17 => Self::Head(1_000 + vary),
            18 => Self::NoContent,
            _ => Self::NotModified,
        }
    }

    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Post(_) | Self::PostChunked(_) => "POST",
            Self::Head(_) => "HEAD",
            Self::NoContent => "DELETE",
            _ => "GET",
        }
    }

    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::NoContent => 204,
            Self::NotModified => 304,
            _ => 200,
        }
    }

    /// The target of the request with this number.
    pub(crate) fn target(self, id: u64) -> String {
        let (name, length) = match self {
            Self::Get(length) => ("get", length),
            Self::Chunked(length) => ("chunked", length),
            Self::Post(length) => ("post", length),
            Self::PostChunked(length) => ("post-chunked", length),
            Self::Head(length) => ("head", length),
            Self::NoContent => ("no-content", 0),
            Self::NotModified => ("not-modified", 0),
            Self::Reset(length) => ("reset", length),
            Self::Hang => ("hang", 0),
            Self::Drip(length) => ("drip", length),
        };
        format!("/{name}/{length}/{id}")
    }

    /// The kind and the number that a target tells of.
    pub(crate) fn read(target: &str) -> Option<(Self, u64)> {
        let mut parts = target.strip_prefix('/')?.split('/');
        let (name, length, id) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let kind = match name {
            "get" => Self::Get(length),
            "chunked" => Self::Chunked(length),
            "post" => Self::Post(length),
            "post-chunked" => Self::PostChunked(length),
            "head" => Self::Head(length),
            "no-content" => Self::NoContent,
            "not-modified" => Self::NotModified,
            "reset" => Self::Reset(length),
            "hang" => Self::Hang,
            "drip" => Self::Drip(length),
            _ => return None,
        };
        Some((kind, id))
    }

    /// The body of the request.
    pub(crate) fn up(self, id: u64) -> Vec<u8> {
        match self {
            Self::Post(length) | Self::PostChunked(length) => body(id, length),
            _ => Vec::new(),
        }
    }

    /// The body of the answer, when the service gives all of it.
    pub(crate) fn down(self, id: u64) -> Vec<u8> {
        match self {
            Self::Get(length) | Self::Chunked(length) | Self::Drip(length) => body(id, length),
            Self::Reset(length) => body(id, 2 * length + 1),
            Self::Post(_) | Self::PostChunked(_) => b"taken".to_vec(),
            Self::Head(_) | Self::NoContent | Self::NotModified | Self::Hang => Vec::new(),
        }
    }

    /// The request on the wire.
    pub(crate) fn wire(self, id: u64) -> Vec<u8> {
        let (method, target, up) = (self.method(), self.target(id), self.up(id));
        let head = format!("{method} {target} HTTP/1.1\r\nHost: shop\r\nX-Number: {id}\r\n");
        match self {
            Self::Post(length) => {
                [format!("{head}Content-Length: {length}\r\n\r\n").as_bytes(), &up].concat()
            }
            Self::PostChunked(_) => {
                let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
                [head.as_bytes(), &chunks(&up)].concat()
            }
            _ => format!("{head}\r\n").into_bytes(),
        }
    }
}

/// `length` bytes that no other number has, nor any other place of the same body.
pub(crate) fn body(id: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 16);
    let mut place = 0;
    while bytes.len() < length {
        bytes.extend_from_slice(format!("{id:08x}.{place:06x}\n").as_bytes());
        place += 1;
    }
    bytes.truncate(length);
    bytes
}

/// A body in chunks, and its end.
pub(crate) fn chunks(body: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(body.len() + 64);
    for piece in body.chunks(1_500) {
        wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        wire.extend_from_slice(piece);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}
