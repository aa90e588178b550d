//! Texts, directories, and real inotify.

mod malformed;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proxy_model::{Change, Object};

use super::directory::Directory;
use super::parse::Contents;
use super::*;
use crate::feed::{Feed, Outlets};
use crate::health::{Health, NodeState};
use crate::metrics::Metrics;
use crate::objects::reference;
use crate::tasks::Tasks;

fn service(name: &str, ip: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: d}}\nspec: {{clusterIP: {ip}, ports: [{{port: 80}}]}}\n"
    )
}

fn names(text: &str) -> Vec<String> {
    parse(text)
        .unwrap()
        .iter()
        .map(|parsed| reference(&parsed.object).to_string())
        .collect()
}

fn describe(change: &Change) -> String {
    match change {
        Change::Upsert(object @ Object::Service(service)) => format!(
            "upsert {} {}",
            reference(object).name,
            service.spec.cluster_ip
        ),
        Change::Upsert(object) => format!("upsert {}", reference(object).name),
        Change::Malformed(object, _) => format!("malformed {}", object.name),
        Change::Delete(object) => format!("delete {}", object.name),
        Change::RelistStart(kind) => format!("start {kind}"),
        Change::RelistEnd(kind) => format!("end {kind}"),
    }
}

#[test]
fn documents_lists_and_json_are_read_and_other_kinds_ignored() {
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {name: a-1, namespace: d}\n";
    let deployment = "kind: Deployment\napiVersion: apps/v1\nspec: {ports: none, type: [1]}\n";
    let text = format!(
        "# a comment\n---\n{}---\n{slice}--- # and\n{deployment}\n---\n---\n{}",
        service("a", "10.0.0.1"),
        service("b", "10.0.0.2")
    );
    assert_eq!(
        names(&text),
        ["Service d/a", "EndpointSlice d/a-1", "Service d/b"]
    );

    let list = r#"{"apiVersion": "v1", "items": [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}},
	{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"type": {}}}, null,
	{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}], "kind": "List"}"#;
    assert_eq!(names(list), ["Service default/a", "Node n"]);
    assert_eq!(
        names(
            "apiVersion: v1\nkind: ServiceList\nitems: [{metadata: {name: x}}, {metadata: {name: y}}]\n"
        ),
        ["Service default/x", "Service default/y"]
    );
    assert_eq!(
        names("apiVersion: v1\nkind: ServiceList\nitems: null\n"),
        Vec::<String>::new()
    );
    assert_eq!(names(""), Vec::<String>::new());
}

#[test]
fn objects_that_say_first_what_they_are_take_one_pass() {
    let slice = r#"{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s"}, "ports": [{"port": 1}]}"#;
    let foreign = r#"{"apiVersion": "v1", "kind": "Pod", "spec": {"ports": 1}}"#;
    let list = format!(r#"{{"apiVersion": "v1", "items": [{slice}, {foreign}], "kind": "List"}}"#);
    let sorted = "addressType: IPv4\napiVersion: discovery.k8s.io/v1\nendpoints:\n- addresses: [10.0.0.1]\nkind: EndpointSlice\nmetadata: {name: t}\n";
    let odd = "addressType: IPv4\napiVersion: v1\nkind: Service\nmetadata: {name: o}\n";
    let late = r#"{"apiVersion": "v1", "metadata": {"name": "a"}, "kind": "Service"}"#;
    let flow = "{apiVersion: v1, kind: Service, metadata: {name: b}}";
    for (text, one_pass) in [
        (&*service("a", "10.0.0.1"), true),
        (slice, true),
        (foreign, true),
        (&list, true),
        (flow, true),
        (sorted, true),
        (odd, false),
        (late, false),
        (&format!("{slice}}}"), false),
        ("", false),
    ] {
        let quick = quick::objects(text);
        assert_eq!(quick.is_some(), one_pass, "{text}");
        if let Some(quick) = quick {
            let mut contents = Contents::default();
            thorough::objects(text, 0, &mut contents).unwrap();
            assert_eq!(contents.objects, quick, "{text}");
            assert!(contents.malformed.is_empty(), "{text}");
        }
    }
    assert_eq!(names(late), ["Service default/a"]);
    assert_eq!(names(odd), ["Service default/o"]);
    assert_eq!(names(sorted), ["EndpointSlice default/t"]);
}

#[test]
fn errors_name_line_column_and_field() {
    let check = |text: &str, line: u64, parts: &[&str]| {
        let error = parse(text).expect_err("must be refused");
        assert_eq!(error.line, line, "{error}");
        for part in parts {
            assert!(
                error.to_string().contains(part),
                "{part:?} is missing in {error}"
            );
        }
    };
    let before = service("a", "10.0.0.1");
    check(
        &format!(
            "{before}---\nkind: Service\napiVersion: v1\nspec:\n  ports:\n  - port: 80\n  - port: http\nmetadata: {{name: b}}\n"
        ),
        11,
        &["11:11: ", "spec.ports[1].port: not a whole number"],
    );
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: [1]\n",
        4,
        &["spec"],
    );
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a\nspec: {}\n",
        4,
        &[],
    );
    check(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: {ports: [{port: {}}]}\n",
        7,
        &["items[0].spec.ports[0].port"],
    );
    check(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nendpoints: [{conditions: {ready: perhaps}}]\nmetadata: {name: a}\n",
        3,
        &["endpoints[0].conditions.ready: neither true nor false"],
    );
    check("a: 1\na: 2\n", 2, &["a"]);
}

