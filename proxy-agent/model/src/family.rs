//! What differs between the two address families. Everything else is written once, over [`Family`].

use std::net::IpAddr;

use proxy_common::addr::{Addr, V4, V6};
use proxy_common::flags::AddrFlags;
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, Frontend};

use crate::endpoint::{Endpoint, Endpoints};
use crate::plan::MapOp;
use crate::policy::Network;

/// A network and the length of its prefix.
pub(crate) type Range<A> = (A, u8);

/// The local pods' range and the `ServiceCIDR`s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cidrs<A> {
    pub(crate) local: Option<Range<A>>,
    pub(crate) services: Vec<Range<A>>,
}

/// An address family of the planner.
pub(crate) trait Family: Addr {
    /// Name of its FRONTENDS.
    const FRONTENDS: &'static str;
    /// Name of its BACKENDS.
    const BACKENDS: &'static str;
    /// Name of its `SOURCE_RANGES`.
    const SOURCE_RANGES: &'static str;
    /// Bits of an address.
    const BITS: u8;
    /// The endpoints, if they are of this family.
    fn endpoints(of: &Endpoints) -> &[Endpoint<Self>];
    /// Its [`MapOp`] that writes slots.
    fn write(offset: u32, backends: Vec<Backend<Self>>) -> MapOp;
    /// Its [`MapOp`] that stores frontends.
    fn upsert(frontends: Vec<(FrontendKey<Self>, Frontend)>) -> MapOp;
    /// Its [`MapOp`] that deletes frontends.
    fn delete(frontends: Vec<FrontendKey<Self>>) -> MapOp;
    /// Its [`MapOp`] that says what addresses are.
    fn set_addrs(addrs: Vec<(Self, AddrFlags)>) -> MapOp;
    /// Its [`MapOp`] that adds a set of source ranges.
    fn add_ranges(set: u32, ranges: Vec<Range<Self>>) -> MapOp;
    /// Its [`MapOp`] that removes a set of source ranges.
    fn remove_ranges(set: u32, ranges: Vec<Range<Self>>) -> MapOp;
    /// Its [`MapOp`] that replaces CIDRS.
    fn set_cidrs(cidrs: Cidrs<Self>) -> MapOp;
}

impl Family for V4 {
    const FRONTENDS: &'static str = "FRONTENDS_V4";
    const BACKENDS: &'static str = "BACKENDS_V4";
    const SOURCE_RANGES: &'static str = "SOURCE_RANGES_V4";
    const BITS: u8 = 32;

    fn endpoints(of: &Endpoints) -> &[Endpoint<Self>] {
        match of {
            Endpoints::V4(endpoints) => endpoints,
            Endpoints::V6(_) => &[],
        }
    }

    fn write(offset: u32, backends: Vec<Backend<Self>>) -> MapOp {
        MapOp::WriteBackends4 { offset, backends }
    }

    fn upsert(frontends: Vec<(FrontendKey<Self>, Frontend)>) -> MapOp {
        MapOp::UpsertFrontends4(frontends)
    }

    fn delete(frontends: Vec<FrontendKey<Self>>) -> MapOp {
        MapOp::DeleteFrontends4(frontends)
    }

    fn set_addrs(addrs: Vec<(Self, AddrFlags)>) -> MapOp {
        MapOp::SetAddrs4(addrs)
    }

    fn add_ranges(set: u32, ranges: Vec<Range<Self>>) -> MapOp {
        MapOp::AddRanges4 { set, ranges }
    }

    fn remove_ranges(set: u32, ranges: Vec<Range<Self>>) -> MapOp {
        MapOp::RemoveRanges4 { set, ranges }
    }

    fn set_cidrs(cidrs: Cidrs<Self>) -> MapOp {
        let Cidrs { local, services } = cidrs;
        MapOp::SetCidrs4 { local, services }
    }
}

