//! Other ways to attach: socket hooks, clsact filters, XDP. And how everything goes again.

mod common;

use std::process::Command;

use aya::EbpfLoader;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{NlOptions, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramInfo, SchedClassifier, TcAttachType};
use common::{World, dir, eventually, in_world, pin_path, run};
use proxy_common::flags::DeviceFlags;
use proxy_kernel::cleanup::cleanup;
use proxy_kernel::devices::{Coverage, DeviceStatus, Devices};
use proxy_kernel::{LoadOptions, Loaded, XdpDevices, object, sockets};

const HOOKS: [&str; 8] = [
    "connect4",
    "connect6",
    "getpeername4",
    "getpeername6",
    "recvmsg4",
    "recvmsg6",
    "sendmsg4",
    "sendmsg6",
];

fn link_id(options: &LoadOptions, name: &str) -> u32 {
    let link = PinnedLink::from_pin(options.bpf_root.join(pin_path("links")).join(name)).unwrap();
    let link: FdLink = link.into();
    link.info().unwrap().id()
}

fn tc(world: &World, args: &[&str]) -> Option<String> {
    run(Command::new("tc").args(["-n", &world.netns]).args(args))
}

fn start(loaded: &Loaded, options: &LoadOptions) -> Devices {
    let devices = Devices::start(loaded, options).unwrap();
    let status = devices.status();
    eventually("ready", || status.borrow().ready);
    devices
}

fn view(devices: &Devices, name: &str) -> (Coverage, bool, Option<String>) {
    let status: DeviceStatus = devices.status().borrow().clone();
    let device = status
        .devices
        .iter()
        .find(|device| device.name == name)
        .unwrap();
    (device.coverage, device.xdp, device.error.clone())
}

fn build_node(world: &World) {
    world.add_pod("eth0");
    world.ip(&["addr", "add", "192.0.2.1/24", "dev", "eth0"]);
    world.ip(&["route", "add", "default", "via", "192.0.2.254"]);
}

