//! Devices for real: found, followed, covered, given up, and taken over by the next run.

mod common;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use common::node::{build_node, ifindex, link_id, links, roles, start, wait};
use common::{eventually, in_world, pin_path, run};
use proxy_common::flags::DeviceFlags;
use proxy_kernel::devices::{Coverage, DeviceStatus, Role};

#[test]
fn devices_of_a_node_are_covered_by_role() {
    in_world("devices_of_a_node_are_covered_by_role", |world| {
        build_node(world);
        let options = world.options();
        let (loaded, devices) = start(&options);
        assert!(loaded.features.tcx);
        let status = devices.status().borrow().clone();
        let expected = [
            ("cali1", (Some(Role::Pod), Coverage::Tcx)),
            ("cni0", (None, Coverage::None)),
            ("eth0", (Some(Role::Node), Coverage::Tcx)),
            ("veth1", (Some(Role::Pod), Coverage::Tcx)),
        ];
        assert_eq!(roles(&status), expected.into());
        assert_eq!(
            (
                status.wanted,
                status.covered,
                status.masquerade,
                status.error
            ),
            (3, 3, false, None)
        );

        let map: BTreeMap<_, _> = loaded.maps.devices().map(Result::unwrap).collect();
        let eth0 = map[&ifindex(world, "eth0")];
        assert_eq!(eth0.flags, DeviceFlags::NODE.with(DeviceFlags::REDIRECT));
        assert_eq!(
            (eth0.src4.to_string(), eth0.src6.to_string()),
            ("192.0.2.1".into(), "2001:db8::1".into())
        );
        assert_eq!(eth0.mtu, 1500);
        let cni0 = map[&ifindex(world, "cni0")];
        assert_eq!(
            (cni0.flags, cni0.src4.to_string()),
            (DeviceFlags::REDIRECT, "10.244.1.1".into())
        );
        let addresses: BTreeMap<_, _> = loaded.maps.node_addresses().unwrap().into_iter().collect();
        let addresses: Vec<_> = addresses
            .iter()
            .map(|(ip, serves)| format!("{ip} {serves}"))
            .collect();
        assert_eq!(
            addresses,
            [
                "10.244.1.1 true",
                "127.0.0.1 true",
                "192.0.2.1 true",
                "::1 true",
                "2001:db8::1 true"
            ]
        );
        devices.stop();
    });
}

#[test]
fn pods_are_covered_as_they_come_and_forgotten_as_they_go() {
    in_world(
        "pods_are_covered_as_they_come_and_forgotten_as_they_go",
        |world| {
            build_node(world);
            let options = world.options();
            let (loaded, devices) = start(&options);
            let pod = world.add_netns("late");
            let mut slowest = 0;
            for n in 0..10 {
                let name = format!("late{n}");
                world.ip(&[
                    "link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &pod,
                ]);
                let born = Instant::now();
                wait(&devices, "covered", |status| {
                    roles(status).get(name.as_str()) == Some(&(Some(Role::Pod), Coverage::Tcx))
                });
                slowest = slowest.max(born.elapsed().as_millis());
                let index = ifindex(world, &name);
                assert!(links(&options).contains(&format!("tc-ingress-{index}")));
                world.ip(&["link", "del", &name]);
                wait(&devices, "gone", |status| {
                    !roles(status).contains_key(name.as_str())
                });
                eventually("pins of a vanished device go", || {
                    !links(&options).contains(&format!("tc-ingress-{index}"))
                });
                assert!(
                    loaded
                        .maps
                        .devices()
                        .all(|device| device.unwrap().0 != index)
                );
            }
            println!("a new pod's device is covered within {slowest} ms");
            assert!(slowest < 1000, "{slowest} ms");
        },
    );
}

