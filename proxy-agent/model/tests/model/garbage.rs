//! Any objects at all, most of them wrong in some way.

use proptest::prelude::*;
use proptest::sample::select;
use proxy_model::{Object, raw};

fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        select(&[
            "", "a", "default", "None", "TCP", "UDP", "Local", "ClientIP", "IPv4", "IPv6", "FQDN",
            "NodePort", "a/b"
        ])
        .prop_map(str::to_owned),
        select(&[
            "10.0.0.1",
            "10.96.0.01",
            "::",
            "0.0.0.0",
            "127.0.0.1",
            "fd00::1",
            "::ffff:1.2.3.4",
            "1.2.3.4.5",
            "224.0.0.1"
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text(), 0..3)
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        0..3i64,
        select(&[80, 65_535, 65_536, -1, i64::MIN, i64::MAX]),
        any::<i64>()
    ]
}

fn meta() -> impl Strategy<Value = raw::Meta> {
    let label = select(&[
        "kubernetes.io/service-name",
        "service.kubernetes.io/headless",
        "x",
    ])
    .prop_map(str::to_owned);
    let labels = prop::collection::btree_map(label, text(), 0..2);
    (text(), text(), labels, prop::option::of(text())).prop_map(
        |(name, namespace, labels, creation_timestamp)| raw::Meta {
            name,
            namespace,
            labels,
            creation_timestamp,
            ..raw::Meta::default()
        },
    )
}

fn service() -> impl Strategy<Value = Object> {
    let port =
        (text(), text(), number(), number()).prop_map(|(name, protocol, port, node_port)| {
            raw::ServicePort {
                name,
                protocol,
                port,
                node_port,
            }
        });
    let spec = (
        texts(),
        texts(),
        (text(), text(), text(), text()),
        prop::collection::vec(port, 0..4),
    )
        .prop_map(
            |(
                cluster_ips,
                external_ips,
                (service_type, cluster_ip, policy, session_affinity),
                ports,
            )| raw::ServiceSpec {
                service_type,
                cluster_ip,
                cluster_ips,
                external_ips,
                ports,
                external_traffic_policy: policy.clone(),
                internal_traffic_policy: policy,
                session_affinity,
                ..raw::ServiceSpec::default()
            },
        );
    (meta(), spec).prop_map(|(metadata, spec)| {
        Object::Service(raw::Service {
            metadata,
            spec,
            ..raw::Service::default()
        })
    })
}

fn slice() -> impl Strategy<Value = Object> {
    let flag = || prop::option::of(any::<bool>());
    let hints = texts().prop_map(|names| {
        names
            .into_iter()
            .map(|name| raw::Hint { name })
            .collect::<Vec<_>>()
    });
    let endpoint = (
        texts(),
        (flag(), flag(), flag()),
        prop::option::of(text()),
        hints,
    )
        .prop_map(
            |(addresses, (ready, serving, terminating), node_name, hints)| raw::Endpoint {
                addresses,
                conditions: raw::Conditions {
                    ready,
                    serving,
                    terminating,
                },
                node_name,
                hints: raw::Hints {
                    for_zones: hints.clone(),
                    for_nodes: hints,
                },
            },
        );
    let port = (
        prop::option::of(text()),
        prop::option::of(text()),
        prop::option::of(number()),
    )
        .prop_map(|(name, protocol, port)| raw::EndpointPort {
            name,
            protocol,
            port,
        });
    let lists = (
        prop::collection::vec(endpoint, 0..5),
        prop::collection::vec(port, 0..3),
    );
    (meta(), text(), lists).prop_map(|(metadata, address_type, (endpoints, ports))| {
        Object::EndpointSlice(raw::EndpointSlice {
            metadata,
            address_type,
            endpoints,
            ports,
        })
    })
}

/// A Service or a slice.
pub(crate) fn garbage() -> impl Strategy<Value = Object> {
    prop_oneof![service(), slice()]
}
