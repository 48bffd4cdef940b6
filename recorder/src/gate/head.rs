//! Checks the head of an HTTP/1 request, line by line as it comes, and says how its body is framed.
//!
//! What two servers could read in two ways is refused, also where the engine or a lenient standard would let
//! it pass: two framings, repeated or odd `Transfer-Encoding`, lengths with signs or leading zeros, folded
//! lines, line ends that are not CR LF, targets that are neither a path nor a URL, two hosts. Each line is
//! looked at once, so that a head that drips in costs no more than one that comes at once.

use std::ops::Range;

use memchr::memchr;

use crate::gate::framing::Body;

/// Why a request is not let through, and what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

impl Refusal {
    /// What is no HTTP.
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }
}

/// What a head may weigh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) bytes: usize,
    pub(crate) fields: usize,
}

/// A head that is let through.
#[derive(Debug)]
pub(crate) struct Head {
    /// Its bytes, with the empty line that ends it.
    pub(crate) length: usize,
    /// What follows it.
    pub(crate) body: Body,
    /// Whether it asks for another protocol.
    pub(crate) upgrade: bool,
}

/// A head while it comes.
#[derive(Debug)]
pub(crate) struct HeadReader {
    limits: HeadLimits,
    /// Where the line begins that is not whole yet.
    line: usize,
    /// How far that line was searched for its end.
    searched: usize,
    fields: usize,
    request: Option<RequestLine>,
    host: Option<Range<usize>>,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

#[derive(Debug)]
struct RequestLine {
    /// Whether it is HTTP/1.0.
    old: bool,
    /// Where the authority of an absolute target stands.
    authority: Option<Range<usize>>,
}

impl HeadReader {
    pub(crate) const fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            line: 0,
            searched: 0,
            fields: 0,
            request: None,
            host: None,
            length: None,
            chunked: false,
            upgrade: false,
        }
    }

    /// Whether nothing came yet.
    pub(crate) const fn is_new(&self) -> bool {
        self.searched == 0
    }

    /// Takes all that came of the head so far, from its first byte; `None` while it is not whole.
    pub(crate) fn on_bytes(&mut self, bytes: &[u8]) -> Result<Option<Head>, Refusal> {
        loop {
            let found = memchr(b'\n', &bytes[self.searched..]);
            let end = found.map_or(bytes.len(), |at| self.searched + at + 1);
            if end > self.limits.bytes {
                return Err(self.too_large());
            }
            self.searched = end;
            if found.is_none() {
                return Ok(None);
            }
            let Some(text) = bytes[self.line..end].strip_suffix(b"\r\n") else {
                return Err(Refusal::bad("a line ends in a bare line feed"));
            };
            let line = self.line..self.line + text.len();
            self.line = end;
            if self.request.is_none() {
                self.request = Some(request_line(bytes, line)?);
            } else if line.is_empty() {
                return self.finish(bytes, end).map(Some);
            } else {
                self.on_field(bytes, line)?;
            }
        }
    }

    const fn too_large(&self) -> Refusal {
        match self.request {
            None => Refusal { status: 414, reason: "the request line is too long" },
            Some(_) => Refusal { status: 431, reason: "the head is too large" },
        }
    }

    fn on_field(&mut self, bytes: &[u8], line: Range<usize>) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > self.limits.fields {
            return Err(Refusal { status: 431, reason: "the head has too many fields" });
        }
        let start = line.start;
        let (name, value) = field(&bytes[line])?;
        let text = &bytes[start..][value.clone()];
        if is(name, b"host") {
            if self.host.is_some() {
                return Err(Refusal::bad("there is more than one Host"));
            }
            if !is_authority(text) {
                return Err(Refusal::bad("the Host is none"));
            }
            self.host = Some(start + value.start..start + value.end);
        } else if is(name, b"content-length") {
            if self.length.is_some() {
                return Err(Refusal::bad("there is more than one Content-Length"));
            }
            self.length = Some(length(text).ok_or(Refusal::bad("the Content-Length is none"))?);
        } else if is(name, b"transfer-encoding") {
            if self.chunked {
                return Err(Refusal::bad("there is more than one Transfer-Encoding"));
            }
            if !is(text, b"chunked") {
                return Err(Refusal { status: 501, reason: "the Transfer-Encoding is not chunked" });
            }
            self.chunked = true;
        } else if is(name, b"upgrade") {
            self.upgrade = true;
        } else if is(name, b"connection") {
            // Fields that are named here go no further, and with these the framing would change.
            let mut named = text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            if named.any(|name| OWN_FIELDS.iter().any(|own| is(name, own))) {
                return Err(Refusal::bad("Connection names a field that frames the request"));
            }
        }
        Ok(())
    }

    fn finish(&self, bytes: &[u8], length: usize) -> Result<Head, Refusal> {
        let Some(request) = &self.request else { return Err(Refusal::bad("there is no request line")) };
        let host = self.host.clone().map(|host| &bytes[host]);
        let authority = request.authority.clone().map(|authority| &bytes[authority]);
        if host.is_none() && !request.old {
            return Err(Refusal::bad("there is no Host"));
        }
        if let (Some(host), Some(authority)) = (host, authority)
            && !is(host, authority)
        {
            return Err(Refusal::bad("the target and the Host name different hosts"));
        }
        let body = match (self.chunked, self.length) {
            (true, Some(_)) => {
                return Err(Refusal::bad("there are both Content-Length and Transfer-Encoding"));
            }
            (true, None) if request.old => {
                return Err(Refusal::bad("HTTP/1.0 has no Transfer-Encoding"));
            }
            (true, None) => Body::chunked(),
            (false, length) => Body::Length(length.unwrap_or(0)),
        };
        Ok(Head { length, body, upgrade: self.upgrade && !request.old })
    }
}

