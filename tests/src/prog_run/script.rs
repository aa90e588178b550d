//! What chance alone seldom brings about, as a sequence's beginning.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow};
use proxy_common::sim::build::Build;
use proxy_common::sim::oracle::{self, Seen};
use proxy_common::sim::scene;
use proxy_common::sim::services::Services;
use proxy_common::sim::traffic::Shot;
use proxy_common::sim::{Program, Skb, World};
use proxy_common::value::Slice;

use super::compare::{Lane, Play};

/// The backend of the only affinity record.
fn recorded(world: &World, v6: bool) -> Option<u32> {
    if v6 {
        let records = world.v6.affinity_records();
        records.first().map(|(_, record)| record.backend.id)
    } else {
        let records = world.v4.affinity_records();
        records.first().map(|(_, record)| record.backend.id)
    }
}

impl Lane {
    /// Two backends answer the same client's SYN: the slower answer must be dropped.
    pub(super) fn race(
        &mut self,
        play: &mut Play<'_>,
        ip: &str,
        ifindex: u32,
    ) -> Result<Option<()>> {
        let client = SocketAddr::new(ip.parse()?, 4000);
        let frontend = SocketAddr::new(self.names.vip.parse()?, 80);
        let syn = Build::tcp(client, frontend).syn();
        let mut answers = Vec::new();
        for offset in [1, 3] {
            Services::point(play.world, frontend, Slice { offset, count: 1 });
            self.kernel.mirror_frontends(play.world)?;
            let Some(seen) = self.send(play, self.hooks.ingress, ifindex, &syn)? else {
                return Ok(None);
            };
            answers.push(Build::tcp(seen.dst, seen.src).syn_ack());
        }
        for answer in &answers {
            let kept = ifindex == scene::POD;
            let program = if kept {
                self.hooks.egress
            } else {
                self.hooks.ingress
            };
            if self.send(play, program, ifindex, answer)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// More redirected connections than FLOWS has room for.
    pub(super) fn fill(&mut self, play: &mut Play<'_>) -> Result<Option<()>> {
        let frontend = SocketAddr::new(self.names.vip.parse()?, 80);
        let ingress = self.hooks.ingress;
        for port in 5000..5030 {
            let client = SocketAddr::new(self.names.outside.parse()?, port);
            let syn = Build::tcp(client, frontend).syn();
            let Some(seen) = self.send(play, ingress, scene::NODE, &syn)? else {
                return Ok(None);
            };
            let answer = Build::tcp(seen.dst, seen.src).syn_ack();
            if self.send(play, ingress, scene::NODE, &answer)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// A client with an affinity record keeps its backend when the set is another, until the backend's id has another owner.
    pub(super) fn stick(&mut self, play: &mut Play<'_>) -> Result<Option<()>> {
        let frontend = SocketAddr::new(self.names.vip.parse()?, 81);
        for port in 4000..4003 {
            let client = SocketAddr::new(self.names.pod.parse()?, port);
            let syn = Build::tcp(client, frontend).syn();
            if self
                .send(play, self.hooks.ingress, scene::POD, &syn)?
                .is_none()
            {
                return Ok(None);
            }
            // XDP leaves the client to TC, and makes no record.
            let Some(id) = recorded(play.world, self.names.v6) else {
                break;
            };
            if port == 4000 {
                // Ids are slots here.
                let other = if id == 1 { 2 } else { id - 1 };
                let slice = Slice {
                    offset: other,
                    count: 1,
                };
                Services::point(play.world, frontend, slice);
                self.kernel.mirror_frontends(play.world)?;
            } else {
                let mut state = play.world.states.get(id).context("no such backend")?;
                state.generation += 1;
                play.world.states.set(id, state);
                self.kernel.mirror_state(play.world, id)?;
            }
        }
        Ok(Some(()))
    }

    /// One packet, and what its receiver sees.
    fn send(
        &self,
        play: &mut Play<'_>,
        program: Program,
        ifindex: u32,
        packet: &Build,
    ) -> Result<Option<Seen>> {
        let framed = Skb::new(packet.frame(), ifindex);
        let skb = match program.l2() {
            0 => Skb::l3(packet.packet(), framed.protocol, ifindex),
            _ => framed,
        };
        let shot = Shot {
            program,
            skb,
            talk: usize::MAX,
        };
        let step = self.step(play.world, &shot, play.base, play.tally);
        let Some((_, skb)) = step.with_context(|| format!("{shot:?}"))? else {
            return Ok(None);
        };
        let seen = oracle::see(&skb.bytes[program.l2()..]);
        Ok(Some(seen.map_err(|wrong| anyhow!("{wrong:?} in {skb:?}"))?))
    }
}
