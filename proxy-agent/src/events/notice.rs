//! What can be told: plain words, turned into an Event object without any I/O.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use proxy_model::{Kind, ObjectError, ObjectErrorKind, ObjectRef};
use tokio::sync::oneshot;

use crate::healthcheck::ServiceId;

/// Who says it.
pub(super) const CONTROLLER: &str = "kube-shunt";
/// The API server's bound on a note, in bytes.
const NOTE: usize = 1024;
/// The longest name of an object, less a dot and the hash.
const NAME: usize = 253 - 17;

/// Whether somebody should act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// No.
    Normal,
    /// Yes.
    Warning,
}

/// The object that an event stands beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// Our Node.
    Node,
    /// Another object, and its uid, which may be empty.
    Object(ObjectRef, String),
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node => f.write_str("Node"),
            Self::Object(object, _) => object.fmt(f),
        }
    }
}

/// An event to be.
#[derive(Debug)]
pub struct Notice {
    /// Its object.
    pub about: About,
    /// Its weight.
    pub severity: Severity,
    /// Why, in one word.
    pub reason: &'static str,
    /// What was being done, in one word.
    pub action: &'static str,
    /// The whole story.
    pub note: String,
    /// Told when it was published or given up.
    pub(super) done: Option<oneshot::Sender<()>>,
}

impl Notice {
    const fn new(
        about: About,
        severity: Severity,
        reason: &'static str,
        action: &'static str,
        note: String,
    ) -> Self {
        Self {
            about,
            severity,
            reason,
            action,
            note,
            done: None,
        }
    }

    /// The agent starts: kube-proxy's words.
    pub const fn starting() -> Self {
        Self::new(
            About::Node,
            Severity::Normal,
            "Starting",
            "StartKubeProxy",
            String::new(),
        )
    }

    /// A warning about our Node.
    pub const fn node_warning(reason: &'static str, action: &'static str, note: String) -> Self {
        Self::new(About::Node, Severity::Warning, reason, action, note)
    }

    /// A warning about a Service.
    pub fn service(
        service: &ServiceId,
        reason: &'static str,
        action: &'static str,
        note: String,
    ) -> Self {
        let ServiceId {
            namespace,
            name,
            uid,
        } = service;
        let object = ObjectRef {
            kind: Kind::Service,
            namespace: namespace.clone(),
            name: name.clone(),
        };
        Self::new(
            About::Object(object, uid.clone()),
            Severity::Warning,
            reason,
            action,
            note,
        )
    }

    /// What the planner has against an object. All nodes see the same, so the note names none.
    pub fn object(error: &ObjectError) -> Self {
        let ObjectError { object, uid, kind } = error;
        let reason = match kind {
            ObjectErrorKind::DuplicateFrontend { .. } => "FrontendTaken",
            ObjectErrorKind::NoRoom { .. } => "MapFull",
            _ => "InvalidObject",
        };
        let about = About::Object(object.clone(), uid.clone());
        Self::new(
            about,
            Severity::Warning,
            reason,
            "SyncRules",
            kind.to_string(),
        )
    }

    /// The object to create on behalf of the node `node`, at `now`.
    pub(super) fn event(&self, node: &str, now: Timestamp) -> Event {
        let regarding = self.regarding(node);
        let name = regarding.name.clone().unwrap_or_default();
        let fits = name.char_indices().take_while(|(at, _)| *at < NAME);
        let name: String = fits.map(|(_, letter)| letter).collect();
        let namespace = regarding.namespace.clone();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:016x}", self.hash(node, now))),
                namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(match self.severity {
                Severity::Normal => "Normal".to_owned(),
                Severity::Warning => "Warning".to_owned(),
            }),
            reason: Some(self.reason.to_owned()),
            action: Some(self.action.to_owned()),
            note: Some(cut(&self.note).to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(node.to_owned()),
            ..Event::default()
        }
    }

    fn regarding(&self, node: &str) -> ObjectReference {
        let (kind, namespace, name, uid) = match &self.about {
            // As kube-proxy does it: nodes' events are found by the name as uid.
            About::Node => (Kind::Node, "", node, node),
            About::Object(object, uid) => (
                object.kind,
                object.namespace.as_str(),
                object.name.as_str(),
                uid.as_str(),
            ),
        };
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let version = match kind {
            Kind::EndpointSlice => "discovery.k8s.io/v1",
            Kind::ServiceCidr => "networking.k8s.io/v1",
            Kind::Service | Kind::Node => "v1",
        };
        ObjectReference {
            api_version: text(version),
            kind: text(kind.label()),
            name: text(name),
            namespace: text(namespace),
            uid: text(uid),
            ..ObjectReference::default()
        }
    }

    /// The same words about the same object are the same event; a start is one of its own.
    fn hash(&self, node: &str, now: Timestamp) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.reason, &self.note).hash(&mut hasher);
        match &self.about {
            About::Node => (node, now.as_nanosecond()).hash(&mut hasher),
            About::Object(object, uid) => (object, uid).hash(&mut hasher),
        }
        hasher.finish()
    }

    /// Whether every node of the cluster may say the same at the same time.
    pub(super) const fn of_cluster(&self) -> bool {
        matches!(self.about, About::Object(..))
    }
}

fn cut(note: &str) -> &str {
    let end = (0..=NOTE.min(note.len()))
        .rev()
        .find(|at| note.is_char_boundary(*at));
    note.get(..end.unwrap_or(0)).unwrap_or_default()
}
