//! Netfilter's masquerade for pods: programs mark, the rule masquerades, answers find their way, and the mark goes no further.

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::node::{start, wait};
use common::{World, in_world, run};
use nix::sched::{CloneFlags, setns};
use proxy_common::addr::{V4, V6, proto};
use proxy_common::be::Be16;
use proxy_common::flags::{AddrFlags, FrontendFlags};
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, BackendState, Frontend, Slice, backend_state};
use proxy_kernel::LoadOptions;
use proxy_model::MapOp;

const CLIENT4: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 7);
const SERVER4: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 8);
const BRIDGE4: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 1);
const VIP4: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 7);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 8);
const BRIDGE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 96, 0, 0, 0, 0, 0, 10);

/// Runs `f` in a thread inside the named network namespace.
fn within<T: Send>(netns: &str, f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                let netns = File::open(Path::new("/run/netns").join(netns)).unwrap();
                setns(&netns, CloneFlags::CLONE_NEWNET).unwrap();
                f()
            })
            .join()
            .unwrap()
    })
}

/// Two pods behind one bridge, each with the node as gateway. Their names.
fn build(world: &World) -> [String; 2] {
    world.ip(&["link", "add", "cni0", "type", "bridge"]);
    world.ip(&["addr", "add", "10.244.1.1/24", "dev", "cni0"]);
    world.ip(&["addr", "add", "fd00:1::1/64", "dev", "cni0", "nodad"]);
    world.ip(&["link", "set", "cni0", "up"]);
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(Path::new("/proc/sys/net").join(family), "1").unwrap();
    }
    [("veth1", CLIENT4, CLIENT6), ("veth2", SERVER4, SERVER6)].map(|(device, v4, v6)| {
        let pod = world.add_pod(device);
        world.ip(&["link", "set", device, "master", "cni0"]);
        let ip = |args: &[&str]| {
            run(Command::new("ip").args(["-n", &pod]).args(args)).unwrap();
        };
        ip(&["addr", "add", &format!("{v4}/24"), "dev", "eth0"]);
        ip(&["addr", "add", &format!("{v6}/64"), "dev", "eth0", "nodad"]);
        ip(&["link", "set", "eth0", "up"]);
        ip(&["route", "add", "default", "via", "10.244.1.1"]);
        ip(&["route", "add", "default", "via", "fd00:1::1"]);
        pod
    })
}

fn backend<A: Default>(addr: A, id: u32) -> Backend<A> {
    Backend {
        addr,
        port: Be16::new(8080),
        id,
        generation: 1,
        ..Backend::default()
    }
}

/// One cluster IP per family, whose connections are masqueraded for pods if `masquerade`.
fn services(masquerade: bool) -> Vec<MapOp> {
    let slice = Slice {
        offset: 1,
        count: 1,
    };
    let frontend = Frontend {
        service: 1,
        flags: if masquerade {
            FrontendFlags::MASQUERADE_INSIDE
        } else {
            FrontendFlags::default()
        },
        slices: [slice; 3],
        ..Frontend::default()
    };
    let state = BackendState {
        generation: 1,
        state: backend_state::ACTIVE,
        ..BackendState::default()
    };
    let (port, proto) = (Be16::new(80), proto::TCP);
    vec![
        MapOp::WriteStates(vec![(1, state), (2, state)]),
        MapOp::WriteBackends4 {
            offset: 1,
            backends: vec![backend(V4::from(SERVER4), 1)],
        },
        MapOp::WriteBackends6 {
            offset: 1,
            backends: vec![backend(V6::from(SERVER6), 2)],
        },
        MapOp::UpsertFrontends4(vec![(FrontendKey::new(VIP4.into(), port, proto), frontend)]),
        MapOp::UpsertFrontends6(vec![(FrontendKey::new(VIP6.into(), port, proto), frontend)]),
        MapOp::SetAddrs4(vec![(VIP4.into(), AddrFlags::VIRTUAL)]),
        MapOp::SetAddrs6(vec![(VIP6.into(), AddrFlags::VIRTUAL)]),
    ]
}