impl Family for V6 {
    const FRONTENDS: &'static str = "FRONTENDS_V6";
    const BACKENDS: &'static str = "BACKENDS_V6";
    const SOURCE_RANGES: &'static str = "SOURCE_RANGES_V6";
    const BITS: u8 = 128;

    fn endpoints(of: &Endpoints) -> &[Endpoint<Self>] {
        match of {
            Endpoints::V4(_) => &[],
            Endpoints::V6(endpoints) => endpoints,
        }
    }

    fn write(offset: u32, backends: Vec<Backend<Self>>) -> MapOp {
        MapOp::WriteBackends6 { offset, backends }
    }

    fn upsert(frontends: Vec<(FrontendKey<Self>, Frontend)>) -> MapOp {
        MapOp::UpsertFrontends6(frontends)
    }

    fn delete(frontends: Vec<FrontendKey<Self>>) -> MapOp {
        MapOp::DeleteFrontends6(frontends)
    }

    fn set_addrs(addrs: Vec<(Self, AddrFlags)>) -> MapOp {
        MapOp::SetAddrs6(addrs)
    }

    fn add_ranges(set: u32, ranges: Vec<Range<Self>>) -> MapOp {
        MapOp::AddRanges6 { set, ranges }
    }

    fn remove_ranges(set: u32, ranges: Vec<Range<Self>>) -> MapOp {
        MapOp::RemoveRanges6 { set, ranges }
    }

    fn set_cidrs(cidrs: Cidrs<Self>) -> MapOp {
        let Cidrs { local, services } = cidrs;
        MapOp::SetCidrs6 { local, services }
    }
}

/// Whether `ip` is of family `A`.
pub(crate) fn is_of<A: Addr>(ip: IpAddr) -> bool {
    ip.is_ipv6() == A::IS_V6
}

/// The network, if it is of family `A`.
pub(crate) fn range<A: Addr>((ip, bits): Network) -> Option<Range<A>> {
    A::from_ip(ip).map(|addr| (addr, bits))
}

/// `addr` without the bits after the first `bits`.
pub(crate) fn masked<A: Addr>(addr: A, bits: u8) -> A {
    let mut left = u32::from(bits);
    A::from_words(addr.words().map(|word| {
        let count = left.min(32);
        left = left.saturating_sub(count);
        let mask = u32::MAX.checked_shl(32_u32.saturating_sub(count));
        word & mask.unwrap_or(0).to_be()
    }))
}

/// Whether `addr` is in a network.
pub(crate) fn contains<A: Addr>((network, bits): Range<A>, addr: A) -> bool {
    masked(addr, bits) == network
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn networks_hold_what_shares_their_prefix() {
        let v4 = |text: &str| V4::from(text.parse::<Ipv4Addr>().unwrap());
        let v6 = |text: &str| V6::from(text.parse::<Ipv6Addr>().unwrap());
        for (addr, bits, network) in [
            ("10.1.2.3", 32, "10.1.2.3"),
            ("10.1.2.255", 25, "10.1.2.128"),
            ("10.1.2.3", 9, "10.0.0.0"),
            ("255.1.2.3", 0, "0.0.0.0"),
        ] {
            assert_eq!(masked(v4(addr), bits), v4(network), "{addr}/{bits}");
            assert!(contains((v4(network), bits), v4(addr)));
        }
        assert!(!contains((v4("10.1.2.128"), 25), v4("10.1.2.127")));
        for (addr, bits, network) in [
            ("fd00:1:2:3:4:5:6:7", 128, "fd00:1:2:3:4:5:6:7"),
            ("fd00:1:2:3:4:5:6:7", 65, "fd00:1:2:3::"),
            ("fd00:1:2:3:ffff::", 65, "fd00:1:2:3:8000::"),
            ("fd00:1:2:3:4:5:6:7", 0, "::"),
        ] {
            assert_eq!(masked(v6(addr), bits), v6(network), "{addr}/{bits}");
        }
    }
}