/// Names of the programs on the world's cgroup, as the kernel lists them.
fn hooks(world: &World) -> Vec<String> {
    let json = run(Command::new("bpftool")
        .args(["-j", "cgroup", "show"])
        .arg(&world.cgroup))
    .unwrap_or_default();
    let mut names: Vec<_> = json
        .split("\"name\":\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn socket_hooks_attach_once_and_are_replaced_in_place() {
    in_world(
        "socket_hooks_attach_once_and_are_replaced_in_place",
        |world| {
            let options = world.options();
            let loaded = Loaded::load(&options).unwrap();
            let report = sockets::attach(&loaded, &options).unwrap();
            assert!(
                report.len() == 8 && report.iter().all(|line| line.contains("attached to")),
                "{report:?}"
            );
            assert_eq!(hooks(world), HOOKS);
            let before: Vec<u32> = HOOKS.iter().map(|name| link_id(&options, name)).collect();
            drop(loaded);

            let loaded = Loaded::load(&options).unwrap();
            let report = sockets::attach(&loaded, &options).unwrap();
            assert!(
                report.iter().all(|line| line.ends_with(": replaced")),
                "{report:?}"
            );
            assert_eq!(hooks(world), HOOKS, "each once");
            assert_eq!(HOOKS.map(|name| link_id(&options, name)).to_vec(), before);

            // A pin that belongs to another cgroup does not count.
            let mut elsewhere = options.clone();
            elsewhere.cgroup_root = world.cgroup.join("child");
            std::fs::create_dir(&elsewhere.cgroup_root).unwrap();
            let report = sockets::attach(&loaded, &elsewhere).unwrap();
            assert!(
                report.iter().all(|line| line.contains("attached to")),
                "{report:?}"
            );
            assert_eq!(hooks(world), Vec::<String>::new());
            std::fs::remove_dir(&elsewhere.cgroup_root).unwrap();
            // The cgroup is gone: its links are dead, and new ones are made.
            let report = sockets::attach(&loaded, &options).unwrap();
            assert!(
                report.iter().all(|line| line.contains("attached to")),
                "{report:?}"
            );
            assert_eq!(hooks(world), HOOKS);
        },
    );
}

#[test]
fn clsact_covers_below_6_6_and_leaves_others_alone() {
    in_world("clsact_covers_below_6_6_and_leaves_others_alone", |world| {
        build_node(world);
        world.add_pod("cali1");
        world.add_pod("cali2");
        // Somebody else was on cali1 before us.
        tc(world, &["qdisc", "add", "dev", "cali1", "clsact"]).unwrap();
        let mut foreign = EbpfLoader::new().load(object::bytes()).unwrap();
        let program: &mut SchedClassifier = foreign
            .program_mut("tc_egress")
            .unwrap()
            .try_into()
            .unwrap();
        program.load().unwrap();
        let fifth = TcAttachOptions::Netlink(NlOptions {
            priority: 5,
            ..NlOptions::default()
        });
        program
            .attach_with_options("cali1", TcAttachType::Ingress, fifth)
            .unwrap();
        let options = world.options();
        let mut loaded = Loaded::load(&options).unwrap();
        loaded.features.tcx = false;
        let devices = start(&loaded, &options);
        for name in ["eth0", "cali1", "cali2"] {
            assert_eq!(view(&devices, name), (Coverage::Clsact, false, None));
            for side in ["ingress", "egress"] {
                let shown = tc(world, &["filter", "show", "dev", name, side]).unwrap();
                assert_eq!(shown.matches("kube-shunt:tc_").count(), 1, "{shown}");
                assert!(shown.contains("pref 1 "), "{shown}");
            }
        }
        // Somebody removes the qdisc: the event brings us back at once.
        tc(world, &["qdisc", "del", "dev", "cali2", "clsact"]).unwrap();
        eventually("filters come back", || {
            tc(world, &["filter", "show", "dev", "cali2", "egress"])
                .is_some_and(|shown| shown.contains("kube-shunt:tc_egress"))
        });
        eventually("it is counted", || devices.status().borrow().reattached > 0);
        // Restart: the same filters with new programs.
        devices.stop();
        drop(loaded);
        let mut loaded = Loaded::load(&options).unwrap();
        loaded.features.tcx = false;
        let devices = start(&loaded, &options);
        let shown = tc(world, &["filter", "show", "dev", "cali1", "ingress"]).unwrap();
        assert_eq!(shown.matches("kube-shunt:tc_ingress").count(), 1, "{shown}");
        devices.stop();
        drop(loaded);

        let done = cleanup(&world.cleanup_options());
        assert!(done.errors.is_empty(), "{done:?}");
        for line in [
            "clsact ingress filter of device cali1",
            "clsact qdisc of device eth0",
            "clsact qdisc of device cali2",
        ] {
            assert!(done.removed.contains(&line.to_owned()), "{line}: {done:?}");
        }
        let shown = tc(world, &["filter", "show", "dev", "cali1", "ingress"]).unwrap();
        assert!(
            shown.contains("pref 5 ") && !shown.contains("kube-shunt"),
            "{shown}"
        );
        assert!(
            tc(world, &["qdisc", "show", "dev", "cali1"])
                .unwrap()
                .contains("clsact"),
            "it was there before us"
        );
        assert!(
            !tc(world, &["qdisc", "show", "dev", "cali2"])
                .unwrap()
                .contains("clsact")
        );
    });
}

#[test]
fn tcx_comes_first_and_a_foreign_program_stays() {
    in_world("tcx_comes_first_and_a_foreign_program_stays", |world| {
        build_node(world);
        let options = world.options();
        let loaded = Loaded::load(&options).unwrap();
        // A program of somebody else; any will do.
        let mut foreign = EbpfLoader::new().load(object::bytes()).unwrap();
        let program: &mut SchedClassifier = foreign
            .program_mut("tc_egress")
            .unwrap()
            .try_into()
            .unwrap();
        program.load().unwrap();
        let theirs = program.info().unwrap().id();
        program
            .attach_with_options(
                "eth0",
                TcAttachType::Ingress,
                TcAttachOptions::TcxOrder(LinkOrder::first()),
            )
            .unwrap();
        let devices = start(&loaded, &options);
        let ids = || -> Vec<u32> {
            let (_revision, programs) =
                SchedClassifier::query_tcx("eth0", TcAttachType::Ingress).unwrap();
            programs.iter().map(ProgramInfo::id).collect()
        };
        assert_eq!(ids().len(), 2);
        assert_eq!(ids()[1], theirs, "ours first");
        devices.stop();
        let done = cleanup(&world.cleanup_options());
        assert!(done.errors.is_empty(), "{done:?}");
        assert_eq!(ids(), [theirs]);
    });
}

#[test]
fn xdp_runs_where_it_is_named_and_says_where_it_cannot() {
    in_world(
        "xdp_runs_where_it_is_named_and_says_where_it_cannot",
        |world| {
            build_node(world);
            world.add_pod("cali1");
            world.ip(&[
                "link", "add", "vx1", "type", "vxlan", "id", "7", "dstport", "4789",
            ]);
            world.ip(&["link", "set", "vx1", "up"]);
            let mut options = world.options();
            options.xdp = XdpDevices::Named(vec!["eth0".into(), "vx1".into()]);
            let loaded = Loaded::load(&options).unwrap();
            let devices = start(&loaded, &options);
            assert_eq!(view(&devices, "eth0"), (Coverage::Tcx, true, None));
            assert_eq!(view(&devices, "cali1"), (Coverage::Tcx, false, None));
            let (coverage, xdp, error) = view(&devices, "vx1");
            assert_eq!((coverage, xdp), (Coverage::Tcx, false));
            assert!(
                error
                    .as_ref()
                    .is_some_and(|error| error.contains("cannot run XDP in its driver")),
                "{error:?}"
            );
            let shown =
                run(Command::new("ip").args(["-n", &world.netns, "link", "show", "eth0"])).unwrap();
            assert!(
                shown.contains("xdp") && !shown.contains("xdpgeneric"),
                "{shown}"
            );
            let eth0 = loaded
                .maps
                .devices()
                .map(Result::unwrap)
                .find(|(_index, device)| device.flags.has(DeviceFlags::XDP))
                .unwrap();
            assert!(eth0.1.flags.has(DeviceFlags::NODE));
            let before = link_id(&options, &format!("xdp-{}", eth0.0));
            devices.stop();
            drop(loaded);

            let loaded = Loaded::load(&options).unwrap();
            let devices = start(&loaded, &options);
            assert_eq!(link_id(&options, &format!("xdp-{}", eth0.0)), before);
            devices.stop();
            drop(loaded);

            // `auto` never takes a veth, and what it does not take is given up.
            options.xdp = XdpDevices::Auto;
            let loaded = Loaded::load(&options).unwrap();
            let devices = start(&loaded, &options);
            assert_eq!(view(&devices, "eth0"), (Coverage::Tcx, false, None));
            let shown =
                run(Command::new("ip").args(["-n", &world.netns, "link", "show", "eth0"])).unwrap();
            assert!(!shown.contains("xdp"), "{shown}");
            assert!(
                loaded
                    .maps
                    .devices()
                    .all(|device| !device.unwrap().1.flags.has(DeviceFlags::XDP))
            );
        },
    );
}

#[test]
fn cleanup_removes_every_trace_also_under_a_running_agent() {
    in_world(
        "cleanup_removes_every_trace_also_under_a_running_agent",
        |world| {
            build_node(world);
            world.ip(&[
                "link", "add", "vx0", "type", "vxlan", "external", "dstport", "4789",
            ]);
            world.ip(&["addr", "add", "10.244.9.1/24", "dev", "vx0"]);
            world.ip(&["link", "set", "vx0", "up"]);
            let mut options = world.options();
            options.xdp = XdpDevices::Named(vec!["eth0".into()]);
            let loaded = Loaded::load(&options).unwrap();
            sockets::attach(&loaded, &options).unwrap();
            let devices = start(&loaded, &options);
            eventually("masquerade", || devices.status().borrow().masquerade);
            devices.stop();
            // An older version's pins, a loader that was killed half-way.
            let old = options.bpf_root.join("v0");
            for directory in ["v0", "v0/maps", &pin_path("maps-old")] {
                std::fs::create_dir(options.bpf_root.join(directory)).unwrap();
            }
            std::fs::rename(
                options.bpf_root.join(pin_path("maps/FLOWS_V6")),
                old.join("maps/FLOWS_V6"),
            )
            .unwrap();
            std::fs::rename(
                options.bpf_root.join(pin_path("maps/FLOWS_V4")),
                options.bpf_root.join(pin_path("maps-old/FLOWS_V4")),
            )
            .unwrap();

            // The programs, links and maps are still open here.
            let done = cleanup(&world.cleanup_options());
            assert!(done.errors.is_empty(), "{done:?}");
            for what in [
                "TC ingress program",
                "TC egress program",
                "XDP program",
                "socket hook connect4",
                "nftables table",
                "v0/maps/FLOWS_V6",
                "maps-old",
            ] {
                assert!(
                    done.removed.iter().any(|line| line.contains(what)),
                    "{what}: {:#?}",
                    done.removed
                );
            }
            assert_eq!(hooks(world), Vec::<String>::new());
            assert!(!options.bpf_root.exists(), "{:?}", dir(&options.bpf_root));
            for (side, direction) in [
                ("ingress", TcAttachType::Ingress),
                ("egress", TcAttachType::Egress),
            ] {
                let (_revision, programs) = SchedClassifier::query_tcx("eth0", direction).unwrap();
                assert_eq!(programs.len(), 0, "{side}");
            }
            let shown =
                run(Command::new("ip").args(["-n", &world.netns, "link", "show", "eth0"])).unwrap();
            assert!(!shown.contains("xdp"), "{shown}");
            assert_eq!(
                cleanup(&world.cleanup_options()),
                proxy_kernel::cleanup::Removed::default(),
                "nothing left"
            );
            drop(loaded);
        },
    );
}
