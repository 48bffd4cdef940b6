//! Hands a recording over to a new process, without a moment in which nobody listens.
//!
//! ```text
//! new ── connects to a socket in the file system ──▶ old
//! new ◀── listening sockets, names and key of the recording ── old   (and goes on meanwhile)
//! new     opens the next segment, begins to accept
//! new ── "ready" ──▶ old    drains, closes its segment, ends
//! ```
//!
//! Both accept for a moment, on the same sockets: no connection is refused. A new process that ends before it
//! is ready costs nothing. Only a process of the same user is given anything: the key of the masks is in it.
//!
//! Numbers of exchanges, connections and sessions of the new process begin so far above those of the old one
//! that none is given twice. What a session is known by is not handed over: sessions end at the seam.

use std::fs::{self, Permissions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg, sockopt,
};

use crate::error::RecordError;

/// The first line; its number changes with whatever an older process would not understand.
const GREETING: &str = "highwater upgrade 1";
const READY: &[u8] = b"ready\n";
/// The most sockets that are handed over.
const MOST: usize = 200;
/// The most bytes of what is said about them.
const LONGEST: usize = 64 << 10;
/// How long either side waits for the other: the new one may have names to look up before it is ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many numbers belong to one process at least.
const RANGE_BITS: u32 = 32;

/// How a process takes over from an older one, and lets a newer one take over.
#[derive(Debug)]
pub struct Upgrade {
    path: PathBuf,
    heritage: Option<Heritage>,
    estate: Estate,
}

/// What a new process takes over from an old one.
#[derive(Debug)]
struct Heritage {
    listeners: Vec<(SocketAddr, TcpListener)>,
    names: Names,
    /// Keeps others from the files; shared with the old process.
    lock: Option<OwnedFd>,
    line: UnixStream,
}

/// What tells a recording and its parts from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) recording: [u8; 16],
    /// The number of the next segment.
    pub(crate) segment: u32,
    /// Where the numbers of exchanges, connections and sessions begin.
    pub(crate) first_id: u64,
    pub(crate) key: Option<[u8; 32]>,
}

impl Upgrade {
    /// Asks the process that offers its recording at `path`, if there is one. It goes on until the recording
    /// that is started with this is ready.
    ///
    /// # Errors
    /// When what is there cannot be taken over.
    pub fn claim(path: &Path) -> Result<Self, RecordError> {
        let heritage = Heritage::claim(path).map_err(|error| RecordError::CannotTakeOver { error })?;
        Ok(Self { path: path.to_owned(), heritage, estate: Estate::default() })
    }

    /// A socket that listens on `asked`: the old process's, or a new one. A newer process will get it, too.
    ///
    /// # Errors
    /// As [`bind`](crate::bind).
    pub fn listen(&mut self, asked: SocketAddr) -> Result<TcpListener, RecordError> {
        let theirs = self.heritage.as_mut().and_then(|heritage| heritage.listener(asked));
        let socket = theirs.map_or_else(|| crate::bind(asked), Ok)?;
        let kept = socket.try_clone().map_err(|error| RecordError::Machine { error })?;
        self.estate.listeners.push((asked, kept));
        Ok(socket)
    }

    /// What the old process is called, when there is one.
    pub(crate) fn names(&self) -> Option<&Names> {
        self.heritage.as_ref().map(|heritage| &heritage.names)
    }

    /// What keeps others from the files, from the old process.
    pub(crate) fn take_lock(&mut self) -> Option<OwnedFd> {
        self.heritage.as_mut()?.lock.take()
    }

    /// What keeps others from the files, for a newer process.
    pub(crate) fn give_lock(&mut self, lock: Option<OwnedFd>) {
        self.estate.lock = lock;
    }

    /// The newer process will find this one from now on, and the old one may go.
    ///
    /// # Errors
    /// When no socket can be made there; then the old one goes on.
    pub(crate) fn settle(self) -> Result<(Offer, Estate), RecordError> {
        let offer = Offer::at(&self.path).map_err(|error| RecordError::CannotTakeOver { error })?;
        if let Some(heritage) = self.heritage {
            heritage.accept();
        }
        Ok((offer, self.estate))
    }
}

