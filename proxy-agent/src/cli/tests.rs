//! What is printed.

use super::*;

#[test]
fn columns_are_as_wide_as_their_widest_cell() {
    let rows = [["10.0.0.1:80/TCP", "yes"], ["[fd00::1]:443/TCP", "no"]];
    let text = table::render(
        &["BACKEND", "LOCAL"],
        rows.iter()
            .map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()),
    );
    assert_eq!(
        text,
        "BACKEND             LOCAL\n10.0.0.1:80/TCP     yes\n[fd00::1]:443/TCP   no\n"
    );
}

#[test]
fn table_without_rows_is_its_titles() {
    assert_eq!(table::render(&["A", "B"], std::iter::empty()), "A   B\n");
}

#[test]
fn service_without_a_name_is_its_number() {
    let label = |name: Option<&str>, port: Option<&str>| ServiceLabel {
        namespace: name.map(|_| "shop".to_owned()),
        name: name.map(str::to_owned),
        port_name: port.map(str::to_owned),
        service_id: 7,
    };
    assert_eq!(
        label(Some("web"), Some("http")).to_string(),
        "shop/web:http"
    );
    assert_eq!(label(Some("web"), Some("")).to_string(), "shop/web");
    assert_eq!(label(None, None).to_string(), "#7");
    let direct = ServiceLabel {
        service_id: 0,
        ..label(None, None)
    };
    assert_eq!(direct.to_string(), "none");
    let json = serde_json::to_value(label(None, None)).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"namespace": null, "name": null, "port_name": null, "service_id": 7})
    );
}

#[test]
fn nothing_pinned_is_one_clear_line() {
    use clap::Parser as _;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let cli =
        crate::config::Cli::try_parse_from(["kube-shunt", "services", "--bpf-root", root]).unwrap();
    let crate::config::Command::Services(args) = cli.command else {
        panic!("not services")
    };
    let error = format!("{:#}", services(&args).expect_err("nothing is pinned"));
    assert!(
        error.contains(root) && error.lines().count() == 1,
        "{error}"
    );
}
