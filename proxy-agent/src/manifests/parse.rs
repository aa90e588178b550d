//! The text of one file to objects. Errors name line, column and field. No I/O.

use std::borrow::Cow;

use proxy_model::ObjectRef;
use serde::de::DeserializeSeed;
use tracing::debug;

use super::{quick, thorough};
use crate::objects::Parsed;

/// Where and why a text is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{line}:{column}: {field}{message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// `spec.ports[0].port: `, or empty where the text is no YAML at all.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// What a document holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Service,
    EndpointSlice,
    Node,
    ServiceCidr,
    /// `items` of one kind each, or of any.
    List,
    /// Nothing for us, or nothing at all.
    Other,
}

/// What a text holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// In order.
    pub(super) objects: Vec<Parsed>,
    /// In order.
    pub(super) malformed: Vec<Malformed>,
}

/// What is YAML, but not of the types that its object has.
#[derive(Debug)]
pub(super) struct Malformed {
    /// The object; `None` where its name cannot be read either.
    pub(super) object: Option<ObjectRef>,
    pub(super) error: ParseError,
}

pub(super) fn shape(api_version: Option<&str>, kind: Option<&str>) -> Shape {
    match (api_version.unwrap_or_default(), kind.unwrap_or_default()) {
        ("v1", "Service") => Shape::Service,
        ("v1", "Node") => Shape::Node,
        ("discovery.k8s.io/v1", "EndpointSlice") => Shape::EndpointSlice,
        ("networking.k8s.io/v1" | "networking.k8s.io/v1beta1", "ServiceCIDR") => Shape::ServiceCidr,
        ("networking.k8s.io/v1" | "networking.k8s.io/v1beta1", "ServiceCIDRList")
        | ("v1", "List" | "ServiceList" | "NodeList")
        | ("discovery.k8s.io/v1", "EndpointSliceList") => Shape::List,
        ("", "") => Shape::Other,
        (api_version, kind) => {
            debug!(api_version, kind, "not a kind that we read");
            Shape::Other
        }
    }
}

/// All Services, `EndpointSlices`, Nodes and `ServiceCIDR`s of a YAML or JSON text, in order. One malformed object is an error.
pub fn parse(text: &str) -> Result<Vec<Parsed>, ParseError> {
    let Contents { objects, malformed } = contents(text)?;
    match malformed.into_iter().next() {
        Some(Malformed { object: _, error }) => Err(error),
        None => Ok(objects),
    }
}

/// The same of a text of which some objects may be malformed. An error: it is no YAML.
pub(super) fn contents(text: &str) -> Result<Contents, ParseError> {
    let mut contents = Contents::default();
    for (first_line, document) in documents(text) {
        match quick::objects(&document) {
            Some(mut read) => contents.objects.append(&mut read),
            None => thorough::objects(&document, first_line, &mut contents)?,
        }
    }
    Ok(contents)
}

/// The documents of a text with the number of lines before each. A `---` at the start of a line always is a marker (YAML 1.2,
/// rule c-forbidden); where something follows it on its line, it is blanked, so that columns stay what they are.
pub(crate) fn documents(text: &str) -> Vec<(u64, Cow<'_, str>)> {
    let mut documents = Vec::new();
    let (mut first_line, mut head, mut start, mut end) = (0, None, 0, 0);
    for (number, line) in (0u64..).zip(text.split_inclusive('\n')) {
        let after = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if let Some(rest) = after {
            documents.push(document(first_line, head, text.get(start..end)));
            (first_line, head, start) = (number, Some(rest), end + line.len());
        }
        end += line.len();
    }
    documents.push(document(first_line, head, text.get(start..end)));
    documents.retain(|(_, document)| {
        document
            .lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    });
    documents
}

/// A document of what follows its marker, if it has one, and of the lines below.
fn document<'a>(first_line: u64, head: Option<&str>, body: Option<&'a str>) -> (u64, Cow<'a, str>) {
    let body = body.unwrap_or_default();
    match head {
        None => (first_line, body.into()),
        Some(head) if head.trim().is_empty() => (first_line + 1, body.into()),
        Some(head) => (first_line, format!("   {head}{body}").into()),
    }
}

/// Deserializes `document` and says where it failed. JSON is YAML, but for tabs; those are only refused as indentation.
pub(super) fn typed<'de, S: DeserializeSeed<'de>>(
    document: &'de str,
    seed: S,
) -> Result<S::Value, ParseError> {
    let mut track = serde_path_to_error::Track::new();
    let result =
        serde_saphyr::with_deserializer_from_str_with_options(document, options(), |yaml| {
            seed.deserialize(serde_path_to_error::Deserializer::new(yaml, &mut track))
        });
    result.map_err(|error| {
        let location = error.location();
        let path = track.path().to_string();
        ParseError {
            line: location.map_or(1, |at| at.line()),
            column: location.map_or(1, |at| at.column()),
            field: if path == "." {
                String::new()
            } else {
                format!("{path}: ")
            },
            message: message(&error),
        }
    })
}

/// The error without its own idea of the place, and without a picture of the text.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let cut = first.find(" at line ").unwrap_or(first.len());
    match first.get(..cut).unwrap_or(first) {
        // The parser names our types.
        "invalid i64" => "not a whole number".to_owned(),
        "invalid boolean" => "neither true nor false".to_owned(),
        other => other.to_owned(),
    }
}

/// The operator's own files are trusted to be large, not to be bombs: limits on aliases stay.
pub(super) fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 200_000_000,
            max_nodes: 100_000_000,
            max_total_scalar_bytes: 1 << 30,
        },
        with_snippet: false,
    }
}
