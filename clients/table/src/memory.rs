//! Words of memory that processes may share: on the heap, or in a sealed memfd that each process maps
//! whose descriptor it received.
//!
//! A table is sealed against shrinking, growing and future writing. The agent still writes through the
//! mapping that it made before. A receiver of the descriptor cannot map the table writable, write to it,
//! truncate it or punch a hole into it. Clients write their counters, so counters are sealed against
//! a change of size only: a truncated file would kill the agent by SIGBUS. All mappings are shared: a
//! private page would stop changing after the first write to it.

use std::{
    alloc::{self, handle_alloc_error},
    fmt,
    ptr::NonNull,
    sync::Arc,
};
#[cfg(not(loom))]
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

#[cfg(not(loom))]
use rustix::{
    fs::{MemfdFlags, Mode, OFlags, SealFlags},
    mm::{MapFlags, ProtFlags},
};

use crate::atomic::AtomicU32;

#[cfg(target_endian = "big")]
compile_error!("the format is little endian and is read without conversion");

/// A range of words. It keeps the memory behind it alive.
#[derive(Clone)]
pub(crate) struct Words {
    start: NonNull<AtomicU32>,
    len: usize,
    memory: Arc<Memory>,
}

enum Memory {
    /// Allocated and freed here, zeroed, aligned to a cache line.
    Heap {
        start: NonNull<AtomicU32>,
        layout: alloc::Layout,
        #[cfg(loom)]
        len: usize,
    },
    /// A mapping of `bytes` bytes from `start`.
    #[cfg(not(loom))]
    Mapped { start: NonNull<AtomicU32>, bytes: usize },
}

// SAFETY: the memory is reached through shared references to atomics alone, which any thread may
// hold, and it lives until the last `Words` drops it, on whichever thread that is.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}
// SAFETY: `start` and `len` describe a part of `memory`, which is Send and Sync.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Zeroed words that only this process can access.
    pub(crate) fn on_heap(len: usize) -> Self {
        const CACHE_LINE: usize = 64;
        let bytes = len.max(1) * size_of::<AtomicU32>();
        let layout = alloc::Layout::from_size_align(bytes, CACHE_LINE).expect("below isize::MAX");
        // SAFETY: the size is not zero.
        let allocated = unsafe { alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(allocated.cast::<AtomicU32>()) else {
            handle_alloc_error(layout)
        };
        // Zeroed memory is a valid atomic of the standard library. Loom's atomics have more state.
        #[cfg(loom)]
        for word in 0..len {
            // SAFETY: within the allocation, which nothing else knows yet.
            unsafe { start.add(word).write(AtomicU32::new(0)) };
        }
        let memory = Memory::Heap {
            start,
            layout,
            #[cfg(loom)]
            len,
        };
        Self { start, len, memory: Arc::new(memory) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The `len` words from `offset`. Panics if there are fewer.
    pub(crate) fn part(&self, offset: usize, len: usize) -> Self {
        assert!(offset <= self.len && len <= self.len - offset, "outside the memory");
        // SAFETY: `offset` is at most `self.len`, so the result is within the memory or at its end.
        let start = unsafe { self.start.add(offset) };
        Self { start, len, memory: Arc::clone(&self.memory) }
    }

    /// The word at `index`. Panics if it is out of range.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> &AtomicU32 {
        assert!(index < self.len, "outside the memory");
        // SAFETY: just checked.
        unsafe { self.at_unchecked(index) }
    }

    /// The word at `index`.
    ///
    /// # Safety
    /// `index` is below `len`.
    #[inline(always)]
    pub(crate) unsafe fn at_unchecked(&self, index: usize) -> &AtomicU32 {
        debug_assert!(index < self.len);
        // SAFETY: `start` begins `len` initialised words that live as long as `self`.
        unsafe { self.start.add(index).as_ref() }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match *self.memory {
            Memory::Heap { .. } => "heap",
            #[cfg(not(loom))]
            Memory::Mapped { .. } => "mapped",
        };
        f.debug_struct("Words").field("kind", &kind).field("len", &self.len).finish()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        match *self {
            Self::Heap {
                start,
                layout,
                #[cfg(loom)]
                len,
            } => {
                #[cfg(loom)]
                for word in 0..len {
                    // SAFETY: initialised by `on_heap`, and the last reference is gone.
                    unsafe { start.add(word).drop_in_place() };
                }
                // SAFETY: allocated by `on_heap` with this layout.
                unsafe { alloc::dealloc(start.as_ptr().cast(), layout) };
            }
            #[cfg(not(loom))]
            Self::Mapped { start, bytes } => {
                // SAFETY: mapped by `map` with this size, and the last reference is gone.
                // It can only fail for arguments that `map` never makes.
                let _unmapped = unsafe { rustix::mm::munmap(start.as_ptr().cast(), bytes) };
            }
        }
    }
}

/// The seals of a table: no receiver can change its size or its content.
#[cfg(not(loom))]
pub(crate) const TABLE_SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// The seals of counters: nobody can change their size.
#[cfg(not(loom))]
pub(crate) const COUNTERS_SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A new memfd of exactly `words` zeroed words, mapped writable here and then sealed.
/// `mode` sets the permission bits of the file, which also apply to a re-open.
#[cfg(not(loom))]
pub(crate) fn create(
    name: &str,
    words: usize,
    seals: SealFlags,
    mode: Mode,
) -> io::Result<(Words, OwnedFd)> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let name = shown(name);
    // Kernels before 6.3 refuse the flag.
    let file = rustix::fs::memfd_create(&*name, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_unknown| rustix::fs::memfd_create(&*name, flags))?;
    rustix::fs::ftruncate(&file, words as u64 * 4)?;
    let memory = map(&file, words, true)?;
    rustix::fs::fchmod(&file, mode)?;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok((memory, file))
}

