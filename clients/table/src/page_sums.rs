//! Sums runs of counters in shared memory, 16 bytes at a time.
//!
//! A sweep of 200 processes x 1,000 slots reads 400,000 counters. The compiler never combines atomic
//! loads, which makes the sweep about five times slower. Plain loads of memory that others write are
//! undefined behaviour. So the loop is assembly. To the compiler it is an opaque block that reads
//! memory. To the processor it is vector loads whose 32-bit lanes are never torn, because the runs
//! are aligned to 16 bytes.

#[cfg(any(loom, miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
use crate::atomic::Relaxed;
use crate::{counters::RUN, memory::Words};

/// Sums of one field of one page.
#[repr(align(64))]
pub(crate) struct PageSums([u32; RUN]);

/// The words of one step: seven vectors of 16 bytes.
const STEP: usize = if cfg!(loom) { 1 } else { 28 };
const _: () = assert!(RUN.is_multiple_of(STEP));

impl PageSums {
    pub(crate) fn new() -> Self {
        Self([0; RUN])
    }

    /// The first `count` sums.
    pub(crate) fn first(&self, count: usize) -> &[u32] {
        &self.0[..count]
    }

    /// Sets at least the first `count` sums to 0.
    #[inline]
    pub(crate) fn clear(&mut self, count: usize) {
        self.0[..steps(count) * STEP].fill(0);
    }

    /// Adds at least the first `count` counters of the run that begins at `from`. Panics if the run
    /// is not within `words`. The loads are relaxed: a caller that needs an order adds a fence.
    #[inline]
    pub(crate) fn add(&mut self, words: &Words, from: usize, count: usize) {
        assert!(from <= words.len() && RUN <= words.len() - from, "outside the counters");
        let steps = steps(count);
        if steps == 0 {
            return;
        }
        #[cfg(any(loom, miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
        for (index, sum) in self.0[..steps * STEP].iter_mut().enumerate() {
            *sum = sum.wrapping_add(words.at(from + index).load(Relaxed));
        }
        #[cfg(not(any(loom, miri, not(any(target_arch = "x86_64", target_arch = "aarch64")))))]
        // SAFETY: the whole run is within the memory, as just checked, and aligned to 16 bytes, as
        // pages and runs are multiples of that; the sums are as many and aligned too.
        unsafe {
            add_steps(words.at_unchecked(from).as_ptr(), self.0.as_mut_ptr(), steps);
        }
    }
}

fn steps(count: usize) -> usize {
    count.min(RUN).div_ceil(STEP)
}

/// # Safety
/// Both are aligned to 16 bytes; `steps` times 28 words, which is not none, can be read from
/// `from`, and read from and written to `sums`.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
#[inline]
unsafe fn add_steps(from: *const u32, sums: *mut u32, steps: usize) {
    debug_assert_eq!((from.addr() | sums.addr()) % 16, 0);
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
            "paddd {a}, [{sums}]",
            "paddd {b}, [{sums} + 16]",
            "paddd {c}, [{sums} + 32]",
            "paddd {d}, [{sums} + 48]",
            "paddd {e}, [{sums} + 64]",
            "paddd {f}, [{sums} + 80]",
            "paddd {g}, [{sums} + 96]",
            "movdqa [{sums}], {a}",
            "movdqa [{sums} + 16], {b}",
            "movdqa [{sums} + 32], {c}",
            "movdqa [{sums} + 48], {d}",
            "movdqa [{sums} + 64], {e}",
            "movdqa [{sums} + 80], {f}",
            "movdqa [{sums} + 96], {g}",
            "add {from}, 112",
            "add {sums}, 112",
            "dec {left}",
            "jnz 2b",
            from = inout(reg) from => _,
            sums = inout(reg) sums => _,
            left = inout(reg) steps => _,
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
/// Both are aligned to 16 bytes; `steps` times 28 words, which is not none, can be read from
/// `from`, and read from and written to `sums`.
#[cfg(all(target_arch = "aarch64", not(any(loom, miri))))]
#[inline]
unsafe fn add_steps(from: *const u32, sums: *mut u32, steps: usize) {
    debug_assert_eq!((from.addr() | sums.addr()) % 16, 0);
    // SAFETY: reads and writes what the caller promises, and clobbers only what is named.
    unsafe {
        std::arch::asm!(
            "2:",
            "ldr {a:q}, [{from}], #16",
            "ldr {b:q}, [{sums}]",
            "add {b:v}.4s, {b:v}.4s, {a:v}.4s",
            "str {b:q}, [{sums}], #16",
            "subs {left}, {left}, #1",
            "b.ne 2b",
            from = inout(reg) from => _,
            sums = inout(reg) sums => _,
            left = inout(reg) steps * STEP / 4 => _,
            a = out(vreg) _,
            b = out(vreg) _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::Relaxed;

    #[test]
    fn a_run_is_added_as_far_as_asked_and_in_whole_steps() {
        let words = Words::on_heap(1024);
        for index in 0..1024 {
            words.at(index).store(index as u32, Relaxed);
        }
        for count in [0, 1, 28, 29, RUN] {
            let mut run = PageSums([u32::MAX; RUN]);
            run.add(&words, 16, count);
            for (index, sum) in run.0.iter().enumerate() {
                let added = if index < count.div_ceil(STEP) * STEP { index as u32 + 16 } else { 0 };
                assert_eq!(*sum, added.wrapping_sub(1), "{index} of {count}");
            }
            run.clear(RUN);
            assert!(run.first(RUN).iter().all(|sum| *sum == 0));
        }
    }

    #[test]
    #[should_panic(expected = "outside the counters")]
    fn a_run_that_is_not_all_there_is_refused() {
        PageSums::new().add(&Words::on_heap(RUN), 1, 1);
    }
}
