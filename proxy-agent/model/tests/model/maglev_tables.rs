//! Maglev tables: shared, built apart, named only when they are there, kept over restarts.

use proxy_model::{Kind, MapOp};

use crate::rig::Rig;
use crate::words::{service, slice};

const WEB: &str =
    "LoadBalancer ip=10.96.0.1 port=a/TCP/80/30080 port=b/UDP/81 lb=198.51.100.9 algorithm=maglev";
const PORTS: &str = "a/TCP/8080 b/UDP/8081";

fn tables(rig: &Rig) -> Vec<[u32; 2]> {
    rig.maps
        .frontends4
        .values()
        .map(|frontend| frontend.tables)
        .collect()
}

fn rig(endpoints: &[&str]) -> Rig {
    let mut rig = Rig::new();
    rig.service(service("web", WEB));
    rig.slice(slice("web", "web-1", PORTS, endpoints)).settle();
    rig
}

#[test]
fn one_table_for_all_frontends_with_the_same_endpoints() {
    let mut rig = rig(&["10.0.0.1", "10.0.0.2"]);
    assert!(
        tables(&rig).iter().all(|named| *named == [0; 2]),
        "until it is built, a hash decides"
    );
    rig.service(service(
        "same",
        "ip=10.96.0.2 port=c/TCP/80 algorithm=maglev",
    ));
    rig.slice(slice(
        "same",
        "same-1",
        "c/TCP/9",
        &["10.0.0.2", "10.0.0.1"],
    ))
    .settle();
    assert_eq!(rig.build_tables(), 1);
    assert_eq!(
        rig.planner.retry_at(),
        Some(rig.now_ms),
        "it waits to be written"
    );
    let ops = rig.settle();
    assert!(
        matches!(&ops[0], MapOp::WriteTable { entries, .. } if entries.len() == 1_021),
        "before the frontends"
    );
    assert_eq!(rig.maps.tables.len(), 1);
    assert_eq!(tables(&rig), [[1, 0]; 6], "five of web, one of same");
    assert_eq!((rig.settle(), rig.planner.retry_at()), (vec![], None));
}

#[test]
fn local_endpoints_have_a_table_of_their_own() {
    let mut rig = Rig::new();
    rig.service(service("web", &format!("{WEB} etp")));
    let endpoints = &["10.0.0.1 here", "10.0.0.2 here", "10.0.0.3"];
    rig.slice(slice("web", "web-1", PORTS, endpoints)).settle();
    assert_eq!(rig.build_tables(), 2);
    rig.settle();
    let mut named = tables(&rig);
    named.sort_unstable();
    named.dedup();
    assert_eq!(
        named.len(),
        2,
        "cluster IPs name one table, external frontends both: {named:?}"
    );
    assert!(named[0][1] == 0 && named[1][1] != 0 && named[0][0] == named[1][0]);
}

#[test]
fn one_endpoint_and_other_algorithms_need_no_table() {
    let mut rig = rig(&["10.0.0.1"]);
    assert_eq!(rig.build_tables(), 0);
    rig.service(service("web", &WEB.replace("maglev", "round-robin")));
    rig.slice(slice("web", "web-1", PORTS, &["10.0.0.1", "10.0.0.2"]))
        .settle();
    assert_eq!(rig.build_tables(), 0);
}

#[test]
fn table_of_an_old_set_is_never_named_for_a_new_one() {
    let mut rig = rig(&["10.0.0.1", "10.0.0.2"]);
    rig.build_tables();
    rig.settle();
    let old = rig.maps.tables.clone();
    rig.slice(slice("web", "web-1", PORTS, &["10.0.0.1", "10.0.0.3"]))
        .settle();
    assert!(tables(&rig).iter().all(|named| *named == [0; 2]));
    rig.build_tables();
    rig.settle();
    assert_eq!(
        rig.maps.tables.len(),
        2,
        "the old one stays for its grace period: {old:?}"
    );
    let named = tables(&rig)[0];
    assert_ne!(named, [1, 0]);
    rig.slice(slice("web", "web-1", PORTS, &["10.0.0.4", "10.0.0.3"]))
        .settle_later();
    rig.build_tables();
    rig.settle();
    assert_eq!(tables(&rig)[0], [1, 0], "the room is used again");
}

