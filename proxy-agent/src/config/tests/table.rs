//! The tables of settings against the documents, the command line and docs/configuration.md.

use clap::CommandFactory as _;
use serde_json::Value;

use super::super::explain::explain_config;
use super::super::settings::{Effect, Kind, Setting, get, plain, to_json};
use super::super::{kube_proxy, kube_shunt};
use super::files::THEIRS;
use super::parse;

/// Paths of everything in a document that is no table of fields.
fn leaves(path: &str, value: &Value, known: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !known.contains(&path) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                leaves(&path, value, known, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn semantics_15_every_field_is_in_its_table() {
    let documents = [
        (
            to_json(&kube_proxy::KubeProxyConfiguration::default()),
            kube_proxy::SETTINGS,
        ),
        (
            to_json(&kube_shunt::KubeShuntConfiguration::default()),
            kube_shunt::SETTINGS,
        ),
    ];
    for (document, table) in documents {
        let mut fields = Vec::new();
        leaves("", &document, &["featureGates"], &mut fields);
        fields.retain(|field| !matches!(field.as_str(), "kind" | "apiVersion"));
        // Left out of the document where it is unset, as in Go.
        let unset = [
            "logging.options.text.splitStream",
            "logging.options.json.splitStream",
        ];
        let mut expected: Vec<&str> = table
            .iter()
            .map(|setting| setting.field)
            .filter(|field| !field.is_empty() && !unset.contains(field))
            .collect();
        expected.sort_unstable();
        fields.sort_unstable();
        assert_eq!(fields, expected);
    }
}

/// Flags of kube-proxy 1.36, from its own help text; --hostname-override, --config and --version are not in a table.
const KUBE_PROXY_FLAGS: &str = "bind-address bind-address-hard-fail boot-id-file cleanup cluster-cidr config config-sync-period \
    conntrack-max-per-core conntrack-min conntrack-tcp-be-liberal conntrack-tcp-timeout-close-wait conntrack-tcp-timeout-established \
    conntrack-udp-timeout conntrack-udp-timeout-stream detect-local-mode feature-gates healthz-bind-address healthz-port \
    hostname-override init-only iptables-localhost-nodeports iptables-masquerade-bit iptables-min-sync-period iptables-sync-period \
    ipvs-exclude-cidrs ipvs-min-sync-period ipvs-scheduler ipvs-strict-arp ipvs-sync-period ipvs-tcp-timeout ipvs-tcpfin-timeout \
    ipvs-udp-timeout kube-api-burst kube-api-content-type kube-api-qps kubeconfig log-flush-frequency log-json-info-buffer-size \
    log-json-split-stream log-text-info-buffer-size log-text-split-stream logging-format machine-id-file masquerade-all master \
    metrics-bind-address metrics-port nodeport-addresses oom-score-adj pod-bridge-interface pod-interface-name-prefix profiling \
    proxy-mode proxy-port-range show-hidden-metrics-for-version v version vmodule windows-service write-config-to";

#[test]
fn semantics_15_every_flag_of_kube_proxy_is_taken() {
    let mut command = super::super::Cli::command();
    command.build();
    let run = command.find_subcommand("run").unwrap();
    let taken: Vec<&str> = run
        .get_arguments()
        .flat_map(|arg| {
            arg.get_long()
                .into_iter()
                .chain(arg.get_all_aliases().unwrap_or_default())
        })
        .collect();
    let missing: Vec<&str> = KUBE_PROXY_FLAGS
        .split_whitespace()
        .filter(|flag| !taken.contains(flag))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A valid value that is not the default, as a flag and in YAML.
fn sample(setting: &Setting) -> (String, String) {
    let same = |text: &str| (text.to_owned(), text.to_owned());
    match (setting.field, setting.kind) {
        ("nodePortAddresses" | "ipvs.excludeCIDRs", _) => (
            "10.0.0.0/8,fd00::/8".to_owned(),
            "[10.0.0.0/8, \"fd00::/8\"]".to_owned(),
        ),
        ("bindAddress", _) => same("192.0.2.1"),
        ("healthzBindAddress" | "metricsBindAddress", _) => same("192.0.2.1:9000"),
        ("mode", _) => same("iptables"),
        ("logging.format", _) => same("json"),
        ("detectLocalMode", _) => same("NodeCIDR"),
        ("clusterCIDR", _) => same("10.0.0.0/8"),
        ("ipvs.scheduler", _) => same("lc"),
        ("showHiddenMetricsForVersion", _) => ("1.35".to_owned(), "\"1.35\"".to_owned()),
        ("iptables.localhostNodePorts", _) => same("false"),
        (_, Kind::Gates) => ("A=true".to_owned(), "{A: true}".to_owned()),
        (_, Kind::Bool) => same("true"),
        (_, Kind::Int) => same("7"),
        (_, Kind::Number) => same("7.5"),
        (_, Kind::Duration) => same("7s"),
        (_, Kind::Text) => same("some"),
        (_, Kind::List) => ("a,b".to_owned(), "[a, b]".to_owned()),
    }
}

/// `a.b` and a value as YAML.
fn nested(field: &str, value: &str) -> String {
    let names: Vec<&str> = field.split('.').collect();
    let indented = names
        .iter()
        .enumerate()
        .map(|(depth, name)| format!("{}{name}:", "  ".repeat(depth)));
    format!("{} {value}\n", indented.collect::<Vec<_>>().join("\n"))
}

#[test]
fn semantics_15_a_flag_and_its_field_mean_the_same() {
    for setting in kube_proxy::SETTINGS
        .iter()
        .filter(|setting| !setting.field.is_empty() && !setting.flag.is_empty())
    {
        // The one file that must exist.
        if setting.flag == "kubeconfig" {
            continue;
        }
        let (flag, yaml) = sample(setting);
        let mode = if setting.field.starts_with("ipvs") {
            "ipvs"
        } else {
            "iptables"
        };
        let mut flags = vec![format!("--{}={flag}", setting.flag)];
        let mut text = format!("{THEIRS}{}", nested(setting.field, &yaml));
        if setting.field != "mode" {
            flags.push(format!("--proxy-mode={mode}"));
            text = format!("{text}mode: {mode}\n");
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let by_flag = parse(&flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let by_file = parse(&["--config", file.path().to_str().unwrap()])
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        let (one, other) = (
            to_json(&by_flag.resolved.kube_proxy),
            to_json(&by_file.resolved.kube_proxy),
        );
        assert_eq!(one, other, "{text}");
        let default = to_json(&kube_proxy::KubeProxyConfiguration::default().completed());
        assert_ne!(
            get(&one, setting.field),
            get(&default, setting.field),
            "{text}"
        );

        let told = |warnings: &[String], name: &str| {
            warnings
                .iter()
                .filter(|warning| warning.contains(name) && warning.contains("without effect"))
                .count()
        };
        let expected =
            usize::from(matches!(setting.effect, Effect::None(_)) || setting.kind == Kind::Gates);
        let name = if setting.kind == Kind::Gates {
            "featureGates.A".to_owned()
        } else {
            format!("--{} ", setting.flag)
        };
        assert_eq!(
            told(by_flag.warnings(), &name),
            expected,
            "--{}: {:?}",
            setting.flag,
            by_flag.warnings()
        );
        assert_eq!(
            told(by_file.warnings(), setting.field),
            expected,
            "{}: {:?}",
            setting.field,
            by_file.warnings()
        );
    }
}

#[test]
fn semantics_15_flags_and_fields_without_a_counterpart_are_named_too() {
    for setting in kube_proxy::SETTINGS {
        let Effect::None(why) = setting.effect else {
            continue;
        };
        let (flag, yaml) = sample(setting);
        let warnings = if setting.field.is_empty() {
            parse(&[&format!("--{}={flag}", setting.flag)])
                .unwrap()
                .warnings()
                .to_vec()
        } else {
            explain_config(&format!("{THEIRS}{}", nested(setting.field, &yaml)))
                .unwrap()
                .warnings
        };
        let name = if setting.field.is_empty() {
            setting.flag
        } else {
            setting.field
        };
        let told: Vec<_> = warnings
            .iter()
            .filter(|warning| warning.contains(name))
            .collect();
        assert!(
            matches!(told.as_slice(), [one] if one.contains(why)),
            "{name}: {warnings:?}"
        );
    }
    let told = explain_config(&format!(
        "{THEIRS}mode: iptables\nnftables: {{masqueradeAll: true}}\n"
    ))
    .unwrap()
    .warnings
    .join("\n");
    assert!(
        told.contains("nftables.masqueradeAll") && told.contains("only in mode nftables"),
        "{told}"
    );
}

/// The rows of a table in docs/configuration.md.
fn rows(table: &[Setting], defaults: &Value) -> String {
    let mut rows = String::from("| field | flag | default | what it does |\n|---|---|---|---|\n");
    for setting in table {
        let code = |text: &str| {
            if text.is_empty() {
                String::new()
            } else {
                format!("`{text}`")
            }
        };
        let default = get(defaults, setting.field)
            .map(plain)
            .filter(|text| text != "{}")
            .unwrap_or_default();
        let flag = if setting.flag.is_empty() {
            String::new()
        } else {
            format!("--{}", setting.flag)
        };
        let cells = [
            code(setting.field),
            code(&flag),
            code(&default),
            setting.text().replace('|', "\\|"),
        ];
        rows.extend(["| ", &cells.join(" | "), " |\n"]);
    }
    rows
}

/// `UPDATE_EXPECT=1` writes the tables into the document.
#[test]
fn documentation_has_every_setting() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (name, table, defaults) in [
        (
            "kube-shunt",
            kube_shunt::SETTINGS,
            to_json(&kube_shunt::KubeShuntConfiguration::default()),
        ),
        (
            "kube-proxy",
            kube_proxy::SETTINGS,
            to_json(&kube_proxy::KubeProxyConfiguration::default().completed()),
        ),
    ] {
        let (start, end) = (
            format!("<!-- settings of {name} -->\n"),
            format!("<!-- end of {name} -->"),
        );
        let (before, rest) = text.split_once(&start).unwrap();
        let (documented, after) = rest.split_once(&end).unwrap();
        let expected = rows(table, &defaults);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            text = format!("{before}{start}{expected}{end}{after}");
            std::fs::write(&path, &text).unwrap();
        } else {
            assert_eq!(documented, expected, "run this test with UPDATE_EXPECT=1");
        }
    }
    let mut command = super::super::Cli::command();
    command.build();
    for flag in command
        .find_subcommand("run")
        .unwrap()
        .get_arguments()
        .filter_map(clap::Arg::get_long)
    {
        assert!(
            text.contains(&format!("`--{flag}`")) || flag == "help",
            "--{flag} is not in docs/configuration.md"
        );
    }
}