impl Heritage {
    fn claim(path: &Path) -> io::Result<Option<Self>> {
        let line = match UnixStream::connect(path) {
            Ok(line) => line,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        line.set_read_timeout(Some(PATIENCE))?;
        let (text, sockets) = receive(&line)?;
        if text.is_empty() {
            // It is about to end.
            return Ok(None);
        }
        Self::understand(&text, sockets, line).map(Some)
    }

    /// The socket that listens where `asked` was typed before.
    fn listener(&mut self, asked: SocketAddr) -> Option<TcpListener> {
        let at = self.listeners.iter().position(|(known, _)| *known == asked)?;
        Some(self.listeners.remove(at).1)
    }

    /// Tells the old process that it may go. Should it be gone already, all the better.
    fn accept(mut self) {
        let _ = self.line.write_all(READY);
    }

    fn understand(text: &str, sockets: Vec<OwnedFd>, line: UnixStream) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        if text.lines().next() != Some(GREETING) {
            return Err(invalid("the process there is of another version that hands over differently"));
        }
        let said = |key: &str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            values.next().ok_or_else(|| invalid("the process there left something out"))
        };
        let number = |key: &str| said(key)?.parse::<u64>().map_err(|_| invalid("a number was expected"));
        let names = Names {
            recording: from_hex(said("recording")?).ok_or_else(|| invalid("the recording has no name"))?,
            segment: u32::try_from(number("segment")?).map_err(|_| invalid("too many segments"))?,
            first_id: number("first-id")?,
            key: from_hex(said("key")?),
        };
        let asked = text.lines().filter_map(|line| line.strip_prefix("listen ")?.parse().ok());
        let mut sockets = sockets.into_iter();
        let listeners: Vec<(SocketAddr, TcpListener)> =
            asked.zip(sockets.by_ref()).map(|(asked, socket)| (asked, TcpListener::from(socket))).collect();
        let lock = if said("lock")? == "held" { sockets.next() } else { None };
        Ok(Self { listeners, names, lock, line })
    }
}

/// What an old process gives away.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    /// The address that was asked for, and the socket that listens there.
    listeners: Vec<(SocketAddr, TcpListener)>,
    lock: Option<OwnedFd>,
}

impl Estate {
    fn try_clone(&self) -> io::Result<Self> {
        let listeners = self.listeners.iter().map(|(asked, socket)| Ok((*asked, socket.try_clone()?)));
        Ok(Self {
            listeners: listeners.collect::<io::Result<_>>()?,
            lock: self.lock.as_ref().map(OwnedFd::try_clone).transpose()?,
        })
    }
}

/// Where an old process offers its recording.
#[derive(Debug)]
pub(crate) struct Offer {
    path: PathBuf,
    listener: UnixListener,
}

impl Offer {
    /// Offers at `path` from now on; whoever offered there before does so no longer.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}", std::process::id()));
        let fresh = PathBuf::from(fresh);
        let _ = fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh)?;
        let placed = fs::set_permissions(&fresh, Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&fresh, path));
        if placed.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        placed.map(|()| Self { path: path.to_owned(), listener })
    }

    /// Waits until a new process has taken over what is in `estate`; nothing is given away once that is
    /// empty. `names` says what the new process is to be called.
    pub(crate) fn wait(&self, estate: &Mutex<Option<Estate>>, names: impl Fn() -> Names) -> bool {
        for line in self.listener.incoming() {
            let Ok(line) = line else { return false };
            let ours = estate.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Estate::try_clone);
            if let Some(Ok(estate)) = ours
                && is_ours(&line)
                && hand_over(line, estate, &names()).unwrap_or(false)
            {
                return true;
            }
        }
        false
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// So many segments further on the next process begins to number them: the old one may begin some yet.
pub(crate) const SEGMENTS: u32 = 16;

/// The first number of the process after one that has given out `used`, with room for what it gives out yet.
pub(crate) const fn next_range(used: u64) -> u64 {
    ((used >> RANGE_BITS) + 2) << RANGE_BITS
}

