//! The way for documents that [`super::quick`] cannot read: first what the objects are, then the rest, and where it is wrong.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use proxy_model::{Kind, ObjectRef};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::parse::{Contents, Malformed, ParseError, Shape, shape, typed};
use crate::objects::{Parsed, WireNode, WireService, WireServiceCidr, WireSlice};

/// How many malformed items of one list are left out; each costs another pass. With more, nothing of the list is used.
const MOST_MALFORMED: usize = 32;

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

/// Adds what a document holds that stands behind so many lines. An error: it is no YAML.
pub(super) fn objects(
    document: &str,
    first_line: u64,
    contents: &mut Contents,
) -> Result<(), ParseError> {
    let at = |error: ParseError| ParseError {
        line: error.line + first_line,
        ..error
    };
    let header: Result<Option<Header>, _> = typed(document, PhantomData);
    let header = match header {
        Ok(header) => header.unwrap_or_default(),
        Err(error) => {
            typed(document, PhantomData::<IgnoredAny>).map_err(at)?;
            let (object, error) = (None, at(error));
            contents.malformed.push(Malformed { object, error });
            return Ok(());
        }
    };
    let (shape, mut items) = header.shapes();
    if shape != Shape::List {
        match typed(document, ObjectSeed(shape)) {
            Ok(object) => contents.objects.extend(object),
            Err(error) => {
                let named: Option<Named> = typed(document, PhantomData).ok();
                let (object, error) = (named.and_then(|named| named.object(shape)), at(error));
                contents.malformed.push(Malformed { object, error });
            }
        }
        return Ok(());
    }
    for _ in 0..=MOST_MALFORMED {
        let item = Cell::new(0);
        let error = match typed(document, ListSeed(&items, &item)) {
            Ok(mut objects) => {
                contents.objects.append(&mut objects);
                return Ok(());
            }
            Err(error) => at(error),
        };
        // Once more, without it.
        let shape = items.get_mut(item.get());
        let shape = shape.map(|shape| std::mem::replace(shape, Shape::Other));
        let object = shape.and_then(|shape| item_name(document, item.get(), shape));
        contents.malformed.push(Malformed { object, error });
        if shape.is_none() {
            return Ok(());
        }
    }
    let error = ParseError {
        line: first_line + 1,
        column: 1,
        field: "items: ".to_owned(),
        message: format!("more than {MOST_MALFORMED} malformed objects; none of the list is used"),
    };
    contents.malformed.push(Malformed {
        object: None,
        error,
    });
    Ok(())
}

/// What an object is called, whatever else is wrong with it.
#[derive(Deserialize)]
struct Named {
    metadata: Option<NamedMeta>,
}

#[derive(Deserialize)]
struct NamedMeta {
    name: Option<Value>,
    namespace: Option<Value>,
}

#[derive(Deserialize)]
struct NamedList {
    items: Vec<Option<Named>>,
}

impl Named {
    fn object(self, shape: Shape) -> Option<ObjectRef> {
        let NamedMeta { name, namespace } = self.metadata?;
        let (kind, default) = match shape {
            Shape::Service => (Kind::Service, "default"),
            Shape::EndpointSlice => (Kind::EndpointSlice, "default"),
            Shape::Node => (Kind::Node, ""),
            Shape::ServiceCidr => (Kind::ServiceCidr, ""),
            Shape::List | Shape::Other => return None,
        };
        let namespace = match &namespace {
            None | Some(Value::Null) => default,
            Some(namespace) => namespace
                .as_str()
                .map(|text| if text.is_empty() { default } else { text })?,
        };
        Some(ObjectRef {
            kind,
            namespace: namespace.to_owned(),
            name: name?.as_str()?.to_owned(),
        })
    }
}

fn item_name(document: &str, item: usize, shape: Shape) -> Option<ObjectRef> {
    let list: NamedList = typed(document, PhantomData).ok()?;
    list.items.into_iter().nth(item)??.object(shape)
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

/// The items of a list, whose shapes are known from the first pass, and the item that is being read.
#[derive(Clone, Copy)]
struct ListSeed<'a>(&'a [Shape], &'a Cell<usize>);

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
                objects = map.next_value_seed(ItemsSeed(self.0, self.1))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(objects)
    }
}

struct ItemsSeed<'a>(&'a [Shape], &'a Cell<usize>);

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
        let shape = |item: usize| self.0.get(item).copied().unwrap_or(Shape::Other);
        while let Some(object) = seq.next_element_seed(ObjectSeed(shape(self.1.get())))? {
            objects.extend(object);
            self.1.set(self.1.get() + 1);
        }
        Ok(objects)
    }
}