/// A conversation of several packets each way; whom the server saw.
fn converse(client: &str, server: &str, vip: IpAddr) -> IpAddr {
    let bind: SocketAddr = match vip {
        IpAddr::V4(_) => (SERVER4, 8080).into(),
        IpAddr::V6(_) => (SERVER6, 8080).into(),
    };
    let listener = within(server, || TcpListener::bind(bind).unwrap());
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            let (mut stream, from) = listener.accept().unwrap();
            let mut bytes = [0; 4];
            for _round in 0..3 {
                stream.read_exact(&mut bytes).unwrap();
                stream.write_all(&bytes).unwrap();
            }
            from.ip()
        });
        within(client, || {
            let mut stream =
                TcpStream::connect_timeout(&(vip, 80).into(), Duration::from_secs(5)).unwrap();
            let mut bytes = [0; 4];
            for _round in 0..3 {
                stream.write_all(b"ping").unwrap();
                stream.read_exact(&mut bytes).unwrap();
            }
            assert_eq!(stream.peer_addr().unwrap().ip(), vip);
        });
        served.join().unwrap()
    })
}

/// Counts packets that still carry `mark` where everybody else is done.
fn watch_marks(mark: u32) {
    let script = format!(
        "table inet watch {{ chain late {{ type filter hook postrouting priority 300; \
         meta mark & {mark:#x} == {mark:#x} counter; counter; }}; }}"
    );
    run(Command::new("nft").arg(script)).unwrap();
}

/// Packets with the mark, and all.
fn marks_seen() -> (u64, u64) {
    let listed = run(Command::new("nft").args(["list", "table", "inet", "watch"])).unwrap();
    let counts: Vec<u64> = listed
        .split("packets ")
        .skip(1)
        .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
        .collect();
    (counts[0], counts[1])
}

fn nft_missing(test: &str) -> bool {
    let missing = Command::new("nft").arg("--version").output().is_err();
    if missing {
        println!("SKIPPED {test}: no nft");
    }
    missing
}

fn exact(world: &World) -> LoadOptions {
    LoadOptions {
        exact_masquerade: true,
        masquerade_bit: 9,
        ..world.options()
    }
}

/// SEMANTICS 9.1 and 9.2: masqueradeAll, and external destinations with the policy Cluster, masquerade pods too.
#[test]
fn a_pod_of_the_same_bridge_is_masqueraded_and_the_mark_goes_no_further() {
    let test = "a_pod_of_the_same_bridge_is_masqueraded_and_the_mark_goes_no_further";
    if nft_missing(test) {
        return;
    }
    in_world(test, |world| {
        let [client, server] = build(world);
        let (mut loaded, devices) = start(&exact(world));
        wait(&devices, "the rule", |status| status.masquerade);
        watch_marks(1 << 9);
        assert!(loaded.maps.apply(&services(false)).error.is_none());
        assert_eq!(converse(&client, &server, VIP4.into()), CLIENT4);
        assert_eq!(converse(&client, &server, VIP6.into()), CLIENT6);
        assert!(loaded.maps.apply(&services(true)).error.is_none());
        assert_eq!(converse(&client, &server, VIP4.into()), BRIDGE4);
        assert_eq!(converse(&client, &server, VIP6.into()), BRIDGE6);
        let (marked, all) = marks_seen();
        assert_eq!(marked, 0, "of {all} packets");
        assert!(all > 20, "the watch saw {all} packets only");
    });
}

#[test]
fn another_masquerade_bit_holds_after_a_restart() {
    let test = "another_masquerade_bit_holds_after_a_restart";
    if nft_missing(test) {
        return;
    }
    in_world(test, |world| {
        let [client, server] = build(world);
        let mut options = exact(world);
        let (mut loaded, devices) = start(&options);
        assert!(loaded.maps.apply(&services(true)).error.is_none());
        assert_eq!(converse(&client, &server, VIP4.into()), BRIDGE4);
        drop((loaded, devices));
        options.masquerade_bit = 31;
        let (loaded, devices) = start(&options);
        assert_eq!(loaded.settings.masquerade_mark, 1 << 31);
        watch_marks(1 << 31);
        assert_eq!(converse(&client, &server, VIP4.into()), BRIDGE4);
        assert_eq!(marks_seen().0, 0);
        // Without the option nothing needs the rule.
        drop((loaded, devices));
        options.exact_masquerade = false;
        let (_loaded, devices) = start(&options);
        wait(&devices, "no rule", |status| !status.masquerade);
        options.masquerade_all = true;
        drop(devices);
        let (_loaded, devices) = start(&options);
        wait(&devices, "the rule", |status| status.masquerade);
    });
}
