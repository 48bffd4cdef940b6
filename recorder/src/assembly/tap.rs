//! Keeps of a body that streams by what the policy wants of it.
//!
//! What is wanted is decided once, by the head, when the first byte comes. A byte costs nothing but its copy,
//! unless its body is hashed: above its limit, because nothing else is kept of the rest, or from the start,
//! because only the digest is wanted.
//!
//! All bodies in flight share one room. A body that finds it full keeps a digest instead, and says that it
//! was cut: thousands of slow clients cost a recorder no more memory than it was given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use captures::Body;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::policy::{BodyRules, Kept};
use crate::redact;

/// How much of bodies is kept, and what they are hashed with.
#[derive(Debug)]
pub(crate) struct BodyPolicy {
    pub(crate) request: BodyRules,
    pub(crate) response: BodyRules,
    /// The key of digests; none when nothing is masked.
    pub(crate) key: Option<[u8; 32]>,
    pub(crate) room: Arc<Room>,
}

/// The memory that bodies may take until they are written.
#[derive(Debug)]
pub(crate) struct Room {
    most: u64,
    taken: AtomicU64,
}

impl Room {
    /// Room for so many bytes.
    pub(crate) fn of(most: captures::Bytes) -> Arc<Self> {
        Arc::new(Self { most: most.as_u64(), taken: AtomicU64::new(0) })
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.taken.load(Ordering::Relaxed) == 0
    }

    fn take(&self, bytes: u64) -> bool {
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.most;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What is kept of a body that is here as a whole.
pub(crate) fn kept_of(body: Vec<u8>, wanted: Kept, policy: &BodyPolicy) -> Body {
    let mut tap = Tap::default();
    tap.push(&Bytes::from(body), policy, || wanted);
    tap.into_body()
}

/// What is kept of one body.
#[derive(Debug, Default)]
pub(super) struct Tap {
    length: u64,
    /// What is wanted; unknown until the first byte.
    kept: Option<Kept>,
    /// Whether something went by unseen.
    has_gap: bool,
    stored: Stored,
    lease: Option<Lease>,
    digest: Option<Box<BodyDigest>>,
}

/// The stored prefix: most bodies come in one piece, which then is shared, not copied.
#[derive(Debug, Default)]
enum Stored {
    #[default]
    Nothing,
    Piece(Bytes),
    Pieces(Vec<u8>),
}

impl Stored {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Piece(piece) => piece,
            Self::Pieces(bytes) => bytes,
        }
    }
}

impl Tap {
    /// How many bytes went by.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// A piece of which nothing is kept.
    pub(super) fn count(&mut self, piece: &Bytes) {
        self.length += piece.len() as u64;
    }

    /// A piece of which is kept what `wanted` says when it is the first.
    pub(super) fn push(&mut self, piece: &Bytes, policy: &BodyPolicy, wanted: impl FnOnce() -> Kept) {
        if piece.is_empty() {
            return;
        }
        self.count(piece);
        let kept = *self.kept.get_or_insert_with(wanted);
        match kept {
            Kept::Nothing => {}
            Kept::Digest => self.hash(piece, policy),
            Kept::Prefix(limit) => self.keep(piece, self.room_below(limit), policy),
            Kept::Whole(limit) if piece.len() <= self.room_below(limit) => {
                self.keep(piece, piece.len(), policy)
            }
            Kept::Whole(_) => self.give_up(piece, policy),
        }
    }

    /// `length` bytes went by unseen, or an unknown number when that is zero.
    pub(super) fn skip(&mut self, length: u64) {
        self.has_gap = true;
        self.length += length;
        self.kept = Some(Kept::Nothing);
        self.digest = None;
    }

    fn room_below(&self, limit: captures::Bytes) -> usize {
        let limit = usize::try_from(limit.as_u64()).unwrap_or(usize::MAX);
        limit.saturating_sub(self.stored.as_slice().len())
    }

    /// Stores up to `most` bytes of `piece`; what does not fit makes a digest of it all.
    fn keep(&mut self, piece: &Bytes, most: usize, policy: &BodyPolicy) {
        let stored = piece.len().min(most);
        if stored > 0 && !self.lease(stored as u64, &policy.room) {
            return self.give_up(piece, policy);
        }
        if stored < piece.len() || self.digest.is_some() {
            // When it begins, what is stored so far is all that went by.
            self.hash(piece, policy);
        }
        if stored > 0 {
            self.store(piece, stored);
        }
    }

    /// Keeps a digest from now on, and nothing else.
    fn give_up(&mut self, piece: &Bytes, policy: &BodyPolicy) {
        self.hash(piece, policy);
        self.kept = Some(Kept::Digest);
        self.stored = Stored::Nothing;
        self.lease = None;
    }

    /// Hashes a piece, and with the first one what is stored before it.
    fn hash(&mut self, piece: &Bytes, policy: &BodyPolicy) {
        let Self { digest, stored, .. } = self;
        let digest = digest.get_or_insert_with(|| {
            let mut digest = Box::new(BodyDigest::new(policy.key.as_ref()));
            digest.update(stored.as_slice());
            digest
        });
        digest.update(piece);
    }

    fn store(&mut self, piece: &Bytes, length: usize) {
        match &mut self.stored {
            Stored::Nothing if length == piece.len() => self.stored = Stored::Piece(piece.clone()),
            Stored::Nothing => self.stored = Stored::Pieces(piece[..length].to_vec()),
            Stored::Piece(first) => {
                let mut bytes = Vec::with_capacity(first.len() + length);
                bytes.extend_from_slice(first);
                bytes.extend_from_slice(&piece[..length]);
                self.stored = Stored::Pieces(bytes);
            }
            Stored::Pieces(bytes) => bytes.extend_from_slice(&piece[..length]),
        }
    }

    fn lease(&mut self, bytes: u64, room: &Arc<Room>) -> bool {
        if !room.take(bytes) {
            return false;
        }
        let lease = self.lease.get_or_insert_with(|| Lease { room: Arc::clone(room), bytes: 0 });
        lease.bytes += bytes;
        true
    }

    /// The bytes of memory it holds.
    pub(super) fn held(&self) -> usize {
        match &self.stored {
            Stored::Pieces(bytes) => bytes.capacity(),
            other => other.as_slice().len(),
        }
    }

    /// What was kept.
    pub(super) fn into_body(self) -> Body {
        let stored = match self.stored {
            Stored::Nothing => Vec::new(),
            Stored::Piece(piece) => piece.into(),
            Stored::Pieces(bytes) => bytes,
        };
        Body {
            length: self.length,
            cut: self.has_gap || self.length > stored.len() as u64,
            stored,
            digest: self.digest.map(|digest| digest.finish()),
            decoded: false,
        }
    }
}

/// A part of the room, given back when it is dropped.
#[derive(Debug)]
struct Lease {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

#[derive(Debug)]
enum BodyDigest {
    Plain(Sha256),
    Keyed(Hmac<Sha256>),
}

impl BodyDigest {
    fn new(key: Option<&[u8; 32]>) -> Self {
        match key {
            None => Self::Plain(Sha256::new()),
            Some(key) => Self::Keyed(redact::keyed(key)),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(digest) => Digest::update(digest, bytes),
            Self::Keyed(digest) => Mac::update(digest, bytes),
        }
    }

    fn finish(self) -> [u8; 32] {
        match self {
            Self::Plain(digest) => Digest::finalize(digest).into(),
            Self::Keyed(digest) => Mac::finalize(digest).into_bytes().into(),
        }
    }
}
