//! Records what passes on a network interface, without a place in its path.
//!
//! ```text
//! kernel's ring ─▶ this thread: dissection ─▶ queue, bounded in bytes ─▶ writer thread ─▶ file
//! ```
//!
//! The right to look at the interface is needed for a moment: [`Wiretap::open`] uses it, [`give_up_rights`] ends
//! it, before a byte of traffic is read or a file is made. What the kernel had to drop is told at the end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use captures::{Bytes, Offset};
use pcap::{Active, Capture, Device, Precision};
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::assembly::Room;
use crate::clock::Clock;
use crate::config::{Files, Policy};
use crate::error::RecordError;
use crate::files::Segments;
use crate::intake::{Intake, body_policy};
use crate::notice::Notice;
use crate::outlet::Outlet;
use crate::policy::Screen;
use crate::redact::{MaskPolicy, Redaction};
use crate::spool::{Queue, Totals, write_all};
use crate::wire::{Dissection, Link, Packet, WireCounts};

/// How long the kernel may gather packets before it hands them over.
const GATHER_MS: i32 = 50;
/// Whole packets, whatever the offloading made of them.
const SNAPSHOT: i32 = 262_144;
/// Bodies in flight may take so much memory beside the queue.
const IN_FLIGHT: Bytes = Bytes::new(64 << 20);
/// So often the clock and the wish to stop are looked at when nothing passes.
const WAKE: Duration = Duration::from_millis(200);

/// Why an interface cannot be listened to.
#[derive(Debug, PartialEq, Eq)]
pub enum SniffError {
    /// There is none of this name.
    NoInterface {
        /// Those that there are.
        known: Vec<String>,
    },
    /// It may not be looked at.
    Forbidden,
    /// The filter is none.
    Filter {
        /// In libpcap's words.
        what: String,
    },
    /// Anything else.
    Failed {
        /// In libpcap's words.
        what: String,
    },
}

impl SniffError {
    /// What to do about it.
    pub fn mend(&self) -> String {
        match self {
            Self::NoInterface { known } => format!("give one of {}", known.join(", ")),
            Self::Forbidden => "run it as root, or `setcap cap_net_raw+ep` the binary".to_owned(),
            Self::Filter { .. } => {
                "see `man pcap-filter`, e.g. 'tcp port 80 and not host 10.0.0.7'".to_owned()
            }
            Self::Failed { .. } => "try another interface".to_owned(),
        }
    }
}

impl fmt::Display for SniffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface { .. } => write!(f, "there is no such interface"),
            Self::Forbidden => write!(f, "packets of it may not be captured"),
            Self::Filter { what } => write!(f, "is no filter: {what}"),
            Self::Failed { what } => write!(f, "cannot be captured from: {what}"),
        }
    }
}

impl std::error::Error for SniffError {}

/// An interface that is listened to.
pub struct Wiretap {
    capture: Capture<Active>,
    link: Link,
    ports: Vec<u16>,
    /// Where servers on this machine are, as far as ports are known.
    servers: Vec<SocketAddr>,
}

impl Wiretap {
    /// Listens to `interface`: to `ports` (to all, without any), and to what passes `filter`, in libpcap's
    /// language. `buffer` is the kernel's.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn open(
        interface: &str,
        ports: Vec<u16>,
        filter: Option<&str>,
        buffer: Bytes,
    ) -> Result<Self, SniffError> {
        let devices = Device::list().unwrap_or_default();
        let device = devices.iter().find(|device| device.name == interface);
        let known = || devices.iter().map(|device| device.name.clone()).collect();
        // Who may not look may not be shown what there is, either.
        if device.is_none() && !devices.is_empty() {
            return Err(SniffError::NoInterface { known: known() });
        }
        let buffer = i32::try_from(buffer.as_u64()).unwrap_or(i32::MAX);
        let opened = Capture::from_device(interface).and_then(|inactive| {
            let inactive = inactive.precision(Precision::Nano).snaplen(SNAPSHOT).promisc(false);
            inactive.timeout(GATHER_MS).buffer_size(buffer).open()
        });
        let mut capture = opened.map_err(|error| refused(&error))?;
        let program = filter.map_or_else(|| of_ports(&ports), str::to_owned);
        if !program.is_empty() {
            capture.filter(&program, true).map_err(|error| SniffError::Filter { what: told(&error) })?;
        }
        let link = Link(capture.get_datalink().0);
        if !link.is_known() {
            return Err(SniffError::Failed {
                what: format!("its kind of link ({}) is not understood", link.0),
            });
        }
        let addresses =
            device.map(|device| device.addresses.iter().map(|address| address.addr).collect::<Vec<_>>());
        let servers = addresses.unwrap_or_default().into_iter();
        let servers =
            servers.flat_map(|address| ports.iter().map(move |&port| SocketAddr::new(address, port)));
        let servers = servers.collect();
        Ok(Self { capture, link, ports, servers })
    }
}

/// Segments and chunks of these ports, and the later fragments of any.
fn of_ports(ports: &[u16]) -> String {
    let ports: Vec<String> =
        ports.iter().map(|port| format!("tcp port {port} or sctp port {port}")).collect();
    if ports.is_empty() {
        String::new()
    } else {
        format!("{} or (ip[6:2] & 0x1fff != 0)", ports.join(" or "))
    }
}

