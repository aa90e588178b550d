//! Connected UDP sockets of the node's processes, after their backend went (SEMANTICS 10).

mod common;

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use common::{World, eventually, in_world};
use proxy_common::addr::{V4, V6, proto};
use proxy_common::be::Be16;
use proxy_common::flags::AddrFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Frontend, Slice, backend_state};
use proxy_kernel::stale::StaleSockets;
use proxy_kernel::{Loaded, sockets};
use proxy_model::MapOp;

const VIP4: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 96, 0, 0, 0, 0, 0, 10);
const BACKEND4: Ipv4Addr = Ipv4Addr::new(10, 244, 2, 1);
const BACKEND6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 1);
/// Backend ids: of the frontends on port 53, on port 54, and of IPv6.
const IDS: [u32; 3] = [1, 2, 3];

fn state(id: u32, state: u16) -> MapOp {
    let state = BackendState {
        generation: 1,
        state,
        ..BackendState::default()
    };
    MapOp::WriteStates(vec![(id, state)])
}

/// Two Services with the same endpoint, and one of IPv6.
fn services() -> Vec<MapOp> {
    let frontend = |service, offset| Frontend {
        service,
        slices: [Slice { offset, count: 1 }; 3],
        ..Frontend::default()
    };
    let backend4 = |id| Backend {
        addr: V4::from(BACKEND4),
        port: Be16::new(5353),
        id,
        generation: 1,
        ..Backend::default()
    };
    let backend6 = Backend {
        addr: V6::from(BACKEND6),
        port: Be16::new(5353),
        id: 3,
        generation: 1,
        ..Backend::default()
    };
    let key4 = |port| FrontendKey::new(V4::from(VIP4), Be16::new(port), proto::UDP);
    let key6 = FrontendKey::new(V6::from(VIP6), Be16::new(53), proto::UDP);
    let mut ops: Vec<_> = IDS.map(|id| state(id, backend_state::ACTIVE)).into();
    ops.extend([
        MapOp::WriteBackends4 {
            offset: 1,
            backends: vec![backend4(1), backend4(2)],
        },
        MapOp::WriteBackends6 {
            offset: 1,
            backends: vec![backend6],
        },
        MapOp::UpsertFrontends4(vec![(key4(53), frontend(1, 1)), (key4(54), frontend(2, 2))]),
        MapOp::UpsertFrontends6(vec![(key6, frontend(3, 1))]),
        MapOp::SetAddrs4(vec![(VIP4.into(), AddrFlags::VIRTUAL)]),
        MapOp::SetAddrs6(vec![(VIP6.into(), AddrFlags::VIRTUAL)]),
    ]);
    ops
}

/// A process of the node that connects a UDP socket, sends a datagram and waits for an answer.
struct Client {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Client {
    fn start(world: &World, ip: IpAddr, port: u16) -> Self {
        let script = format!(
            "echo $$ > {}/cgroup.procs; exec 3<>/dev/udp/{ip}/{port}; echo question >&3; \
             read -r -n 1 -t 10 -u 3 answer 2>/dev/null; echo \"ended $? $answer\"",
            world.cgroup.display()
        );
        let mut child = Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Its last words.
    fn end(mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        self.child.wait().unwrap();
        line.trim().to_owned()
    }
}

fn server(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 5353)).unwrap();
    let timeout = Some(Duration::from_mins(1));
    socket.set_read_timeout(timeout).unwrap();
    socket
}

/// Takes the question of a client that just started.
fn question(server: &UdpSocket) -> SocketAddr {
    let mut bytes = [0; 16];
    let (len, from) = server.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..len], b"question\n");
    from
}

#[test]
fn connected_udp_sockets_of_a_gone_backend_are_destroyed_and_no_others() {
    let test = "connected_udp_sockets_of_a_gone_backend_are_destroyed_and_no_others";
    in_world(test, |world| {
        for address in ["10.244.2.1/32", "fd00:2::1/128"] {
            world.ip(&["addr", "add", address, "dev", "lo"]);
        }
        world.ip(&["route", "add", "default", "dev", "lo"]);
        world.ip(&["-6", "route", "add", "default", "dev", "lo"]);
        let options = world.options();
        let mut loaded = Loaded::load(&options).unwrap();
        let applied = loaded.maps.apply(&services());
        assert!(applied.error.is_none() && !applied.gone, "{applied:?}");
        sockets::attach(&loaded, &options).unwrap();
        let (server4, server6) = (server(BACKEND4.into()), server(BACKEND6.into()));
        let client = |ip, port, server: &UdpSocket| {
            let client = Client::start(world, ip, port);
            (client, question(server))
        };
        let (stale4, _) = client(VIP4.into(), 53, &server4);
        let (other_service, other_from) = client(VIP4.into(), 54, &server4);
        let (direct, direct_from) = client(BACKEND4.into(), 5353, &server4);
        let (stale6, _) = client(VIP6.into(), 53, &server6);

        let thread = StaleSockets::start(&loaded.maps).unwrap();
        eventually("both first passes", || thread.stats().passes == 2);
        assert_eq!(thread.stats().destroyed, 0);
        // A backend that drains keeps its connections (SEMANTICS 10.4).
        let applied = loaded.maps.apply(&[state(1, backend_state::DRAINING)]);
        assert!(!applied.gone);
        thread.look();
        eventually("passes over a draining backend", || {
            thread.stats().passes == 4
        });
        assert_eq!(thread.stats().destroyed, 0);

        let applied = loaded.maps.apply(&[state(1, backend_state::GONE)]);
        assert!(applied.gone);
        thread.look();
        eventually("the second pass", || thread.stats().passes == 6);
        let stats = thread.stats();
        assert_eq!((stats.destroyed, stats.errors), (1, 0));
        assert_eq!(stale4.end(), "ended 1", "its read fails");
        // The id has another owner: that is gone too.
        let reused = BackendState {
            generation: 2,
            state: backend_state::ACTIVE,
            ..BackendState::default()
        };
        let applied = loaded.maps.apply(&[MapOp::WriteStates(vec![(3, reused)])]);
        assert!(applied.gone);
        thread.look();
        eventually("the last passes", || thread.stats().passes == 8);
        let stats = thread.stats();
        assert_eq!((stats.destroyed, stats.errors), (2, 0));
        assert_eq!(stale6.end(), "ended 1");

        // The same endpoint by another Service, and the endpoint by itself, still speak.
        for (client, from) in [(other_service, other_from), (direct, direct_from)] {
            server4.send_to(b"a", from).unwrap();
            assert_eq!(client.end(), "ended 0 a");
        }
    });
}
