//! `kube-shunt explain` as a script uses it: a node out of odd files, questions in, JSON lines and exit codes out. What the answers
//! should be is the business of tests/scenarios and of the oracle.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A list whose slice comes before its Service, a kind that is none of ours, a null, fields that are null; Services without an
/// address or a spec; a Node without addresses.
const OBJECTS: &str = "
apiVersion: v1
kind: List
items:
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  ports: [{name: http, port: 8080}]
  endpoints:
  - {addresses: [10.1.1.5], nodeName: node-b, conditions: null, hints: null}
  - {addresses: [10.1.0.5], nodeName: node-a}
  - {addresses: null}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3}}
- null
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec:
    {type: NodePort, clusterIP: 10.96.0.10, externalIPs: null, loadBalancerSourceRanges: null, sessionAffinityConfig: null,
     ports: [{name: http, port: 80, nodePort: 30080, targetPort: web}]}
---
{apiVersion: v1, kind: Service, metadata: {name: no-address, namespace: shop}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: no-spec, namespace: shop}}
---
{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.0/16]}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-a}}
";

const SIX: &str = r#"
{"apiVersion":"v1","kind":"ServiceList","items":[
 {"metadata":{"name":"six","namespace":"shop"},"spec":{"clusterIP":"fd00:10:96::a","ports":[{"port":80}]}}]}
"#;

const SIX_SLICE: &str = r#"
{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice",
 "metadata":{"name":"six-1","namespace":"shop","labels":{"kubernetes.io/service-name":"six"}},
 "addressType":"IPv6","ports":[{"name":"","port":8080,"protocol":"TCP"}],
 "endpoints":[{"addresses":["fd00:1::6"]},{"addresses":["fd00:1:0::5"]}]}
"#;

const CONFIG: &str = "
{apiVersion: kubeshunt.io/v1alpha1, kind: KubeShuntConfiguration, sourceIP: kube-proxy}
---
{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, mode: nftables, clusterCIDR: 10.1.0.0/16}
";

fn node() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let objects = dir.path().join("objects");
    fs::create_dir(&objects).expect("a directory");
    for (name, text) in [
        ("z.yaml", OBJECTS),
        ("six.json", SIX),
        ("a-slice.json", SIX_SLICE),
        ("broken.yaml", "not yaml: ["),
        ("notes.txt", "no manifest"),
    ] {
        fs::write(objects.join(name), text).expect("a file");
    }
    fs::write(dir.path().join("config.yaml"), CONFIG).expect("a file");
    dir
}

fn explain(dir: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kube-shunt"))
        .current_dir(dir)
        .args(["explain", "--manifests", "objects", "--node", "node-a"])
        .args(["--without-kernel", "--output", "json"])
        .args(flags)
        .output()
        .expect("kube-shunt runs")
}

fn answers(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines.collect()
}

#[test]
fn odd_files_are_read_as_far_as_they_go() {
    let dir = node();
    let ask = |src: &str, dst: &str, more: &[&str]| {
        let flow = ["--src", src, "--dst", dst, "--proto", "tcp"];
        let output = explain(dir.path(), &[&flow, more].concat());
        assert!(output.status.success(), "{output:?}");
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(problem.contains("broken.yaml:1:"), "{problem}");
        answers(&output).remove(0)
    };
    let config = ["--config", "config.yaml"];
    let answer = ask("10.1.0.9", "10.96.0.10:80", &config);
    let expected = json!({
        "id": null, "verdict": "dnat", "service": "shop/web:http", "frontend": "10.96.0.10:80/tcp",
        "backends": ["10.1.0.5:8080", "10.1.1.5:8080"], "masquerade": false, "hook": "tc", "reason": "new_flow",
    });
    assert_eq!(answer, expected);
    // Of the node by both spellings of the flag; mode nftables serves NodePorts on the primary address, which it has not.
    for flags in [
        &["--node-address", "192.168.1.1,fd00::1"][..],
        &["--node-address", "fd00::1", "--node-address", "192.168.1.1"],
    ] {
        let answer = ask("192.168.1.1", "192.168.1.1:30080", flags);
        assert_eq!(
            (&answer["verdict"], &answer["hook"]),
            (&json!("dnat"), &json!("socket"))
        );
    }
    let six = ask("fd00:1::9", "[fd00:10:96::a]:80", &[]);
    assert_eq!(six["service"], "shop/six");
    assert_eq!(six["frontend"], "[fd00:10:96::a]:80/tcp");
    assert_eq!(
        six["backends"],
        json!(["[fd00:1::5]:8080", "[fd00:1::6]:8080"])
    );
    assert_eq!(ask("10.1.0.9", "10.96.9.9:80", &config)["verdict"], "drop");
}

#[test]
fn a_batch_answers_every_line_it_can_and_the_exit_code_tells_of_the_others() {
    let dir = node();
    let good = r#"{"id":"7","src":"203.0.113.7:4000","dst":"10.96.0.10:80","proto":"tcp","from":"outside"}"#;
    let bad = r#"{"id":"8","src":"203.0.113.7","dst":"10.96.0.10:80","proto":"icmp"}"#;
    let batch = |text: String| {
        fs::write(dir.path().join("flows"), text).expect("a file");
        explain(dir.path(), &["--batch", "flows"])
    };
    let output = batch(format!("{good}\n\n{good}"));
    assert_eq!(output.status.code(), Some(0));
    let ids: Vec<Value> = answers(&output)
        .iter()
        .map(|answer| answer["id"].clone())
        .collect();
    assert_eq!(ids, ["7", "7"]);
    let output = batch(format!("{bad}\r\nnonsense\n{good}\n"));
    assert_eq!(output.status.code(), Some(1));
    let told = answers(&output);
    assert_eq!(told.len(), 3);
    assert_eq!(told[0]["id"], "8");
    assert_eq!(
        told[0]["error"],
        r#"line 1: proto: "icmp": expected one of tcp, udp, sctp"#
    );
    let error = told[1]["error"].as_str().expect("an error");
    assert!(
        told[1]["id"].is_null() && error.starts_with("line 2: not a flow as JSON"),
        "{error}"
    );
    assert_eq!(told[2]["verdict"], "dnat");
}
