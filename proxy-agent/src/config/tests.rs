//! The command line as an operator types it.

use clap::{CommandFactory as _, Parser as _};

use super::*;

mod changes;
mod effects;
mod files;
mod node;
mod refused;
mod table;

fn run(args: &[&str]) -> Result<Action, String> {
    let cli = Cli::try_parse_from([&["kube-shunt", "run"], args].concat())
        .map_err(|error| error.to_string())?;
    let Command::Run(run) = cli.command else {
        return Err("not run".to_owned());
    };
    run.action(cli.log).map_err(|error| error.to_string())
}

fn resolved(text: &str) -> Resolved {
    let mut documents = file::Documents::default();
    documents.add("config", text).unwrap();
    resolve::resolve(documents, &given::Given::default()).unwrap()
}

fn parse(args: &[&str]) -> Result<Config, String> {
    let cli = Cli::try_parse_from([&["kube-shunt", "run"], args].concat())
        .map_err(|error| error.to_string())?;
    let Command::Run(run) = cli.command else {
        return Err("not run".to_owned());
    };
    run.validate(cli.log).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_those_of_the_documents() {
    let config = parse(&[]).unwrap();
    assert_eq!(
        config.source,
        Source::Cluster {
            kubeconfig: None,
            apiservers: Vec::new()
        }
    );
    assert_eq!(config.bpf_root, PathBuf::from("/sys/fs/bpf/kube-shunt"));
    assert_eq!(
        config.admin_socket(),
        PathBuf::from("/run/kube-shunt/agent.sock")
    );
    assert_eq!(
        config.healthz_bind_address,
        Some("0.0.0.0:10256".parse().unwrap())
    );
    assert_eq!(
        config.metrics_bind_address,
        Some("127.0.0.1:10249".parse().unwrap())
    );
    assert_eq!(config.health_timeout, Duration::from_mins(1));
    assert_eq!(config.xdp, XdpDevices::None);
    assert_eq!(config.nodeport_addresses, NodePortAddresses::default());
    assert_eq!(config.capacities.frontends, proxy_common::limits::FRONTENDS);
}

#[test]
fn node_name_is_trimmed_and_lowered_under_both_names() {
    assert_eq!(
        parse(&["--node-name", " Node-A "]).unwrap().node_name,
        "node-a"
    );
    assert_eq!(
        parse(&["--hostname-override=WORKER.Example"])
            .unwrap()
            .node_name,
        "worker.example"
    );
}

#[test]
fn lists_and_choices_are_parsed() {
    let config = parse(&[
        "--xdp",
        "eth0,eth1",
        "--nodeport-addresses",
        "192.0.2.0/24,2001:db8::/32",
        "--metrics-bind-address=",
    ])
    .unwrap();
    assert_eq!(
        config.xdp,
        XdpDevices::Named(vec!["eth0".to_owned(), "eth1".to_owned()])
    );
    assert!(
        matches!(config.nodeport_addresses, NodePortAddresses { all: false, cidrs, .. } if cidrs.len() == 2)
    );
    assert_eq!(config.metrics_bind_address, None);
}

#[test]
fn wrong_values_name_flag_value_and_what_is_allowed() {
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--node-name", "under_score"],
            &["--node-name", "under_score", "DNS name"],
        ),
        (&["--node-name", ""], &["--node-name", "DNS name"]),
        (
            &["--manifests", "/does/not/exist"],
            &["--manifests", "/does/not/exist", "existing directory"],
        ),
        (
            &["--kubeconfig", "/does/not/exist"],
            &["--kubeconfig", "/does/not/exist", "existing file"],
        ),
        (
            &["--bpf-root", "relative"],
            &["--bpf-root", "relative", "absolute"],
        ),
        (
            &["--cgroup-root", "/does/not/exist"],
            &["--cgroup-root", "existing directory"],
        ),
        (
            &["--healthz-bind-address", "10256"],
            &["--healthz-bind-address", "10256", "IP:PORT"],
        ),
        (
            &["--healthz-bind-address", "127.0.0.1:10249"],
            &["--metrics-bind-address", "127.0.0.1:10249", "two ports"],
        ),
        (
            &["--nodeport-addresses", "10.0.0.0/33"],
            &["--nodeport-addresses", "10.0.0.0/33", "a CIDR"],
        ),
        (
            &["--xdp", "a-name-longer-than-any-device"],
            &["--xdp", "a-name-longer", "none, auto"],
        ),
        (
            &["--device-exclude", "a b"],
            &["--device-exclude", "a b", "eth0 or cali*"],
        ),
        (
            &["--apiserver", "node:6443"],
            &["--apiserver", "node:6443", "https://"],
        ),
        (
            &["--list-page-size", "0"],
            &["--list-page-size", "0", "1 to 10000"],
        ),
        (
            &["--log-level", "loud=very"],
            &["--log-level", "loud=very", "error, warn, info"],
        ),
        (
            &["--log-format", "xml"],
            &["--log-format", "xml", "text, json"],
        ),
    ];
    for (args, wanted) in cases {
        let message = parse(args).expect_err("must be refused");
        for part in *wanted {
            assert!(
                message.contains(part),
                "{args:?}: {part:?} is missing in: {message}"
            );
        }
    }
}

#[test]
fn manifests_exclude_a_cluster() {
    let message =
        parse(&["--manifests", "/tmp", "--kubeconfig", "/etc/hosts"]).expect_err("two sources");
    assert!(
        message.contains("--manifests") && message.contains("--kubeconfig"),
        "{message}"
    );
}

#[test]
fn every_flag_of_run_has_its_environment_mirror() {
    let mut command = Cli::command();
    command.build();
    let run = command.find_subcommand("run").unwrap();
    let mut seen = 0;
    for arg in run.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        if matches!(long, "help" | "version") {
            continue;
        }
        seen += 1;
        let wanted = format!("KUBE_SHUNT_{}", long.replace('-', "_").to_uppercase());
        assert_eq!(
            arg.get_env().and_then(|name| name.to_str()),
            Some(wanted.as_str()),
            "--{long}"
        );
        assert!(
            !long.starts_with("port") && !long.starts_with("service"),
            "--{long} clashes with the kubelet's variables"
        );
        assert!(arg.get_help().is_some(), "--{long} has no help text");
    }
    assert!(seen > 20, "only {seen} flags seen");
}

#[test]
fn command_line_is_well_formed() {
    Cli::command().debug_assert();
}