#[test]
fn result_for_a_set_that_went_is_dropped() {
    let mut rig = rig(&["10.0.0.1", "10.0.0.2"]);
    let jobs = rig.planner.table_jobs();
    assert_eq!(jobs.len(), 1);
    rig.delete(Kind::Service, "web").settle();
    for job in jobs {
        rig.planner.table_done(job.build());
    }
    assert_eq!((rig.settle(), rig.planner.retry_at()), (vec![], None));
    rig.service(service("web", WEB)).settle();
    assert_eq!(rig.build_tables(), 1, "it is built again");
}

#[test]
fn restart_keeps_tables_without_building_them_again() {
    let mut rig = rig(&["10.0.0.1", "10.0.0.2"]);
    rig.build_tables();
    rig.settle();
    let mut again = rig.restarted();
    again.service(service("web", WEB));
    again.slice(slice("web", "web-1", PORTS, &["10.0.0.1", "10.0.0.2"]));
    assert_eq!(again.settle_again(), []);
    assert_eq!(again.build_tables(), 0);
    // Its room is taken: another set's table goes elsewhere.
    again.service(service(
        "more",
        "ip=10.96.0.7 port=c/TCP/80 algorithm=maglev",
    ));
    again
        .slice(slice(
            "more",
            "more-1",
            "c/TCP/9",
            &["10.0.0.8", "10.0.0.9"],
        ))
        .settle();
    again.build_tables();
    again.settle();
    assert_eq!(again.maps.tables.len(), 2);
}

#[test]
fn restart_replaces_a_damaged_table_in_one_step() {
    let mut rig = rig(&["10.0.0.1", "10.0.0.2"]);
    rig.build_tables();
    rig.settle();
    let good = rig.maps.tables[&1].clone();
    let mut swapped = good.to_vec();
    swapped.swap(0, good.iter().position(|entry| *entry != good[0]).unwrap());
    let damaged = [swapped, good[..1_020].to_vec(), vec![7; 1_021], Vec::new()];
    for damaged in damaged.map(Some).into_iter().chain([None]) {
        let mut rig = rig.clone();
        match damaged {
            Some(entries) => drop(rig.maps.tables.insert(1, entries.into())),
            None => drop(rig.maps.tables.remove(&1)),
        }
        let mut again = rig.restarted();
        again.service(service("web", WEB));
        again.slice(slice("web", "web-1", PORTS, &["10.0.0.1", "10.0.0.2"]));
        let ops = again.planner.plan(0);
        assert!(
            matches!(&ops[0], MapOp::WriteTable { offset: 258, entries } if *entries == good),
            "elsewhere, before the frontends: {ops:?}"
        );
        again.maps.apply(&ops);
        assert_eq!(tables(&again), [[258, 0]; 5]);
        assert_eq!(again.build_tables(), 0);
        assert_eq!((again.settle_later(), again.maps.check()), (vec![], Ok(())));
    }
}

#[test]
fn crowded_table_is_reported_and_comes_when_there_is_room() {
    let mut rig = Rig::with_room(4_000, 60_000);
    // 32 tables of 65,521 entries fill LUT but for a rest.
    let many = |number: usize| -> Vec<String> {
        (0..164)
            .map(|last| format!("10.{number}.0.{last}"))
            .collect()
    };
    for number in 0..32 {
        let name = format!("s{number:02}");
        rig.service(service(
            &name,
            &format!("ip=10.96.1.{number} port=a/TCP/80 algorithm=maglev"),
        ));
        let endpoints = many(number);
        let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        rig.slice(slice(&name, &name, "a/TCP/80", &endpoints));
    }
    rig.settle_at_once(0);
    assert_eq!(rig.build_tables(), 32);
    rig.settle_at_once(0);
    assert_eq!(rig.maps.tables.len(), 32);
    rig.service(service(
        "late",
        "ip=10.96.2.1 port=a/TCP/80 algorithm=maglev",
    ));
    let endpoints = many(40);
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    rig.slice(slice("late", "late", "a/TCP/80", &endpoints))
        .settle_at_once(0);
    rig.build_tables();
    rig.settle_at_once(0);
    assert_eq!(rig.error_labels(), ["no_table"]);
    rig.delete(Kind::Service, "s00");
    rig.settle_at_once(0);
    assert_eq!(rig.planner.retry_at(), Some(rig.now_ms + 1_000));
    rig.settle_at_once(1_000);
    assert_eq!(
        (rig.error_labels(), rig.planner.stats().bad_objects),
        (vec![], 0)
    );
    let late = rig
        .maps
        .frontends4
        .values()
        .filter(|frontend| frontend.tables[0] != 0);
    assert_eq!(late.count(), 32);
    assert_eq!(rig.maps.check(), Ok(()));
}
