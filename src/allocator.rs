//! Where memory comes from, and how what is no longer needed goes back to the system.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives back what has been free for a second or more.
///
/// The allocator does so when it needs memory, which a replay hardly ever does once it goes on, and when a thread
/// ends that had memory of its own: so one ends.
pub(crate) fn give_back() {
    let thread = std::thread::Builder::new().name("give-back".to_owned());
    if let Ok(thread) = thread.spawn(|| drop(std::hint::black_box(vec![0_u8; 64]))) {
        // Nothing in it can fail, and nothing depends on it.
        let _ = thread.join();
    }
}
