//! A Service whose one endpoint changes, and a client that notices which one answers: the effect on packets, not on tables.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use integration::control_plane::client::Client;
use integration::control_plane::objects::{SERVICES, SLICES};
use integration::place::Place;
use integration::topology::Node;
use integration::wait::monotonic_ns;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};

use crate::interrupt;
use crate::services::{LOCAL, NODE, PORT};

/// Its name.
pub(super) const NAME: &str = "marker";
/// Behind the Services with node ports, before the numbered ones.
const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 250);
/// What it changes between.
const ENDPOINTS: [Ipv4Addr; 2] = [
    Ipv4Addr::new(10, 191, 254, 1),
    Ipv4Addr::new(10, 191, 254, 2),
];
/// Nothing else in the pod listens there.
const TARGET_PORT: u16 = 9_999;
/// Longer than a connection takes that is not lost.
const PATIENCE: Duration = Duration::from_millis(20);
/// Between two connections: the resolution of what is measured.
const PAUSE: Duration = Duration::from_micros(50);

/// The first pod of the measured node answers for both endpoints; the second one asks.
#[derive(Debug)]
pub(super) struct Marker {
    client: Place,
    stop: Arc<AtomicBool>,
    servers: Vec<JoinHandle<()>>,
}

impl Marker {
    /// Makes the Service, brings the endpoints of the numbered Services and of this one to the first pod of `node`, and listens there.
    pub(super) fn start(api: &Client, node: &Node) -> Result<Self> {
        let [server, client, ..] = &*node.pods else {
            bail!("{} has fewer than two pods", node.name())
        };
        let [network, _] = LOCAL;
        server
            .place
            .ip(&format!("route replace local {network} dev lo\n"))?;
        node.host
            .ip(&format!("route replace {network} via {}\n", server.addr4))?;
        for (collection, object) in [(SERVICES, service()), (SLICES, slice(0))] {
            // It may be there from another contestant.
            if api.get(&format!("{collection}/{NAME}")).is_err() {
                api.create(collection, &object)?;
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let listeners: [TcpListener; 2] = server
            .place
            .enter(|| -> Result<_> { Ok([listen(ENDPOINTS[0])?, listen(ENDPOINTS[1])?]) })??;
        let servers = (0..).zip(listeners).map(|(index, listener)| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || serve(&listener, index, &stop))
        });
        Ok(Self {
            client: client.place.clone(),
            servers: servers.collect(),
            stop,
        })
    }

    /// Where the client finds it.
    pub(super) fn address() -> SocketAddr {
        (CLUSTER_IP, PORT).into()
    }

    /// What makes its endpoint number `index` (0 or 1) the only one.
    pub(super) fn change(index: u8) -> Value {
        json!({ "endpoints": slice(index)["endpoints"] })
    }

    /// Its slice with that endpoint.
    pub(super) fn slice(index: u8) -> Value {
        slice(index)
    }

    /// The path of its slice.
    pub(super) fn path() -> String {
        format!("{SLICES}/{NAME}")
    }

    /// Which endpoint a line of a watch is about.
    pub(super) fn endpoint_in(line: &str) -> Option<u8> {
        let holds = |address: &Ipv4Addr| line.contains(&format!("\"{address}\""));
        let index = ENDPOINTS.iter().position(holds)?;
        u8::try_from(index).ok()
    }

    /// When the client's first connection to `to` is accepted by whom it may, in nanoseconds of the monotonic clock.
    pub(super) fn reach(&self, to: SocketAddr, limit: Duration) -> Result<u64> {
        self.seek(to, limit, |_stream| true)
    }

    /// When the client's first connection is answered by endpoint `index`.
    pub(super) fn answered_by(&self, index: u8, limit: Duration) -> Result<u64> {
        self.seek(Self::address(), limit, |stream| {
            let mut answer = [u8::MAX];
            let read = stream
                .set_read_timeout(Some(PATIENCE))
                .and_then(|()| stream.read_exact(&mut answer));
            read.is_ok() && answer == [index]
        })
    }

    fn seek(
        &self,
        to: SocketAddr,
        limit: Duration,
        found: impl Fn(&mut TcpStream) -> bool + Sync,
    ) -> Result<u64> {
        let end = monotonic_ns() + u64::try_from(limit.as_nanos())?;
        self.client.enter(|| {
            loop {
                if let Ok(mut stream) = TcpStream::connect_timeout(&to, PATIENCE) {
                    let found = found(&mut stream);
                    let now = monotonic_ns();
                    reset(&stream);
                    if found {
                        return Ok(now);
                    }
                }
                ensure!(monotonic_ns() < end, "not within {limit:?}");
                interrupt::check()?;
                std::thread::park_timeout(PAUSE);
            }
        })?
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for server in self.servers.drain(..) {
            if server.join().is_err() {
                eprintln!("a server of {NAME} panicked");
            }
        }
    }
}

fn listen(address: Ipv4Addr) -> Result<TcpListener> {
    let listener = TcpListener::bind((address, TARGET_PORT))
        .with_context(|| format!("listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Tells every client the server's number.
fn serve(listener: &TcpListener, index: u8, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(100u8)).is_ok()
            && let Ok((mut stream, _client)) = listener.accept()
        {
            // Who went away is not told.
            drop(std::io::Write::write_all(&mut stream, &[index]));
        }
    }
}

/// Closes without a trace: thousands of connections a second must not use up the client's ports.
fn reset(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    if let Err(error) = setsockopt(stream, sockopt::Linger, &linger) {
        eprintln!("SO_LINGER: {error}");
    }
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": NAME, "namespace": "default" },
        "spec": {
            "clusterIP": CLUSTER_IP,
            "clusterIPs": [CLUSTER_IP],
            "ipFamilies": ["IPv4"],
            "ports": [{ "name": "tcp", "protocol": "TCP", "port": PORT, "targetPort": TARGET_PORT }],
        },
    })
}

fn slice(index: u8) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": NAME,
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": "bench" },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "tcp", "protocol": "TCP", "port": TARGET_PORT }],
        "endpoints": [{
            "addresses": [ENDPOINTS[usize::from(index)]],
            "nodeName": NODE,
            "conditions": { "ready": true, "serving": true, "terminating": false },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_watch_tells_the_endpoint() {
        for index in [0, 1] {
            let line = json!({ "type": "MODIFIED", "object": slice(index) }).to_string();
            assert_eq!(Marker::endpoint_in(&line), Some(index));
        }
        assert_eq!(Marker::endpoint_in("{}"), None);
    }
}
