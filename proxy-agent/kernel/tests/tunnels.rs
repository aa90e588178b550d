//! Devices that are not plain Ethernet: what they run, and when netfilter must help.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use common::node::{build_node, ifindex, roles, start, wait};
use common::{eventually, in_world, pin_path, run};
use proxy_common::flags::DeviceFlags;
use proxy_kernel::devices::{Coverage, Role};

#[test]
fn masquerade_table_lives_as_long_as_a_device_needs_it() {
    in_world(
        "masquerade_table_lives_as_long_as_a_device_needs_it",
        |world| {
            build_node(world);
            let (_loaded, devices) = start(&world.options());
            let table = || run(Command::new("nft").args(["list", "table", "inet", "kube-shunt"]));
            assert!(table().is_none());
            world.ip(&[
                "link", "add", "vx0", "type", "vxlan", "external", "dstport", "4789",
            ]);
            world.ip(&["addr", "add", "10.244.9.1/24", "dev", "vx0"]);
            world.ip(&["link", "set", "vx0", "up"]);
            let status = wait(&devices, "masquerade", |status| status.masquerade);
            assert_eq!(roles(&status)["vx0"], (Some(Role::Overlay), Coverage::Tcx));
            assert!(table().unwrap().contains("masquerade"));
            // Somebody flushes all tables.
            run(Command::new("nft").args(["delete", "table", "inet", "kube-shunt"])).unwrap();
            eventually("the table comes back", || table().is_some());
            world.ip(&["link", "del", "vx0"]);
            wait(&devices, "no masquerade", |status| !status.masquerade);
            assert!(table().is_none());
            // A tunnel whose far ends are in its own table needs none.
            world.ip(&[
                "link", "add", "vx1", "type", "vxlan", "id", "7", "dstport", "4789",
            ]);
            world.ip(&["addr", "add", "10.244.9.1/24", "dev", "vx1"]);
            world.ip(&["link", "set", "vx1", "up"]);
            let status = wait(&devices, "covered", |status| {
                roles(status).get("vx1") == Some(&(Some(Role::Overlay), Coverage::Tcx))
            });
            assert!(!status.masquerade);
        },
    );
}

#[test]
fn devices_without_link_layer_get_their_own_programs() {
    in_world(
        "devices_without_link_layer_get_their_own_programs",
        |world| {
            if !Path::new("/dev/net/tun").exists() {
                println!(
                    "SKIPPED devices_without_link_layer_get_their_own_programs: no /dev/net/tun"
                );
                return;
            }
            build_node(world);
            let options = world.options();
            let (loaded, devices) = start(&options);
            world.ip(&["tuntap", "add", "mode", "tun", "name", "tun0"]);
            world.ip(&["addr", "add", "10.8.0.1/24", "dev", "tun0"]);
            world.ip(&["link", "set", "tun0", "up"]);
            let status = wait(&devices, "covered", |status| {
                roles(status).get("tun0") == Some(&(Some(Role::Node), Coverage::Tcx))
            });
            assert!(
                status
                    .devices
                    .iter()
                    .any(|device| device.name == "tun0" && device.l3)
            );
            let index = ifindex(world, "tun0");
            let pin = options
                .bpf_root
                .join(pin_path(&format!("links/tc-ingress-{index}")));
            let shown = run(Command::new("bpftool")
                .args(["-j", "link", "show", "pinned"])
                .arg(pin))
            .unwrap();
            let program = shown
                .split("\"prog_id\":")
                .nth(1)
                .unwrap()
                .split([',', '}'])
                .next()
                .unwrap()
                .to_owned();
            let program =
                run(Command::new("bpftool").args(["-j", "prog", "show", "id", &program])).unwrap();
            assert!(program.contains("tc_ingress_l3"), "{program}");
            let map: BTreeMap<_, _> = loaded.maps.devices().map(Result::unwrap).collect();
            assert_eq!(map[&index].flags, DeviceFlags::NODE.with(DeviceFlags::L3));
        },
    );
}
