//! Opens the records of TLS 1.2 and 1.3, when the secrets of their connection are known.
//!
//! The ciphers, HMAC and HKDF are ring's. Suites without authenticated encryption (CBC, RC4) are not opened: ring
//! has none of them, and nobody who keeps keys today negotiates them.

use std::ops::Range;

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use ring::{hkdf, hmac};

/// What authenticates a record stands behind its content.
const TAG: usize = 16;
/// Fixed part of the nonce and explicit part, where a record carries one (RFC 5288, 3).
const SALT: usize = 4;
const EXPLICIT: usize = 8;

/// A cipher suite that can be opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suite {
    cipher: &'static Algorithm,
    hash: Hash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
}

impl Suite {
    /// The suite of this number.
    pub(super) fn of(number: u16) -> Option<Self> {
        let (cipher, hash): (&'static Algorithm, Hash) = match number {
            0x1301 | 0x009C | 0x009E | 0xC02B | 0xC02F => (&AES_128_GCM, Hash::Sha256),
            0x1302 | 0x009D | 0x009F | 0xC02C | 0xC030 => (&AES_256_GCM, Hash::Sha384),
            0x1303 | 0xCCA8..=0xCCAA => (&CHACHA20_POLY1305, Hash::Sha256),
            _ => return None,
        };
        Some(Self { cipher, hash })
    }

    /// What opens the records of client and server, by the master secret (RFC 5246, 6.3).
    pub(super) fn by_master(
        self,
        master: &[u8],
        client: &[u8; 32],
        server: &[u8; 32],
    ) -> Option<[Opener; 2]> {
        let is_gcm = self.cipher != &CHACHA20_POLY1305;
        let (key, iv) = (self.cipher.key_len(), if is_gcm { SALT } else { 12 });
        let seed = [&b"key expansion"[..], server, client].concat();
        let block = self.expand(master, &seed, 2 * (key + iv));
        let (keys, ivs) = block.split_at(2 * key);
        let form = if is_gcm { Form::Explicit } else { Form::Implicit };
        let opener =
            |side: usize| Opener::new(self, form, &keys[side * key..][..key], &ivs[side * iv..][..iv]);
        Some([opener(0)?, opener(1)?])
    }

    /// What opens the records of one party, by its traffic secret (RFC 8446, 7.3).
    pub(super) fn by_secret(self, secret: &[u8]) -> Option<Opener> {
        let key = self.labelled(secret, b"key", self.cipher.key_len())?;
        let iv = self.labelled(secret, b"iv", 12)?;
        Opener::new(self, Form::Latest, &key, &iv)
    }

    /// The traffic secret that comes after this one (RFC 8446, 7.2).
    pub(super) fn next_secret(self, secret: &[u8]) -> Option<Vec<u8>> {
        self.labelled(secret, b"traffic upd", secret.len())
    }

    /// `P_hash` (RFC 5246, 5).
    fn expand(self, secret: &[u8], seed: &[u8], length: usize) -> Vec<u8> {
        let algorithm = match self.hash {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha384 => hmac::HMAC_SHA384,
        };
        let key = hmac::Key::new(algorithm, secret);
        let (mut made, mut round) = (Vec::new(), hmac::sign(&key, seed));
        while made.len() < length {
            made.extend_from_slice(hmac::sign(&key, &[round.as_ref(), seed].concat()).as_ref());
            round = hmac::sign(&key, round.as_ref());
        }
        made.truncate(length);
        made
    }

    /// `HKDF-Expand-Label` without context (RFC 8446, 7.1).
    fn labelled(self, secret: &[u8], label: &[u8], length: usize) -> Option<Vec<u8>> {
        let algorithm = match self.hash {
            Hash::Sha256 => hkdf::HKDF_SHA256,
            Hash::Sha384 => hkdf::HKDF_SHA384,
        };
        let label = [&b"tls13 "[..], label].concat();
        let info = [
            &u16::try_from(length).ok()?.to_be_bytes()[..],
            &[u8::try_from(label.len()).ok()?],
            &label,
            &[0],
        ];
        let mut made = vec![0; length];
        hkdf::Prk::new_less_safe(algorithm, secret)
            .expand(&info, Length(length))
            .ok()?
            .fill(&mut made)
            .ok()?;
        Some(made)
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// How the nonce of a record is made, and what is authenticated beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// TLS 1.2, with a part of the nonce in the record.
    Explicit,
    /// TLS 1.2, without.
    Implicit,
    /// TLS 1.3.
    Latest,
}

/// Opens the records of one party, in their order.
#[derive(Debug)]
pub(super) struct Opener {
    key: LessSafeKey,
    iv: [u8; 12],
    form: Form,
    sequence: u64,
}

impl Opener {
    fn new(suite: Suite, form: Form, key: &[u8], iv: &[u8]) -> Option<Self> {
        let mut whole = [0; 12];
        whole.get_mut(..iv.len())?.copy_from_slice(iv);
        let key = LessSafeKey::new(UnboundKey::new(suite.cipher, key).ok()?);
        Some(Self { key, iv: whole, form, sequence: 0 })
    }

    /// Whether it opened anything.
    pub(super) const fn is_begun(&self) -> bool {
        self.sequence > 0
    }

    /// Opens the next record, with this head, in its place: its kind, and where its content stands. `None` when
    /// it is not authentic.
    pub(super) fn open(&mut self, head: [u8; 5], record: &mut [u8]) -> Option<(u8, Range<usize>)> {
        let mut nonce = self.iv;
        let sequence = self.sequence.to_be_bytes();
        let from = if self.form == Form::Explicit {
            nonce[SALT..].copy_from_slice(record.get(..EXPLICIT)?);
            EXPLICIT
        } else {
            nonce[4..].iter_mut().zip(sequence).for_each(|(byte, turn)| *byte ^= turn);
            0
        };
        let length = record.len().checked_sub(from + TAG)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = &mut record[from..];
        let opened = if self.form == Form::Latest {
            self.key.open_in_place(nonce, Aad::from(head), sealed)
        } else {
            let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
            let mut beside = [0; 13];
            beside[..8].copy_from_slice(&sequence);
            beside[8..].copy_from_slice(&[head[0], head[1], head[2], high, low]);
            self.key.open_in_place(nonce, Aad::from(beside), sealed)
        };
        let opened = opened.ok()?;
        self.sequence += 1;
        if self.form != Form::Latest {
            return Some((head[0], from..from + length));
        }
        // The kind stands behind the content, and zeros may stand behind it (RFC 8446, 5.4).
        let end = opened.iter().rposition(|&byte| byte != 0)?;
        Some((opened[end], 0..end))
    }
}
