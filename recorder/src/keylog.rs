//! Keeps the secrets of TLS connections that clients or servers wrote down, so that their recorded traffic can be
//! read.
//!
//! They come in the format that NSS began (`SSLKEYLOGFILE`): a label, what the client chose at random, and the
//! secret, a line. Such lines stand in a file of their own, or in blocks of a pcapng file that hold secrets.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Read};

/// The secrets of so many connections are kept; others stay closed, and are counted as all that stay so.
const MOST: usize = 1 << 18;
/// A line or a block of lines that is longer is none.
const LONGEST_LINE: u64 = 1 << 10;
const LARGEST_BLOCK: u32 = 64 << 20;
/// What a client chooses at random (RFC 8446, 4.1.2).
pub(crate) type ClientRandom = [u8; 32];

/// What a section begins with, and what says that the highest byte stands first.
const SECTION: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
const BIG: [u8; 4] = [0x1A, 0x2B, 0x3C, 0x4D];
/// A block of secrets.
const SECRETS: u32 = 10;
/// The kind of secrets that this format has: `TLSK`.
const TLS_KEYS: u32 = 0x544C_534B;

/// The secrets of one connection; of pairs the client's stands first.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secrets {
    /// The master secret, up to TLS 1.2.
    pub(crate) master: Option<Vec<u8>>,
    /// Those of the handshake, of TLS 1.3.
    pub(crate) handshake: [Option<Vec<u8>>; 2],
    /// Those of the first content.
    pub(crate) traffic: [Option<Vec<u8>>; 2],
}

/// Secrets of connections.
#[derive(Default)]
pub struct KeyLog {
    secrets: HashMap<ClientRandom, Secrets>,
}

impl fmt::Debug for KeyLog {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLog").field("connections", &self.secrets.len()).finish()
    }
}

impl KeyLog {
    /// Of how many connections there are secrets.
    pub fn connections(&self) -> usize {
        self.secrets.len()
    }

    /// Takes the lines of `log`; what is no secret is stepped over.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&mut self, mut log: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if log.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            self.on_line(&line);
        }
    }

    /// Takes the secrets that stand in `file`, when it is a pcapng file.
    ///
    /// # Errors
    /// When it cannot be read. A file that is damaged ends where the damage is.
    pub fn read_within(&mut self, mut file: impl BufRead) -> io::Result<()> {
        let mut order = None;
        loop {
            let mut head = [0; 8];
            if !fills(&mut file, &mut head)? {
                return Ok(());
            }
            let mut known = 8;
            if head[..4] == SECTION {
                let mut magic = [0; 4];
                if !fills(&mut file, &mut magic)? {
                    return Ok(());
                }
                order = Some(if magic == BIG { Order::Big } else { Order::Little });
                known += 4;
            }
            // What does not begin with a section is no file of this kind.
            let Some(order) = order else { return Ok(()) };
            let (kind, length) = (order.number(&head, 0), order.number(&head, 4));
            if length % 4 != 0 || length < known {
                return Ok(());
            }
            let mut rest = file.by_ref().take(u64::from(length - known));
            if kind == SECRETS && length <= LARGEST_BLOCK {
                let mut block = Vec::new();
                rest.read_to_end(&mut block)?;
                if block.len() >= 8 && order.number(&block, 0) == TLS_KEYS {
                    let length = usize::try_from(order.number(&block, 4)).unwrap_or(usize::MAX);
                    self.read(&block[8..block.len().min(length.saturating_add(8))])?;
                }
            } else {
                io::copy(&mut rest, &mut io::sink())?;
            }
        }
    }

    /// The secrets of the connection whose client chose `random`.
    pub(crate) fn secrets(&self, random: &ClientRandom) -> Option<&Secrets> {
        self.secrets.get(random)
    }

    fn on_line(&mut self, line: &[u8]) {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (Some(label), Some(random), Some(secret)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let Some(random) = bytes(random).and_then(|random| ClientRandom::try_from(random).ok()) else {
            return;
        };
        let Some(secret) = bytes(secret).filter(|secret| !secret.is_empty()) else { return };
        if self.secrets.len() >= MOST && !self.secrets.contains_key(&random) {
            return;
        }
        let place = |secrets: &mut Secrets| match label {
            b"CLIENT_RANDOM" => secrets.master = Some(secret),
            b"CLIENT_HANDSHAKE_TRAFFIC_SECRET" => secrets.handshake[0] = Some(secret),
            b"SERVER_HANDSHAKE_TRAFFIC_SECRET" => secrets.handshake[1] = Some(secret),
            b"CLIENT_TRAFFIC_SECRET_0" => secrets.traffic[0] = Some(secret),
            b"SERVER_TRAFFIC_SECRET_0" => secrets.traffic[1] = Some(secret),
            _ => {}
        };
        place(self.secrets.entry(random).or_default());
    }
}

