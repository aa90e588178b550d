//! Which addresses there are to try. Reads files, opens no connection.

use std::fmt;
use std::path::{Path, PathBuf};

use http::Uri;
use kube::config::Kubeconfig;

use super::Addresses;

/// Where an address comes from, in the order of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--apiserver`, its environment variable, or `--master`.
    Flag,
    /// `--kubeconfig`.
    Kubeconfig,
    /// The kubeconfig of the kube-proxy `ConfigMap`.
    KubeProxy,
    /// The kubeconfig of the kubelet.
    Kubelet,
    /// An endpoint of default/kubernetes that an earlier run saw.
    Remembered,
    /// What the kubelet gives to pods: a `ClusterIP`, of use where somebody serves it already.
    Pod,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Kubeconfig => "kubeconfig",
            Self::KubeProxy => "kube-proxy's kubeconfig",
            Self::Kubelet => "the kubelet's kubeconfig",
            Self::Remembered => "remembered endpoint",
            Self::Pod => "pod environment",
        })
    }
}

/// An address to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The server.
    pub url: Uri,
    /// Where it comes from.
    pub origin: Origin,
}

/// Files of others that name the API server. The chart mounts them at these paths.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) kube_proxy: PathBuf,
    pub(super) kubelet: Vec<PathBuf>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            kube_proxy: "/var/lib/kube-proxy/kubeconfig.conf".into(),
            kubelet: [
                "/etc/kubernetes/kubelet.conf",
                "/var/lib/kubelet/kubeconfig",
            ]
            .map(PathBuf::from)
            .to_vec(),
        }
    }
}

/// What is known for certain, and what others say.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) flags: Vec<Uri>,
    pub(super) kubeconfig: Option<Uri>,
    pub(super) pod: Option<Uri>,
}

/// All addresses in order, each once. Whoever names a server by flag or kubeconfig means it: other files are not asked then.
pub(super) fn candidates(known: Known, places: &Places, remembered: &Addresses) -> Vec<Candidate> {
    let Known {
        flags,
        kubeconfig,
        pod,
    } = known;
    let named = !flags.is_empty() || kubeconfig.is_some();
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |url: Uri, origin| {
        if found.iter().all(|candidate| candidate.url != url) {
            found.push(Candidate { url, origin });
        }
    };
    let given = !flags.is_empty();
    for url in flags {
        add(url, Origin::Flag);
    }
    // A flag replaces what the kubeconfig says.
    if let Some(url) = kubeconfig.filter(|_| !given) {
        add(url, Origin::Kubeconfig);
    }
    if !named {
        if let Some(url) = server(&places.kube_proxy) {
            add(url, Origin::KubeProxy);
        }
        for url in places.kubelet.iter().filter_map(|file| server(file)) {
            add(url, Origin::Kubelet);
        }
    }
    for url in remembered.urls() {
        add(url, Origin::Remembered);
    }
    if let Some(url) = pod.filter(|_| !named) {
        add(url, Origin::Pod);
    }
    found
}

/// The server of a kubeconfig's current context; none if the file is not there or makes no sense.
fn server(file: &Path) -> Option<Uri> {
    if !file.is_file() {
        return None;
    }
    let read = match Kubeconfig::read_from(file) {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "cannot use this kubeconfig to find the API server");
            return None;
        }
    };
    let context = read.current_context.as_deref();
    let context = read
        .contexts
        .iter()
        .find(|named| Some(named.name.as_str()) == context);
    let cluster = context
        .and_then(|named| named.context.as_ref())?
        .cluster
        .as_str();
    let cluster = read.clusters.iter().find(|named| named.name == cluster)?;
    cluster.cluster.as_ref()?.server.as_ref()?.parse().ok()
}
