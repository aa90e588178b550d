//! The flags of `run` that stand in tables: made into clap's arguments, and read back as JSON values.

use clap::builder::TypedValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde_json::Value;

use super::go::{self, Duration};
use super::settings::{Kind, Setting, get, plain, set, to_json};
use super::{kube_proxy, kube_shunt};

/// The settings of the command line and the environment.
#[derive(Clone, Debug, Default)]
pub struct Given(Vec<(&'static Setting, Value)>);

impl Given {
    /// The value of a flag.
    pub(crate) fn get(&self, flag: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(setting, _)| setting.flag == flag)
            .map(|(_, value)| value)
    }

    /// A flag that is text or a number, as text.
    pub(crate) fn text(&self, flag: &str) -> Option<String> {
        self.get(flag).map(plain)
    }

    /// Whether a boolean flag is set.
    pub(crate) fn is_set(&self, flag: &str) -> bool {
        self.get(flag) == Some(&Value::Bool(true))
    }

    /// Those of `table`.
    pub(crate) fn of<'a>(
        &'a self,
        table: &'static [Setting],
    ) -> impl Iterator<Item = (&'static Setting, Value)> + use<'a> {
        let ours = move |setting: &Setting| table.iter().any(|one| one.flag == setting.flag);
        self.0
            .iter()
            .filter(move |(setting, _)| ours(setting))
            .map(|(setting, value)| (*setting, value.clone()))
    }
}

/// The tables with what their defaults are taken from, and the heading of their flags.
fn tables() -> [(&'static [Setting], Value, &'static str); 2] {
    let (own, theirs) = (
        kube_shunt::KubeShuntConfiguration::default(),
        kube_proxy::KubeProxyConfiguration::default(),
    );
    [
        (
            kube_shunt::SETTINGS,
            to_json(&own),
            "Settings of kube-shunt",
        ),
        (
            kube_proxy::SETTINGS,
            to_json(&theirs.completed()),
            "Settings of kube-proxy",
        ),
    ]
}

fn argument(setting: &'static Setting, defaults: &Value, heading: &'static str) -> Arg {
    let text = setting.text();
    let help = match get(defaults, setting.field).map(plain) {
        Some(default) if !matches!(default.as_str(), "" | "false" | "0s" | "{}") => {
            format!("{text} [default: {default}]")
        }
        _ => text,
    };
    let arg = Arg::new(setting.flag)
        .long(setting.flag)
        .env(setting.variable())
        .hide_env(true)
        .help(help)
        .help_heading(heading)
        .action(ArgAction::Append)
        .allow_negative_numbers(true);
    let arg = match setting.kind {
        // As pflag has it: a value only behind an equals sign.
        Kind::Bool => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL")
            .value_parser(value(|text| go::boolean(text).map(Value::Bool))),
        Kind::Int => arg.value_name("NUMBER").value_parser(value(|text| {
            text.parse::<i32>()
                .map(Value::from)
                .map_err(|_| "must be a whole number".to_owned())
        })),
        Kind::Number => arg.value_name("NUMBER").value_parser(value(|text| {
            text.parse::<f32>()
                .map(Value::from)
                .map_err(|_| "must be a number".to_owned())
        })),
        Kind::Duration => arg.value_name("DURATION").value_parser(value(|text| {
            text.parse::<Duration>()
                .map(|duration| Value::from(duration.to_string()))
        })),
        Kind::Text => arg
            .value_name("TEXT")
            .value_parser(value(|text| Ok(text.into()))),
        Kind::List => arg
            .value_name("A,B")
            .value_parser(value(|text| Ok(list(text)))),
        Kind::Gates => arg.value_name("NAME=BOOL,...").value_parser(value(gates)),
    };
    match setting.flag {
        "v" => arg.short('v'),
        _ => arg,
    }
}

fn value(
    parse: impl Fn(&str) -> Result<Value, String> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = Value> {
    clap::builder::StringValueParser::new().try_map(move |text| parse(&text))
}

fn list(text: &str) -> Value {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

fn gates(text: &str) -> Result<Value, String> {
    let mut gates = Value::Object(serde_json::Map::new());
    for gate in text
        .split(',')
        .map(str::trim)
        .filter(|gate| !gate.is_empty())
    {
        let (name, on) = gate
            .split_once('=')
            .ok_or_else(|| format!("{gate}: must be NAME=true or NAME=false"))?;
        set(
            &mut gates,
            name.trim(),
            Value::Bool(go::boolean(on.trim()).map_err(|error| format!("{gate}: {error}"))?),
        );
    }
    Ok(gates)
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        let tables = tables();
        let flags = tables.iter().flat_map(|(table, defaults, heading)| {
            let flags = table.iter().filter(|setting| !setting.flag.is_empty());
            flags.map(move |setting| argument(setting, defaults, heading))
        });
        command.args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        let flags = tables()
            .into_iter()
            .flat_map(|(table, ..)| table)
            .filter(|setting| !setting.flag.is_empty());
        for setting in flags {
            let by_operator = matches!(
                matches.value_source(setting.flag),
                Some(ValueSource::CommandLine | ValueSource::EnvVariable)
            );
            let values = matches
                .get_many::<Value>(setting.flag)
                .into_iter()
                .flatten()
                .filter(|_| by_operator);
            if let Some(value) = values.cloned().reduce(both) {
                given.push((setting, value));
            }
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A flag that is given twice, as pflag has it: lists and tables grow, of the rest the last one counts.
fn both(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Array(mut first), Value::Array(second)) => {
            first.extend(second);
            Value::Array(first)
        }
        (Value::Object(mut first), Value::Object(second)) => {
            first.extend(second);
            Value::Object(first)
        }
        (_, second) => second,
    }
}
