//! Gives memory back to the kernel that a burst of work left behind.
//!
//! Loading the eBPF object and parsing lists need tens of MiB for a moment. glibc keeps such memory for the process's
//! life once something small lies above it; measured: 34 MiB of anonymous memory after start, 4 MiB with this.

#![expect(unsafe_code, reason = "glibc has no safe wrapper for this")]

/// Call it after a burst. Takes a few milliseconds at most.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the function takes no pointers and locks the heap itself; its result only says whether anything was freed.
        unsafe { libc::malloc_trim(0) };
    }
}