/// A directory on disk and what is known of it.
struct Fixture {
    dir: tempfile::TempDir,
    directory: Directory,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::new(dir.path());
        Self { dir, directory }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    /// As after events for every file, and then a look at the rest.
    fn look(&mut self) -> (Vec<String>, Vec<ManifestError>) {
        let every = std::fs::read_dir(self.dir.path()).unwrap();
        let every: BTreeSet<OsString> = every.map(|entry| entry.unwrap().file_name()).collect();
        let touched = self.directory.look_at(&every);
        let rest = self.directory.look_all().unwrap();
        let changes = touched.changes.iter().chain(&rest.changes);
        (
            changes.map(describe).collect(),
            [touched.errors, rest.errors].concat(),
        )
    }

    fn look_all(&mut self) -> Vec<String> {
        self.directory
            .look_all()
            .unwrap()
            .changes
            .iter()
            .map(describe)
            .collect()
    }

    #[track_caller]
    fn expect(&mut self, changes: &[&str], errors: &[&str]) {
        let (found, problems) = self.look();
        assert_eq!(found, changes);
        let causes: Vec<&str> = problems.iter().map(ManifestError::cause).collect();
        assert_eq!(causes, errors, "{problems:?}");
    }
}

#[test]
fn only_what_differs_is_told() {
    let mut fixture = Fixture::new();
    fixture.write(
        "a.yaml",
        &format!(
            "{}---\n{}",
            service("a", "10.0.0.1"),
            service("b", "10.0.0.2")
        ),
    );
    fixture.write("note.txt", "not: [a manifest");
    fixture.write(".hidden.yaml", "not: [a manifest");
    fixture.expect(&["upsert a 10.0.0.1", "upsert b 10.0.0.2"], &[]);
    fixture.expect(&[], &[]);
    fixture.write(
        "a.yaml",
        &format!(
            "{}---\n{}",
            service("a", "10.0.0.1"),
            service("b", "10.0.0.9")
        ),
    );
    fixture.expect(&["upsert b 10.0.0.9"], &[]);
    fixture.write("a.yaml", &service("b", "10.0.0.9"));
    fixture.expect(&["delete a"], &[]);
    std::fs::remove_file(fixture.dir.path().join("a.yaml")).unwrap();
    fixture.expect(&["delete b"], &[]);
}

#[test]
fn broken_file_keeps_its_last_good_state_and_is_reported_once() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", &service("a", "10.0.0.1"));
    fixture.write("b.yaml", &service("b", "10.0.0.2"));
    fixture.expect(&["upsert a 10.0.0.1", "upsert b 10.0.0.2"], &[]);
    fixture.write("a.yaml", "spec: [");
    fixture.write("b.yaml", &service("b", "10.0.0.3"));
    fixture.expect(&["upsert b 10.0.0.3"], &["syntax"]);
    fixture.expect(&[], &[]);
    assert_eq!(fixture.directory.broken(), 1);
    fixture.write("a.yaml", &service("a", "10.0.0.4"));
    fixture.expect(&["upsert a 10.0.0.4"], &[]);
    assert_eq!(fixture.directory.broken(), 0);
    fixture.write("a.yaml", "spec: [");
    std::fs::remove_file(fixture.dir.path().join("a.yaml")).unwrap();
    fixture.expect(&["delete a"], &[]);
}

