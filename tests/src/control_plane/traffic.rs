//! Traffic that follows the API: what is asked for must come true, and soon.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};

use super::frame::Api;
use crate::expect::{MANY, answered};
use crate::place::Place;
use crate::probe::{Proto, Request, process};
use crate::topology::{Family, at};
use crate::wait::{self, SOON};

/// For one try of one client.
const PATIENCE_MS: u64 = 1_000;

impl Api<'_> {
    /// Who asks: a pod and a process on either node.
    pub fn clients(&self) -> Result<Vec<&Place>> {
        let mut clients = Vec::new();
        for node in self.cluster.nodes() {
            clients.push(&node.pods.last().context("a node without pods")?.place);
            clients.push(&node.host);
        }
        Ok(clients)
    }

    /// Waits until all clients reach `ips` on `port` over both protocols, and exactly `servers` answer.
    pub fn answers(&self, what: &str, ips: [IpAddr; 2], port: u16, servers: &[&str]) -> Result<()> {
        for client in self.clients()? {
            self.answers_to(what, client, ips, port, servers)?;
        }
        Ok(())
    }

    /// As [`Api::answers`], for one client.
    pub fn answers_to(
        &self,
        what: &str,
        client: &Place,
        ips: [IpAddr; 2],
        port: u16,
        servers: &[&str],
    ) -> Result<()> {
        for to in ips.map(|ip| at(ip, port)) {
            for proto in Proto::BOTH {
                let request = Request::new(proto, to, MANY).timeout_ms(PATIENCE_MS);
                let what = format!("{what}: {} -> {to} {}", client.name, proto.name());
                wait::until(&what, SOON, || {
                    answered(&process::ask(client, &request)?, to, servers, None)
                })?;
            }
        }
        Ok(())
    }

    /// Waits until no client gets an answer from `ips` on `port`.
    pub fn silent(&self, what: &str, ips: [IpAddr; 2], port: u16) -> Result<()> {
        for client in self.clients()? {
            for to in ips.map(|ip| at(ip, port)) {
                for proto in Proto::BOTH {
                    wait::until(&format!("{what}: {} -> {to}", client.name), SOON, || {
                        unanswered(client, proto, to)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Waits until no agent knows the Service `name` any more.
    pub fn forgotten(&mut self, name: &str) -> Result<()> {
        for node in [&mut self.cluster.a, &mut self.cluster.b] {
            let agent = node.agent()?;
            wait::until(&format!("{name} is forgotten"), SOON, || {
                let listed = agent.cli_json(&["services"])?.to_string();
                ensure!(!listed.contains(&format!("\"{name}\"")), "{listed}");
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn unanswered(client: &Place, proto: Proto, to: SocketAddr) -> Result<()> {
    // A short wait: where nothing answers, it is waited for in full.
    let report = process::ask(client, &Request::new(proto, to, 1).timeout_ms(300))?;
    ensure!(report.answers().next().is_none(), "somebody answers");
    Ok(())
}

/// The addresses of Service number `index`, in both families.
pub fn service_ips(index: u8) -> [IpAddr; 2] {
    Family::BOTH.map(|family| crate::topology::addresses::cluster_ip(family, index))
}
