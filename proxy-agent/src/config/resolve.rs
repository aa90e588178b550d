//! From documents and flags to typed, complete, checked settings, with a warning for everything that will not have the effect
//! somebody may expect.

use serde_json::Value;

use super::error::{ConfigError, FieldError, line};
use super::file::{Document, Documents, typed};
use super::given::Given;
use super::kube_proxy::{self, KubeProxyConfiguration};
use super::kube_shunt::{self, KubeShuntConfiguration};
use super::settings::{Effect, Setting, get, plain, set, to_json};
use super::{go, startup};

/// Both documents, complete and valid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// kube-proxy's settings.
    pub kube_proxy: KubeProxyConfiguration,
    /// Ours.
    pub kube_shunt: KubeShuntConfiguration,
    /// No /healthz and /livez: only flags can say so.
    pub healthz_off: bool,
    /// No /metrics.
    pub metrics_off: bool,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// A document with the flags that counted laid over it.
struct Layers {
    place: String,
    value: Value,
    flags: Vec<(&'static Setting, Value)>,
}

/// Lays flags over documents. All wrong values are reported together.
pub(crate) fn resolve(documents: Documents, given: &Given) -> Result<Resolved, ConfigError> {
    let mut warnings = Vec::new();
    let flags = counted(given, documents.kube_proxy.is_some(), &mut warnings);
    let mut theirs = lay(documents.kube_proxy, flags, &mut warnings);
    let healthz_off = server(&mut theirs, "healthzBindAddress", "healthz-port")?;
    let metrics_off = server(&mut theirs, "metricsBindAddress", "metrics-port")?;
    let Layers {
        place,
        value,
        flags,
    } = theirs;
    let (kube_proxy, unknown): (KubeProxyConfiguration, _) = typed(value, &place)?;
    warnings.extend(
        unknown
            .iter()
            .map(|path| format!("{place}: field {path} is not known, and ignored")),
    );
    let kube_proxy = kube_proxy.completed();
    let mut errors = lines(&kube_proxy::validate(&kube_proxy), &place, &flags);
    warnings.extend(without_effect(&kube_proxy, &place, &flags));
    warnings.extend(startup::warnings(&kube_proxy));

    let ours = given.of(kube_shunt::SETTINGS).collect();
    let Layers {
        place,
        value,
        flags,
    } = lay(documents.kube_shunt, ours, &mut warnings);
    let (kube_shunt, unknown): (KubeShuntConfiguration, _) = typed(value, &place)?;
    errors.extend(
        unknown
            .iter()
            .map(|path| format!("{place}: {path}: there is no such field")),
    );
    errors.extend(lines(&kube_shunt::validate(&kube_shunt), &place, &flags));
    if errors.is_empty() {
        Ok(Resolved {
            kube_proxy,
            kube_shunt,
            healthz_off,
            metrics_off,
            warnings,
        })
    } else {
        Err(ConfigError::Values(errors))
    }
}

/// The flags of kube-proxy that count: beside a file those of the log, and those that are no fields.
fn counted(
    given: &Given,
    in_file: bool,
    warnings: &mut Vec<String>,
) -> Vec<(&'static Setting, Value)> {
    let beside = |setting: &Setting| {
        let ports = matches!(setting.flag, "healthz-port" | "metrics-port");
        setting.field.starts_with("logging.") || (setting.field.is_empty() && !ports)
    };
    let all = given.of(kube_proxy::SETTINGS);
    let (counted, ignored): (Vec<_>, Vec<_>) =
        all.partition(|(setting, _)| !in_file || beside(setting));
    if !ignored.is_empty() {
        let names: Vec<_> = ignored
            .iter()
            .map(|(setting, _)| format!("--{}", setting.flag))
            .collect();
        warnings.push(format!(
            "{}: without effect, since --config holds a KubeProxyConfiguration; kube-proxy does the same",
            names.join(", "),
        ));
    }
    counted
}

fn lay(
    document: Option<Document>,
    flags: Vec<(&'static Setting, Value)>,
    warnings: &mut Vec<String>,
) -> Layers {
    let (place, mut value) = match document {
        Some(Document { place, tree }) => {
            let twice =
                |path: String| format!("{place}: field {path} is there twice; the last one counts");
            warnings.extend(tree.duplicates.into_iter().map(twice));
            (place, tree.value)
        }
        None => ("flags".to_owned(), Value::Object(serde_json::Map::new())),
    };
    let mode = flags
        .iter()
        .find(|(setting, _)| setting.flag == "proxy-mode")
        .map(|(_, mode)| plain(mode));
    for (setting, flag) in &flags {
        let field = field_of(setting, mode.as_deref().unwrap_or_default());
        if !field.is_empty() {
            set(&mut value, &field, flag.clone());
        }
    }
    Layers {
        place,
        value,
        flags,
    }
}

/// The field that a flag sets. There are no flags for nftables, so those of iptables count there (SEMANTICS 15).
fn field_of(setting: &Setting, mode: &str) -> String {
    match setting.flag {
        "masquerade-all" | "iptables-sync-period" | "iptables-min-sync-period"
            if mode == "nftables" =>
        {
            setting.field.replacen("iptables", "nftables", 1)
        }
        _ => setting.field.to_owned(),
    }
}

/// Whether flags turn a server off: by an empty address or by port 0. Another port is for an address without one.
fn server(layers: &mut Layers, field: &str, port_flag: &str) -> Result<bool, ConfigError> {
    let of = |wanted: &dyn Fn(&Setting) -> bool| {
        layers
            .flags
            .iter()
            .find(|(setting, _)| wanted(setting))
            .map(|(_, value)| plain(value))
    };
    let address = of(&|setting| setting.field == field);
    let port = of(&|setting| setting.flag == port_flag);
    if address.as_deref() == Some("") || port.as_deref() == Some("0") {
        return Ok(true);
    }
    if let Some(port) = port {
        let wrong = || {
            ConfigError::value(
                &format!("--{port_flag}"),
                &port,
                "must be a port, or 0 to turn the server off",
            )
        };
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let complete = address.and_then(|address| go::socket_address(&address, port));
        if let Some(address) = complete {
            set(&mut layers.value, field, address.to_string().into());
        }
    }
    Ok(false)
}

fn lines(errors: &[FieldError], place: &str, flags: &[(&'static Setting, Value)]) -> Vec<String> {
    let by_flag = |error: &FieldError| {
        flags
            .iter()
            .map(|(setting, _)| *setting)
            .find(|setting| setting.holds(&error.field))
    };
    errors
        .iter()
        .map(|error| line(error, place, by_flag(error)))
        .collect()
}

/// Settings of kube-proxy that are not its defaults and will not do anything.
fn without_effect(
    config: &KubeProxyConfiguration,
    place: &str,
    flags: &[(&'static Setting, Value)],
) -> Vec<String> {
    let (chosen, default) = (
        to_json(config),
        to_json(&KubeProxyConfiguration::default().completed()),
    );
    let mode = if config.mode.is_empty() {
        "iptables"
    } else {
        config.mode.as_str()
    };
    let mut warnings = Vec::new();
    for setting in kube_proxy::SETTINGS {
        let flag = flags
            .iter()
            .find(|(given, _)| given.flag == setting.flag && !setting.flag.is_empty());
        let value = match flag {
            Some((_, value)) if setting.field.is_empty() => Some(value),
            _ => get(&chosen, setting.field)
                .filter(|value| Some(*value) != get(&default, setting.field)),
        };
        let Some(value) = value else { continue };
        let name = if flag.is_some() {
            format!("--{}", setting.flag)
        } else {
            format!("{place}: {}", setting.field)
        };
        let value = plain(value);
        match setting.effect {
            Effect::None(why) => warnings.push(format!("{name} {value:?}: without effect: {why}")),
            Effect::InMode(modes, _) if !modes.split(" or ").any(|one| one == mode) => {
                warnings.push(format!("{name} {value:?}: without effect: it counts only in mode {modes}, with kube-proxy too"));
            }
            Effect::Has(_) | Effect::InMode(..) => {}
        }
    }
    warnings.extend(gates(config, place));
    if mode == "ipvs" && config.ipvs.scheduler == "dh" {
        warnings.push(format!("{place}: ipvs.scheduler \"dh\": means maglev, which hashes the source; every Service has one destination"));
    }
    warnings
}

/// Feature gates that change something here; of others an operator may expect something that does not happen.
fn gates<'a>(
    config: &'a KubeProxyConfiguration,
    place: &'a str,
) -> impl Iterator<Item = String> + 'a {
    let known = |gate: &str| kube_proxy::GATES.contains(&gate);
    config
        .feature_gates
        .iter()
        .filter(move |(gate, _)| !known(gate))
        .map(move |(gate, on)| {
            format!(
                "{place}: featureGates.{gate} \"{on}\": without effect: kube-shunt has no such gate"
            )
        })
}
