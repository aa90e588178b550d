//! Lines that the eBPF programs log, if the object was built for that (`cargo xtask build --trace`). Production objects log nothing.

use std::fmt;
use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The map that aya-log writes to.
const MAP: &str = "AYA_LOGS";

/// Reads the programs' lines.
pub struct Trace(EbpfLogger<&'static dyn log::Log>);

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace")
    }
}

impl Trace {
    /// `None` if the object does not log.
    pub(crate) fn take(object: &mut Ebpf) -> Option<Self> {
        object.map(MAP)?;
        match EbpfLogger::init(object) {
            Ok(logger) => Some(Self(logger)),
            Err(error) => {
                tracing::warn!(%error, "the programs log, but their lines cannot be read");
                None
            }
        }
    }

    /// Gives the lines to the logger of the process, for ever.
    ///
    /// # Errors
    /// If the ring buffer cannot be polled.
    pub async fn follow(self) -> io::Result<()> {
        // SAFETY: the logger owns its ring buffer and gives the same descriptor for as long as it lives.
        let mut lines = unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) }?;
        loop {
            let mut ready = lines.readable_mut().await?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}
