//! The planner's way: which backends its maps hold for a flow, read off them without any program.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kube_shunt::explain::question::{Question, Side};
use kube_shunt::explain::state::{State, within};
use proxy_common::addr::Addr;
use proxy_common::be::Be16;
use proxy_common::flags::{AddrFlags, detect};
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, Class, Frontend};

/// What the maps hold for a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Name of the Service.
    pub(crate) service: String,
    /// Its backends for the flow's class, as `explain` shows them.
    pub(crate) backends: BTreeSet<String>,
}

/// `None`: no frontend there.
pub(crate) fn planned(state: &State, question: &Question) -> Option<Planned> {
    let side = state.side(question);
    let dst = question.dst;
    let local = dst.ip().is_loopback() || dst.ip().is_unspecified();
    if local && side != Side::Host {
        return None;
    }
    // One address stands for all of loopback.
    let key = match dst.ip() {
        IpAddr::V4(_) if local => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) if local => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let served = state
        .addrs
        .get(&key)
        .is_some_and(|flags| flags.has(AddrFlags::NODE_PORT));
    let wanted = (dst.port(), question.proto.number(), served);
    let maps = &state.maps;
    let class = class(state, question, side);
    let (service, backends) = match dst.ip() {
        IpAddr::V4(ip) => family(&maps.frontends4, &maps.backends4, ip.into(), wanted, class)?,
        IpAddr::V6(ip) => family(&maps.frontends6, &maps.backends6, ip.into(), wanted, class)?,
    };
    Some(Planned {
        service: state.name(service),
        backends,
    })
}

fn class(state: &State, question: &Question, side: Side) -> Class {
    let ip = question.src.ip;
    let inside = match state.settings.detect {
        detect::CIDR => {
            let v4 = state.maps.cidrs4.0.map(|(addr, bits)| (addr.ip(), bits));
            let v6 = state.maps.cidrs6.0.map(|(addr, bits)| (addr.ip(), bits));
            v4.into_iter().chain(v6).any(|net| within(net, ip))
        }
        detect::DEVICE => side == Side::Pod,
        _ => false,
    };
    match side {
        Side::Host => Class::Host,
        _ if inside => Class::Inside,
        _ => Class::Outside,
    }
}

fn family<A: Addr>(
    frontends: &BTreeMap<FrontendKey<A>, Frontend>,
    backends: &BTreeMap<u32, Backend<A>>,
    addr: A,
    (port, proto, served): (u16, u8, bool),
    class: Class,
) -> Option<(u32, BTreeSet<String>)> {
    let at = |addr| frontends.get(&FrontendKey::new(addr, Be16::new(port), proto));
    let exact = (addr != A::unspecified()).then(|| at(addr)).flatten();
    let node_port = || served.then(|| at(A::unspecified())).flatten();
    let frontend = exact.or_else(node_port)?;
    let slice = frontend.slice(class);
    let slots = slice.offset..slice.offset.saturating_add(slice.count);
    let backends = slots.filter_map(|slot| backends.get(&slot));
    let shown =
        backends.map(|backend| SocketAddr::new(backend.addr.ip(), backend.port.get()).to_string());
    Some((frontend.service, shown.collect()))
}
