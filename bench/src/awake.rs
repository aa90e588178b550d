//! Processors that do not halt while the benchmark runs.
//!
//! A processor with nothing to do halts, and who has work for it must wake it: in a virtual machine by way of the hypervisor, for longer than
//! a connection takes. Whether it had halted already is chance, so the same direct connections took 8 us in one sample and 17 in the next.
//! All contestants gain alike from processors that wait awake, as on machines that are set up for low latency.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

/// While it lives, no processor halts.
#[derive(Debug)]
pub struct Awake(
    #[expect(dead_code, reason = "the kernel keeps the wish while the file is open")] File,
);

impl Awake {
    /// Tells the kernel that no latency of waking is tolerable (`Documentation/power/pm_qos_interface`).
    pub fn hold() -> io::Result<Self> {
        const MICROSECONDS: i32 = 0;

        let mut file = OpenOptions::new()
            .write(true)
            .open("/dev/cpu_dma_latency")?;
        file.write_all(&MICROSECONDS.to_ne_bytes())?;
        Ok(Self(file))
    }
}
