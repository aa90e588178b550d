//! The oracle against the scenario files: two readings of SEMANTICS, one in rules and one in examples, must be one.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use proxy_oracle::{Answer, Cluster, Config, Flow, Node, Verdict, decide};
use serde_json::{Value, json};

#[test]
fn oracle_agrees_with_every_scenario() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut wrong = Vec::new();
    let (mut files, mut flows) = (0, 0);
    for entry in fs::read_dir(folder).expect("the folder of scenarios") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let scenario = read(&path);
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let number = scenario["semantics"].as_str().expect("a SEMANTICS number");
        assert!(
            name.starts_with(&format!("{number}-")),
            "{name} is not named by its number {number}"
        );
        files += 1;
        flows += check(&name, &scenario, &mut wrong);
    }
    assert!(files >= 150, "only {files} scenarios");
    assert!(flows >= files, "only {flows} flows in {files} scenarios");
    assert!(
        wrong.is_empty(),
        "{} of {flows} flows are answered otherwise:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Asks each flow of a scenario; how many there are.
fn check(name: &str, scenario: &Value, wrong: &mut Vec<String>) -> usize {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let node = &scenario["node"];
    let addresses: Vec<IpAddr> = list(&node["addresses"])
        .iter()
        .map(|address| {
            address
                .as_str()
                .expect("an address")
                .parse()
                .expect("an address")
        })
        .collect();
    let node = Node::new(
        node["name"].as_str().expect("a name"),
        addresses,
        &node["object"],
    );
    let config = Config::parse(&list(&scenario["config"]), &node);
    let cluster = Cluster::parse(&list(&scenario["objects"]));
    let flows = list(&scenario["expect"]["flows"]);
    for expected in &flows {
        let flow = Flow::parse(expected).unwrap_or_else(|| panic!("{name}: {expected} is no flow"));
        let answer = decide(&cluster, &config, &node, &flow);
        let said = fields(&answer);
        for (field, said) in said.as_object().expect("an object") {
            let expected = &expected[field];
            if expected != said {
                wrong.push(format!(
                    "{name}: {flow:?}: {field} is {said} ({:?}), not {expected}",
                    answer.reason
                ));
            }
        }
    }
    flows.len()
}

fn fields(answer: &Answer) -> Value {
    let verdict = match answer.verdict {
        Verdict::Dnat => "dnat",
        Verdict::Reject => "reject",
        Verdict::Drop => "drop",
        Verdict::Pass => "pass",
    };
    json!({
        "verdict": verdict, "service": answer.service, "frontend": answer.frontend, "backends": answer.backends,
        "masquerade": answer.masquerade, "hook": answer.hook,
    })
}

fn read(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
