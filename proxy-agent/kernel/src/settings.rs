//! The read-only settings of the programs, computed from the node.

use std::fs;
use std::net::UdpSocket;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use proxy_common::addr::{V4, V6};
use proxy_common::flags::feature;
use proxy_common::value::Settings;

use crate::error::{Error, Result};
use crate::options::LoadOptions;
use crate::pins::{self, Pins};
use crate::schema::kind;
use crate::sys::bpf::{Access, create_map, map_info, open_pin, open_pinned_map, pin};
use crate::sys::elements;
use crate::sys::misc::netns_cookie;

/// What the operator chose of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Choices {
    /// One of [`proxy_common::flags::detect`].
    pub(crate) detect: u32,
    /// See [`LoadOptions::exact_masquerade`].
    pub(crate) exact_masquerade: bool,
    /// See [`LoadOptions::host_routing`].
    pub(crate) host_routing: bool,
    /// See [`LoadOptions::masquerade_bit`]; above 31 it is 31.
    pub(crate) masquerade_bit: u8,
}

impl From<&LoadOptions> for Choices {
    fn from(options: &LoadOptions) -> Self {
        Self {
            detect: options.detect.setting(),
            exact_masquerade: options.exact_masquerade,
            host_routing: options.host_routing,
            masquerade_bit: options.masquerade_bit,
        }
    }
}

/// Source of hairpin connections: link-local (RFC 3927), so no router carries it.
pub const HAIRPIN4: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 77, 1);
/// The same in a unique local prefix (RFC 4193) of ours.
pub const HAIRPIN6: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xfd6b, 0x7368, 0, 0, 0, 0, 0, 1);

/// `NodePort`s of a cluster with the default `--service-node-port-range`.
const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Settings for the calling thread's network namespace.
pub(crate) fn compute(node_name: &str, features: u32, choices: Choices) -> Result<Settings> {
    let chosen = [
        (choices.exact_masquerade, feature::EXACT_MASQUERADE),
        (choices.host_routing, feature::HOST_ROUTING),
    ];
    let chosen = chosen.iter().filter(|(on, _)| *on);
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(Error::netlink(
        "a UDP socket to ask for the namespace's cookie",
    ))?;
    let cookie = netns_cookie(&socket).map_err(Error::netlink("SO_NETNS_COOKIE"))?;
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let ephemeral = fs::read_to_string(EPHEMERAL).map_err(Error::io("read", EPHEMERAL))?;
    let free = snat_ports(parse_range(&ephemeral).unwrap_or(32_768..=60_999));
    let (first, last) = free.into_inner();
    Ok(Settings {
        host_netns_cookie: cookie.unwrap_or(0),
        hash_seed: hash_seed(boot_id.trim(), node_name),
        features: chosen.fold(features, |all, (_, feature)| all | feature),
        masquerade_mark: 1 << choices.masquerade_bit.min(31),
        hairpin4: V4::from(HAIRPIN4),
        hairpin6: V6::from(HAIRPIN6),
        snat_port_min: first,
        snat_port_max: first.midpoint(last),
        detect: choices.detect,
        // Known when the maps are.
        ..Settings::default()
    })
}

/// Name of the pin under which other processes find what the programs were given.
const PIN: &str = "SETTINGS";
/// Its only element.
const ONLY: u32 = 0;

/// Tells other processes what the programs are given: their own copy is read-only data that nobody else finds.
pub(crate) fn publish(pins: &Pins, settings: &Settings) -> Result<()> {
    let path = pins.map(PIN);
    let failed = |action| Error::map(PIN, action);
    let map = match open_pin(&path) {
        Ok(map) if size(&map) == Some(SIZE) => map,
        found => {
            if found.is_ok() {
                pins::unlink(&path)?;
            }
            let map = create_map(kind::ARRAY, 4, SIZE, 1, 0).map_err(failed("making it"))?;
            pin(&map, &path).map_err(Error::io("pin", &path))?;
            map
        }
    };
    elements::update(&map, &ONLY, settings).map_err(failed("setting its element"))
}

/// What the programs of the running agent were given.
pub(crate) fn published(pins: &Pins) -> Result<Settings> {
    let path = pins.map(PIN);
    let map = open_pinned_map(&path, Access::Read).map_err(Error::io("open", &path))?;
    let failed = Error::map(PIN, "reading its element");
    let found = match size(&map) {
        Some(SIZE) => elements::lookup(&map, &ONLY),
        _other => Err(std::io::Error::other("it is of another version")),
    };
    found.map_err(failed).map(Option::unwrap_or_default)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "asserted in proxy-common's layout.rs"
)]
const SIZE: u32 = size_of::<Settings>() as u32;

