//! The watched kinds as kube sees them, without ever holding a whole API object.

use std::borrow::Cow;
use std::fmt::Debug;
use std::marker::PhantomData;

use kube::core::{ClusterResourceScope, NamespaceResourceScope, ObjectMeta};
use proxy_model::{Kind, raw};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use crate::objects::{Parsed, WireNode, WireService, WireServiceCidr, WireSlice};

/// What makes a kind watchable.
pub(super) trait Shape: Clone + Debug + Send + Sync + 'static {
    /// How it comes over the wire.
    type Wire: DeserializeOwned + Into<Parsed>;
    /// Namespaced or not.
    type Scope;
    const KIND: Kind;
    const GROUP: &'static str;
    const VERSION: &'static str = "v1";
    const PLURAL: &'static str;
    /// An API server may not know it, or not show it to us.
    const OPTIONAL: bool = false;
}

impl Shape for raw::Service {
    type Wire = WireService;
    type Scope = NamespaceResourceScope;
    const KIND: Kind = Kind::Service;
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "services";
}

impl Shape for raw::EndpointSlice {
    type Wire = WireSlice;
    type Scope = NamespaceResourceScope;
    const KIND: Kind = Kind::EndpointSlice;
    const GROUP: &'static str = "discovery.k8s.io";
    const PLURAL: &'static str = "endpointslices";
}

impl Shape for raw::Node {
    type Wire = WireNode;
    type Scope = ClusterResourceScope;
    const KIND: Kind = Kind::Node;
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "nodes";
}

impl Shape for raw::ServiceCidr {
    type Wire = WireServiceCidr;
    type Scope = ClusterResourceScope;
    const KIND: Kind = Kind::ServiceCidr;
    const GROUP: &'static str = "networking.k8s.io";
    const PLURAL: &'static str = "servicecidrs";
    const OPTIONAL: bool = true;
}

/// An object of kind `T`, parsed straight from the wire.
#[derive(Clone, Debug)]
pub(super) struct Slim<T> {
    /// Only the resource version and the name: what the watcher reads.
    meta: ObjectMeta,
    pub(super) parsed: Parsed,
    kind: PhantomData<T>,
}

impl<'de, T: Shape> Deserialize<'de> for Slim<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parsed: Parsed = T::Wire::deserialize(deserializer)?.into();
        let meta = ObjectMeta {
            name: Some(crate::objects::meta(&parsed.object).name.clone()),
            resource_version: Some(parsed.resource_version.clone()),
            ..ObjectMeta::default()
        };
        Ok(Self {
            meta,
            parsed,
            kind: PhantomData,
        })
    }
}

impl<T: Shape> kube::Resource for Slim<T> {
    type DynamicType = ();
    type Scope = T::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        T::KIND.label().into()
    }

    fn group((): &()) -> Cow<'_, str> {
        T::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        T::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        T::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectList;
    use kube::{Resource as _, ResourceExt as _};

    use super::*;

    #[test]
    fn urls_are_those_of_the_api() {
        assert_eq!(
            Slim::<raw::Service>::url_path(&(), None),
            "/api/v1/services"
        );
        assert_eq!(
            Slim::<raw::EndpointSlice>::url_path(&(), None),
            "/apis/discovery.k8s.io/v1/endpointslices"
        );
        assert_eq!(Slim::<raw::Node>::url_path(&(), None), "/api/v1/nodes");
        assert_eq!(
            Slim::<raw::ServiceCidr>::url_path(&(), None),
            "/apis/networking.k8s.io/v1/servicecidrs"
        );
    }

    #[test]
    fn one_odd_object_does_not_fail_its_list() {
        let list: ObjectList<Slim<raw::EndpointSlice>> = serde_json::from_str(
            r#"{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"9"},"items":[
            {"metadata":{"name":"odd","resourceVersion":"3"},"addressType":null,"endpoints":[{"addresses":null,"conditions":null}],
             "ports":[{"name":null,"port":70000}]},
            {"metadata":{"name":"good","resourceVersion":"4"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}]}]}"#,
        )
        .unwrap();
        assert_eq!(list.items.len(), 2);
        assert_eq!(list.items[1].name_any(), "good");
        assert_eq!(list.items[1].resource_version().as_deref(), Some("4"));
    }
}
