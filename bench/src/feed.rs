//! One cluster with the real API server, and the Services in it: loaded once for each size, for all contestants.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::Result;
use integration::control_plane::ControlPlane;
use integration::control_plane::objects::{self, SERVICES, SLICES};
use integration::topology::{Cluster, Options};
use serde_json::Value;

use crate::context::Context;
use crate::interrupt;
use crate::services::{ENDPOINTS, Edge, Numbered, parts};

/// Services that are sent to the API server at a time.
const BATCH: u32 = 500;

/// The API server and its Services. The cluster's nodes have no proxy: whoever starts one there ends it.
#[derive(Debug)]
pub struct Feed {
    /// etcd, API server, controllers; in the router of `cluster`.
    pub plane: ControlPlane,
    /// Two nodes, a pod with a server on each.
    pub cluster: Cluster,
    services: u32,
}

impl Feed {
    /// Starts the API server. It knows the nodes and the Services with node ports.
    pub fn start(context: &Context) -> Result<Self> {
        let cluster = Cluster::new(Options::default())?;
        let plane = ControlPlane::start(&cluster.router, &cluster.state.dir.join("control-plane"))?;
        let client = &plane.client;
        for node in cluster.nodes() {
            client.create(objects::NODES, &objects::node(node))?;
            client.patch(
                &format!("{}/{}/status", objects::NODES, node.name()),
                &objects::node_status(node),
            )?;
        }
        for edge in Edge::ALL {
            client.create(SERVICES, &edge.service())?;
            for slice in edge.slices() {
                client.create(SLICES, &slice)?;
            }
        }
        context.say("the API server is ready");
        Ok(Self {
            plane,
            cluster,
            services: 0,
        })
    }

    /// Services of IPv4 in it, beside those that are there at every size.
    pub const fn services(&self) -> u32 {
        self.services
    }

    /// For proxies.
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        self.plane.admin_kubeconfig()
    }

    /// Adds Services of IPv4 until there are `services`.
    pub fn load(&mut self, context: &Context, services: u32) -> Result<()> {
        let before = self.services;
        let start = context.seconds();
        self.add(Numbered::v4, before..services)?;
        self.services = services.max(before);
        if services > before {
            context.say(&format!(
                "{services} Services of {ENDPOINTS} endpoints are in the API server ({:.1} s)",
                context.seconds() - start
            ));
        }
        Ok(())
    }

    /// Does `work` while there are as many Services of IPv6 too.
    pub fn with_ipv6<T>(&self, context: &Context, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = context.seconds();
        self.add(Numbered::v6, 0..self.services)?;
        context.say(&format!(
            "as many of IPv6 ({:.1} s)",
            context.seconds() - start
        ));
        let done = work()?;
        let start = context.seconds();
        for numbers in parts(0..self.services, BATCH) {
            interrupt::check()?;
            let names = numbers.map(|number| Numbered::v6(number).name());
            let paths =
                names.flat_map(|name| [SERVICES, SLICES].map(|all| format!("{all}/{name}")));
            self.plane.client.delete_all(&paths.collect::<Vec<_>>())?;
        }
        context.say(&format!(
            "those of IPv6 are gone again ({:.1} s)",
            context.seconds() - start
        ));
        Ok(done)
    }

    fn add(&self, of: fn(u32) -> Numbered, numbers: Range<u32>) -> Result<()> {
        for numbers in parts(numbers, BATCH) {
            interrupt::check()?;
            let all = numbers.map(of);
            let services = all.clone().map(|one| (SERVICES, one.service()));
            let slices = all.map(|one| (SLICES, one.slice(ENDPOINTS)));
            let objects: Vec<(&str, Value)> = services.chain(slices).collect();
            self.plane.client.create_all(&objects)?;
        }
        Ok(())
    }
}
