//! Answers by the memory body, over small clusters.

use std::fs;

use super::answer::{Answer, Hook, Verdict};
use super::ask::{Told, ask};
use super::memory::Memory;
use super::offline::{Inputs, Offline};
use super::question::{self, Side};
use super::table;
use crate::manifests;

/// A `NodePort` with an endpoint here and one elsewhere.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  externalTrafficPolicy: Local
  ports: [{name: http, port: 80, nodePort: 30080}, {name: "", port: 81}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.1.6], nodeName: node-b}
- {addresses: [10.9.0.5], nodeName: node-a}
---
apiVersion: v1
kind: Node
metadata: {name: node-a}
spec: {podCIDRs: [10.1.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.1.1}]}
"#;

fn offline() -> Offline {
    let mut inputs = Inputs {
        node: "node-a".to_owned(),
        node_addresses: vec!["172.16.0.1".parse().unwrap()],
        ..Inputs::default()
    };
    for parsed in manifests::parse(OBJECTS).unwrap() {
        inputs.objects.push(parsed.object);
        inputs.nodes.extend(parsed.node);
    }
    Offline::new(inputs)
}

fn told(line: &str) -> (Told, String) {
    let offline = offline();
    let question = question::line(line).unwrap();
    let told = ask(&offline.state, &mut Memory::new(&offline.state), &question).unwrap();
    let table = table::render(&offline.state, &question, &told);
    (told, table)
}

#[test]
fn a_flow_without_from_begins_where_its_address_is() {
    let state = offline().state;
    for (src, side) in [
        ("192.168.1.1", Side::Host),
        ("172.16.0.1", Side::Host),
        ("127.0.0.1", Side::Host),
        ("10.1.0.9", Side::Pod),
        // An endpoint on this node, whatever its network.
        ("10.9.0.5", Side::Pod),
        ("10.1.1.6", Side::Outside),
        ("203.0.113.7", Side::Outside),
    ] {
        let line = format!(r#"{{"src":"{src}","dst":"10.96.0.10:80","proto":"tcp"}}"#);
        assert_eq!(state.side(&question::line(&line).unwrap()), side, "{src}");
        let line = line.replace("{\"src", "{\"from\":\"outside\",\"src");
        let told = question::line(&line).unwrap();
        assert_eq!(state.side(&told), Side::Outside, "{src}");
    }
}

#[test]
fn an_answer_is_one_line_of_json_in_a_fixed_order() {
    let (told, _) = told(r#"{"id":"7","src":"203.0.113.7","dst":"10.96.0.10:80","proto":"tcp"}"#);
    assert_eq!(
        serde_json::to_string(&told.answer).unwrap(),
        concat!(
            r#"{"id":"7","verdict":"dnat","service":"shop/web:http","frontend":"10.96.0.10:80/tcp","#,
            r#""backends":["10.1.1.6:8080","10.9.0.5:8080"],"masquerade":true,"hook":"tc","reason":"new_flow"}"#
        )
    );
}

#[test]
fn a_port_without_name_is_called_by_its_service() {
    let (told, _) = told(r#"{"src":"10.1.0.9","dst":"10.96.0.10:81","proto":"tcp"}"#);
    assert_eq!(told.answer.service.as_deref(), Some("shop/web"));
    assert_eq!(told.answer.verdict, Verdict::Reject);
}

#[test]
fn the_table_tells_policy_backends_and_verdict_on_one_screen() {
    let (_, table) =
        told(r#"{"src":"203.0.113.7","dst":"192.168.1.1:30080","proto":"tcp","from":"outside"}"#);
    for part in [
        "203.0.113.7 to 192.168.1.1:30080/tcp, from outside\n",
        "SERVICE     shop/web:http\n",
        "192.168.1.1:30080/tcp (NodePort)\n",
        "externalTrafficPolicy Local: endpoints on this node\n",
        "BACKEND     10.9.0.5:8080 (on this node)\n",
        "VERDICT     DNAT to the backend\n",
        "MASQUERADE  no, the client's address is kept\n",
        "HOOK        TC ingress\n",
    ] {
        assert!(table.contains(part), "{part}\n{table}");
    }
    assert!(table.lines().count() <= 24, "{table}");
}

/// docs/explain.md promises what a script may rely on.
#[test]
fn the_documented_json_is_the_one_that_is_printed() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/explain.md");
    let docs = fs::read_to_string(docs).unwrap();
    let rows = |title: &str| -> Vec<String> {
        let table = docs.split(title).nth(1).unwrap();
        let rows = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
            .collect()
    };
    let (told, _) = told(r#"{"src":"10.1.0.9","dst":"10.96.0.10:80","proto":"tcp"}"#);
    let json = serde_json::to_string(&told.answer).unwrap();
    let fields = rows("| field | type | is |");
    let mut places: Vec<_> = fields
        .iter()
        .map(|field| json.find(&format!("\"{field}\":")).expect(field))
        .collect();
    assert!(places.is_sorted(), "{fields:?} {json}");
    places.dedup();
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(places.len(), object.len(), "{fields:?} {json}");
    let reasons: Vec<_> = table::REASONS
        .iter()
        .map(|(reason, _)| reason.label().to_owned())
        .collect();
    assert_eq!(rows("| reason | is |"), reasons);
    for word in Verdict::ALL
        .map(Verdict::label)
        .into_iter()
        .chain(Hook::ALL.map(Hook::label))
    {
        assert!(docs.contains(&format!("`{word}`")), "{word}");
    }
    let answer: Answer = serde_json::from_str(&json).unwrap();
    assert!(answer.agrees(&told.answer));
}
