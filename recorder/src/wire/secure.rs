//! Reads what two parties say within TLS, when the secrets of their connection are known: TLS 1.2 and 1.3.
//!
//! Records are opened one after the other, by each side's own key, as far as everything was captured: behind a gap
//! nothing can be opened any more, since records are numbered. Nothing is verified but the records themselves:
//! whoever has the secrets has seen the connection. What is said before the handshake's end (early data) is not
//! read.

mod opener;

use captures::Offset;

use self::opener::{Opener, Suite};
use super::scene::Scene;
use super::talk::{Side, Stretch, Talk};
use crate::keylog::{ClientRandom, Secrets};

/// The head of a record, and the longest that may follow it (RFC 5246, 6.2.3).
const HEAD: usize = 5;
const LONGEST_RECORD: usize = (1 << 14) + 2_048;
/// A longer message of the handshake is none.
const LONGEST_MESSAGE: usize = 256 << 10;
/// So many records of a client may be early data that nobody can open.
const MOST_EARLY: u32 = 1_024;

const CHANGE_CIPHER: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CONTENT: u8 = 23;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const FINISHED: u8 = 20;
const KEY_UPDATE: u8 = 24;

/// What a server chooses at random when it asks for another hello (RFC 8446, 4.1.3).
const ONCE_MORE: [u8; 32] = [
    0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91, 0xC2,
    0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
];

/// A connection within TLS.
#[derive(Debug)]
pub(super) struct Secure {
    client: Side,
    sides: [Records; 2],
    random: Option<ClientRandom>,
    agreed: Option<Agreed>,
    /// What is said within.
    pub(super) talk: Talk,
}

/// What the server decided.
#[derive(Clone, Copy, Debug)]
struct Agreed {
    random: [u8; 32],
    suite: Suite,
    is_latest: bool,
}

/// What one party sends.
#[derive(Debug, Default)]
struct Records {
    /// A record that has not come whole.
    bytes: Vec<u8>,
    opener: Option<Opener>,
    /// Of TLS 1.3: the secret of that.
    secret: Vec<u8>,
    /// A message of the handshake that has not come whole.
    message: Vec<u8>,
    /// Where the next content stands among all that this party says within.
    place: u64,
    early: u32,
}

/// Nothing more can be read.
#[derive(Debug)]
pub(super) struct Closed;

impl Secure {
    /// A connection that `client` opens with its hello.
    pub(super) fn new(client: Side) -> Self {
        let mut talk = Talk::default();
        talk.on_opened_by(client);
        Self { client, sides: [Records::default(), Records::default()], random: None, agreed: None, talk }
    }

    /// The bytes of memory that it holds, beside the exchanges.
    pub(super) fn held(&self) -> usize {
        let held: usize = self.sides.iter().map(|side| side.bytes.len() + side.message.len()).sum();
        held + self.talk.held()
    }

    /// Whether anything could be opened.
    pub(super) fn is_read(&self) -> bool {
        self.sides.iter().any(|side| side.place > 0)
    }

    /// The next bytes of one party.
    pub(super) fn on_bytes(
        &mut self,
        scene: &mut Scene<'_>,
        side: Side,
        stretch: Stretch<'_>,
    ) -> Result<(), Closed> {
        let mut bytes = std::mem::take(&mut self.sides[side].bytes);
        bytes.extend_from_slice(stretch.bytes);
        let mut from = 0;
        while let Some(head) = bytes[from..].first_chunk::<HEAD>().copied() {
            let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
            if !(CHANGE_CIPHER..=CONTENT).contains(&head[0]) || head[1] != 3 || length > LONGEST_RECORD {
                return Err(Closed);
            }
            let Some(record) = bytes[from + HEAD..].get_mut(..length) else { break };
            self.on_record(scene, side, stretch.at, head, record)?;
            from += HEAD + length;
        }
        bytes.drain(..from);
        self.sides[side].bytes = bytes;
        Ok(())
    }

    fn on_record(
        &mut self,
        scene: &mut Scene<'_>,
        side: Side,
        at: Offset,
        head: [u8; HEAD],
        record: &mut [u8],
    ) -> Result<(), Closed> {
        let is_latest = self.agreed.is_some_and(|agreed| agreed.is_latest);
        if head[0] == CHANGE_CIPHER {
            // In TLS 1.3 it means nothing (RFC 8446, D.4).
            return if is_latest { Ok(()) } else { self.on_change(scene, side) };
        }
        let records = &mut self.sides[side];
        let (kind, content) = match &mut records.opener {
            None => (head[0], 0..record.len()),
            Some(opener) => match opener.open(head, record) {
                Some(opened) => opened,
                None if is_latest
                    && side == self.client
                    && records.early < MOST_EARLY
                    && !records.is_begun() =>
                {
                    // Early data has a key of its own.
                    records.early += 1;
                    scene.counts.unread_bytes += record.len() as u64;
                    return Ok(());
                }
                None => return Err(Closed),
            },
        };
        let is_open = records.opener.is_some();
        let content = &record[content];
        match kind {
            HANDSHAKE => self.on_handshake(scene, side, content),
            CONTENT if is_open => {
                let stretch = Stretch { at, place: records.place, heard: None, bytes: content };
                records.place += content.len() as u64;
                self.talk.on_bytes(scene.secured(), side, stretch);
                Ok(())
            }
            // Early data of a client whose server has not answered.
            CONTENT => {
                scene.counts.unread_bytes += content.len() as u64;
                Ok(())
            }
            // The word that nothing more follows.
            ALERT if content.get(1) == Some(&0) => {
                self.talk.on_end(scene.secured(), side, at);
                Ok(())
            }
            ALERT => Ok(()),
            _ => Err(Closed),
        }
    }

