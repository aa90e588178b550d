//! Reading manifests without types: what is missing or of another kind is simply not there.

use serde_json::Value;

/// The value at a path of keys separated by dots; `Null` where there is none.
pub(crate) fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.')
        .fold(value, |value, key| value.get(key).unwrap_or(&Value::Null))
}

/// The text at a path; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The items at a path; none where there is no list.
pub(crate) fn items<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The texts of a list at a path; other items are left out.
pub(crate) fn texts<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a str> {
    items(value, path).iter().filter_map(Value::as_str)
}

/// The value of a label or annotation: its key may hold dots.
pub(crate) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    at(object, "metadata.labels").get(key)?.as_str()
}

/// A port number that can be used: 1 to 65535.
pub(crate) fn port(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?)
        .ok()
        .filter(|port| *port != 0)
}

/// Namespace and name; without a namespace, as `kubectl` does, `default`.
pub(crate) fn identity(object: &Value) -> (String, String) {
    let namespace = text(object, "metadata.namespace");
    let namespace = if namespace.is_empty() {
        "default"
    } else {
        namespace
    };
    (
        namespace.to_owned(),
        text(object, "metadata.name").to_owned(),
    )
}