/// The fields that say where a request ends and to whom it goes.
pub(crate) const OWN_FIELDS: [&[u8]; 3] = [b"host", b"content-length", b"transfer-encoding"];

fn request_line(bytes: &[u8], line: Range<usize>) -> Result<RequestLine, Refusal> {
    let bad = Refusal::bad("the request line is none");
    let text = &bytes[line.clone()];
    let mut parts = text.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad);
    };
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal { status: 505, reason: "the version of HTTP is not spoken here" });
        }
        _ => return Err(bad),
    };
    if method.is_empty() || !method.iter().all(is_token) {
        return Err(Refusal::bad("the method is none"));
    }
    if method == b"CONNECT" {
        return Err(Refusal { status: 405, reason: "CONNECT is not served" });
    }
    let no_target = Refusal::bad("the target is none");
    if target.iter().any(|&byte| byte < b'!' || byte == 0x7f) || std::str::from_utf8(target).is_err() {
        return Err(no_target);
    }
    let authority = match target {
        [b'/', ..] => None,
        b"*" if matches!(method, b"OPTIONS" | b"M-SEARCH") => None,
        _ => {
            let authority = authority_of(target).ok_or(no_target)?;
            let start = line.start + method.len() + 1 + authority.start;
            Some(start..start + authority.len())
        }
    };
    Ok(RequestLine { old, authority })
}

/// How much of `bytes` is empty lines in front of a request, as some clients send them behind a body; `None`
/// while the last of them is half here.
pub(crate) fn empty_lines(bytes: &[u8]) -> Option<usize> {
    let length = bytes.chunks(2).take_while(|line| line == b"\r\n").count() * 2;
    (&bytes[length..] != b"\r").then_some(length)
}

/// The lines of a refused head up to the first that is none. Only these are recorded: a secret in a line that
/// cannot be read could not be told from the rest of it, and so not be masked.
pub(crate) fn sound_part(bytes: &[u8]) -> &[u8] {
    let bytes = &bytes[bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(bytes.len())..];
    let mut sound = 0;
    while let Some(at) = bytes[sound..].iter().position(|&byte| byte == b'\n') {
        let end = sound + at + 1;
        let Some(line) = bytes[sound..end].strip_suffix(b"\r\n") else { break };
        let readable = if sound == 0 {
            let mut parts = line.split(|&byte| byte == b' ');
            parts.next().is_some_and(|method| method.iter().all(is_token))
                && parts.next().is_some_and(|target| !target.iter().any(u8::is_ascii_control))
                && parts.next().is_some_and(|version| version.starts_with(b"HTTP/") && version.len() < 10)
                && parts.next().is_none()
        } else {
            !line.is_empty() && field(line).is_ok()
        };
        if !readable {
            break;
        }
        sound = end;
    }
    &bytes[..sound]
}

/// Where the authority stands in a target like `http://shop:80/path`.
fn authority_of(target: &[u8]) -> Option<Range<usize>> {
    let scheme: [&[u8]; 2] = [b"http://", b"https://"];
    let start = scheme
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|begin| is(begin, scheme)))?
        .len();
    let rest = &target[start..];
    let length = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    is_authority(&rest[..length]).then_some(start..start + length)
}

/// Whether `text` is a host with or without a port, and nothing more: no list, no user.
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = if text.starts_with(b"[") {
        let Some(end) = text.iter().position(|&byte| byte == b']') else { return false };
        let address = &text[1..end];
        if address.is_empty()
            || !address.iter().all(|byte| byte.is_ascii_alphanumeric() || b":.%".contains(byte))
        {
            return false;
        }
        (&text[..=end], &text[end + 1..])
    } else {
        let end = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
        let host = &text[..end];
        if !host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(byte)) {
            return false;
        }
        (host, &text[end..])
    };
    !host.is_empty() && (port.is_empty() || (port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit)))
}

/// A length in digits: no sign, no list, no zero in front.
fn length(text: &[u8]) -> Option<u64> {
    let plain = !text.is_empty()
        && text.len() < 19
        && text.iter().all(u8::is_ascii_digit)
        && (text.len() == 1 || text[0] != b'0');
    plain.then(|| text.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// The name of a field line, and where its value stands without the whitespace around it.
pub(crate) fn field(line: &[u8]) -> Result<(&[u8], Range<usize>), Refusal> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(Refusal::bad("a field is folded"));
    }
    let Some(colon) = line.iter().position(|byte| !is_token(byte)) else {
        return Err(Refusal::bad("a field has no colon"));
    };
    if line[colon] != b':' || colon == 0 {
        return Err(Refusal::bad("the name of a field is none"));
    }
    let value = &line[colon + 1..];
    // Without a way out in between, many bytes are compared at once.
    let odd = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    if value.iter().fold(false, |any, &byte| any | odd(byte)) {
        return Err(Refusal::bad("the value of a field has control characters"));
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    Ok((&line[..colon], colon + 1 + start..colon + 1 + end))
}

/// Whether two names are one, whatever the case.
pub(crate) fn is(name: &[u8], other: &[u8]) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// A character of a method or of the name of a field (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: &u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            let letter = byte as u8;
            table[byte] = letter.is_ascii_alphanumeric();
            byte += 1;
        }
        let marks = b"!#$%&'*+-.^_`|~";
        let mut index = 0;
        while index < marks.len() {
            table[marks[index] as usize] = true;
            index += 1;
        }
        table
    };
    TOKEN[*byte as usize]
}

#[cfg(test)]
mod tests;
