//! API objects as YAML in, readable maps out: `tests/golden/<case>.yaml` and `.expect`. `UPDATE_EXPECT=1` writes the latter anew.

use std::path::Path;

use proxy_model::Object;
use serde::Deserialize;

use crate::rig::Rig;

#[derive(Deserialize)]
#[serde(tag = "kind")]
enum Document {
    Service(proxy_model::raw::Service),
    EndpointSlice(proxy_model::raw::EndpointSlice),
    Node(proxy_model::raw::Node),
}

fn check(case: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(case);
    let yaml = std::fs::read_to_string(path.with_extension("yaml")).unwrap();
    let mut rig = Rig::new();
    for document in serde_saphyr::from_multiple::<Document>(&yaml).unwrap() {
        let object = match document {
            Document::Service(service) => Object::Service(service),
            Document::EndpointSlice(slice) => Object::EndpointSlice(slice),
            Document::Node(node) => Object::Node(node),
        };
        rig.planner.apply(proxy_model::Change::Upsert(object));
    }
    rig.settle();
    let errors: Vec<String> = rig
        .planner
        .take_errors()
        .iter()
        .map(|error| {
            format!(
                "{error}
"
            )
        })
        .collect();
    let actual = format!("{}{}", errors.concat(), rig.maps.dump());
    let expected = path.with_extension("expect");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&expected, &actual).unwrap();
    }
    assert_eq!(actual, std::fs::read_to_string(expected).unwrap(), "{case}");
}

#[test]
fn nodeport_local_policy_no_local_endpoints() {
    check("nodeport_local_policy_no_local_endpoints");
}

#[test]
fn dual_stack_dns() {
    check("dual_stack_dns");
}

#[test]
fn topology_hints() {
    check("topology_hints");
}

#[test]
fn malformed_objects() {
    check("malformed_objects");
}
