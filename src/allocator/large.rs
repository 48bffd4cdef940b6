//! Larger pieces of memory, each straight from the system and straight back to it.
//!
//! The allocator for everything else keeps pieces of nearly one size together, in stretches of up to 4 MB, and a stretch
//! goes back when all that lies in it is free. Lists that grow leave one such piece behind at each size they had: of
//! what a replay held, as it began to send, four fifths were free. Pieces of their own cost a call to the system when they
//! come and go, but nothing is copied as they grow, and what of them was never touched takes no memory.
//!
//! What is as large as a block of a capture to begin with stays with the allocator, which has one such piece at hand for
//! the next: to take each anew from the system costs 3 % of planning.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

use mimalloc::MiMalloc;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};

/// The allocator, with larger pieces apart where memory matters more than the time to get some.
pub(super) struct Pieces {
    are_apart: AtomicBool,
}

impl Pieces {
    /// From this size on.
    const LARGE: usize = 32 << 10;
    /// Pieces of this size to begin with, and of less than twice of it, lie with the allocator.
    const BLOCK: usize = 256 << 10;
    /// No piece of the system's begins at a rounder address for certain.
    const PAGE: usize = 4 << 10;

    /// With no piece apart.
    pub(super) const fn new() -> Self {
        Self { are_apart: AtomicBool::new(false) }
    }

    /// Has larger pieces apart from here on. Those that there are stay where they lie.
    pub(super) fn set_apart(&self) {
        self.are_apart.store(true, Ordering::Relaxed);
    }

    fn begins_apart(&self, layout: Layout) -> bool {
        layout.size() >= Self::LARGE
            && !(Self::BLOCK..2 * Self::BLOCK).contains(&layout.size())
            && layout.align() <= Self::PAGE
            && self.are_apart.load(Ordering::Relaxed)
    }

    /// Whether a piece lies apart.
    fn is_apart(piece: *mut u8, layout: Layout) -> bool {
        layout.size() >= Self::LARGE && layout.align() <= Self::PAGE && !is_the_allocators(piece)
    }
}

/// The allocator knows of each address whether it is one of its own.
#[cold]
#[inline(never)]
#[expect(unsafe_code, reason = "the allocator is written in C")]
fn is_the_allocators(piece: *mut u8) -> bool {
    // SAFETY: any address may be asked about; it is looked up, not followed.
    unsafe { libmimalloc_sys::mi_is_in_heap_region(piece.cast()) }
}

/// So many bytes of zeros from the system; null when it has none.
#[cold]
#[inline(never)]
#[expect(unsafe_code, reason = "it is memory")]
fn map(size: usize) -> *mut u8 {
    // SAFETY: the system chooses the address, so nothing that is in use is replaced.
    let piece =
        unsafe { mmap_anonymous(null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
    piece.map_or(null_mut(), <*mut _>::cast)
}

#[expect(unsafe_code, reason = "an allocator is a promise about memory")]
// SAFETY: a piece lies either in a mapping of its own, whole pages that nothing else uses, or with the allocator; which of
// them is told by its address, so that each goes back to where it came from, whenever pieces began to lie apart.
unsafe impl GlobalAlloc for Pieces {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let piece = if self.begins_apart(layout) { map(layout.size()) } else { null_mut() };
        // SAFETY: the caller's promise. The system may have no mapping left where the allocator has memory.
        if piece.is_null() { unsafe { MiMalloc.alloc(layout) } } else { piece }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let piece = if self.begins_apart(layout) { map(layout.size()) } else { null_mut() };
        // SAFETY: as above.
        if piece.is_null() { unsafe { MiMalloc.alloc_zeroed(layout) } } else { piece }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if Self::is_apart(piece, layout) {
            // SAFETY: a mapping of its own, of this length, which the caller uses no longer.
            let _ = unsafe { munmap(piece.cast(), layout.size()) };
        } else {
            // SAFETY: the caller's promise.
            unsafe { MiMalloc.dealloc(piece, layout) }
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.size().max(new_size) < Self::LARGE {
            // SAFETY: the caller's promise. Nearly all pieces are small, and take the short way.
            return unsafe { MiMalloc.realloc(piece, layout, new_size) };
        }
        // SAFETY: the caller's promise: not zero, and not too large for the alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let is_apart = Self::is_apart(piece, layout);
        if is_apart && new_size >= Self::LARGE {
            // SAFETY: a mapping of its own, of this length; where it moves, nobody uses the old address any longer.
            let moved = unsafe { mremap(piece.cast(), layout.size(), new_size, MremapFlags::MAYMOVE) };
            return moved.map_or(null_mut(), <*mut _>::cast);
        }
        if !is_apart && !self.begins_apart(new_layout) {
            // SAFETY: the caller's promise.
            return unsafe { MiMalloc.realloc(piece, layout, new_size) };
        }
        // SAFETY: as `alloc` and `dealloc` have it; the two pieces do not overlap, and what is copied lies in both.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                new.copy_from_nonoverlapping(piece, layout.size().min(new_size));
                self.dealloc(piece, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a piece, has it grow and shrink through `sizes`, and looks whether what it held is still there.
    #[expect(unsafe_code, reason = "as a list that grows uses an allocator")]
    fn check(pieces: &Pieces, sizes: &[usize], apart: &[bool]) {
        let layout = |size| Layout::from_size_align(size, 16).unwrap();
        let mut size = sizes[0];
        // SAFETY: each piece is used within its size, and given back once, by the layout that it has then.
        unsafe {
            let mut piece = pieces.alloc(layout(size));
            let mut held = size;
            (0..size).for_each(|at| piece.add(at).write(at as u8));
            for (&new, &apart) in sizes.iter().zip(apart) {
                piece = pieces.realloc(piece, layout(size), new);
                (size, held) = (new, held.min(new));
                assert!((0..held).all(|at| piece.add(at).read() == at as u8), "{sizes:?} at {new}");
                assert_eq!(Pieces::is_apart(piece, layout(size)), apart, "{sizes:?} at {new}");
                (held..new).for_each(|at| piece.add(at).write(at as u8));
                held = new;
            }
            pieces.dealloc(piece, layout(size));
        }
    }

    #[test]
    fn what_a_piece_holds_stays_as_it_grows_and_shrinks_apart_and_not() {
        let pieces = Pieces::new();
        check(&pieces, &[100, 40_000, 3_000_000, 50_000, 10], &[false; 5]);
        pieces.set_apart();
        check(&pieces, &[100, 40_000, 3_000_000, 50_000, 10], &[false, true, true, true, false]);
        check(
            &pieces,
            &[300_000, 400_000, 200_000, 900_000, 300_000, 32_768, 32_767],
            &[false, false, true, true, true, true, false],
        );
    }

    #[test]
    #[expect(unsafe_code, reason = "as a list uses an allocator")]
    fn a_piece_from_before_goes_back_to_where_it_came_from() {
        let pieces = Pieces::new();
        let layout = Layout::from_size_align(100_000, 8).unwrap();
        // SAFETY: used within its size, and given back once.
        unsafe {
            let before = pieces.alloc(layout);
            pieces.set_apart();
            let after = pieces.alloc_zeroed(layout);
            assert_eq!((Pieces::is_apart(before, layout), Pieces::is_apart(after, layout)), (false, true));
            assert!((0..100_000).all(|at| after.add(at).read() == 0));
            pieces.dealloc(before, layout);
            pieces.dealloc(after, layout);
        }
    }
}