#[test]
fn a_pod_whose_end_is_moved_away_is_covered_before_it_can_speak() {
    in_world(
        "a_pod_whose_end_is_moved_away_is_covered_before_it_can_speak",
        |world| {
            build_node(world);
            let (_loaded, devices) = start(&world.options());
            let pod = world.add_netns("moved");
            let ends = [
                "link", "add", "lxc1", "type", "veth", "peer", "name", "tmp1",
            ];
            world.ip(&ends);
            world.ip(&["link", "set", "lxc1", "up"]);
            let status = wait(&devices, "both ends here", |status| {
                roles(status).contains_key("tmp1")
            });
            assert_eq!(roles(&status)["lxc1"].0, None);
            world.ip(&["link", "set", "tmp1", "netns", &pod]);
            run(Command::new("ip").args(["-n", &pod, "link", "set", "tmp1", "up"])).unwrap();
            let up = Instant::now();
            let covered = Some(&(Some(Role::Pod), Coverage::Tcx));
            wait(&devices, "covered", |status| {
                roles(status).get("lxc1") == covered
            });
            println!(
                "covered {} ms after its pod came up",
                up.elapsed().as_millis()
            );
            assert!(up.elapsed().as_millis() < 500, "{:?}", up.elapsed());
        },
    );
}

#[test]
fn a_hundred_pods_at_once_are_all_covered_and_all_forgotten() {
    in_world(
        "a_hundred_pods_at_once_are_all_covered_and_all_forgotten",
        |world| {
            const PODS: usize = 100;
            build_node(world);
            let options = world.options();
            let (loaded, devices) = start(&options);
            let pod = world.add_netns("crowd");
            let batch = |line: &dyn Fn(usize) -> String| {
                let lines: Vec<String> = (0..PODS).map(line).collect();
                let file = std::env::temp_dir().join(format!("{}-batch", world.netns));
                std::fs::write(&file, lines.join("\n") + "\n").unwrap();
                run(Command::new("ip")
                    .args(["-n", &world.netns, "-batch"])
                    .arg(&file))
                .unwrap();
                std::fs::remove_file(file).unwrap();
            };
            batch(&|n| format!("link add p{n} type veth peer name e{n} netns {pod}"));
            let all_there = Instant::now();
            let status = wait(&devices, "covered", |status| {
                status.wanted == PODS + 3 && status.covered == status.wanted
            });
            println!(
                "{PODS} pods are covered {} ms after the last",
                all_there.elapsed().as_millis()
            );
            assert_eq!(status.devices.len(), PODS + 4);
            assert_eq!(links(&options).len(), 2 * (PODS + 3));
            batch(&|n| format!("link del p{n}"));
            wait(&devices, "forgotten", |status| status.wanted == 3);
            // The pins of the last one may go a moment later.
            eventually("their links are gone", || links(&options).len() == 6);
            eventually("they are no devices any more", || {
                loaded.maps.devices().count() == 4
            });
        },
    );
}

#[test]
fn addresses_and_routes_are_followed() {
    in_world("addresses_and_routes_are_followed", |world| {
        build_node(world);
        let (loaded, devices) = start(&world.options());
        let serves = |status: &DeviceStatus, ip: &str| {
            status
                .addresses
                .iter()
                .find(|(known, _)| known.to_string() == ip)
                .map(|(_, serves)| *serves)
        };
        world.ip(&["addr", "add", "192.0.2.50/32", "dev", "cali1"]);
        wait(&devices, "address", |status| {
            serves(status, "192.0.2.50") == Some(true)
        });
        world.ip(&["addr", "del", "192.0.2.50/32", "dev", "cali1"]);
        wait(&devices, "no address", |status| {
            serves(status, "192.0.2.50").is_none()
        });
        assert_eq!(loaded.maps.node_addresses().unwrap().len(), 5);
        // The default route moves, and with it what is node-facing; then the Node object says which address counts.
        world.ip(&["link", "set", "eth0", "mtu", "1400"]);
        world.ip(&["route", "replace", "default", "dev", "cali1"]);
        let status = wait(&devices, "route", |status| {
            roles(status)["cali1"].0 == Some(Role::Node)
        });
        assert_eq!(roles(&status)["eth0"].0, Some(Role::Pod));
        devices.set_node_addresses(&["192.0.2.1".parse().unwrap()]);
        let status = wait(&devices, "node address", |status| {
            roles(status)["eth0"].0 == Some(Role::Node)
        });
        assert!(
            status
                .devices
                .iter()
                .any(|device| device.name == "eth0" && device.mtu == 1400)
        );
        eventually("map follows", || {
            let map: BTreeMap<_, _> = loaded.maps.devices().map(Result::unwrap).collect();
            let eth0 = map[&ifindex(world, "eth0")];
            eth0.mtu == 1400 && eth0.flags.has(DeviceFlags::NODE)
        });
    });
}