fn is_ours(line: &UnixStream) -> bool {
    sockopt::socket_peercred(line).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// Whether the process at the other end took over.
fn hand_over(mut line: UnixStream, estate: Estate, names: &Names) -> io::Result<bool> {
    line.set_read_timeout(Some(PATIENCE))?;
    line.set_write_timeout(Some(PATIENCE))?;
    let mut text = format!(
        "{GREETING}\nrecording {}\nsegment {}\nfirst-id {}\nkey {}\nlock {}\n",
        hex(&names.recording),
        names.segment,
        names.first_id,
        names.key.map_or_else(|| "none".to_owned(), |key| hex(&key)),
        if estate.lock.is_some() { "held" } else { "none" },
    );
    for (asked, _) in &estate.listeners {
        text += &format!("listen {asked}\n");
    }
    text.push('\n');
    let sockets = estate.listeners.iter().map(|(_, socket)| socket.as_fd());
    let sockets: Vec<BorrowedFd<'_>> = sockets.chain(estate.lock.iter().map(AsFd::as_fd)).collect();
    let message = SendAncillaryMessage::ScmRights(&sockets);
    let mut room = vec![MaybeUninit::uninit(); message.size()];
    let mut control = SendAncillaryBuffer::new(&mut room);
    if !control.push(message) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = sendmsg(&line, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    line.write_all(&text.as_bytes()[sent..])?;
    // Should this process be stopped meanwhile, its sockets must not stay open for nobody.
    drop(estate);
    let mut answer = Vec::new();
    line.take(READY.len() as u64).read_to_end(&mut answer)?;
    Ok(answer == READY)
}

/// What the old process says, and the sockets that come with it; nothing when it hangs up.
fn receive(mut line: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut room = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let mut piece = vec![0; LONGEST];
    let taken = recvmsg(line, &mut [IoSliceMut::new(&mut piece)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            sockets.extend(rights);
        }
    }
    let mut text = piece[..taken.bytes].to_vec();
    while !text.is_empty() && !text.ends_with(b"\n\n") && text.len() < LONGEST {
        let read = line.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&piece[..read]);
    }
    String::from_utf8(text).map(|text| (text, sockets)).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names { recording: [7; 16], segment: 3, first_id: 1 << 33, key: Some([9; 32]) }
    }

    #[test]
    fn a_new_process_gets_the_sockets_and_the_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let asked: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut first = Upgrade::claim(&path).unwrap();
        assert!(first.names().is_none());
        let address = first.listen(asked).unwrap().local_addr().unwrap();
        let (offer, estate) = first.settle().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let old = std::thread::spawn(move || offer.wait(&Mutex::new(Some(estate)), names));

        // One that ends before it is ready changes nothing.
        drop(Upgrade::claim(&path).unwrap());
        let mut second = Upgrade::claim(&path).unwrap();

        assert_eq!(second.names(), Some(&names()));
        assert_eq!(second.listen(asked).unwrap().local_addr().unwrap(), address);
        // What the old one did not listen on is new.
        assert_ne!(second.listen(asked).unwrap().local_addr().unwrap(), address);
        let (offer, estate) = second.settle().unwrap();
        assert!(old.join().unwrap());
        let newer = std::thread::spawn(move || offer.wait(&Mutex::new(Some(estate)), names));
        let mut third = Upgrade::claim(&path).unwrap();
        assert_eq!(third.listen(asked).unwrap().local_addr().unwrap(), address);
        third.settle().unwrap();
        assert!(newer.join().unwrap());
    }

    #[test]
    fn nobody_there_is_no_error_and_one_that_stops_gives_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        drop(Offer::at(&path).unwrap());
        assert!(Upgrade::claim(&path).unwrap().names().is_none());
        let stopping = Offer::at(&path).unwrap();
        std::thread::spawn(move || stopping.wait(&Mutex::new(None), names));
        assert!(Upgrade::claim(&path).unwrap().names().is_none());
    }

    #[test]
    fn numbers_of_two_processes_never_meet() {
        for used in [0, 5, (1 << 32) - 1, 1 << 32, (7 << 32) + 3] {
            assert!(next_range(used) > used + (1 << 32));
        }
    }
}
