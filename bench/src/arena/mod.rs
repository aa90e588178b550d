//! All contestants side by side: a cluster for each, alike in everything but the proxy, all up at the same time and fed by the same
//! API server. So their samples can be taken in turns.

mod lane;
mod order;
mod relay;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

pub use lane::{CLIENT_CPU, From, Lane, SERVER_CPU};
pub use order::To;

use crate::contestant::{Contestant, Source};
use crate::context::Context;
use crate::feed::Feed;
use crate::interrupt;
use crate::record::LeftOut;

/// Who runs in a lane of its own.
const CONTESTANTS: [Contestant; 8] = [
    Contestant::Direct,
    Contestant::KubeShunt,
    Contestant::HostRouting,
    Contestant::KubeShuntXdp,
    Contestant::IptablesLegacy,
    Contestant::IptablesNft,
    Contestant::Nftables,
    Contestant::Ipvs,
];

/// The lanes.
#[derive(Debug)]
pub struct Arena {
    lanes: Vec<Lane>,
    services: u32,
}

impl Arena {
    /// Makes the clusters; `feed`: of all contestants, else of those that need no API server.
    pub fn new(context: &Context, feed: Option<&Feed>) -> Result<Self> {
        let mut lanes = Vec::new();
        for contestant in CONTESTANTS {
            interrupt::check()?;
            if feed.is_some() || !contestant.is_kube_proxy() {
                lanes.push(Lane::new(
                    contestant,
                    feed.map(|feed| &feed.cluster.router),
                )?);
            }
        }
        context.say(&format!("{} clusters are ready, side by side", lanes.len()));
        Ok(Self { lanes, services: 0 })
    }

    /// Starts all proxies and waits until each has `services` Services in the kernel, or is out.
    pub fn start(&mut self, context: &Context, source: Source<'_>, services: u32) -> Result<()> {
        self.services = services;
        // They start together: who is waited for later has used its time meanwhile.
        let begin = Instant::now();
        for lane in &mut self.lanes {
            lane.start(source);
        }
        for lane in &mut self.lanes {
            lane.wait(begin, context.plan.patience, services)?;
            interrupt::check()?;
            if let Some(reason) = &lane.out {
                context.say(&format!(
                    "{} is left out: {reason}",
                    lane.contestant.title()
                ));
            }
        }
        ensure!(self.lanes().count() > 1, "no proxy came up");
        context.say(&format!(
            "the proxies have {services} Services in the kernel ({:.1} s, all at the same time)",
            begin.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// A folder that goes with the clusters.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let lane = self.lanes.first().context("no lanes")?;
        Ok(lane.cluster.state.dir.join(name))
    }

    /// Ends all proxies; the clusters stay.
    pub fn stop(&mut self) -> Result<()> {
        self.lanes.iter_mut().try_for_each(Lane::stop)
    }

    /// Services in the cluster.
    pub const fn services(&self) -> u32 {
        self.services
    }

    /// Who takes part.
    pub fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().filter(|lane| lane.out.is_none())
    }

    /// The same, to change what stands around them.
    pub fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.lanes.iter_mut().filter(|lane| lane.out.is_none())
    }

    /// The lane of `contestant`, if it takes part.
    pub fn lane(&self, contestant: Contestant) -> Option<&Lane> {
        self.lanes().find(|lane| lane.contestant == contestant)
    }

    /// Who does not, and why.
    pub fn left_out(&self, workload: &str) -> Vec<LeftOut> {
        self.lanes
            .iter()
            .filter_map(|lane| {
                let reason = lane.out.clone()?;
                Some(LeftOut::new(
                    workload,
                    lane.contestant,
                    self.services,
                    reason,
                ))
            })
            .collect()
    }
}
