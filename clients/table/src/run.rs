//! Copying a run of counters out of shared memory, 16 bytes at a time.
//!
//! A sweep of 200 processes x 1,000 slots reads 400,000 counters. Atomic loads are never combined
//! by the compiler, which makes that 190 us instead of 20; plain loads of memory that others
//! write are undefined to it. So the loads are written out: to the compiler an opaque block that
//! reads memory, to the processor vector loads whose 32-bit lanes are never torn, as the runs are
//! aligned to 16 bytes.

#[cfg(any(loom, miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
use crate::atomic::Relaxed;
use crate::{counters::RUN, memory::Words};

/// One field of one page.
pub(crate) type Run = [u32; RUN];

/// Copies the run that begins at `from`; panics if it is not all there. As relaxed loads: whoever
/// needs an order puts a fence behind it.
#[inline]
pub(crate) fn copy(words: &Words, from: usize, to: &mut Run) {
    assert!(from <= words.len() && RUN <= words.len() - from, "outside the counters");
    #[cfg(any(loom, miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    for (index, word) in to.iter_mut().enumerate() {
        *word = words.at(from + index).load(Relaxed);
    }
    #[cfg(not(any(loom, miri, not(any(target_arch = "x86_64", target_arch = "aarch64")))))]
    // SAFETY: the whole run is within the memory, as just checked, and aligned to 16 bytes, as
    // pages and runs are multiples of that; `to` is as long.
    unsafe {
        vectors(words.at_unchecked(from).as_ptr(), to.as_mut_ptr());
    }
}

/// The vectors that a run is made of: nine times seven.
#[cfg(not(loom))]
const _: () = assert!(RUN == 4 * 7 * 9);

/// # Safety
/// `from` is aligned to 16 bytes; 63 vectors can be read from it and written to `to`.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
#[inline]
unsafe fn vectors(from: *const u32, to: *mut u32) {
    debug_assert_eq!(from.addr() % 16, 0);
    // SAFETY: reads and writes what the caller promises, and clobbers only what is named.
    unsafe {
        std::arch::asm!(
            "2:",
            "movdqa {a}, [{from}]",
            "movdqa {b}, [{from} + 16]",
            "movdqa {c}, [{from} + 32]",
            "movdqa {d}, [{from} + 48]",
            "movdqa {e}, [{from} + 64]",
            "movdqa {f}, [{from} + 80]",
            "movdqa {g}, [{from} + 96]",
            "movdqu [{to}], {a}",
            "movdqu [{to} + 16], {b}",
            "movdqu [{to} + 32], {c}",
            "movdqu [{to} + 48], {d}",
            "movdqu [{to} + 64], {e}",
            "movdqu [{to} + 80], {f}",
            "movdqu [{to} + 96], {g}",
            "add {from}, 112",
            "add {to}, 112",
            "dec {left:e}",
            "jnz 2b",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            left = inout(reg) 9_u32 => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            e = out(xmm_reg) _,
            f = out(xmm_reg) _,
            g = out(xmm_reg) _,
            options(nostack),
        );
    }
}

/// # Safety
/// `from` is aligned to 16 bytes; 63 vectors can be read from it and written to `to`.
#[cfg(all(target_arch = "aarch64", not(any(loom, miri))))]
#[inline]
unsafe fn vectors(from: *const u32, to: *mut u32) {
    debug_assert_eq!(from.addr() % 16, 0);
    // SAFETY: reads and writes what the caller promises, and clobbers only what is named.
    unsafe {
        std::arch::asm!(
            "2:",
            "ldr {a:q}, [{from}], #16",
            "str {a:q}, [{to}], #16",
            "subs {left:w}, {left:w}, #1",
            "b.ne 2b",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            left = inout(reg) 63_u32 => _,
            a = out(vreg) _,
            options(nostack),
        );
    }
}
