//! Connected UDP sockets of the node's own processes whose backend is gone: they are destroyed, since nothing else would ever tell
//! their process to connect again (SEMANTICS 10). Packets of unconnected sockets get another backend by themselves.
//!
//! What the socket hooks record about a socket says exactly which backend it was given, so a socket that a process connected to
//! the same address by itself is left alone, and so is one that went elsewhere since.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use proxy_common::value::{BackendState, SocketPeer, backend_state};
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::maps::table::Table;
use crate::maps::{Maps, States};
use crate::netlink::diag::{self, Connected};
use crate::netlink::socket::Requests;
use crate::netlink::wire::family;

/// After this time everybody is looked for once more: a call of `connect()` that was under way had its backend, but no address yet.
const AGAIN: Duration = Duration::from_secs(1);

/// Totals since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StaleStats {
    /// Looks at all sockets.
    pub passes: u64,
    /// Sockets destroyed.
    pub destroyed: u64,
    /// Passes that ended with an error.
    pub errors: u64,
}

/// The thread that destroys them. Dropping it stops it.
#[derive(Debug)]
pub struct StaleSockets {
    stats: watch::Receiver<StaleStats>,
    wake: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl StaleSockets {
    /// Starts the thread, for the sockets of the calling thread's network namespace. It looks once for what went while no agent ran.
    pub fn start(maps: &Maps) -> Result<Self> {
        let mut sockets = Sockets {
            requests: Requests::sock_diag().map_err(Error::netlink("opening a socket"))?,
            connected: maps.connected.duplicate()?,
            states: maps.states.duplicate()?,
        };
        let (report, stats) = watch::channel(StaleStats::default());
        let (wake, woken) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("stale-sockets".to_owned())
            .spawn(move || run(&mut sockets, &report, &woken))
            .map_err(Error::io("start", "the thread for stale sockets"))?;
        Ok(Self {
            stats,
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    /// A backend went: see [`crate::maps::Applied::gone`].
    pub fn look(&self) {
        // A thread that is gone has panicked, which was said.
        if let Some(wake) = &self.wake
            && wake.send(()).is_err()
        {
            tracing::debug!("the thread for stale sockets is gone");
        }
    }

    /// Totals so far.
    pub fn stats(&self) -> StaleStats {
        *self.stats.borrow()
    }

    /// Totals so far, whenever they are asked for.
    pub fn report(&self) -> watch::Receiver<StaleStats> {
        self.stats.clone()
    }
}

impl Drop for StaleSockets {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for stale sockets panicked");
        }
    }
}

fn run(sockets: &mut Sockets, report: &watch::Sender<StaleStats>, woken: &mpsc::Receiver<()>) {
    let mut complained = false;
    let mut again = true;
    loop {
        let result = sockets.pass();
        report.send_modify(|stats| {
            stats.passes += 1;
            match &result {
                Ok(destroyed) => stats.destroyed += destroyed,
                Err(_error) => stats.errors += 1,
            }
        });
        match result {
            Ok(0) => {}
            Ok(destroyed) => tracing::info!(
                destroyed,
                "connected UDP sockets whose backend is gone were destroyed"
            ),
            Err(error) if complained => tracing::debug!(%error, "stale UDP sockets"),
            Err(error) => {
                complained = true;
                tracing::warn!(%error, "connected UDP sockets of the node keep backends that are gone");
            }
        }
        let next = if again {
            woken.recv_timeout(AGAIN)
        } else {
            woken.recv().map_err(RecvTimeoutError::from)
        };
        again = match next {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        while woken.try_recv().is_ok() {
            again = true;
        }
    }
}

/// What the thread works on.
struct Sockets {
    requests: Requests,
    connected: Table<u64, SocketPeer>,
    states: States,
}

impl Sockets {
    /// Looks at all connected UDP sockets once. Returns how many it destroyed.
    fn pass(&mut self) -> Result<u64> {
        let mut destroyed = 0;
        for family in [family::INET, family::INET6] {
            let list = diag::list_connected(family);
            let found: Vec<Connected> = self
                .requests
                .dump(&list, diag::record)
                .map_err(Error::netlink("listing UDP sockets"))?;
            for socket in found {
                if !self.is_stale(&socket)? {
                    continue;
                }
                match self.requests.request(diag::destroy(&socket)) {
                    Ok(()) => destroyed += 1,
                    // Closed meanwhile.
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                    // A kernel without CONFIG_INET_DIAG_DESTROY says EOPNOTSUPP.
                    Err(error) => return Err(Error::netlink("destroying a UDP socket")(error)),
                }
            }
        }
        Ok(destroyed)
    }

    fn is_stale(&self, socket: &Connected) -> Result<bool> {
        let Some(given) = self.connected.lookup(&socket.cookie)? else {
            return Ok(false);
        };
        let state = self.states.read(given.id)?.unwrap_or_default();
        Ok((given.backend, given.backend_port) == socket.peer && gone(&given, &state))
    }
}

/// Whether nobody serves any more what the hooks gave to a socket. A backend that drains still does.
fn gone(given: &SocketPeer, state: &BackendState) -> bool {
    state.generation != given.generation || state.state == backend_state::GONE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gone_is_no_state_of_a_backend_that_serves() {
        let given = SocketPeer {
            id: 3,
            generation: 5,
            ..SocketPeer::default()
        };
        for (generation, state, expected) in [
            (5, backend_state::ACTIVE, false),
            (5, backend_state::DRAINING, false),
            (5, backend_state::GONE, true),
            (6, backend_state::ACTIVE, true),
        ] {
            let state = BackendState {
                generation,
                state,
                ..BackendState::default()
            };
            assert_eq!(gone(&given, &state), expected, "{state:?}");
        }
    }
}