/// Value size of a map of one element.
fn size(map: &OwnedFd) -> Option<u32> {
    let info = map_info(map).ok()?;
    (info.kind == kind::ARRAY && info.key_size == 4).then_some(info.value_size)
}

/// "32768\t60999".
fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let (first, last) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (first <= last).then_some(first..=last)
}

/// The largest run of 1024 to 65535 that meets neither the host's own source ports nor `NodePort`s.
///
/// Where nothing is left (the host claims everything), the `NodePort` range decides alone.
fn snat_ports(ephemeral: RangeInclusive<u16>) -> RangeInclusive<u16> {
    largest_run(&[ephemeral, NODE_PORTS])
        .or_else(|| largest_run(&[NODE_PORTS]))
        .unwrap_or(1024..=29_999)
}

/// Source ports that netfilter may give: the upper half of those that are free. The programs have the lower half. Neither knows which ports
/// the other has given away, and an answer to a port that both gave would reach the wrong client.
pub(crate) fn netfilter_ports(settings: &Settings) -> RangeInclusive<u16> {
    let Settings {
        snat_port_min: first,
        snat_port_max: middle,
        ..
    } = *settings;
    middle + 1..=middle + middle.abs_diff(first).max(1)
}

fn largest_run(taken: &[RangeInclusive<u16>]) -> Option<RangeInclusive<u16>> {
    let mut taken = taken.to_vec();
    taken.sort_by_key(|range| *range.start());
    let mut runs = Vec::new();
    let mut next = 1024u32;
    for range in &taken {
        runs.push((next, u32::from(*range.start())));
        next = next.max(u32::from(*range.end()) + 1);
    }
    runs.push((next, 65_536));
    let (start, end) = runs
        .into_iter()
        .max_by_key(|(start, end)| end.saturating_sub(*start))?;
    let last = u16::try_from(end.checked_sub(1)?).ok()?;
    let start = u16::try_from(start).ok()?;
    (start <= last).then_some(start..=last)
}

/// The same over restarts, another after a reboot and on another node (FNV-1a, 32 bits).
fn hash_seed(boot_id: &str, node_name: &str) -> u32 {
    let bytes = boot_id.bytes().chain([0]).chain(node_name.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snat_ports_are_the_largest_free_run() {
        let check = |ephemeral: RangeInclusive<u16>, expected| {
            assert_eq!(snat_ports(ephemeral.clone()), expected, "{ephemeral:?}");
        };
        check(32_768..=60_999, 1_024..=29_999);
        check(1_024..=29_999, 32_768..=65_535);
        check(1_024..=40_000, 40_001..=65_535);
        check(15_000..=65_535, 1_024..=14_999);
        check(1_024..=65_535, 32_768..=65_535);
        check(0..=65_535, 32_768..=65_535);
        check(31_000..=31_001, 32_768..=65_535);
    }

    #[test]
    fn netfilter_gives_no_port_that_the_programs_give() {
        for free in [1_024..=29_999_u16, 32_768..=65_535, 40_001..=65_534] {
            let (first, last) = free.into_inner();
            let settings = Settings {
                snat_port_min: first,
                snat_port_max: first.midpoint(last),
                ..Settings::default()
            };
            let theirs = netfilter_ports(&settings);
            assert!(*theirs.start() > settings.snat_port_max, "{theirs:?}");
            assert!(
                *theirs.end() <= last && last - *theirs.end() < 2,
                "{theirs:?}"
            );
        }
    }

    #[test]
    fn parse_range_refuses_nonsense() {
        assert_eq!(parse_range("32768\t60999\n"), Some(32_768..=60_999));
        for bad in ["", "5", "9 5", "a b", "1 70000"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn hash_seed_depends_on_boot_and_node_only() {
        assert_eq!(hash_seed("boot", "node"), hash_seed("boot", "node"));
        assert_ne!(hash_seed("boot", "node"), hash_seed("boot2", "node"));
        assert_ne!(hash_seed("boot", "node"), hash_seed("boot", "node2"));
        assert_ne!(hash_seed("ab", "c"), hash_seed("a", "bc"));
    }
}