#[test]
fn first_file_by_name_wins_and_gives_way_to_the_next() {
    let mut fixture = Fixture::new();
    fixture.write("b.yaml", &service("x", "10.0.0.2"));
    fixture.expect(&["upsert x 10.0.0.2"], &[]);
    fixture.write("a.yaml", &service("x", "10.0.0.1"));
    fixture.expect(&["upsert x 10.0.0.1"], &["duplicate"]);
    fixture.expect(&[], &[]);
    std::fs::remove_file(fixture.dir.path().join("a.yaml")).unwrap();
    // b.yaml itself is unchanged and is read again for this.
    assert_eq!(fixture.look_all(), ["upsert x 10.0.0.2"]);
    fixture.write(
        "b.yaml",
        &format!(
            "{}---\n{}",
            service("x", "10.0.0.5"),
            service("x", "10.0.0.6")
        ),
    );
    fixture.expect(&["upsert x 10.0.0.5"], &["duplicate"]);
}

#[test]
fn other_proxies_objects_are_as_absent() {
    let mut fixture = Fixture::new();
    let labelled = service("a", "10.0.0.1").replace(
        "namespace: d",
        "namespace: d, labels: {service.kubernetes.io/service-proxy-name: \"\"}",
    );
    fixture.write("a.yaml", &service("a", "10.0.0.1"));
    fixture.expect(&["upsert a 10.0.0.1"], &[]);
    fixture.write("a.yaml", &labelled);
    fixture.expect(&["delete a"], &[]);
}

#[test]
fn configmap_style_swap_is_one_change() {
    let mut fixture = Fixture::new();
    let root = fixture.dir.path().to_owned();
    let version = |name: &str, ip: &str| {
        std::fs::create_dir(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("web.yaml"), service("web", ip)).unwrap();
    };
    let point = |to: &str| {
        std::os::unix::fs::symlink(to, root.join("..tmp")).unwrap();
        std::fs::rename(root.join("..tmp"), root.join("..data")).unwrap();
    };
    version("..v1", "10.0.0.1");
    point("..v1");
    std::os::unix::fs::symlink("..data/web.yaml", root.join("web.yaml")).unwrap();
    fixture.expect(&["upsert web 10.0.0.1"], &[]);
    version("..v2", "10.0.0.2");
    point("..v2");
    assert_eq!(fixture.look_all(), ["upsert web 10.0.0.2"]);
}

/// What to do to the directory, and the changes that must follow.
type Step<'a> = (&'a dyn Fn(&Path), &'a [&'a str]);

/// Runs the real task over `dir` and calls `act` before each change that is waited for.
async fn follow(dir: &Path, steps: Vec<Step<'_>>) {
    let health = Arc::new(Health::new(Duration::from_mins(1), NodeState::NotExpected));
    let (
        feed,
        Outlets {
            mut changes,
            node: _node,
            api_servers: _,
        },
    ) = Feed::new("n", health, Metrics::default());
    let mut tasks = Tasks::default();
    tasks.spawn("manifests", run(dir.to_owned(), feed, tasks.shutdown()));
    tasks
        .run(async {
            for (act, wanted) in steps {
                act(dir);
                for wanted in wanted {
                    // Well below the look that comes anyway: only inotify is that quick.
                    let arrived =
                        tokio::time::timeout(Duration::from_secs(20), changes.recv()).await?;
                    assert_eq!(
                        arrived.map(|arrived| describe(&arrived.change)).as_deref(),
                        Some(*wanted)
                    );
                }
            }
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn inotify_reports_writes_renames_and_removals_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), service("a", "10.0.0.1")).unwrap();
    let lists: &[&str] = &[
        "start Service",
        "start EndpointSlice",
        "start Node",
        "start ServiceCIDR",
        "upsert a 10.0.0.1",
        "end Service",
        "end EndpointSlice",
        "end Node",
        "end ServiceCIDR",
    ];
    let nothing = |_: &Path| {};
    let write = |dir: &Path| std::fs::write(dir.join("b.yaml"), service("b", "10.0.0.2")).unwrap();
    let rename = |dir: &Path| {
        std::fs::write(dir.join("a.tmp"), service("a", "10.0.0.3")).unwrap();
        std::fs::rename(dir.join("a.tmp"), dir.join("a.yaml")).unwrap();
    };
    let remove = |dir: &Path| std::fs::remove_file(dir.join("b.yaml")).unwrap();
    let link = |dir: &Path| {
        std::fs::write(dir.join("hidden"), service("c", "10.0.0.4")).unwrap();
        std::os::unix::fs::symlink("hidden", dir.join("c.yml")).unwrap();
    };
    let steps: Vec<Step<'_>> = vec![
        (&nothing, lists),
        (&write, &["upsert b 10.0.0.2"]),
        (&rename, &["upsert a 10.0.0.3"]),
        (&remove, &["delete b"]),
        (&link, &["upsert c 10.0.0.4"]),
    ];
    follow(dir.path(), steps).await;
}
