//! What netlink says about this network namespace: links, addresses, default routes. Read from messages, no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::wire::{
    Message, attribute, attributes, family, msg, read_i32, read_text, read_u16, read_u32,
};

/// One network device.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, as netlink has them"
)]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Link {
    pub(super) name: String,
    /// As `ip -d link` says: veth, bridge, vxlan, ...; empty for physical devices.
    pub(super) kind: String,
    /// What its master is to it: bridge, bond, ...; empty without a master.
    pub(super) port_kind: String,
    pub(super) master: Option<u32>,
    pub(super) mtu: u32,
    pub(super) loopback: bool,
    pub(super) up: bool,
    pub(super) layer: Layer,
    /// Its other end, or lower device, lives in another network namespace.
    pub(super) peer_elsewhere: bool,
    /// Sits on a bus: PCI, virtio, ...
    pub(super) physical: bool,
    /// A tunnel that takes its destination from each packet's route.
    pub(super) routed_tunnel: bool,
}

/// What stands in front of the IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Layer {
    /// An Ethernet header.
    Ethernet,
    /// Nothing.
    None,
    /// Something that our programs do not read.
    #[default]
    Other,
}

impl Layer {
    /// By `ARPHRD_*`. Without a header are those that the kernel's `dev_is_mac_header_xmit` names.
    fn of(arphrd: u16) -> Self {
        match arphrd {
            1 => Self::Ethernet,
            // PPP, RAWIP, TUNNEL, TUNNEL6, SIT, IPGRE, IP6GRE, VOID, NONE
            512 | 519 | 768 | 769 | 776 | 778 | 823 | 0xffff | 0xfffe => Self::None,
            _other => Self::Other,
        }
    }
}

/// One address of a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
    /// Usable as a source: not secondary, tentative, deprecated or for a smaller scope than the world.
    pub(super) primary: bool,
    /// Found to be somebody else's (RFC 4862).
    pub(super) duplicate: bool,
}

/// Everything, as of the last event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct World {
    pub(super) links: BTreeMap<u32, Link>,
    /// In the order the kernel lists them: the first is a device's primary one.
    pub(super) addresses: BTreeMap<u32, Vec<Address>>,
    /// Devices that a default route of the main table leaves by.
    pub(super) default_routes: BTreeSet<u32>,
    /// Indexes whose device went away since somebody last took this: another device may have one of them already.
    pub(super) gone: BTreeSet<u32>,
}

/// What an event changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Changed {
    /// Nothing that matters.
    Nothing,
    /// Links or addresses, already recorded.
    Recorded,
    /// A default route: list them again.
    DefaultRoutes,
    /// A TC filter or qdisc was removed: ours may be among them.
    Filters,
}

const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;

impl World {
    /// Records a link, address or route message of a dump or an event.
    pub(super) fn record(&mut self, message: &Message<'_>) -> Changed {
        let recorded = match message.kind {
            msg::NEWLINK => read_link(message.payload)
                .map(|(index, link)| self.links.insert(index, link.clone()) != Some(link)),
            msg::DELLINK => self.remove_link(message.payload),
            msg::NEWADDR => read_address(message.payload)
                .map(|(index, address)| self.set_address(index, address)),
            msg::DELADDR => read_address(message.payload)
                .map(|(index, address)| self.remove_address(index, address)),
            msg::NEWROUTE | msg::DELROUTE => {
                return if default_route(message.payload).is_some() {
                    Changed::DefaultRoutes
                } else {
                    Changed::Nothing
                };
            }
            msg::DELQDISC | msg::DELTFILTER => return Changed::Filters,
            _other => None,
        };
        if recorded == Some(true) {
            Changed::Recorded
        } else {
            Changed::Nothing
        }
    }

    /// Records a route of a dump.
    pub(super) fn record_route(routes: &mut BTreeSet<u32>, message: &Message<'_>) {
        if message.kind == msg::NEWROUTE {
            routes.extend(default_route(message.payload).unwrap_or_default());
        }
    }

