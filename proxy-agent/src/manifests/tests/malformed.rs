//! Objects of wrong types: which they are, where they are wrong, and that nothing else goes with them.

use super::super::parse::{Contents, Malformed, contents};
use super::{Fixture, service};
use crate::objects::reference;

/// What an object of each kind is called, and where it is wrong; `-` has no name.
#[track_caller]
fn expect_malformed(text: &str, good: &[&str], malformed: &[&str]) {
    let Contents {
        objects,
        malformed: found,
    } = contents(text).unwrap();
    let objects = objects.iter().map(|parsed| reference(&parsed.object));
    assert_eq!(
        objects.map(|object| object.to_string()).collect::<Vec<_>>(),
        good
    );
    let found = found.iter().map(|Malformed { object, error }| {
        let object = object.as_ref().map_or("-".to_owned(), ToString::to_string);
        format!("{object} {error}")
    });
    let found: Vec<String> = found.collect();
    assert!(
        found.len() == malformed.len()
            && found
                .iter()
                .zip(malformed)
                .all(|(found, start)| found.starts_with(start)),
        "{found:#?}"
    );
}

#[test]
fn malformed_objects_are_left_out_of_documents_and_lists() {
    let bad = |name: &str| service(name, "10.0.0.9").replace("port: 80", "port: http");
    expect_malformed(
        &[service("a", "10.0.0.1"), bad("b"), service("c", "10.0.0.3")].join("---\n"),
        &["Service d/a", "Service d/c"],
        &["Service d/b 9:44: spec.ports[0].port: not a whole number"],
    );
    let item = |kind: &str, rest: &str| format!(r#"{{"kind": "{kind}", {rest}}}"#);
    let list = |version: &str, items: &[String]| {
        let items = items.join(",\n");
        format!("{{\"kind\": \"List\", \"apiVersion\": \"{version}\", \"items\": [\n{items}]}}")
    };
    let of_core = [
        item("Service", r#""metadata": {"name": "a"}"#),
        item(
            "Service",
            r#""spec": {"ports": [1]}, "metadata": {"name": "b"}"#,
        ),
        item(
            "Node",
            r#""status": {"addresses": true}, "metadata": {"name": "n"}"#,
        ),
        item(
            "Service",
            r#""metadata": {"name": "c", "namespace": ""}, "spec": []"#,
        ),
        item("Service", r#""spec": 7"#),
        item("Service", r#""metadata": {"name": "d"}"#),
    ];
    expect_malformed(
        &list("v1", &of_core),
        &["Service default/a", "Service default/d"],
        &[
            "Service default/b 3:",
            "Node n 4:",
            "Service default/c 5:",
            "- 6:",
        ],
    );
    // Somebody else's may be as they like.
    expect_malformed(&list("v1", &[item("Pod", r#""spec": 7"#)]), &[], &[]);
    for (text, start) in [
        (
            "apiVersion: v1\nkind: [Service]\nmetadata: {name: a}\n",
            "- 2:",
        ),
        ("apiVersion: v1\nkind: Service\nmetadata: a\n", "- 3:"),
        ("apiVersion: v1\nkind: List\nitems: [7]\n", "- 3:"),
        ("- 1\n", "- 1:"),
    ] {
        expect_malformed(text, &[], &[start]);
    }
    // Each costs a pass, so there is an end to it.
    let many = vec![of_core[1].clone(); 40];
    let end = contents(&list("v1", &many)).unwrap().malformed.pop();
    let end = end.unwrap().error.to_string();
    assert!(end.contains("more than 32 malformed objects"), "{end}");
}

#[test]
fn malformed_object_leaves_the_others_of_its_file_alone() {
    let mut fixture = Fixture::new();
    let bad = |name: &str| service(name, "10.0.0.9").replace("port: 80", "port: http");
    let write = |fixture: &Fixture, documents: [&str; 3]| {
        fixture.write("a.yaml", &documents.join("---\n"));
    };
    let (a, b, c) = (
        service("a", "10.0.0.1"),
        service("b", "10.0.0.2"),
        service("c", "10.0.0.3"),
    );
    write(&fixture, [&a, &bad("b"), &c]);
    fixture.expect(
        &["upsert a 10.0.0.1", "malformed b", "upsert c 10.0.0.3"],
        &[],
    );
    fixture.expect(&[], &[]);
    assert_eq!(fixture.directory.broken(), 0);
    write(&fixture, [&a, &b, &bad("c")]);
    fixture.expect(&["upsert b 10.0.0.2", "malformed c"], &[]);
    // As good as before: the planner hears of it all the same.
    write(&fixture, [&a, &b, &c]);
    fixture.expect(&["upsert c 10.0.0.3"], &[]);
    write(&fixture, [&a, &b, &bad("c")]);
    fixture.expect(&["malformed c"], &[]);
    fixture.write("a.yaml", &a);
    fixture.expect(&["delete b", "delete c"], &[]);
    // Without a name it may be any of those that are not there.
    fixture.write("a.yaml", &[&*a, &*b, &*c].join("---\n"));
    fixture.expect(&["upsert b 10.0.0.2", "upsert c 10.0.0.3"], &[]);
    let nameless = bad("c").replace("metadata:", "other:");
    fixture.write(
        "a.yaml",
        &[&*service("a", "10.0.0.4"), &nameless].join("---\n"),
    );
    fixture.expect(&["upsert a 10.0.0.4"], &["nameless"]);
    fixture.expect(&[], &[]);
    assert_eq!(fixture.directory.broken(), 1);
    fixture.write("a.yaml", &b);
    fixture.expect(&["delete a", "delete c"], &[]);
    assert_eq!(fixture.directory.broken(), 0);
}