/// A name that the kernel accepts: at most 249 bytes, none of them NUL. Names need not be unique.
#[cfg(not(loom))]
fn shown(name: &str) -> String {
    let mut shown = name.replace(char::is_control, " ");
    shown.truncate(shown.floor_char_boundary(249));
    shown
}

/// A read-only descriptor of the same memory.
#[cfg(not(loom))]
pub(crate) fn reopen_read_only(file: impl AsFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Maps exactly `words` words of `file`, shared. The caller has made sure that the file has them
/// and is sealed against shrinking.
#[cfg(not(loom))]
pub(crate) fn map(file: impl AsFd, words: usize, writable: bool) -> io::Result<Words> {
    let bytes = words * 4;
    let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let start = unsafe {
        rustix::mm::mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, file, 0)
    }?;
    let start = NonNull::new(start.cast::<AtomicU32>()).expect("mmap never returns null");
    Ok(Words { start, len: words, memory: Arc::new(Memory::Mapped { start, bytes }) })
}

/// The size of `file` in bytes, and its seals.
#[cfg(not(loom))]
pub(crate) fn size_and_seals(file: impl AsFd) -> io::Result<(u64, SealFlags)> {
    let size = rustix::fs::fstat(&file)?.st_size;
    let seals = rustix::fs::fcntl_get_seals(&file)?;
    Ok((u64::try_from(size).unwrap_or(0), seals))
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_length_and_any_characters_will_do() {
        for name in ["", "cart.shop shard=\0", &"ä".repeat(300), &"x".repeat(10_000)] {
            create(name, 1, TABLE_SEALS, Mode::RUSR).unwrap();
        }
        assert_eq!(shown(&"ä".repeat(300)).len(), 248);
        assert_eq!(shown("a\nb\0c"), "a b c");
    }
    #[test]
    fn a_program_that_a_process_starts_gets_neither_file_nor_a_way_to_write() {
        use rustix::{fs::fcntl_getfl, io::FdFlags, io::fcntl_getfd};
        let (_memory, file) = create("cart.shop", 1, TABLE_SEALS, Mode::RUSR).unwrap();
        let reader = reopen_read_only(&file).unwrap();
        for each in [&file, &reader] {
            assert!(fcntl_getfd(each).unwrap().contains(FdFlags::CLOEXEC));
        }
        let how = fcntl_getfl(&reader).unwrap() & OFlags::RWMODE;
        assert_eq!(how, OFlags::RDONLY);
    }
}
