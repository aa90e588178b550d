//! The memory body: the packet path of proxy-common, over a copy of the node's maps.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Context as _;
use proxy_common::addr::{Addr, V4, V6};
use proxy_common::explain;
use proxy_common::flags::AddrFlags;
use proxy_common::key::{FrontendKey, RangeKey};
use proxy_common::path::Action;
use proxy_common::sim::frame::explain_socket;
use proxy_common::sim::{Program, Skb, World, world::Holds};
use proxy_common::value::{Backend, Cidr, Frontend, LutWord};
use proxy_model::{Cidrs, MemoryMaps};

use super::body::{Body, End, Left};
use super::state::State;

/// A copy of a node's maps, without flows and routes.
#[derive(Debug)]
pub struct Memory {
    world: World,
}

impl Memory {
    /// Copies.
    pub fn new(state: &State) -> Self {
        let MemoryMaps {
            frontends4,
            frontends6,
            backends4,
            backends6,
            states,
            addrs4,
            addrs6,
            ranges4,
            ranges6,
            tables,
            cidrs4,
            cidrs6,
        } = &state.maps;
        let mut world = World::new(state.settings, 0);
        services::<V4>(&mut world, frontends4, backends4);
        services::<V6>(&mut world, frontends6, backends6);
        for (ip, flags) in &state.addrs {
            match ip {
                IpAddr::V4(ip) => add(&mut world.v4.addrs, V4::from(*ip), *flags),
                IpAddr::V6(ip) => add(&mut world.v6.addrs, V6::from(*ip), *flags),
            }
        }
        for (addr, flags) in addrs4 {
            add(&mut world.v4.addrs, *addr, *flags);
        }
        for (addr, flags) in addrs6 {
            add(&mut world.v6.addrs, *addr, *flags);
        }
        world.v4.ranges = ranges4.iter().map(range).collect();
        world.v6.ranges = ranges6.iter().map(range).collect();
        networks::<V4>(&mut world, cidrs4);
        networks::<V6>(&mut world, cidrs6);
        for (id, state) in states {
            world.states.set(*id, *state);
        }
        for (offset, entries) in tables {
            table(&world, *offset, entries);
        }
        world.devices.extend(&state.devices);
        Self { world }
    }
}

fn services<A: Addr>(
    world: &mut World,
    frontends: &BTreeMap<FrontendKey<A>, Frontend>,
    backends: &BTreeMap<u32, Backend<A>>,
) where
    World: Holds<A>,
{
    let family = world.family_mut();
    family.frontends.clone_from(frontends);
    for (slot, backend) in backends {
        family.backends.set(*slot, *backend);
    }
}

/// The planner and the follower of devices each have bits of their own.
fn add<A: Addr>(addrs: &mut BTreeMap<A, AddrFlags>, addr: A, flags: AddrFlags) {
    let known = addrs.entry(addr).or_default();
    *known = known.with(flags);
}

fn range<A: Addr>((set, addr, bits): &(u32, A, u8)) -> RangeKey<A> {
    RangeKey {
        prefix: 32 + u32::from(*bits),
        set: *set,
        addr: *addr,
    }
}

fn networks<A: Addr>(world: &mut World, (local, services): &Cidrs<A>)
where
    World: Holds<A>,
{
    let [first, rest @ ..] = &mut world.family_mut().cidrs;
    *first = local.map(cidr).unwrap_or_default();
    for (place, network) in rest.iter_mut().zip(services) {
        *place = cidr(*network);
    }
}

fn cidr<A: Addr>((addr, bits): (A, u8)) -> Cidr<A> {
    let mut left = u32::from(bits);
    let mask = [(); 4].map(|()| {
        let ones = left.min(32);
        left -= ones;
        u32::MAX.checked_shl(32 - ones).unwrap_or(0).to_be()
    });
    Cidr {
        addr,
        mask: A::from_words(mask),
        used: 1,
    }
}

/// As [`LutWord`] says: the length in the first word, the entries from the next one on.
fn table(world: &World, offset: u32, entries: &[u16]) {
    let length = u16::try_from(entries.len()).unwrap_or(u16::MAX);
    world.lut.set(offset, LutWord([length, 0, 0, 0]));
    for (word, entries) in (offset.saturating_add(1)..).zip(entries.chunks(4)) {
        let mut values = [0; 4];
        for (value, entry) in values.iter_mut().zip(entries) {
            *value = *entry;
        }
        world.lut.set(word, LutWord(values));
    }
}

impl Body for Memory {
    fn packet(&mut self, device: u32, frame: &[u8], candidate: u32) -> anyhow::Result<Left> {
        let mut skb = Skb::new(frame.to_vec(), device);
        skb.mark = candidate;
        let end = match Program::TcIngress.run(&self.world, &mut skb) {
            Action::Pass | Action::Mark(_) => End::On,
            Action::Back
            | Action::Redirect(_)
            | Action::RedirectNeigh(_)
            | Action::RedirectPeer(_) => End::Away,
            Action::Drop => End::Gone,
        };
        Ok(left(end, skb))
    }

    fn call(&mut self, call: &explain::Question, candidate: u32) -> anyhow::Result<Left> {
        let mut skb = Skb::new(call.bytes().to_vec(), 0);
        skb.mark = candidate;
        explain_socket(&self.world, &mut skb).context("the question is cut short")?;
        Ok(left(End::On, skb))
    }
}

fn left(end: End, skb: Skb) -> Left {
    Left {
        end,
        facts: skb.cb.get(),
        mark: skb.mark,
        bytes: skb.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_the_bits_of_the_prefix() {
        let mask4 = |bits| cidr((V4::default(), bits)).mask.ip().to_string();
        assert_eq!(mask4(0), "0.0.0.0");
        assert_eq!(mask4(9), "255.128.0.0");
        assert_eq!(mask4(32), "255.255.255.255");
        let mask6 = |bits| cidr((V6::default(), bits)).mask.ip().to_string();
        assert_eq!(mask6(33), "ffff:ffff:8000::");
        assert_eq!(mask6(128), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    }
}
