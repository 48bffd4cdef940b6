//! Where memory comes from, and how what is no longer needed goes back to the system.
//!
//! A replay plans first, which takes several times what the sending takes, and then goes on for hours: both what the
//! plan needed and what the start read of the program itself stay resident for nobody, unless they are given back.

mod large;
mod mapped;

#[global_allocator]
static ALLOCATOR: large::Pieces = large::Pieces::new();

/// Run by the system before anything else, as what lies in this section is.
#[used]
#[expect(unsafe_code, reason = "nothing safe is called before the first piece of memory is taken")]
// SAFETY: a function of the type that is called from there; it makes one system call and needs nothing of the program.
#[unsafe(link_section = ".init_array")]
static FIRST: extern "C" fn() = without_huge_pages;

/// It is only known later whether there will be thousands of connections, or days of recording, in which the memory of a
/// process with huge pages doubles little by little, though no more of it is used. But the first piece that the allocator
/// hands out, before `main`, would come with two megabytes for its own lists, nearly all of them never touched.
extern "C" fn without_huge_pages() {
    replayer::use_huge_pages(false);
}

/// From here on as little as possible of what is free stays resident; a larger piece of memory takes longer to get.
pub(crate) fn spare() {
    ALLOCATOR.set_apart();
}

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