    fn remove_link(&mut self, payload: &[u8]) -> Option<bool> {
        let header = LinkHeader::read(payload)?;
        self.addresses.remove(&header.index);
        self.default_routes.remove(&header.index);
        self.gone.insert(header.index);
        Some(self.links.remove(&header.index).is_some())
    }

    fn set_address(&mut self, index: u32, address: Address) -> bool {
        let addresses = self.addresses.entry(index).or_default();
        match addresses
            .iter_mut()
            .find(|known| (known.ip, known.prefix) == (address.ip, address.prefix))
        {
            Some(known) if *known == address => false,
            Some(known) => {
                *known = address;
                true
            }
            None => {
                addresses.push(address);
                true
            }
        }
    }

    fn remove_address(&mut self, index: u32, address: Address) -> bool {
        let Some(addresses) = self.addresses.get_mut(&index) else {
            return false;
        };
        let before = addresses.len();
        addresses.retain(|known| (known.ip, known.prefix) != (address.ip, address.prefix));
        addresses.len() != before
    }
}

/// struct ifinfomsg.
struct LinkHeader {
    arphrd: u16,
    index: u32,
    flags: u32,
}

impl LinkHeader {
    const LEN: usize = 16;

    /// `None` for messages of another family: a bridge announces with `RTM_DELLINK` that a port left it.
    fn read(payload: &[u8]) -> Option<Self> {
        if *payload.first()? != family::UNSPEC {
            return None;
        }
        let (arphrd, index, flags) = (
            read_u16(payload, 2)?,
            read_u32(payload, 4)?,
            read_u32(payload, 8)?,
        );
        Some(Self {
            arphrd,
            index,
            flags,
        })
    }
}

/// Attributes of links.
mod ifla {
    pub(super) const IFNAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const MASTER: u16 = 10;
    pub(super) const LINKINFO: u16 = 18;
    pub(super) const LINK_NETNSID: u16 = 37;
    pub(super) const PARENT_DEV_NAME: u16 = 56;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    pub(super) const INFO_SLAVE_KIND: u16 = 4;
}

fn read_link(payload: &[u8]) -> Option<(u32, Link)> {
    let LinkHeader {
        arphrd,
        index,
        flags,
    } = LinkHeader::read(payload)?;
    let mut link = Link {
        loopback: flags & IFF_LOOPBACK != 0,
        up: flags & IFF_UP != 0,
        layer: Layer::of(arphrd),
        ..Link::default()
    };
    for (kind, value) in attributes(payload.get(LinkHeader::LEN..)?) {
        match kind {
            ifla::IFNAME => link.name = read_text(value),
            ifla::MTU => link.mtu = read_u32(value, 0)?,
            ifla::MASTER => link.master = read_u32(value, 0),
            ifla::LINK_NETNSID => link.peer_elsewhere = read_i32(value, 0).is_some(),
            ifla::PARENT_DEV_NAME => link.physical = true,
            ifla::LINKINFO => read_link_info(value, &mut link),
            _unknown => {}
        }
    }
    Some((index, link))
}

fn read_link_info(info: &[u8], link: &mut Link) {
    link.kind = attribute(info, ifla::INFO_KIND)
        .map(read_text)
        .unwrap_or_default();
    link.port_kind = attribute(info, ifla::INFO_SLAVE_KIND)
        .map(read_text)
        .unwrap_or_default();
    link.routed_tunnel = routed_tunnel(
        &link.kind,
        attribute(info, ifla::INFO_DATA).unwrap_or_default(),
    );
}

