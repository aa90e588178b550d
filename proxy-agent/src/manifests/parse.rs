//! The text of one file to objects. Errors name line, column and field. No I/O.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use tracing::debug;

use super::quick;
use crate::objects::{Parsed, WireNode, WireService, WireServiceCidr, WireSlice};

/// Where and why a text is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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

/// What tells the shape. Parsed before the rest, because keys come in any order.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Header {
    api_version: Option<String>,
    kind: Option<String>,
    items: Option<Vec<Option<ItemHeader>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ItemHeader {
    api_version: Option<String>,
    kind: Option<String>,
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

impl Header {
    fn shapes(&self) -> (Shape, Vec<Shape>) {
        let own = shape(self.api_version.as_deref(), self.kind.as_deref());
        // Items of a ServiceList need not repeat what they are.
        let default_kind = self
            .kind
            .as_deref()
            .and_then(|kind| kind.strip_suffix("List"))
            .filter(|kind| !kind.is_empty());
        let of_item = |item: &Option<ItemHeader>| {
            let item = item.as_ref()?;
            let api_version = item.api_version.as_deref().or(self.api_version.as_deref());
            Some(shape(api_version, item.kind.as_deref().or(default_kind)))
        };
        let items = self
            .items
            .iter()
            .flatten()
            .map(|item| of_item(item).unwrap_or(Shape::Other));
        (own, items.collect())
    }
}

/// All Services, `EndpointSlices`, Nodes and `ServiceCIDR`s of a YAML or JSON text, in order.
pub fn parse(text: &str) -> Result<Vec<Parsed>, ParseError> {
    let mut objects = Vec::new();
    for (first_line, document) in documents(text) {
        objects.append(&mut match quick::objects(&document) {
            Some(read) => read,
            None => two_passes(&document, first_line)?,
        });
    }
    Ok(objects)
}

/// The objects of a document that stands behind so many lines: first what they are, then the rest.
pub(super) fn two_passes(document: &str, first_line: u64) -> Result<Vec<Parsed>, ParseError> {
    let at = |error: ParseError| ParseError {
        line: error.line + first_line,
        ..error
    };
    let header: Option<Header> = typed(document, PhantomData).map_err(at)?;
    let (shape, items) = header.unwrap_or_default().shapes();
    match shape {
        Shape::Other => Ok(Vec::new()),
        Shape::List => typed(document, ListSeed(&items)).map_err(at),
        _ => {
            let object = typed(document, ObjectSeed(shape)).map_err(at)?;
            Ok(object.into_iter().collect())
        }
    }
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
fn typed<'de, S: DeserializeSeed<'de>>(
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

/// One object of a known shape.
#[derive(Clone, Copy)]
struct ObjectSeed(Shape);

impl<'de> DeserializeSeed<'de> for ObjectSeed {
    type Value = Option<Parsed>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Option<Parsed>, D::Error> {
        Ok(match self.0 {
            Shape::Service => Some(WireService::deserialize(deserializer)?.into()),
            Shape::EndpointSlice => Some(WireSlice::deserialize(deserializer)?.into()),
            Shape::Node => Some(WireNode::deserialize(deserializer)?.into()),
            Shape::ServiceCidr => Some(WireServiceCidr::deserialize(deserializer)?.into()),
            Shape::List | Shape::Other => {
                IgnoredAny::deserialize(deserializer)?;
                None
            }
        })
    }
}

/// The items of a list, whose shapes are known from the first pass.
#[derive(Clone, Copy)]
struct ListSeed<'a>(&'a [Shape]);

impl<'de> DeserializeSeed<'de> for ListSeed<'_> {
    type Value = Vec<Parsed>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Parsed>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_> {
    type Value = Vec<Parsed>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Parsed>, A::Error> {
        let mut objects = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            // The first pass found no shapes for null, which is an empty list.
            if key == "items" && !self.0.is_empty() {
                objects = map.next_value_seed(ItemsSeed(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(objects)
    }
}

struct ItemsSeed<'a>(&'a [Shape]);

impl<'de> DeserializeSeed<'de> for ItemsSeed<'_> {
    type Value = Vec<Parsed>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Parsed>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ItemsSeed<'_> {
    type Value = Vec<Parsed>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Parsed>, A::Error> {
        let mut objects = Vec::new();
        let mut shapes = self.0.iter();
        while let Some(object) =
            seq.next_element_seed(ObjectSeed(shapes.next().copied().unwrap_or(Shape::Other)))?
        {
            objects.extend(object);
        }
        Ok(objects)
    }
}