/// In which order the bytes of numbers stand.
#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn number(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }
}

/// Whether there was enough to fill `buffer`.
fn fills(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The bytes that hexadecimal digits stand for.
fn bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| Some(value(pair[0])? << 4 | value(pair[1])?);
    rest.is_empty().then(|| pairs.iter().map(byte).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: ClientRandom = [0xAB; 32];

    fn line(label: &str, secret: &str) -> String {
        format!("{label} {} {secret}\n", "aB".repeat(32))
    }

    /// A block as the format of pcapng draws it: kind, length, body, length.
    fn block(is_big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
        let number = |number: u32| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
        let padded = [body, &vec![0; body.len().next_multiple_of(4) - body.len()]].concat();
        let length = number(u32::try_from(padded.len() + 12).unwrap());
        [&number(kind)[..], &length, &padded, &length].concat()
    }

    #[test]
    fn lines_are_taken_and_what_is_none_is_stepped_over() {
        let mut keys = KeyLog::default();
        let log = [
            "# made by hand\n".to_owned(),
            line("CLIENT_RANDOM", "0102"),
            line("SERVER_TRAFFIC_SECRET_0", "ff"),
            line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", "0"),
            line("EXPORTER_SECRET", "0a"),
            "CLIENT_RANDOM 00 00\n".to_owned(),
            "x".repeat(5_000),
        ];
        keys.read(log.concat().as_bytes()).unwrap();

        let found = keys.secrets(&RANDOM).unwrap();
        assert_eq!(
            (found.master.as_deref(), found.traffic[1].as_deref()),
            (Some(&[1, 2][..]), Some(&[255][..]))
        );
        assert_eq!((keys.connections(), found.handshake[0].as_deref()), (1, None));
        assert!(!format!("{keys:?}").contains("master"));
    }

    #[test]
    fn secrets_within_a_file_of_packets_are_taken_in_either_order_of_bytes() {
        for is_big in [false, true] {
            let number = |number: u32| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
            let log = line("CLIENT_RANDOM", "07");
            let secrets = |kind: u32| {
                let length = number(u32::try_from(log.len()).unwrap());
                block(is_big, SECRETS, &[&number(kind)[..], &length, log.as_bytes()].concat())
            };
            let begin = [&number(0x1A2B_3C4D)[..], &[0; 12]].concat();
            let begin = block(is_big, u32::from_be_bytes(SECTION), &begin);
            let other = block(is_big, 6, &[0; 40]);

            let mut keys = KeyLog::default();
            keys.read_within(&[&begin[..], &other, &secrets(0x5747_4B4C)].concat()[..]).unwrap();
            assert_eq!(keys.connections(), 0, "keys of WireGuard");
            let file = [&begin[..], &other, &secrets(TLS_KEYS)].concat();
            keys.read_within(&file[..]).unwrap();
            assert_eq!(keys.secrets(&RANDOM).unwrap().master.as_deref(), Some(&[7][..]));
            for end in 0..file.len() {
                KeyLog::default().read_within(&file[..end]).unwrap();
            }
        }
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_search() {
        for length in [0_u32, 4, 8, 13, u32::MAX] {
            let mut file = [&SECTION[..], &12_u32.to_le_bytes(), &[0x4D, 0x3C, 0x2B, 0x1A]].concat();
            file.extend(6_u32.to_le_bytes());
            file.extend(length.to_le_bytes());
            file.extend([0; 64]);
            KeyLog::default().read_within(&file[..]).unwrap();
        }
    }
}