/// Whether a tunnel's far end comes from the route of each packet: by metadata, or since it has no remote of its own.
fn routed_tunnel(kind: &str, data: &[u8]) -> bool {
    /// The number of the "collect metadata" attribute, and of "remote" where a tunnel without one is routed.
    fn attribute_numbers(kind: &str) -> Option<(u16, Option<u16>)> {
        Some(match kind {
            "vxlan" => (25, None),
            "geneve" => (6, None),
            "ipip" | "sit" | "ip6tnl" => (19, Some(3)),
            "gre" | "gretap" | "ip6gre" | "ip6gretap" | "erspan" | "ip6erspan" => (18, Some(7)),
            _other => return None,
        })
    }
    let Some((metadata, remote)) = attribute_numbers(kind) else {
        return false;
    };
    let unset = |number| {
        attribute(data, number).is_none_or(|address| address.iter().all(|byte| *byte == 0))
    };
    attribute(data, metadata).is_some_and(|value| value.first() != Some(&0))
        || remote.is_some_and(unset)
}

/// Attributes of addresses.
mod ifa {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
    pub(super) const FLAGS: u16 = 8;
    pub(super) const SECONDARY: u32 = 0x01;
    pub(super) const DADFAILED: u32 = 0x08;
    pub(super) const DEPRECATED: u32 = 0x20;
    pub(super) const TENTATIVE: u32 = 0x40;
}

const SCOPE_UNIVERSE: u8 = 0;

fn read_address(payload: &[u8]) -> Option<(u32, Address)> {
    let [family, prefix, flags, scope] = *payload.first_chunk()?;
    let index = read_u32(payload, 4)?;
    let attributes = payload.get(8..)?;
    // IPv4 point-to-point links put the far end into ADDRESS; IPv6 has LOCAL only then.
    let bytes =
        attribute(attributes, ifa::LOCAL).or_else(|| attribute(attributes, ifa::ADDRESS))?;
    let flags = attribute(attributes, ifa::FLAGS)
        .and_then(|flags| read_u32(flags, 0))
        .unwrap_or_else(|| u32::from(flags));
    let secondary = ifa::SECONDARY | ifa::DADFAILED | ifa::DEPRECATED | ifa::TENTATIVE;
    Some((
        index,
        Address {
            ip: read_ip(family, bytes)?,
            prefix,
            primary: flags & secondary == 0 && scope == SCOPE_UNIVERSE,
            duplicate: flags & ifa::DADFAILED != 0,
        },
    ))
}

fn read_ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        family::INET => bytes
            .first_chunk::<4>()
            .map(|bytes| Ipv4Addr::from(*bytes).into()),
        family::INET6 => bytes
            .first_chunk::<16>()
            .map(|bytes| Ipv6Addr::from(*bytes).into()),
        _other => None,
    }
}

/// Attributes of routes.
mod rta {
    pub(super) const DST: u16 = 1;
    pub(super) const OIF: u16 = 4;
    pub(super) const MULTIPATH: u16 = 9;
    pub(super) const TABLE: u16 = 15;
}

const TABLE_MAIN: u32 = 254;
const RTN_UNICAST: u8 = 1;

/// The devices of a default route in the main table; `None` for any other route.
fn default_route(payload: &[u8]) -> Option<Vec<u32>> {
    let (family, dst_len, table, kind) = (
        *payload.first()?,
        *payload.get(1)?,
        *payload.get(4)?,
        *payload.get(7)?,
    );
    let attributes_of = payload.get(12..)?;
    let table = attribute(attributes_of, rta::TABLE)
        .and_then(|table| read_u32(table, 0))
        .unwrap_or_else(|| u32::from(table));
    let ip = matches!(family, family::INET | family::INET6);
    if !ip
        || dst_len != 0
        || table != TABLE_MAIN
        || kind != RTN_UNICAST
        || attribute(attributes_of, rta::DST).is_some()
    {
        return None;
    }
    let mut devices = Vec::new();
    for (kind, value) in attributes(attributes_of) {
        match kind {
            rta::OIF => devices.extend(read_u32(value, 0)),
            rta::MULTIPATH => devices.extend(next_hops(value)),
            _other => {}
        }
    }
    Some(devices)
}

/// The devices in a list of struct rtnexthop.
fn next_hops(mut bytes: &[u8]) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let len = read_u16(bytes, 0).filter(|len| *len >= 8)? as usize;
        let device = read_u32(bytes, 4)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(device)
    })
}

#[cfg(test)]
mod tests;
