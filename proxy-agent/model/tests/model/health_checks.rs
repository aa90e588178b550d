//! Health checks of Services, and when the changes of endpoints began.

use proxy_model::{Change, Kind, Object, Trigger};

use crate::rig::Rig;
use crate::words::{service, slice};

const CHECKED: &str = "LoadBalancer ip=10.96.0.1 ip=fd00:96::1 port=http/TCP/80 port=dns/UDP/53 lb=198.51.100.9 etp check=32000";

/// Name, port, local ready endpoints by family.
fn checks(rig: &Rig) -> Vec<(String, u16, usize, usize)> {
    let checks = rig.planner.health_checks();
    checks
        .map(|check| (check.name.clone(), check.port, check.local4, check.local6))
        .collect()
}

#[test]
fn semantics_2_11_only_load_balancers_with_policy_local_are_checked() {
    for (words, port) in [
        (CHECKED, Some(32_000)),
        (
            "LoadBalancer ip=10.96.0.1 port=http/TCP/80 check=32000",
            None,
        ),
        (
            "NodePort ip=10.96.0.1 port=http/TCP/80/30080 etp check=32000",
            None,
        ),
        (
            "ip=10.96.0.1 port=http/TCP/80 external=192.0.2.7 etp check=32000",
            None,
        ),
        (
            "LoadBalancer ip=10.96.0.1 port=http/TCP/80 etp check=32000",
            Some(32_000),
        ),
    ] {
        let mut rig = Rig::new();
        rig.service(service("web", words)).settle();
        let ports: Vec<u16> = rig
            .planner
            .health_checks()
            .map(|check| check.port)
            .collect();
        assert_eq!(ports, port.into_iter().collect::<Vec<_>>(), "{words}");
        assert_eq!(rig.error_labels(), [""; 0]);
    }
    for check in ["check=0", "check=-1", "check=65536"] {
        let mut rig = Rig::new();
        rig.service(service("web", &CHECKED.replace("check=32000", check)))
            .settle();
        assert_eq!(
            (rig.error_labels(), checks(&rig)),
            (vec!["health_check_port"], vec![]),
            "{check}"
        );
    }
}

#[test]
fn semantics_6_7_distinct_ready_addresses_of_this_node_count() {
    let mut rig = Rig::new();
    rig.service(service("web", CHECKED)).settle();
    assert_eq!(
        checks(&rig),
        [("web".to_owned(), 32_000, 0, 0)],
        "21.22: it answers before there are endpoints"
    );
    let endpoints = &[
        "10.0.0.1 here",
        "10.0.0.2",
        "10.0.0.3 here unready",
        "10.0.0.4 here terminating",
        "10.0.0.5 here",
    ];
    rig.slice(slice("web", "web-1", "http/TCP/8080 dns/UDP/53", endpoints));
    rig.slice(slice(
        "web",
        "web-2",
        "http/TCP/8080",
        &["10.0.0.1 here", "10.0.0.4 here terminating"],
    ));
    rig.slice(slice(
        "web",
        "web-6",
        "dns/UDP/53",
        &["fd00::1 here", "fd00::2"],
    ))
    .settle();
    assert_eq!(checks(&rig), [("web".to_owned(), 32_000, 2, 1)]);
    rig.slice(slice("web", "web-1", "", endpoints));
    assert_eq!(checks(&rig)[0].2, 2, "as of the last plan");
    rig.settle();
    assert_eq!(
        checks(&rig)[0].2,
        1,
        "21.18: a slice without ports has no endpoints"
    );
    rig.delete(Kind::EndpointSlice, "web-2").settle();
    assert_eq!(checks(&rig)[0].2, 0);
}

#[test]
fn semantics_11_1_checks_follow_their_service() {
    let mut rig = Rig::new();
    rig.slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.1 here"]));
    rig.service(service("web", CHECKED)).settle();
    assert_eq!(checks(&rig), [("web".to_owned(), 32_000, 1, 0)]);
    rig.service(service("web", &CHECKED.replace("32000", "32001")))
        .settle();
    assert_eq!(checks(&rig), [("web".to_owned(), 32_001, 1, 0)]);
    rig.service(service("web", &CHECKED.replace(" etp", "")))
        .settle();
    assert_eq!(checks(&rig), []);
    rig.service(service("web", CHECKED)).settle();
    rig.delete(Kind::Service, "web").settle();
    assert_eq!(checks(&rig), []);
}

fn touched(rig: &mut Rig, name: &str, time: &str, endpoints: &[&str]) {
    let mut slice = slice("web", name, "http/TCP/8080", endpoints);
    let key = "endpoints.kubernetes.io/last-change-trigger-time";
    slice
        .metadata
        .annotations
        .insert(key.to_owned(), time.to_owned());
    rig.planner
        .apply(Change::Upsert(Object::EndpointSlice(slice)));
}

#[test]
fn semantics_6_4_trigger_times_of_changes_that_were_planned() {
    let mut rig = Rig::new();
    let time = |is_v6, unix_ns| Trigger { is_v6, unix_ns };
    touched(&mut rig, "web-1", "1970-01-01T00:00:01.5Z", &["10.0.0.1"]);
    touched(&mut rig, "web-6", "1970-01-01T00:00:02Z", &["fd00::1"]);
    assert_eq!(rig.planner.take_triggers(), [], "not planned yet");
    rig.settle();
    let both = [time(false, 1_500_000_000), time(true, 2_000_000_000)];
    assert_eq!(rig.planner.take_triggers(), both);
    assert_eq!(rig.planner.take_triggers(), [], "each once");
    touched(&mut rig, "web-1", "1970-01-01T00:00:03Z", &["10.0.0.1"]);
    rig.settle();
    assert_eq!(rig.planner.take_triggers(), [], "6.3: nothing changed");
    touched(&mut rig, "web-1", "1970-01-01T00:00:04Z", &["10.0.0.2"]);
    touched(&mut rig, "web-2", "1970-01-01T00:00:05Z", &["10.0.0.3"]);
    touched(&mut rig, "web-6", "1970-01-01T00:00:06Z", &["fd00::2"]);
    rig.delete(Kind::EndpointSlice, "web-2").settle();
    assert_eq!(
        rig.planner.take_triggers(),
        [time(true, 6_000_000_000)],
        "a deletion discards the family's"
    );
    touched(&mut rig, "web-1", "soon", &["10.0.0.9"]);
    rig.settle();
    assert_eq!(
        (rig.planner.take_triggers(), rig.error_labels()),
        (vec![], vec!["trigger_time"])
    );
}