fn refused(error: &pcap::Error) -> SniffError {
    let what = told(error);
    let is_forbidden = ["permission", "not permitted"].iter().any(|word| what.to_lowercase().contains(word));
    if is_forbidden { SniffError::Forbidden } else { SniffError::Failed { what } }
}

fn told(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(text) => text.replace(['\n', '\r'], " "),
        other => other.to_string(),
    }
}

/// Gives up what made listening possible: becomes `user` and `group`, when they are given, and in any case keeps
/// no capability and can get none again. To be called before there is a second thread.
///
/// # Errors
/// When the kernel does not let it.
pub fn give_up_rights(user: Option<(u32, u32)>) -> io::Result<()> {
    if let Some((user, group)) = user.filter(|_| rustix::process::geteuid().is_root()) {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        rustix::thread::set_thread_groups(&[group])?;
        rustix::thread::set_thread_res_gid(group, group, group)?;
        rustix::thread::set_thread_res_uid(user, user, user)?;
    }
    rustix::thread::set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    Ok(())
}

/// What a sniffing came to.
#[derive(Debug)]
pub struct SniffTotals {
    /// The exchanges.
    pub totals: Totals,
    /// Everything else.
    pub counts: WireCounts,
    /// Packets that passed the filter.
    pub received: u32,
    /// Packets that the kernel dropped, because nobody took them in time.
    pub dropped_by_kernel: u32,
    /// Packets that the interface dropped.
    pub dropped_by_interface: u32,
    /// Why it ended before it was stopped.
    pub broken: Option<String>,
}

/// When a sniffing ends.
#[derive(Clone, Copy, Debug)]
pub struct Until<'a> {
    /// When this is set.
    pub stop: &'a AtomicBool,
    /// After so long, at the latest.
    pub duration: Option<Duration>,
}

/// Records what `tap` hears.
///
/// # Errors
/// When the file cannot be begun.
pub fn sniff(
    tap: Wiretap,
    policy: &Policy,
    masking: &MaskPolicy,
    files: &Files,
    segments: Segments,
    until: Until<'_>,
    notice: impl FnMut(Notice) + Send + 'static,
) -> Result<SniffTotals, RecordError> {
    let Wiretap { mut capture, link, ports, servers } = tap;
    let (clock, started) = Clock::start();
    let queue = Arc::new(Queue::new(files.queue));
    let mut bodies = body_policy(policy, masking);
    bodies.room = Room::of(files.queue.plus(IN_FLIGHT));
    let mut recording = [0; 16];
    let machine = |error: io::Error| RecordError::Machine { error };
    getrandom::fill(&mut recording).map_err(|error| machine(io::Error::other(error)))?;
    let shown = servers.iter().map(ToString::to_string).collect();
    let header = Intake::new(policy, masking, recording).capture_header(started, shown);
    let screen = Screen::new(policy, &[], recording);
    let redaction = Redaction::new(masking.clone());
    let outlet = Outlet::create(
        segments,
        header,
        files.rotation,
        files.compression,
        screen,
        redaction,
        clock.moment(),
    )
    .map_err(|error| RecordError::CannotWrite { error })?;
    let from = Arc::clone(&queue);
    let writer = std::thread::Builder::new().name("writer".to_owned());
    let writer = writer.spawn(move || write_all(&from, outlet, clock, notice)).map_err(machine)?;

    let mut dissection = Dissection::with_servers(bodies, ports, servers);
    let mut broken = None;
    let mut is_last_look = false;
    let (over, watch) = std::sync::mpsc::channel::<()>();
    let waker = capture.breakloop_handle();
    std::thread::scope(|scope| {
        // libpcap waits for packets without an end: it is woken from time to time, to look at the clock.
        scope.spawn(move || {
            while watch.recv_timeout(WAKE) == Err(RecvTimeoutError::Timeout) {
                waker.breakloop();
            }
        });
        loop {
            match capture.next_packet() {
                Ok(packet) => {
                    let stamp = packet.header.ts;
                    let wall = i128::from(stamp.tv_sec) * 1_000_000_000 + i128::from(stamp.tv_usec);
                    let at = Offset::from_nanos(u64::try_from(wall - started).unwrap_or(0));
                    let length = usize::try_from(packet.header.len).unwrap_or(packet.data.len());
                    dissection.on_packet(Packet { at, link, bytes: packet.data, length });
                }
                Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => {
                    let now = clock.now();
                    let is_over = until.duration.is_some_and(|duration| now >= Offset::ZERO.plus(duration));
                    // What the kernel has gathered until then is still read.
                    if is_last_look {
                        break;
                    }
                    is_last_look = is_over || until.stop.load(Ordering::Relaxed);
                    dissection.on_time(now);
                }
                Err(error) => {
                    broken = Some(told(&error));
                    break;
                }
            }
            while let Some(assembly) = dissection.poll() {
                queue.offer(assembly);
            }
        }
        drop(over);
    });
    dissection.finish();
    while let Some(assembly) = dissection.poll() {
        queue.offer(assembly);
    }
    queue.close();
    let stats = capture.stats().ok();
    let totals = writer.join().map_err(|_| machine(io::Error::other("the writer failed")))?;
    Ok(SniffTotals {
        totals,
        counts: dissection.counts(),
        received: stats.map_or(0, |stats| stats.received),
        dropped_by_kernel: stats.map_or(0, |stats| stats.dropped),
        dropped_by_interface: stats.map_or(0, |stats| stats.if_dropped),
        broken,
    })
}
