//! A setting as a field of a document and as a flag: its names, how it is written, whether it has an effect.
//!
//! Documents are JSON values until flags are laid over them, so that both ways end in one validation.

use serde::Serialize;
use serde_json::{Map, Value};

/// How a flag's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// true or false; the flag alone is true.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Number,
    /// A duration such as 30s.
    Duration,
    /// Anything.
    Text,
    /// A list with commas.
    List,
    /// NAME=true with commas.
    Gates,
}

/// Whether a setting has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It has: what.
    Has(&'static str),
    /// It has in this mode of kube-proxy, as there: what.
    InMode(&'static str, &'static str),
    /// It has none: why.
    None(&'static str),
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Path in the document; empty for what is a flag only.
    pub field: &'static str,
    /// The flag without its dashes; empty for what is a field only.
    pub flag: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// What it does.
    pub effect: Effect,
}

impl Setting {
    /// What it does, in one line.
    pub(crate) fn text(&self) -> String {
        match self.effect {
            Effect::Has(text) => text.to_owned(),
            Effect::InMode(mode, text) => format!("{text}; only in mode {mode}, as in kube-proxy"),
            Effect::None(why) => format!("Accepted, without effect: {why}"),
        }
    }

    /// The variable that stands for the flag.
    pub(crate) fn variable(&self) -> String {
        format!("KUBE_SHUNT_{}", self.flag.replace('-', "_").to_uppercase())
    }

    /// Whether `path` is its field, or leads below it (`nodePortAddresses[0]`, `featureGates.Some`).
    pub(crate) fn holds(&self, path: &str) -> bool {
        !self.field.is_empty()
            && path
                .strip_prefix(self.field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
    }
}

macro_rules! settings {
    ($(#[$doc:meta])* $($field:literal $flag:literal $kind:ident $effect:ident($($text:literal),*);)*) => {
        $(#[$doc])*
        pub(crate) const SETTINGS: &[$crate::config::settings::Setting] = &[$(
            $crate::config::settings::Setting {
                field: $field,
                flag: $flag,
                kind: $crate::config::settings::Kind::$kind,
                effect: $crate::config::settings::Effect::$effect($($text),*),
            },
        )*];
    };
}

/// Documents whose fields have defaults: absent and null mean the default.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($field:ident $([$json:literal])?: $type:ty = $default:expr,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name {
            $($(#[serde(rename = $json)])? pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    )*};
}

pub(super) use {sections, settings};

/// A document as JSON. Ours have nothing that JSON cannot say.
pub(crate) fn to_json<T: Serialize>(document: &T) -> Value {
    serde_json::to_value(document).unwrap_or_default()
}

/// The value at `path`, if there is one.
pub(crate) fn get<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(document, |value, name| value.get(name))
}

/// Puts `value` at `path`; tables are merged into what is there.
pub(crate) fn set(document: &mut Value, path: &str, value: Value) {
    let mut place = document;
    for name in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(fields) = place else { return };
        place = fields.entry(name).or_insert(Value::Null);
    }
    match (place, value) {
        (Value::Object(there), Value::Object(more)) => there.extend(more),
        (place, value) => *place = value,
    }
}

/// A value as an operator writes it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
