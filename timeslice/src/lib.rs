//! Asks the scheduler to let a thread run soon, and briefly, rather than long.
//!
//! Linux runs a waking thread at once when it asks for a shorter slice than the one that has the processor (since
//! 6.12); otherwise it may wait until the other has had its slice of about 3 ms. A proxy's worker and a generator's sender
//! wake often and work for microseconds, beside threads that compress, or that are not ours at all. Nobody's share of
//! the processor changes by it, and no privilege is needed. Older kernels take the question and change nothing.
//!
//! A crate of its own since both engines need it, and for its unsafe code: no package offers `sched_setattr` for
//! ordinary threads.

use std::io;
use std::time::Duration;

/// What Linux lets one ask for at least.
pub const SHORTEST: Duration = Duration::from_micros(100);

/// `struct sched_attr` in its first version: sched_setattr(2).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Of an ordinary thread the length of its slice, in nanoseconds, where the kernel knows of it.
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SIZE: u32 = size_of::<Attributes>() as u32;

/// Asks for slices of `length` (from [`SHORTEST`] to 100 ms) for the calling thread; whether the kernel took it on.
///
/// It did not when it is older than 6.12, or when the thread is no ordinary one: one of a real-time class stays as it is.
///
/// # Errors
///
/// What the system says when it refuses the question, as a sandbox may.
pub fn ask(length: Duration) -> io::Result<bool> {
    let mut attributes = attributes()?;
    if attributes.policy != libc::SCHED_OTHER as u32 && attributes.policy != libc::SCHED_BATCH as u32 {
        return Ok(false);
    }
    let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    attributes.runtime = nanos;
    set(&attributes)?;
    Ok(self::attributes()?.runtime == nanos)
}

fn attributes() -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    #[expect(unsafe_code, reason = "no package offers this call")]
    // SAFETY: the kernel writes at most `SIZE` bytes to the pointer, which is that of a structure of this size.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0) };
    if done == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

fn set(attributes: &Attributes) -> io::Result<()> {
    let attributes = Attributes { size: SIZE, ..*attributes };
    #[expect(unsafe_code, reason = "no package offers this call")]
    // SAFETY: the kernel reads the `size` bytes of the structure, and keeps no pointer to it.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_asked_is_otherwise_what_it_was() {
        let asked = std::thread::spawn(|| Ok((attributes()?, ask(SHORTEST)?, attributes()?)));
        let asked: io::Result<_> = asked.join().unwrap();
        let Ok((before, taken, after)) = asked.inspect_err(|error| println!("skipped: {error}")) else {
            return;
        };

        assert_eq!((before.policy, before.nice), (after.policy, after.nice));
        if taken {
            assert_eq!(after.runtime, 100_000);
        } else {
            println!("skipped: this kernel knows of no slices");
            assert_eq!(before.runtime, after.runtime);
        }
    }

    #[test]
    fn other_threads_keep_their_slices() {
        let before = attributes().map(|before| before.runtime).ok();
        let _ = std::thread::spawn(|| ask(SHORTEST)).join().unwrap();
        assert_eq!(attributes().map(|after| after.runtime).ok(), before);
    }
}
