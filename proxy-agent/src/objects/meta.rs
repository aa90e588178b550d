//! `metadata`, of which nearly all is dropped while it is parsed.

use std::collections::BTreeMap;
use std::fmt;

use proxy_model::raw;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Prefixes of the labels and annotations that somebody here reads. A `last-applied-configuration` can be larger than all the
/// rest of the object.
const KEPT: [&str; 5] = [
    "kubernetes.io/",
    "service.kubernetes.io/",
    "endpoints.kubernetes.io/",
    "topology.kubernetes.io/",
    "kube-shunt.io/",
];

/// `metadata` on the wire.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    labels: Kept,
    annotations: Kept,
    creation_timestamp: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
}

impl WireMeta {
    /// The planner's metadata and the resource version. An empty namespace is `default`, as for kubectl.
    pub fn namespaced(self) -> (raw::Meta, String) {
        let (mut meta, version) = self.cluster_wide();
        if meta.namespace.is_empty() {
            "default".clone_into(&mut meta.namespace);
        }
        (meta, version)
    }

    /// As [`WireMeta::namespaced`], for kinds without namespace.
    pub fn cluster_wide(self) -> (raw::Meta, String) {
        let Self {
            name,
            namespace,
            uid,
            labels,
            annotations,
            creation_timestamp,
            resource_version,
            deletion_timestamp: _,
        } = self;
        let meta = raw::Meta {
            name: name.unwrap_or_default(),
            namespace: namespace.unwrap_or_default(),
            uid: uid.unwrap_or_default(),
            labels: labels.0,
            annotations: annotations.0,
            creation_timestamp,
        };
        (meta, resource_version.unwrap_or_default())
    }

    /// Somebody asked for the object to be deleted.
    pub fn deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// Labels or annotations, without those that nobody reads.
#[derive(Debug, Default)]
struct Kept(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(KeptVisitor)
    }
}

struct KeptVisitor;

impl<'de> Visitor<'de> for KeptVisitor {
    type Value = Kept;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings, or null")
    }

    fn visit_none<E>(self) -> Result<Kept, E> {
        Ok(Kept::default())
    }

    fn visit_unit<E>(self) -> Result<Kept, E> {
        Ok(Kept::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kept, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kept, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if KEPT.iter().any(|prefix| key.starts_with(prefix)) {
                kept.insert(key, map.next_value::<Option<String>>()?.unwrap_or_default());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Kept(kept))
    }
}

/// Whether the labels hand the object to another proxy or mark it headless (SEMANTICS 1.2). An API server filters by them; for
/// files we do.
pub fn not_ours(meta: &raw::Meta) -> bool {
    [
        "service.kubernetes.io/service-proxy-name",
        "service.kubernetes.io/headless",
    ]
    .iter()
    .any(|label| meta.labels.contains_key(*label))
}
