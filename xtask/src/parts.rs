//! The real programs that tests run against: kube-apiserver, etcd, helm. Finds them, else fetches, else builds them.
//!
//! Order: `KUBEBUILDER_ASSETS`, `PATH`, the cache, the official release, Go. A release is only fetched over https and
//! checked against its published digest; Go checks its modules against the checksum database itself.

mod golang;
mod release;

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{places, shell};

/// A program we need, and where it comes from.
pub(crate) struct Part {
    /// The program's file name.
    name: &'static str,
    /// What is fetched and built together.
    component: &'static Component,
    /// The Go package of the program.
    package: &'static str,
}

/// A Go module with a pinned version.
struct Component {
    name: &'static str,
    module: &'static str,
    /// Without the leading v.
    version: &'static str,
    /// Version of the modules that the module's own tree replaces (`v0.0.0` in its go.mod).
    staging: Option<&'static str>,
    /// Linker flags that make the program tell its version.
    ldflags: &'static str,
}

const KUBERNETES: Component = Component {
    name: "kubernetes",
    module: "k8s.io/kubernetes",
    version: "1.36.2",
    staging: Some("v0.36.2"),
    ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.2 \
              -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36",
};
const ETCD: Component = Component {
    name: "etcd",
    module: "go.etcd.io/etcd/server/v3",
    version: "3.6.16",
    staging: None,
    ldflags: "-s -w",
};
const HELM: Component = Component {
    name: "helm",
    module: "helm.sh/helm/v3",
    version: "3.22.0",
    staging: None,
    ldflags: "-s -w",
};

/// What a test cluster's control plane consists of.
pub(crate) const CONTROL_PLANE: &[Part] = &[
    Part {
        name: "etcd",
        component: &ETCD,
        package: "go.etcd.io/etcd/server/v3",
    },
    Part {
        name: "kube-apiserver",
        component: &KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
    },
    Part {
        name: "kube-controller-manager",
        component: &KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
    },
];

/// What kube-shunt is compared with.
pub(crate) const PEER: &[Part] = &[Part {
    name: "kube-proxy",
    component: &KUBERNETES,
    package: "k8s.io/kubernetes/cmd/kube-proxy",
}];

/// What the chart's checks need.
pub(crate) const CHART: &[Part] = &[Part {
    name: "helm",
    component: &HELM,
    package: "helm.sh/helm/v3/cmd/helm",
}];

/// Makes sure that every part has a link in the assets folder. The error of a part does not keep the others away.
pub(crate) fn ensure(parts: &[Part]) -> Vec<anyhow::Error> {
    parts
        .iter()
        .filter_map(|part| part.ensure().err())
        .collect()
}

/// The path of a part that [`ensure`] found.
pub(crate) fn path(name: &str) -> PathBuf {
    places::assets().join(name)
}

impl Part {
    fn ensure(&self) -> Result<()> {
        let wanted =
            env::var_os("KUBEBUILDER_ASSETS").map(|folder| PathBuf::from(folder).join(self.name));
        let wanted = wanted.filter(|path| shell::is_program(path));
        let link = path(self.name);
        if wanted.is_none() && shell::is_program(&link) {
            return Ok(());
        }
        let found = match wanted.or_else(|| shell::find_program(self.name)) {
            Some(found) => found,
            None => self.cached_or_made()?,
        };
        relink(&link, &found)
    }

    fn cached_or_made(&self) -> Result<PathBuf> {
        let Component { name, version, .. } = self.component;
        let folder = places::cache(&format!("{name}-{version}"))?;
        let program = folder.join(self.name);
        if shell::is_program(&program) {
            return Ok(program);
        }
        shell::heading(&format!("{} {version} is missing", self.name));
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        if let Err(error) = release::fetch(self, &folder) {
            shell::note(&format!("no release: {error:#}"));
            golang::build(self, &folder)
                .with_context(|| format!("cannot get {} {version}", self.name))?;
        }
        Ok(program)
    }
}

fn relink(link: &Path, program: &Path) -> Result<()> {
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    if link.is_symlink() {
        fs::remove_file(link).with_context(|| format!("cannot replace {}", link.display()))?;
    }
    symlink(program, link).with_context(|| format!("cannot create {}", link.display()))
}
