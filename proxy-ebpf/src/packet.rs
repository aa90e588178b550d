//! Reads and writes between a packet's `data` and `data_end`, each with its own bounds check.

use core::ptr::{read_volatile, write_volatile};

/// Reads a packet pointer from a 32-bit field of a program's context. In assembly, since the compiler likes to clear the upper
/// half of what it takes for a number, and that makes the verifier forget that it is a pointer.
macro_rules! pointer {
    ($ctx:expr, $type:ty, $field:ident) => {{
        let pointer: usize;
        // SAFETY: a load from the context of this program.
        unsafe {
            core::arch::asm!(
                "{pointer} = *(u32 *)({ctx} + {offset})",
                pointer = out(reg) pointer,
                ctx = in(reg) $ctx,
                offset = const core::mem::offset_of!($type, $field),
                options(nostack, preserves_flags),
            );
        }
        pointer
    }};
}
pub(crate) use pointer;

/// The address of `bytes` bytes at `offset`, if they are inside.
#[inline(always)] // the verifier loses the check across a call on old kernels
fn at(data: usize, end: usize, offset: u32, bytes: usize) -> Option<usize> {
    // No header lies beyond; the bound is for verifiers before 5.16, which forget it when a 32-bit number is spilled.
    let start = data + (offset & 0x3fff) as usize;
    if start + bytes > end {
        None
    } else {
        Some(start)
    }
}

/// Whether `bytes` bytes at `offset` can be read.
#[inline(always)] // as `at`
pub(crate) fn holds(data: usize, end: usize, offset: u32, bytes: usize) -> bool {
    at(data, end, offset, bytes).is_some()
}

/// `N` words at `offset`.
#[inline(always)] // as `at`
pub(crate) fn words<const N: usize>(data: usize, end: usize, offset: u32) -> Option<[u32; N]> {
    let start = at(data, end, offset, N * 4)? as *const u32;
    let mut words = [0; N];
    let mut index = 0;
    while index < N {
        // SAFETY: `at` checked the bounds, and the kernel checks them again. BPF loads need no alignment on the machines we
        // run on (CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS), and the verifier refuses the program elsewhere.
        words[index] = unsafe { read_volatile(start.wrapping_add(index)) };
        index += 1;
    }
    Some(words)
}

/// Writes `N` words at `offset`.
#[inline(always)] // as `at`
pub(crate) fn set_words<const N: usize>(
    data: usize,
    end: usize,
    offset: u32,
    words: [u32; N],
) -> Option<()> {
    let start = at(data, end, offset, N * 4)? as *mut u32;
    let mut index = 0;
    while index < N {
        // SAFETY: as in `words`.
        unsafe { write_volatile(start.wrapping_add(index), words[index]) };
        index += 1;
    }
    Some(())
}

/// Two bytes at `offset`.
#[inline(always)] // as `at`
pub(crate) fn half(data: usize, end: usize, offset: u32) -> Option<u16> {
    let start = at(data, end, offset, 2)? as *const u16;
    // SAFETY: as in `words`.
    Some(unsafe { read_volatile(start) })
}

/// Writes two bytes at `offset`.
#[inline(always)] // as `at`
pub(crate) fn set_half(data: usize, end: usize, offset: u32, half: u16) -> Option<()> {
    let start = at(data, end, offset, 2)? as *mut u16;
    // SAFETY: as in `words`.
    unsafe { write_volatile(start, half) };
    Some(())
}
