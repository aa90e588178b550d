//! `--config FILE`: documents, strictness, and how flags stand beside them (SEMANTICS 15).

use super::super::explain::explain_config;
use super::{parse, run};

/// What kubeadm 1.36 writes, with its nulls and zeros.
const KUBEADM: &str = r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: ""
  qps: 0
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
"#;

pub(super) const THEIRS: &str =
    "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
pub(super) const OURS: &str = "apiVersion: kubeshunt.io/v1alpha1\nkind: KubeShuntConfiguration\n";

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn with_file(text: &str, flags: &[&str]) -> Result<crate::config::Config, String> {
    let file = file(text);
    let path = format!("--config={}", file.path().display());
    parse(&[&[path.as_str()], flags].concat())
}

#[test]
fn semantics_15_an_unchanged_file_of_kubeadm_means_the_defaults() {
    let config = with_file(KUBEADM, &[]).unwrap();
    let plain = parse(&["--cluster-cidr=10.244.0.0/16,fd00:10:244::/56"]).unwrap();
    assert_eq!(config.resolved.kube_proxy, plain.resolved.kube_proxy);
    assert_eq!(config.policy, plain.policy);
    let warnings = config.warnings();
    assert!(
        matches!(warnings, [one] if one.contains("nodePortAddresses is not set")),
        "{warnings:?}"
    );
}

#[test]
fn two_documents_in_either_order_are_the_same() {
    let (theirs, ours) = (
        format!("{THEIRS}mode: iptables\n"),
        format!("{OURS}sourceIP: kube-proxy\n"),
    );
    let one = explain_config(&format!("{theirs}---\n{ours}")).unwrap();
    let other = explain_config(&format!("---\n{ours}\n---\n# a comment\n---\n{theirs}")).unwrap();
    assert_eq!(one.policy, other.policy);
    assert_eq!(
        one.policy.source_ip,
        proxy_model::policy::SourceIp::KubeProxy
    );
    assert_eq!(one.policy.profile, proxy_model::policy::Profile::Iptables);
    let (first, second) = (file(&theirs), file(&ours));
    let apart = parse(&[
        "--config",
        first.path().to_str().unwrap(),
        "--config",
        second.path().to_str().unwrap(),
    ])
    .unwrap();
    assert_eq!(apart.policy, one.policy);
}

#[test]
fn wrong_documents_say_where_and_what() {
    for (text, wanted) in [
        (String::new(), &["no document"][..]),
        ("# nothing\n---\n".to_owned(), &["no document"]),
        (
            "mode: iptables\n".to_owned(),
            &[
                "apiVersion",
                "kind",
                "KubeProxyConfiguration",
                "KubeShuntConfiguration",
            ],
        ),
        (
            THEIRS.replace("v1alpha1", "v1beta9"),
            &["v1beta9", "kubeproxy.config.k8s.io/v1alpha1"],
        ),
        (
            format!("{THEIRS}---\n{THEIRS}"),
            &["KubeProxyConfiguration", "second document"],
        ),
        (format!("{THEIRS}mode: [\n"), &["config:3:7: "]),
        (
            format!("{OURS}---\n{THEIRS}mode: {{a: b}}\n"),
            &["mode", "map", "string"],
        ),
        (
            format!("{THEIRS}conntrack:\n  min: many\n"),
            &["conntrack.min", "many", "whole number"],
        ),
        (
            format!("{THEIRS}conntrack:\n  min: 99999999999\n"),
            &["conntrack.min", "99999999999", "whole number"],
        ),
        (
            format!("{THEIRS}iptables: {{syncPeriod: 5}}\n"),
            &["iptables.syncPeriod", "5"],
        ),
        (
            format!("{THEIRS}iptables: {{syncPeriod: soon}}\n"),
            &["iptables.syncPeriod", "30s, 1m30s"],
        ),
        (
            format!("{THEIRS}nodePortAddresses: primary\n"),
            &["nodePortAddresses", "primary", "list"],
        ),
        (
            format!("{THEIRS}featureGates: {{A: maybe}}\n"),
            &["featureGates.A", "maybe", "true or false"],
        ),
        (
            format!("{OURS}algoritm: maglev\n"),
            &["algoritm", "no such field"],
        ),
        (
            format!("{OURS}maps: {{flow: 4096}}\n"),
            &["maps.flow", "no such field"],
        ),
    ] {
        let error = explain_config(&text)
            .map(drop)
            .map_err(|error| error.to_string());
        match error {
            // An empty text is "no file" for explain, and an error as a file.
            Ok(()) => assert!(
                with_file(&text, &[]).unwrap_err().contains("no document"),
                "{text}"
            ),
            Err(message) => {
                for part in wanted {
                    assert!(
                        message.contains(part),
                        "{text}\n{part:?} is missing in: {message}"
                    );
                }
            }
        }
    }
}

