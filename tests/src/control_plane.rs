//! A real control plane: etcd, kube-apiserver and kube-controller-manager, for tests of what the agent does with an API.
//!
//! It runs in the cluster's router namespace, where the nodes reach it by an address that is no Service's. It must not
//! know kube-shunt; what the agent is allowed to do comes from the Helm chart ([`rbac`]).

mod certificates;
pub mod client;
pub mod frame;
pub mod objects;
pub mod process;
pub mod rbac;
pub mod traffic;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::place::Place;
use crate::topology::addresses::{ROUTER4, SERVICES4, SERVICES6};
use crate::{requirements, wait};
use client::Client;
use process::Daemon;

/// How long the API server may take; other builds may share the machine.
const READY: Duration = Duration::from_mins(2);
/// The API server's, in the router.
pub const PORT: u16 = 6443;
const ETCD: &str = "http://127.0.0.1:2379";
/// Made for one test, on a network without a way out: no secrets.
const ADMIN: &str = "test-admin";
const CONTROLLER: &str = "test-controller";

/// What makes up a control plane, in the order of its start.
const PROGRAMS: [&str; 3] = ["etcd", "kube-apiserver", "kube-controller-manager"];

/// etcd, API server and controller-manager; killed when dropped.
#[derive(Debug)]
pub struct ControlPlane {
    controllers: Daemon,
    api: Daemon,
    etcd: Daemon,
    /// As administrator.
    pub client: Client,
    place: Place,
    dir: PathBuf,
}

/// Whether `test` has the programs; prints why not.
pub fn available(test: &str) -> bool {
    match PROGRAMS
        .iter()
        .find(|program| !program_path(program).is_file())
    {
        None => true,
        Some(missing) => {
            requirements::skip(test, &format!("no {missing}; `cargo xtask setup` says why"));
            false
        }
    }
}

/// Where `cargo xtask setup` links the programs.
pub fn program_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/assets")
        .join(name)
}

impl ControlPlane {
    /// Starts everything at `place` with files in `dir`, and waits until Services can be made.
    pub fn start(place: &Place, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        certificates::write(dir, ROUTER4.into())?;
        let tokens = format!(
            "{ADMIN},admin,admin,system:masters\n{CONTROLLER},controllers,controllers,system:masters\n"
        );
        // The controllers run as one user, with the rights of all of them.
        std::fs::write(dir.join("tokens.csv"), tokens)?;
        write_kubeconfig(
            &dir.join("controller.kubeconfig"),
            &dir.join("ca.crt"),
            CONTROLLER,
        )?;
        let client = Client::new(
            place.clone(),
            server(),
            dir.join("ca.crt"),
            ADMIN.to_owned(),
        );
        let mut plane = Self {
            etcd: Daemon::new(place, dir, "etcd", etcd_flags(dir)),
            api: Daemon::new(place, dir, "kube-apiserver", api_flags(dir)),
            controllers: Daemon::new(place, dir, "kube-controller-manager", controller_flags(dir)),
            client,
            place: place.clone(),
            dir: dir.to_owned(),
        };
        plane.etcd.start()?;
        plane.start_api()?;
        plane.controllers.start()?;
        for namespace in [objects::NAMESPACE, rbac::NAMESPACE] {
            // Made by the API server itself, some time after it is ready.
            wait::until(&format!("the namespace {namespace}"), READY, || {
                let path = format!("/api/v1/namespaces/{namespace}");
                plane.client.get(&path).map(drop)
            })?;
        }
        Ok(plane)
    }

    /// Starts the API server, and waits until it serves.
    pub fn start_api(&mut self) -> Result<()> {
        self.api.start()?;
        wait::until("the API server is ready", READY, || {
            if let Some(end) = self.api.ended()? {
                return Ok(Err(anyhow::anyhow!("the API server ended: {end}")));
            }
            self.client.get("/readyz").map(|_| Ok(()))
        })?
        .with_context(|| self.api.tail())
    }

    /// Kills the API server without warning.
    pub fn kill_api(&mut self) -> Result<()> {
        self.api.kill()
    }

    /// Forgets the history of all objects, as etcd does every five minutes; a watch from before must start over.
    pub fn compact(&self) -> Result<()> {
        let listed = self.client.get("/api/v1/services?limit=1")?;
        let revision = listed["metadata"]["resourceVersion"]
            .as_str()
            .context("a list has a resourceVersion")?;
        let order = json!({ "revision": revision, "physical": true }).to_string();
        let answer = self.place.run(
            "curl",
            &[
                "--silent",
                "--max-time",
                "30",
                "--data",
                &order,
                &format!("{ETCD}/v3/kv/compaction"),
            ],
        )?;
        ensure!(answer.contains("header"), "etcd does not compact: {answer}");
        Ok(())
    }

    /// A kubeconfig for `token`.
    pub fn kubeconfig(&self, name: &str, token: &str) -> Result<PathBuf> {
        let path = self.dir.join(format!("{name}.kubeconfig"));
        write_kubeconfig(&path, &self.dir.join("ca.crt"), token)?;
        Ok(path)
    }

    /// A kubeconfig with all rights.
    pub fn admin_kubeconfig(&self) -> Result<PathBuf> {
        self.kubeconfig("admin", ADMIN)
    }

    /// The ends of all logs, for the message of a test that failed.
    pub fn tails(&self) -> String {
        [&self.etcd, &self.api, &self.controllers]
            .map(Daemon::tail)
            .concat()
    }
}

fn server() -> String {
    format!("https://{ROUTER4}:{PORT}")
}

fn write_kubeconfig(path: &Path, ca: &Path, token: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": server(), "certificate-authority": ca } }],
        "users": [{ "name": "test", "user": { "token": token } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    });
    std::fs::write(path, config.to_string()).with_context(|| format!("write {}", path.display()))
}

fn etcd_flags(dir: &Path) -> Vec<String> {
    vec![
        flag("data-dir", dir.join("etcd").display()),
        flag("listen-client-urls", ETCD),
        flag("advertise-client-urls", ETCD),
        flag("listen-peer-urls", "http://127.0.0.1:2380"),
        // The data need not outlive the machine.
        flag("unsafe-no-fsync", true),
        flag("log-level", "warn"),
    ]
}

fn api_flags(dir: &Path) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    vec![
        flag("etcd-servers", ETCD),
        flag("bind-address", ROUTER4),
        flag("advertise-address", ROUTER4),
        flag("secure-port", PORT),
        flag("tls-cert-file", file("api.crt")),
        flag("tls-private-key-file", file("api.key")),
        flag("token-auth-file", file("tokens.csv")),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("service-account-key-file", file("tokens.pub")),
        flag("service-account-signing-key-file", file("tokens.key")),
        flag("authorization-mode", "RBAC"),
        flag(
            "service-cluster-ip-range",
            format!("{SERVICES4},{SERVICES6}"),
        ),
        // Pods here have no service account, and the API server needs no Service.
        flag("disable-admission-plugins", "ServiceAccount"),
        flag("endpoint-reconciler-type", "none"),
        flag("profiling", false),
    ]
}

fn controller_flags(dir: &Path) -> Vec<String> {
    vec![
        flag("kubeconfig", dir.join("controller.kubeconfig").display()),
        flag("controllers", "endpointslice-controller"),
        flag("leader-elect", false),
        flag("secure-port", 0),
        flag("kube-api-qps", 200),
    ]
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}
