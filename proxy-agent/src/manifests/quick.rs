//! The way that most files take: one pass, for objects that say what they are before anything else.
//!
//! It gives no reasons. What it cannot read, the two passes of [`super::parse`] read, or say where it is wrong.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer as _, MapAccess,
    SeqAccess, Visitor,
};

use super::parse::{Shape, options, shape};
use crate::objects::{Parsed, WireNode, WireService, WireServiceCidr, WireSlice};

/// The objects of one document; `None`: it needs the two passes.
pub(super) fn objects(document: &str) -> Option<Vec<Parsed>> {
    let mut objects = Vec::new();
    // JSON is YAML, but what reads nothing else is many times as fast.
    if document.trim_start().starts_with('{') {
        let mut json = serde_json::Deserializer::from_str(document);
        let read = Document(&mut objects).deserialize(&mut json);
        if read.and_then(|()| json.end()).is_ok() {
            return Some(objects);
        }
        objects.clear();
    }
    serde_saphyr::with_deserializer_from_str_with_options(document, options(), |yaml| {
        Document(&mut objects).deserialize(yaml)
    })
    .is_ok()
    .then_some(objects)
}

/// The keys that tell what an object is, and the one that makes a list.
#[derive(Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    ApiVersion,
    Kind,
    Items,
    /// Of slices alone. kubectl sorts keys, so they begin with it.
    AddressType,
    #[serde(other)]
    Other,
}

/// What an object said of itself so far.
#[derive(Default)]
struct About {
    api_version: Option<String>,
    kind: Option<String>,
}

impl About {
    /// Takes the value of `key`, if that is a part of it. An error: it comes too early.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error> {
        match key {
            Key::ApiVersion => self.api_version = Some(map.next_value()?),
            Key::Kind => self.kind = Some(map.next_value()?),
            Key::Items | Key::AddressType | Key::Other => return Err(unknown()),
        }
        Ok(())
    }

    fn shape(&self) -> Option<Shape> {
        Some(shape(
            Some(self.api_version.as_deref()?),
            Some(self.kind.as_deref()?),
        ))
    }
}

/// A map of which one key was taken, but not its value.
struct Resumed<A> {
    key: Option<&'static str>,
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Resumed<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        match self.key.take() {
            Some(key) => seed.deserialize(key.into_deserializer()).map(Some),
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// What has an address type, if it is a slice.
fn slice<'de, A: MapAccess<'de>>(
    about: About,
    map: A,
    objects: &mut Vec<Parsed>,
) -> Result<(), A::Error> {
    let key = Some("addressType");
    let mut slice = WireSlice::deserialize(MapAccessDeserializer::new(Resumed { key, map }))?;
    let (api_version, kind) = slice.take_type();
    let about = About {
        api_version: about.api_version.or(api_version),
        kind: about.kind.or(kind),
    };
    if about.shape() != Some(Shape::EndpointSlice) {
        return Err(unknown());
    }
    objects.push(slice.into());
    Ok(())
}

fn unknown<E: serde::de::Error>() -> E {
    E::custom("an object that does not say what it is")
}

/// A document: an object, or a list of some.
struct Document<'a>(&'a mut Vec<Parsed>);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut about, mut listed) = (About::default(), false);
        while let Some(key) = map.next_key::<Key>()? {
            if key == Key::AddressType && !listed && about.shape().is_none() {
                return slice(about, map, self.0);
            }
            match (key, about.shape()) {
                // kubectl writes lists in this order: apiVersion, items, kind.
                (Key::Items, None | Some(Shape::List)) => {
                    map.next_value_seed(Items(self.0))?;
                    listed = true;
                }
                (_, Some(Shape::List)) => drop(map.next_value::<IgnoredAny>()?),
                (key, _) => about.take(key, &mut map)?,
            }
            match about.shape() {
                None | Some(Shape::List) => {}
                Some(_) if listed => return Err(unknown()),
                Some(shape) => return rest(shape, map, self.0),
            }
        }
        about.shape().map(drop).ok_or_else(unknown)
    }
}

/// The items of a list, each of which says what it is.
struct Items<'a>(&'a mut Vec<Parsed>);

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Item(self.0))?.is_some() {}
        Ok(())
    }
}

/// An object inside a list.
struct Item<'a>(&'a mut Vec<Parsed>);

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut about = About::default();
        while let Some(key) = map.next_key::<Key>()? {
            if key == Key::AddressType {
                return slice(about, map, self.0);
            }
            about.take(key, &mut map)?;
            if let Some(shape) = about.shape() {
                return rest(shape, map, self.0);
            }
        }
        Err(unknown())
    }
}

/// The rest of an object of a known shape.
fn rest<'de, A: MapAccess<'de>>(
    shape: Shape,
    map: A,
    objects: &mut Vec<Parsed>,
) -> Result<(), A::Error> {
    let rest = MapAccessDeserializer::new(map);
    objects.push(match shape {
        Shape::Service => WireService::deserialize(rest)?.into(),
        Shape::EndpointSlice => WireSlice::deserialize(rest)?.into(),
        Shape::Node => WireNode::deserialize(rest)?.into(),
        Shape::ServiceCidr => WireServiceCidr::deserialize(rest)?.into(),
        // A list inside a list is none of ours.
        Shape::List | Shape::Other => return IgnoredAny::deserialize(rest).map(drop),
    });
    Ok(())
}
