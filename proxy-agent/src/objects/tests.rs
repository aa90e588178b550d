//! Objects as an API server sends them.

use std::net::IpAddr;

use super::*;

fn parse<W: serde::de::DeserializeOwned + Into<Parsed>>(json: &str) -> Parsed {
    serde_json::from_str::<W>(json).unwrap().into()
}

#[test]
fn service_keeps_only_what_is_read() {
    let parsed = parse::<WireService>(
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop","uid":"u","resourceVersion":"7",
        "managedFields":[{"manager":"kubectl","fieldsV1":{"f:spec":{}}}],
        "labels":{"app":"web","service.kubernetes.io/headless":""},
        "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","kube-shunt.io/algorithm":"random"}},
        "spec":{"clusterIP":"10.96.0.7","ports":[{"port":80}],"selector":{"app":"web"}},"status":null}"#,
    );
    assert_eq!(parsed.resource_version, "7");
    let meta = meta(&parsed.object);
    assert_eq!(
        meta.labels.keys().collect::<Vec<_>>(),
        ["service.kubernetes.io/headless"]
    );
    assert_eq!(
        meta.annotations.keys().collect::<Vec<_>>(),
        ["kube-shunt.io/algorithm"]
    );
    assert!(not_ours(meta));
    let Object::Service(service) = &parsed.object else {
        panic!("not a Service")
    };
    assert_eq!(
        (service.spec.cluster_ip.as_str(), service.spec.ports.len()),
        ("10.96.0.7", 1)
    );
    assert_eq!(reference(&parsed.object).to_string(), "Service shop/web");
}

#[test]
fn slice_without_endpoints_is_an_empty_one() {
    let parsed = parse::<WireSlice>(
        r#"{"metadata":{"name":"web-1","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","endpoints":null,"ports":null}"#,
    );
    let Object::EndpointSlice(slice) = &parsed.object else {
        panic!("not an EndpointSlice")
    };
    assert!(slice.endpoints.is_empty() && slice.ports.is_empty());
    assert_eq!(slice.metadata.labels["kubernetes.io/service-name"], "web");
    assert_eq!(slice.metadata.namespace, "default");
    assert!(!not_ours(&slice.metadata));
}

#[test]
fn node_facts_tell_addresses_and_departure() {
    let check = |rest: &str, addresses: &[&str], leaving: bool| {
        let parsed = parse::<WireNode>(&format!(r#"{{"metadata":{{"name":"n1"{rest}}}"#));
        let facts = parsed.node.unwrap();
        let wanted: Vec<IpAddr> = addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        assert_eq!(
            (facts.name.as_str(), facts.addresses, facts.leaving),
            ("n1", wanted, leaving),
            "{rest}"
        );
    };
    check("}", &[], false);
    check(r#","deletionTimestamp":"2026-01-01T00:00:00Z"}"#, &[], true);
    check(r#","deletionTimestamp":null}"#, &[], false);
    check(
        r#"},"spec":{"taints":[{"key":"ToBeDeletedByClusterAutoscaler","effect":"NoSchedule"}]}"#,
        &[],
        true,
    );
    check(
        r#"},"spec":{"taints":[{"key":"node-role.kubernetes.io/control-plane"}]}"#,
        &[],
        false,
    );
    let both = r#"},"status":{"addresses":[{"type":"ExternalIP","address":"198.51.100.1"},{"type":"InternalIP","address":"192.0.2.1"},
        {"type":"Hostname","address":"n1"},{"type":"InternalIP","address":"2001:db8::1"}]}"#;
    check(both, &["192.0.2.1", "2001:db8::1"], false);
    check(
        r#"},"status":{"addresses":[{"type":"ExternalIP","address":"198.51.100.1"}]}"#,
        &["198.51.100.1"],
        false,
    );
}
