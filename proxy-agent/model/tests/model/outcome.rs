//! What the maps of a rig make of new connections, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use proxy_common::addr::{Addr, V4, V6, proto};
use proxy_common::be::Be16;
use proxy_common::flags::{AddrFlags, FrontendFlags};
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
            ranges4,
            ranges6,
            tables,
            ..
        } = &self.maps;
        let mut outcomes = Outcomes::new();
        for key in frontends4.keys() {
            let [inside, outside, host] =
                CLASSES.map(|class| outcome(key, class, frontends4, backends4));
            let rules = rules(&frontends4[key], ranges4, tables);
            outcomes.insert(dump::frontend(key), [inside, outside, host, rules]);
        }
        for key in frontends6.keys() {
            let [inside, outside, host] =
                CLASSES.map(|class| outcome(key, class, frontends6, backends6));
            let rules = rules(&frontends6[key], ranges6, tables);
            outcomes.insert(dump::frontend(key), [inside, outside, host, rules]);
        }
        outcomes
    }

    /// What ADDRS says.
    pub(crate) fn addresses(&self) -> BTreeMap<IpAddr, String> {
        let v4 = self
            .maps
            .addrs4
            .iter()
            .map(|(addr, flags)| (addr.ip(), flags));
        let v6 = self
            .maps
            .addrs6
            .iter()
            .map(|(addr, flags)| (addr.ip(), flags));
        let words = [
            (AddrFlags::VIRTUAL, "virtual "),
            (AddrFlags::REJECT_UNKNOWN, "reject "),
            (AddrFlags::ECHO, "echo "),
        ];
        let text = |flags: AddrFlags| {
            words
                .map(|(flag, word)| if flags.has(flag) { word } else { "" })
                .concat()
        };
        v4.chain(v6)
            .map(|(addr, flags)| (addr, text(*flags)))
            .collect()
    }

    /// The rules of a frontend, in words.
    pub(crate) fn rules(&self, frontend: &str) -> String {
        let outcomes = self.outcomes();
        let key = if frontend.contains('/') {
            frontend.to_owned()
        } else {
            format!("{frontend}/TCP")
        };
        outcomes
            .get(&key)
            .map_or("none".to_owned(), |outcome| outcome[3].clone())
    }

    /// What CIDRS holds of a family.
    pub(crate) fn cidrs(&self, is_v6: bool) -> (Option<String>, Vec<String>) {
        fn text<A: Addr>(
            (local, services): &proxy_model::Cidrs<A>,
        ) -> (Option<String>, Vec<String>) {
            let text = |(addr, bits): &(A, u8)| format!("{addr}/{bits}");
            let mut services: Vec<String> = services.iter().map(text).collect();
            services.sort();
            (local.as_ref().map(text), services)
        }
        if is_v6 {
            text(&self.maps.cidrs6)
        } else {
            text(&self.maps.cidrs4)
        }
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

/// `cluster-ip ranges=.. host-denied masquerade=.. affinity=.. <algorithm> tables`.
fn rules<A: Addr>(
    frontend: &Frontend,
    ranges: &BTreeSet<(u32, A, u8)>,
    tables: &BTreeMap<u32, Arc<[u16]>>,
) -> String {
    let has = |flag| frontend.flags.has(flag);
    let mut words = Vec::new();
    if !has(FrontendFlags::EXTERNAL) {
        words.push("cluster-ip".to_owned());
    }
    if has(FrontendFlags::RANGES) {
        let set = ranges.iter().filter(|(set, _, _)| *set == frontend.ranges);
        let set: BTreeSet<String> = set
            .map(|(_, addr, bits)| format!("{addr}/{bits}"))
            .collect();
        words.push(format!(
            "ranges={}",
            set.into_iter().collect::<Vec<_>>().join(",")
        ));
    }
    if has(FrontendFlags::HOST_DENIED) {
        words.push("host-denied".to_owned());
    }
    let classes = [
        (FrontendFlags::MASQUERADE_INSIDE, 'i'),
        (FrontendFlags::MASQUERADE_OUTSIDE, 'o'),
        (FrontendFlags::MASQUERADE_HOST, 'h'),
    ];
    let masquerade: String = classes
        .iter()
        .filter(|(flag, _)| has(*flag))
        .map(|(_, class)| class)
        .collect();
    if !masquerade.is_empty() {
        words.push(format!("masquerade={masquerade}"));
    }
    if frontend.affinity_seconds > 0 {
        words.push(format!("affinity={}", frontend.affinity_seconds));
    }
    for (flag, word) in [
        (FrontendFlags::ROUND_ROBIN, "round-robin"),
        (FrontendFlags::MAGLEV, "maglev"),
        (FrontendFlags::LEAST_CONNECTIONS, "least-connections"),
    ] {
        if has(flag) {
            words.push(word.to_owned());
        }
    }
    let named = frontend.tables.iter().filter(|table| **table != 0);
    assert!(named.into_iter().all(|table| tables.contains_key(table)));
    words.join(" ")
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
