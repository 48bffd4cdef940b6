//! Where memory comes from, and how what is no longer needed goes back to the system.
//!
//! A replay plans first, which takes several times what the sending takes, and then goes on for hours: both what the
//! plan needed and what the start read of the program itself stay resident for nobody, unless they are given back.

mod mapped;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives back what is free now. The allocator by itself does so a second later at the soonest, and only when it needs
/// memory, which a replay hardly ever does once it goes on.
#[expect(unsafe_code, reason = "the allocator is written in C")]
pub(crate) fn give_back() {
    // SAFETY: may be called at any time from any thread; it touches only what is free.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Gives back what is free, and the pages of the program's own file that were only needed until now. What is still
/// needed of them comes back when it is: without reading, as they stay in the page cache.
pub(crate) fn give_back_all() {
    give_back();
    mapped::give_back();
}