#[test]
fn restart_replaces_programs_in_place_and_drops_dead_pins() {
    in_world(
        "restart_replaces_programs_in_place_and_drops_dead_pins",
        |world| {
            build_node(world);
            let options = world.options();
            let (loaded, devices) = start(&options);
            let (eth0, cali1, veth1) = (
                ifindex(world, "eth0"),
                ifindex(world, "cali1"),
                ifindex(world, "veth1"),
            );
            let before = link_id(&options, &format!("tc-ingress-{eth0}"));
            let reborn = link_id(&options, &format!("tc-ingress-{veth1}"));
            devices.stop();
            drop(loaded);
            // Nobody looks: one device goes for good, another comes back under the same index.
            world.ip(&["link", "del", "cali1"]);
            world.ip(&["link", "del", "veth1"]);
            let pod = world.add_netns("reborn");
            let index = veth1.to_string();
            world.ip(&[
                "link", "add", "veth2", "index", &index, "type", "veth", "peer", "name", "eth0",
                "netns", &pod,
            ]);

            let (loaded, devices) = start(&options);
            assert!(loaded.reused);
            assert_eq!(
                link_id(&options, &format!("tc-ingress-{eth0}")),
                before,
                "replaced in place"
            );
            assert_ne!(
                link_id(&options, &format!("tc-ingress-{veth1}")),
                reborn,
                "a link of its own"
            );
            let names = links(&options);
            assert!(
                !names
                    .iter()
                    .any(|name| name.ends_with(&format!("-{cali1}"))),
                "{names:?}"
            );
            assert_eq!(names.len(), 4, "{names:?}");
            let status = devices.status().borrow().clone();
            assert_eq!(roles(&status)["veth2"], (Some(Role::Pod), Coverage::Tcx));
        },
    );
}

#[test]
fn watchdog_puts_back_what_was_detached() {
    in_world("watchdog_puts_back_what_was_detached", |world| {
        build_node(world);
        let options = world.options();
        let (_loaded, devices) = start(&options);
        let eth0 = ifindex(world, "eth0");
        let name = format!("tc-egress-{eth0}");
        let before = link_id(&options, &name);
        let pin = options.bpf_root.join(pin_path(&format!("links/{name}")));
        run(Command::new("bpftool")
            .args(["link", "detach", "pinned"])
            .arg(&pin))
        .unwrap();
        // Another link loses only its pin: the program serves on, and the pin comes back.
        let other = options
            .bpf_root
            .join(pin_path(&format!("links/tc-ingress-{eth0}")));
        let kept = link_id(&options, &format!("tc-ingress-{eth0}"));
        std::fs::remove_file(&other).unwrap();
        let status = wait(&devices, "reattached", |status| {
            status.reattached > 0 && status.covered == status.wanted
        });
        assert_eq!(status.reattached, 1);
        assert_ne!(link_id(&options, &name), before);
        eventually("the pin comes back", || other.exists());
        assert_eq!(link_id(&options, &format!("tc-ingress-{eth0}")), kept);
    });
}

#[test]
fn excluded_devices_are_left_alone_and_given_up_after_a_restart() {
    in_world(
        "excluded_devices_are_left_alone_and_given_up_after_a_restart",
        |world| {
            build_node(world);
            let mut options = world.options();
            let (loaded, devices) = start(&options);
            devices.stop();
            drop(loaded);
            options.devices.exclude.push("cali*".parse().unwrap());
            let (_loaded, devices) = start(&options);
            let status = devices.status().borrow().clone();
            assert_eq!(roles(&status)["cali1"], (None, Coverage::None));
            let cali1 = ifindex(world, "cali1");
            assert!(
                links(&options)
                    .iter()
                    .all(|name| !name.ends_with(&format!("-{cali1}")))
            );
        },
    );
}
