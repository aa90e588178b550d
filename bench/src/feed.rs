//! One cluster with the real API server, and the Services in it: loaded once for each size, for all contestants.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use integration::control_plane::ControlPlane;
use integration::control_plane::objects::{self, SERVICES, SLICES};
use integration::topology::{Cluster, Options};
use serde_json::Value;

use crate::context::Context;
use crate::interrupt;
use crate::services::{self, ENDPOINTS, Edge};

/// Objects that are sent to the API server at a time.
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

    /// Services in it, beside those with node ports.
    pub const fn services(&self) -> u32 {
        self.services
    }

    /// For proxies.
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        self.plane.admin_kubeconfig()
    }

    /// Adds Services until there are `services`.
    pub fn load(&mut self, context: &Context, services: u32) -> Result<()> {
        let before = self.services;
        let start = context.seconds();
        while self.services < services {
            interrupt::check()?;
            let end = services.min(self.services + BATCH);
            let numbers = self.services..end;
            let slices = numbers
                .clone()
                .map(|number| (SLICES, services::slice(number, ENDPOINTS)));
            let objects: Vec<(&str, Value)> = numbers
                .map(|number| (SERVICES, services::service(number)))
                .chain(slices)
                .collect();
            self.plane
                .client
                .create_all(&objects)
                .with_context(|| format!("load {services} Services"))?;
            self.services = end;
        }
        if services > before {
            context.say(&format!(
                "{services} Services of {ENDPOINTS} endpoints are in the API server ({:.1} s)",
                context.seconds() - start
            ));
        }
        Ok(())
    }
}
