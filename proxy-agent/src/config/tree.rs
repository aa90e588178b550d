//! YAML to JSON values as kube-proxy's decoder sees them: null fields are absent, the last of two equal keys counts and both are noted.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

/// A document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tree {
    /// What it says.
    pub value: Value,
    /// Paths of keys that stand there twice.
    pub duplicates: Vec<String>,
}

/// Parses one document; an error is the place, `line:column` with `first_line` lines before, and the problem.
pub(crate) fn parse(document: &str, first_line: u64) -> Result<Tree, (String, String)> {
    let mut duplicates = Vec::new();
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    let value = serde_saphyr::with_deserializer_from_str_with_options(document, options, |yaml| {
        let seed = Node {
            path: String::new(),
            duplicates: &mut duplicates,
        };
        seed.deserialize(yaml)
    });
    match value {
        Ok(value) => Ok(Tree { value, duplicates }),
        Err(error) => {
            let at = error.location();
            let (line, column) = at.map_or((1, 1), |at| (at.line(), at.column()));
            let text = error.without_snippet().to_string();
            let first = text.lines().next().unwrap_or_default();
            let problem = first.split(" at line ").next().unwrap_or(first);
            Err((
                format!("{}:{column}", line + first_line),
                problem.to_owned(),
            ))
        }
    }
}

struct Node<'a> {
    path: String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = {
            let path = format!("{}[{}]", self.path, list.len());
            items.next_element_seed(Node {
                path,
                duplicates: &mut *self.duplicates,
            })?
        } {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        let mut seen = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = if self.path.is_empty() {
                key.clone()
            } else {
                format!("{}.{key}", self.path)
            };
            let value = entries.next_value_seed(Node {
                path: path.clone(),
                duplicates: &mut *self.duplicates,
            })?;
            if seen.contains(&key) {
                self.duplicates.push(path);
            }
            if value.is_null() {
                fields.remove(&key);
            } else {
                fields.insert(key.clone(), value);
            }
            seen.push(key);
        }
        Ok(Value::Object(fields))
    }
}