#[test]
fn semantics_15_unknown_and_repeated_fields_are_warnings_that_name_them() {
    let text = format!(
        "{THEIRS}mode: ipvs\nmode: iptables\nshiny: 1\nipvs: {{scheduler: rr, shade: 3}}\nconntrack:\n  min: 1\n  min: 2\n"
    );
    let config = with_file(&text, &[]).unwrap();
    let warnings = config.warnings().join("\n");
    for part in [
        "field mode is there twice",
        "field conntrack.min is there twice",
        "field shiny is not known",
        "field ipvs.shade is not known",
    ] {
        assert_eq!(warnings.matches(part).count(), 1, "{part:?} in {warnings}");
    }
    assert_eq!(config.proxy_mode(), "iptables");
    assert_eq!(config.conntrack.min, 2);
}

#[test]
fn semantics_15_flags_beside_a_file_count_as_with_kube_proxy() {
    let text = format!(
        "{THEIRS}mode: iptables\nhostnameOverride: from-file\nlogging: {{format: json, verbosity: 4}}\n"
    );
    let config = with_file(
        &text,
        &[
            "--proxy-mode=nftables",
            "--oom-score-adj=5",
            "--masquerade-all",
            "-v=6",
        ],
    )
    .unwrap();
    assert_eq!(config.proxy_mode(), "iptables");
    assert_eq!(config.oom_score_adj, -999);
    assert!(!config.policy.masquerade_all);
    assert_eq!(config.node_name, "from-file");
    assert_eq!(config.log.log_format, Some(crate::config::LogFormat::Json));
    assert_eq!(config.log.log_level.as_deref(), Some("trace"));
    let warnings = config.warnings().join("\n");
    let ignored = "--proxy-mode, --masquerade-all, --oom-score-adj: without effect, since --config holds a KubeProxyConfiguration";
    assert!(warnings.contains(ignored), "{warnings}");

    let config = with_file(
        &text,
        &[
            "--hostname-override=Flag",
            "--master=https://192.0.2.1:6443",
            "--logging-format=text",
        ],
    )
    .unwrap();
    assert_eq!(config.node_name, "flag");
    assert_eq!(config.log.log_format, Some(crate::config::LogFormat::Text));
    assert_eq!(
        config.source,
        crate::config::Source::Cluster {
            kubeconfig: None,
            apiservers: vec!["https://192.0.2.1:6443".to_owned()]
        }
    );

    // Ours win over our document, whatever else is in the file.
    let config = with_file(
        &format!("{OURS}algorithm: maglev\nsourceIP: kube-proxy\n"),
        &["--algorithm=round-robin", "--oom-score-adj=5"],
    )
    .unwrap();
    assert_eq!(
        config.policy.algorithm,
        proxy_model::policy::Algorithm::RoundRobin
    );
    assert_eq!(
        config.policy.source_ip,
        proxy_model::policy::SourceIp::KubeProxy
    );
    assert_eq!(config.oom_score_adj, 5);
}

#[test]
fn what_is_written_is_read_as_the_same() {
    let target = tempfile::tempdir().unwrap().path().join("out");
    let flags = [
        "--proxy-mode=ipvs",
        "--ipvs-scheduler=lc",
        "--nodeport-addresses=10.0.0.0/8,localhost",
        "--apiserver=https://192.0.2.1:6443",
        "--map-flows-entries=4096",
        "--feature-gates=A=true",
    ];
    let path = format!("--write-config-to={}", target.display());
    let crate::config::Action::Write(to, resolved) =
        run(&[&[path.as_str()][..], &flags].concat()).unwrap()
    else {
        panic!("the flag asks for a file");
    };
    assert_eq!(to, target);
    let text = crate::config::yaml(&resolved).unwrap();
    let again = with_file(&text, &[]).unwrap();
    assert_eq!(again.resolved.kube_proxy, resolved.kube_proxy, "{text}");
    assert_eq!(again.resolved.kube_shunt, resolved.kube_shunt, "{text}");
    for field in [
        "detectLocalMode",
        "clusterCIDR",
        "excludeCIDRs",
        "strictARP",
        "enableDSR",
        "sourceIP",
        "oomScoreAdj",
    ] {
        assert!(text.contains(&format!("{field}:")), "{field}: {text}");
    }
}
