//! Bad objects are reported once, bounded in number, and never stop the others.

use proxy_model::{Change, Kind, Object, ObjectRef, raw};

use crate::rig::Rig;
use crate::words::{NODE, endpoint, service, slice};

#[test]
fn each_problem_is_reported_once_until_it_changes() {
    let mut rig = Rig::new();
    let mut bad = service("web", "ip=10.96.0.1 port=http/TCP/80");
    bad.spec.ports[0].protocol = "tcp".to_owned();
    for expected in [vec!["unknown_protocol", "no_ports"], vec![], vec![]] {
        rig.service(bad.clone()).settle();
        assert_eq!(rig.error_labels(), expected);
    }
    assert_eq!(rig.planner.stats().bad_objects, 1);
    rig.service(service("web", "ip=10.96.0.1 port=http/TCP/80"))
        .settle();
    assert_eq!(
        (rig.error_labels(), rig.planner.stats().bad_objects),
        (vec![], 0)
    );
    rig.service(bad.clone()).settle();
    assert_eq!(
        rig.error_labels(),
        ["unknown_protocol", "no_ports"],
        "it was good in between"
    );
    rig.delete(Kind::Service, "web");
    assert_eq!(rig.planner.stats().bad_objects, 0);
    rig.service(bad);
    let error = rig.planner.take_errors().remove(0);
    assert_eq!(
        (error.uid.as_str(), error.object.to_string().as_str()),
        ("uid-of-web", "Service default/web")
    );
}

#[test]
fn malformed_objects_stay_as_they_were_until_they_are_good_or_gone() {
    let mut rig = Rig::new();
    let web = service("web", "ip=10.96.0.1 port=http/TCP/80");
    let web_1 = slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]);
    rig.service(web.clone()).slice(web_1.clone());
    rig.node("zone-a", "").service_cidr("cidr", "10.96.0.0/16");
    rig.settle();
    let malformed = |kind: Kind, name: &str| {
        let namespace = match kind {
            Kind::Service | Kind::EndpointSlice => "default".to_owned(),
            Kind::Node | Kind::ServiceCidr => String::new(),
        };
        let name = name.to_owned();
        let object = ObjectRef {
            kind,
            namespace,
            name,
        };
        Change::Malformed(object, "f.yaml:3:7: not a whole number".to_owned())
    };
    let all = [
        (Kind::Service, "web"),
        (Kind::EndpointSlice, "web-1"),
        (Kind::Node, NODE),
        (Kind::ServiceCidr, "cidr"),
    ];
    // In a list as well: it shows that the objects are there.
    for (kind, name) in all {
        rig.planner.apply(Change::RelistStart(kind));
        rig.planner.apply(malformed(kind, name));
        rig.planner.apply(Change::RelistEnd(kind));
    }
    rig.planner.apply(malformed(Kind::Service, "never-good"));
    rig.planner.apply(malformed(Kind::Node, "another"));
    assert_eq!(rig.settle(), []);
    assert_eq!(rig.error_labels(), ["malformed"; 5]);
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
    rig.planner.apply(malformed(Kind::Service, "web"));
    assert_eq!(rig.error_labels(), [""; 0], "reported already");

    rig.service(web.clone()).delete(Kind::Service, "never-good");
    rig.delete(Kind::EndpointSlice, "web-1").settle();
    assert_eq!(rig.planner.stats().bad_objects, 2);
    assert_eq!(rig.everyone("10.96.0.1:80"), "reject");
    assert_eq!(rig.error_labels(), [""; 0]);
    rig.planner.apply(malformed(Kind::Service, "web"));
    let error = rig.planner.take_errors().remove(0);
    assert_eq!(
        error.to_string(),
        "Service default/web: f.yaml:3:7: not a whole number; the object stays as it last was"
    );
}