    fn on_handshake(&mut self, scene: &Scene<'_>, side: Side, content: &[u8]) -> Result<(), Closed> {
        let mut message = std::mem::take(&mut self.sides[side].message);
        message.extend_from_slice(content);
        let mut from = 0;
        while let Some([kind, length @ ..]) = message[from..].first_chunk::<4>().copied() {
            let length = length.iter().fold(0, |all, &byte| all << 8 | usize::from(byte));
            if length > LONGEST_MESSAGE {
                return Err(Closed);
            }
            let Some(body) = message[from + 4..].get(..length) else { break };
            self.on_message(scene, side, kind, body)?;
            from += 4 + length;
        }
        message.drain(..from);
        self.sides[side].message = message;
        Ok(())
    }

    fn on_message(&mut self, scene: &Scene<'_>, side: Side, kind: u8, body: &[u8]) -> Result<(), Closed> {
        match kind {
            CLIENT_HELLO if side == self.client => {
                let random = body.get(2..).and_then(|rest| rest.first_chunk()).ok_or(Closed)?;
                self.random = Some(*random);
                // Without its secrets nothing of it can be read.
                self.secrets(scene).map(|_| ())
            }
            SERVER_HELLO if side != self.client => {
                let agreed = server_hello(body).ok_or(Closed)?;
                if agreed.random == ONCE_MORE {
                    return Ok(());
                }
                self.agreed = Some(agreed);
                if agreed.is_latest {
                    let handshake = self.secrets(scene)?.handshake.clone();
                    self.begin(side, handshake[1].as_deref())?;
                    self.begin(1 - side, handshake[0].as_deref())?;
                }
                Ok(())
            }
            FINISHED if self.agreed.is_some_and(|agreed| agreed.is_latest) => {
                let traffic = self.secrets(scene)?.traffic.clone();
                self.begin(side, traffic[usize::from(side != self.client)].as_deref())
            }
            KEY_UPDATE => {
                let suite = self.agreed.ok_or(Closed)?.suite;
                let next = suite.next_secret(&self.sides[side].secret).ok_or(Closed)?;
                self.begin(side, Some(&next))
            }
            _ => Ok(()),
        }
    }

    /// From here on the records of a party are sealed, up to TLS 1.2.
    fn on_change(&mut self, scene: &Scene<'_>, side: Side) -> Result<(), Closed> {
        let (Some(random), Some(agreed)) = (self.random, self.agreed) else { return Err(Closed) };
        let master = self.secrets(scene)?.master.as_ref().ok_or(Closed)?;
        let [client, server] = agreed.suite.by_master(master, &random, &agreed.random).ok_or(Closed)?;
        self.sides[side].opener = Some(if side == self.client { client } else { server });
        Ok(())
    }

    /// From here on the records of a party are sealed by `secret`.
    fn begin(&mut self, side: Side, secret: Option<&[u8]>) -> Result<(), Closed> {
        let (Some(secret), Some(agreed)) = (secret, self.agreed) else { return Err(Closed) };
        let records = &mut self.sides[side];
        records.opener = Some(agreed.suite.by_secret(secret).ok_or(Closed)?);
        records.secret = secret.to_vec();
        Ok(())
    }

    fn secrets<'a>(&self, scene: &'a Scene<'_>) -> Result<&'a Secrets, Closed> {
        self.random.as_ref().and_then(|random| scene.keys.secrets(random)).ok_or(Closed)
    }
}

impl Records {
    /// Whether a record of its own key was opened.
    fn is_begun(&self) -> bool {
        self.opener.as_ref().is_some_and(Opener::is_begun)
    }
}

/// What a server's hello decides; `None` when it is none, or decides what cannot be opened.
fn server_hello(body: &[u8]) -> Option<Agreed> {
    let random = *body.get(2..)?.first_chunk::<32>()?;
    let session = usize::from(*body.get(34)?);
    let rest = body.get(35 + session..)?;
    let number = u16::from_be_bytes(*rest.first_chunk()?);
    // Behind the suite: the compression, which is none, and extensions, each behind its kind and length.
    let mut extensions = rest.get(5..).unwrap_or_default();
    if rest.get(2) != Some(&0) {
        return None;
    }
    let mut is_latest = false;
    while let Some([kind_high, kind_low, high, low]) = extensions.first_chunk::<4>().copied() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = extensions.get(4..4 + length)?;
        is_latest |= [kind_high, kind_low] == [0, 43] && value == [3, 4];
        extensions = &extensions[4 + length..];
    }
    Some(Agreed { random, suite: Suite::of(number)?, is_latest })
}
