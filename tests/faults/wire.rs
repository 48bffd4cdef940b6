//! As much HTTP/1.1 as client and service of the harness need, strict about what it reads.

use std::io::{self, BufRead, Read};

/// A head, and how the body after it is framed.
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) closes: bool,
    length: Option<usize>,
    chunked: bool,
}

impl Head {
    /// The next head; `None` at the end of the stream.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut first = String::new();
        if from.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        let mut head =
            Self { first: first.trim_end().to_owned(), closes: false, length: None, chunked: false };
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Err(broken("closed within a head"));
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                return Ok(Some(head));
            }
            match line.split_once(':') {
                Some(("content-length", value)) => head.length = value.trim().parse().ok(),
                Some(("transfer-encoding", value)) => head.chunked = value.trim() == "chunked",
                Some(("connection", value)) => head.closes = value.trim() == "close",
                _ => {}
            }
        }
    }

    /// The body after it.
    pub(crate) fn body(&self, from: &mut impl BufRead) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        self.body_into(from, &mut body)?;
        Ok(body)
    }

    /// The same; what came before it broke off is in `body`.
    pub(crate) fn body_into(&self, from: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
        if !self.chunked {
            let length = self.length.unwrap_or(0);
            let read = from.take(length as u64).read_to_end(body)?;
            return if read == length { Ok(()) } else { Err(broken("closed within a body")) };
        }
        loop {
            let mut size = String::new();
            if from.read_line(&mut size)? == 0 {
                return Err(broken("closed within a body"));
            }
            let size =
                usize::from_str_radix(size.trim(), 16).map_err(|_| broken("a chunk without a size"))?;
            let read = from.take(size as u64).read_to_end(body)?;
            let mut end = [0; 2];
            from.read_exact(&mut end)?;
            if read != size || end != *b"\r\n" {
                return Err(broken("closed within a body"));
            }
            if size == 0 {
                return Ok(());
            }
        }
    }
}

pub(crate) fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, why)
}
