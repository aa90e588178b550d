//! What the maps of a rig make of new connections, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use proxy_common::addr::{Addr, V4, V6, proto};
use proxy_common::be::Be16;
use proxy_common::flags::FrontendFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, Class, Frontend};
use proxy_model::{MemoryMaps, dump};

use crate::oracle::Outcomes;
use crate::rig::Rig;

const CLASSES: [Class; 3] = [Class::Inside, Class::Outside, Class::Host];

/// What the slots hold that frontends name, by family.
pub(crate) type NamedContents = (Vec<Option<Backend<V4>>>, Vec<Option<Backend<V6>>>);

impl Rig {
    /// What becomes of a new connection: `none` (no frontend), `reject`, `drop`, or the backends.
    pub(crate) fn outcome(&self, frontend: &str, class: Class) -> String {
        let (addr, port_and_proto) = frontend.rsplit_once(':').unwrap();
        let (port, protocol) = port_and_proto
            .split_once('/')
            .unwrap_or((port_and_proto, "TCP"));
        let (port, proto) = (Be16::new(port.parse().unwrap()), proto_number(protocol));
        match addr {
            "*" => outcome(
                &FrontendKey::new(V4::unspecified(), port, proto),
                class,
                &self.maps.frontends4,
                &self.maps.backends4,
            ),
            "[*]" => outcome(
                &FrontendKey::new(V6::unspecified(), port, proto),
                class,
                &self.maps.frontends6,
                &self.maps.backends6,
            ),
            _ => match addr.trim_matches(['[', ']']).parse().unwrap() {
                IpAddr::V4(ip) => outcome(
                    &FrontendKey::new(ip.into(), port, proto),
                    class,
                    &self.maps.frontends4,
                    &self.maps.backends4,
                ),
                IpAddr::V6(ip) => outcome(
                    &FrontendKey::new(ip.into(), port, proto),
                    class,
                    &self.maps.frontends6,
                    &self.maps.backends6,
                ),
            },
        }
    }

    /// All outcomes, by frontend.
    pub(crate) fn outcomes(&self) -> Outcomes {
        let MemoryMaps {
            frontends4,
            frontends6,
            backends4,
            backends6,
            ..
        } = &self.maps;
        let mut outcomes = Outcomes::new();
        for key in frontends4.keys() {
            outcomes.insert(
                dump::frontend(key),
                CLASSES.map(|class| outcome(key, class, frontends4, backends4)),
            );
        }
        for key in frontends6.keys() {
            outcomes.insert(
                dump::frontend(key),
                CLASSES.map(|class| outcome(key, class, frontends6, backends6)),
            );
        }
        outcomes
    }

    /// How many slots of `BACKENDS_V4` frontends name.
    pub(crate) fn named_slots4(&self) -> usize {
        named_slots(&self.maps.frontends4).len()
    }

    /// How many slots of `BACKENDS_V6` frontends name.
    pub(crate) fn named_slots6(&self) -> usize {
        named_slots(&self.maps.frontends6).len()
    }

    /// What the slots hold that frontends name.
    pub(crate) fn named_contents(&self) -> NamedContents {
        let v4 = named_slots(&self.maps.frontends4);
        let v6 = named_slots(&self.maps.frontends6);
        (
            v4.iter()
                .map(|slot| self.maps.backends4.get(slot).copied())
                .collect(),
            v6.iter()
                .map(|slot| self.maps.backends6.get(slot).copied())
                .collect(),
        )
    }

    /// The outcome for all three classes, which must agree.
    pub(crate) fn everyone(&self, frontend: &str) -> String {
        let outcomes =
            [Class::Inside, Class::Outside, Class::Host].map(|class| self.outcome(frontend, class));
        assert!(
            outcomes.iter().all(|outcome| *outcome == outcomes[0]),
            "{frontend}: {outcomes:?}"
        );
        outcomes[0].clone()
    }
}

fn named_slots<A: Addr>(frontends: &BTreeMap<FrontendKey<A>, Frontend>) -> BTreeSet<u32> {
    let slices = frontends.values().flat_map(|frontend| frontend.slices);
    slices
        .flat_map(|slice| slice.offset..slice.offset + slice.count)
        .collect()
}

fn proto_number(name: &str) -> u8 {
    match name {
        "UDP" => proto::UDP,
        "SCTP" => proto::SCTP,
        _ => proto::TCP,
    }
}

fn outcome<A: Addr>(
    key: &FrontendKey<A>,
    class: Class,
    frontends: &BTreeMap<FrontendKey<A>, Frontend>,
    backends: &BTreeMap<u32, Backend<A>>,
) -> String {
    let Some(frontend) = frontends.get(key) else {
        return "none".to_owned();
    };
    let slice = frontend.slice(class);
    match (slice.count, frontend.flags.has(FrontendFlags::REJECT)) {
        (0, true) => return "reject".to_owned(),
        (0, false) => return "drop".to_owned(),
        _ => {}
    }
    let set: BTreeSet<SocketAddr> = (slice.offset..slice.offset + slice.count)
        .map(|slot| SocketAddr::new(backends[&slot].addr.ip(), backends[&slot].port.get()))
        .collect();
    assert_eq!(set.len(), slice.count as usize, "a backend comes twice");
    set.iter()
        .map(SocketAddr::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}