#[test]
fn bad_objects_that_a_relist_does_not_show_are_forgotten() {
    let mut rig = Rig::new();
    let mut bad = service("bad", "ip=nonsense port=http/TCP/80");
    bad.metadata.namespace = "x/y".to_owned();
    rig.service(bad.clone())
        .service(service("worse", "ip=10.96.0.1 port=http/TCP/0"));
    assert_eq!(rig.planner.stats().bad_objects, 2);
    rig.planner.apply(Change::RelistStart(Kind::Service));
    rig.service(bad);
    rig.planner.apply(Change::RelistEnd(Kind::Service));
    assert_eq!(rig.planner.stats().bad_objects, 1);
    let object = ObjectRef {
        kind: Kind::Service,
        namespace: "x/y".to_owned(),
        name: "bad".to_owned(),
    };
    rig.planner.apply(Change::Delete(object));
    assert_eq!(rig.planner.stats().bad_objects, 0);
}

#[test]
fn one_bad_port_leaves_the_others() {
    let mut rig = Rig::new();
    rig.service(service(
        "web",
        "ip=10.96.0.1 port=http/TCP/80 port=bad/TCP/70000 port=dns/UDP/53",
    ));
    rig.slice(slice(
        "web",
        "web-1",
        "http/TCP/8080 bad/TCP/1 dns/UDP/5353",
        &["10.0.0.1"],
    ))
    .settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
    assert_eq!(rig.everyone("10.96.0.1:53/UDP"), "10.0.0.1:5353");
    assert_eq!(rig.error_labels(), ["port_out_of_range"]);
}

#[test]
fn unspecified_external_ip_opens_no_node_port() {
    let mut rig = Rig::new();
    rig.service(service(
        "web",
        "ip=10.96.0.1 port=ssh/TCP/22 external=0.0.0.0 external=127.0.0.1",
    ))
    .settle();
    assert_eq!(rig.everyone("*:22"), "none");
    assert_eq!(rig.error_labels(), ["special_address", "special_address"]);
}

#[test]
fn megabyte_of_endpoints_is_served_and_its_errors_are_few() {
    let mut rig = Rig::with_room(10, 60_000);
    let mut big = slice("web", "web-1", "http/TCP/8080", &[]);
    big.endpoints = (0..50_000u32)
        .map(|number| {
            let [_, _, high, low] = number.to_be_bytes();
            if number % 2 == 0 {
                endpoint(&format!("10.7.{high}.{low}"))
            } else {
                endpoint(&format!("10.7.{high}.{low}.x"))
            }
        })
        .collect();
    rig.service(service("web", "ip=10.96.0.1 port=http/TCP/80"))
        .slice(big);
    let plan = rig.planner.plan(0);
    rig.maps.apply(&plan);
    rig.maps.check().unwrap();
    assert_eq!(rig.planner.stats().v4.backends, 25_000);
    let errors = rig.errors();
    assert_eq!(
        (errors.len(), errors[16].1.to_string()),
        (
            17,
            "24984 more problems of this object are not listed".to_owned()
        )
    );
}

#[test]
fn object_without_namespace_is_in_default() {
    let mut rig = Rig::new();
    let mut web = service("web", "ip=10.96.0.1 port=http/TCP/80");
    web.metadata.namespace.clear();
    rig.service(web)
        .slice(slice("web", "web-1", "http/TCP/8080", &["10.0.0.1"]))
        .settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "10.0.0.1:8080");
    let object = ObjectRef {
        kind: Kind::Service,
        namespace: String::new(),
        name: "web".to_owned(),
    };
    rig.planner.apply(Change::Delete(object));
    rig.settle();
    assert_eq!(rig.everyone("10.96.0.1:80"), "none");
}

#[test]
fn other_nodes_are_ignored() {
    let mut rig = Rig::new();
    rig.service(service("web", "ip=10.96.0.1 port=http/TCP/80"));
    rig.slice(slice(
        "web",
        "web-1",
        "http/TCP/8080",
        &["10.0.0.1 zone=x", "10.0.0.2 zone=y"],
    ))
    .settle();
    let mut node = raw::Node::default();
    node.metadata.name = "node-b".to_owned();
    node.metadata
        .labels
        .insert("topology.kubernetes.io/zone".to_owned(), "x".to_owned());
    rig.planner.apply(Change::Upsert(Object::Node(node)));
    assert!(rig.settle().is_empty());
}
