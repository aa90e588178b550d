//! EMBRYOS with two processors at once: of all who claim a key one gets it, and no entry is mixed of two.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use integration::prog_bench::{CHAIN, FIRST, contents};
use integration::prog_run::{Kernel, namespace};
use integration::requirements;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::be::Be16;
use proxy_common::embryos::{SETS, WAYS};
use proxy_common::key::FlowKey;
use proxy_common::reason::{Hook, Reason};
use proxy_common::sim::build::Build;
use proxy_common::sim::scene::{self, FAMILIES, Names, POD};
use proxy_common::sim::{Program, Skb};
use proxy_common::value::{Flow, Settings};

/// Times that two processors run through all frontends of the chain.
const ROUNDS: u16 = 20;

/// The programs, with EMBRYOS up to set `embryo_mask`, and frontends that lead from one to the next.
fn kernel(names: &Names, embryo_mask: u32) -> Result<Kernel> {
    let settings = Settings {
        embryo_mask,
        ..scene::settings()
    };
    let mut world = scene::world(settings, 64);
    if names.v6 {
        contents::<V6>(&mut world, names)?;
    } else {
        contents::<V4>(&mut world, names)?;
    }
    let mut kernel = Kernel::load(settings, 64, &[Program::TcIngress])?;
    kernel.mirror(&world)?;
    Ok(kernel)
}

/// Two threads at once, each with a client of its port: one new connection after the other, in the kernel, without a pause.
fn chains(kernel: &Kernel, names: &Names, ports: [u16; 2]) -> Result<()> {
    let frontend = SocketAddr::new(names.remote.parse()?, FIRST);
    let mut packets = Vec::new();
    for port in ports {
        let client = SocketAddr::new(names.pod.parse()?, port);
        let syn = Build::tcp(client, frontend).ttl(255).syn();
        packets.push(Skb::new(syn.frame(), POD));
    }
    let barrier = Barrier::new(packets.len());
    thread::scope(|scope| {
        let mut runs = Vec::new();
        for packet in packets {
            let barrier = &barrier;
            runs.push(scope.spawn(move || {
                barrier.wait();
                kernel.time(Program::TcIngress, &packet, CHAIN.into())
            }));
        }
        runs.into_iter()
            .try_for_each(|run| run.join().ok().context("a thread ended")?.map(drop))
    })
}

#[test]
fn one_of_two_that_claim_a_key_at_once_gets_it() -> Result<()> {
    if !requirements::met("one_of_two_that_claim_a_key_at_once_gets_it") {
        return Ok(());
    }
    for names in &FAMILIES {
        namespace()?.enter(|| -> Result<()> {
            let kernel = kernel(names, SETS - 1)?;
            for round in 0..ROUNDS {
                chains(&kernel, names, [20_000 + round; 2])?;
            }
            let counted = |reason| kernel.counted(reason, Hook::TcIngress);
            let (new, again) = (counted(Reason::NewFlow)?, counted(Reason::Retransmitted)?);
            let claims = u64::from(ROUNDS) * u64::from(CHAIN);
            ensure!(
                (new, again) == (claims, claims),
                "of {claims} connections {new} were new, {again} came again"
            );
            Ok(())
        })??;
    }
    Ok(())
}

/// Ports of the backend and of the client, as the key and as the flow has them.
fn ports<A: Addr>(entries: &BTreeMap<FlowKey<A>, Flow<A>>) -> BTreeSet<[u16; 4]> {
    let of = |(key, flow): (&FlowKey<A>, &Flow<A>)| {
        [key.sport, flow.sport, key.dport, flow.dport].map(Be16::get)
    };
    entries.iter().map(of).collect()
}

#[test]
fn two_that_fill_one_set_mix_no_entries() -> Result<()> {
    if !requirements::met("two_that_fill_one_set_mix_no_entries") {
        return Ok(());
    }
    for names in &FAMILIES {
        namespace()?.enter(|| -> Result<()> {
            let kernel = kernel(names, 0)?;
            for round in 0..ROUNDS {
                chains(&kernel, names, [20_000 + round, 40_000 + round])?;
                let entries = if names.v6 {
                    ports(&kernel.v6.embryos.all()?)
                } else {
                    ports(&kernel.v4.embryos.all()?)
                };
                // A frontend leads to the port after its own.
                let mixed = entries
                    .iter()
                    .any(|[backend, frontend, key, flow]| *backend != frontend + 1 || key != flow);
                ensure!(!mixed && entries.len() == WAYS, "{entries:?}");
            }
            Ok(())
        })??;
    }
    Ok(())
}
