//! The file of `--config`: a `KubeProxyConfiguration`, a `KubeShuntConfiguration`, or both, as YAML documents in any order.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ConfigError;
use super::tree::{self, Tree};
use super::{kube_proxy, kube_shunt};

/// The documents of one file or several, not yet typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Documents {
    /// The `KubeProxyConfiguration`.
    pub kube_proxy: Option<Document>,
    /// The `KubeShuntConfiguration`.
    pub kube_shunt: Option<Document>,
}

/// One document.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// The file, and what it is there.
    pub place: String,
    /// What it says, and which keys stand there twice.
    pub tree: Tree,
}

impl Documents {
    /// Adds the documents of a file called `name`. A second one of a kind is an error: which of the two would count?
    pub(crate) fn add(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let mut documents = 0;
        for (first_line, document) in crate::manifests::documents(text) {
            let wrong = |place: String, problem: String| ConfigError::Document { place, problem };
            let tree = tree::parse(&document, first_line)
                .map_err(|(at, problem)| wrong(format!("{name}:{at}"), problem))?;
            let word = |name: &str| {
                tree.value
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let (api_version, kind) = (word("apiVersion"), word("kind"));
            let (place, slot) = match (api_version.as_str(), kind.as_str()) {
                (kube_proxy::API_VERSION, kube_proxy::KIND) => {
                    (kube_proxy::KIND, &mut self.kube_proxy)
                }
                (kube_shunt::API_VERSION, kube_shunt::KIND) => {
                    (kube_shunt::KIND, &mut self.kube_shunt)
                }
                _ => {
                    let problem = format!(
                        "apiVersion {api_version:?}, kind {kind:?}: must be {} {} or {} {}",
                        kube_proxy::API_VERSION,
                        kube_proxy::KIND,
                        kube_shunt::API_VERSION,
                        kube_shunt::KIND,
                    );
                    return Err(wrong(format!("{name}:{}", first_line + 1), problem));
                }
            };
            let place = format!("{name}: {place}");
            if slot
                .replace(Document {
                    place: place.clone(),
                    tree,
                })
                .is_some()
            {
                return Err(wrong(
                    place,
                    "there is a second document of this kind; one is enough".to_owned(),
                ));
            }
            documents += 1;
        }
        if documents == 0 {
            return Err(ConfigError::Document {
                place: name.to_owned(),
                problem: "there is no document in it".to_owned(),
            });
        }
        Ok(())
    }
}

/// A typed document, and what of it nobody knows.
pub(crate) fn typed<T: DeserializeOwned>(
    value: Value,
    place: &str,
) -> Result<(T, Vec<String>), ConfigError> {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let fields = serde_path_to_error::Deserializer::new(value, &mut track);
    let known = serde_ignored::deserialize(fields, |path| {
        unknown.push(path.to_string().replace(".[", "["));
    });
    match known {
        Ok(typed) => Ok((typed, unknown)),
        Err(error) => Err(ConfigError::Document {
            place: place.to_owned(),
            problem: format!("{}: {}", track.path(), in_words(&error.to_string())),
        }),
    }
}

/// serde's words for types, in an operator's.
fn in_words(error: &str) -> String {
    [
        ("expected i32", "expected a whole number below 2147483648"),
        ("expected i64", "expected a whole number"),
        ("expected u32", "expected a whole number from 0"),
        ("expected f32", "expected a number"),
        ("expected a boolean", "expected true or false"),
        ("expected struct ", "expected the fields of "),
        ("a sequence", "a list"),
    ]
    .into_iter()
    .fold(error.to_owned(), |text, (from, to)| text.replace(from, to))
}
