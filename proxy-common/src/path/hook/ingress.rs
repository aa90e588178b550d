//! TC ingress and XDP: requests to frontends, and answers to connections whose source we translated.

use crate::addr::{Addr, V4, V6, proto};
use crate::be::Be16;
use crate::flags::{BackendFlags, DeviceFlags, FlowFlags, FrontendFlags, flow_state};
use crate::path::body::{FlowHandle, Interface, Packet, Routed, Tables, Verdict};
use crate::path::embryo::{self, Plan};
use crate::path::parse::{Headers, Parse, Part, ethertype, tcp};
use crate::path::{icmp, lookup, select, send};
use crate::reason::Reason;
use crate::value::{Backend, Class, Flow, Fragment, Frontend, backend_state};

/// A packet that enters by a covered device.
#[inline]
pub fn ingress<C: Packet + Tables<V4> + Tables<V6> + Interface>(ctx: &mut C) -> Verdict {
    match ctx.ethertype() {
        ethertype::IPV4 => family::<V4, C>(ctx),
        ethertype::IPV6 => family::<V6, C>(ctx),
        _ => pass(ctx),
    }
}

#[inline]
fn pass<C: Interface>(ctx: &C) -> Verdict {
    ctx.count(Reason::NotOurs);
    Verdict::PASS
}

#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn family<A: Parse, C: Packet + Tables<A> + Interface>(ctx: &mut C) -> Verdict {
    let Some(headers) = A::parse(ctx) else { return pass(ctx) };
    if headers.part == Part::Later {
        return later_fragment(ctx, &headers, false);
    }
    match headers.key.proto {
        proto::TCP | proto::UDP => {}
        _ => return icmp::translate(ctx, &headers, false),
    }
    if let Some(handle) = ctx.flow(&headers.key) {
        let flow = handle.load();
        if flow.flags.has(FlowFlags::REPLY) && !flow.flags.has(FlowFlags::SNAT) {
            return pass(ctx);
        }
        if valid(ctx, &headers, &flow) {
            note(ctx, &headers, &handle, &flow);
            return forward(ctx, &headers, &flow, Reason::Established);
        }
        embryo::remove(ctx, &headers.key, &flow);
        if headers.key.proto == proto::UDP {
            ctx.count(Reason::Rebalanced);
        }
    } else if answers(&headers)
        && in_snat_range(ctx, headers.key.dport)
        && let Some(handle) = ctx.embryo(&headers.key)
    {
        let flow = handle.load();
        if flow.flags.has(FlowFlags::SNAT) {
            return answer(ctx, &headers, &handle, &flow);
        }
    }
    if headers.key.proto == proto::TCP && !headers.opens() {
        return pass(ctx);
    }
    match lookup::frontend(ctx, headers.key.dst, headers.key.dport, headers.key.proto) {
        Some(frontend) => new_connection(ctx, &headers, &frontend),
        None => pass(ctx),
    }
}

/// Whether the packet can be the first answer to a connection.
#[inline]
pub fn answers<A: Addr>(headers: &Headers<A>) -> bool {
    headers.key.proto == proto::UDP
        || headers.tcp & tcp::RST != 0
        || headers.tcp & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK
}

#[inline]
fn in_snat_range<C: Interface>(ctx: &C, port: Be16) -> bool {
    let (first, last) = ctx.snat_ports();
    port.get() >= first && port.get() <= last
}

/// Whether the flow still holds for this packet. UDP follows its backend's life; TCP is left to finish, but a SYN asks anew.
#[inline]
fn valid<A: Addr, C: Interface>(ctx: &C, headers: &Headers<A>, flow: &Flow<A>) -> bool {
    if flow.flags.has(FlowFlags::REPLY) {
        return true;
    }
    let udp = headers.key.proto == proto::UDP;
    if !udp && !headers.opens() {
        return true;
    }
    if !udp && flow_state::closed(flow.state) {
        return false;
    }
    ctx.backend_state(flow.backend).is_some_and(|state| {
        state.generation == flow.generation
            && (state.state == backend_state::ACTIVE || udp && state.state == backend_state::DRAINING)
    })
}

/// Records what the packet tells of the connection's state.
#[inline]
pub fn note<A: Addr, C: Tables<A> + Interface>(
    ctx: &C,
    headers: &Headers<A>,
    handle: &<C as Tables<A>>::Flow,
    flow: &Flow<A>,
) {
    handle.touch(ctx.now());
    if headers.tcp & (tcp::FIN | tcp::RST) == 0 {
        return;
    }
    let bits = if headers.tcp & tcp::RST != 0 {
        if flow.flags.has(FlowFlags::REPLY) { flow_state::RST_BACKEND } else { flow_state::RST_CLIENT }
    } else if flow.flags.has(FlowFlags::REPLY) {
        flow_state::FIN_BACKEND
    } else {
        flow_state::FIN_CLIENT
    };
    handle.add_state(bits);
    if let Some(peer) = ctx.flow(&flow.peer(headers.key.proto)) {
        peer.add_state(bits);
    }
}

/// Sends the packet of a known flow on, and remembers how if more parts of it follow.
#[inline]
pub fn forward<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    flow: &Flow<A>,
    reason: Reason,
) -> Verdict {
    if headers.part == Part::First {
        let fragment = Fragment { src: flow.src, dst: flow.dst, flags: flow.flags, reserved: 0 };
        ctx.fragment_insert(&headers.fragment_key(), &fragment);
    }
    send::send(ctx, headers, &flow.translated(headers.key.proto), flow.flags, reason)
}

/// A fragment without ports goes where its first part went.
#[inline]
pub fn later_fragment<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    egress: bool,
) -> Verdict {
    let Some(fragment) = ctx.fragment(&headers.fragment_key()) else {
        ctx.count(Reason::FragmentUnknown);
        return Verdict::PASS;
    };
    let at_egress = fragment.flags.has(FlowFlags::REPLY) && !fragment.flags.has(FlowFlags::SNAT);
    if at_egress != egress {
        return pass(ctx);
    }
    let flow = Flow { src: fragment.src, dst: fragment.dst, flags: fragment.flags, ..Flow::default() };
    send::send(ctx, headers, &flow.translated(headers.key.proto), flow.flags, Reason::Established)
}

/// The first answer of a connection.
#[inline]
pub fn answer<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    handle: &<C as Tables<A>>::Flow,
    flow: &Flow<A>,
) -> Verdict {
    if headers.key.proto == proto::UDP {
        handle.add_state(flow_state::REPLIED);
        handle.touch(ctx.now());
    } else if headers.tcp & tcp::RST == 0
        && let Err(reason) = embryo::promote(ctx, &headers.key, flow)
    {
        ctx.count(reason);
        return Verdict::DROP;
    }
    forward(ctx, headers, flow, Reason::Established)
}

/// How a new connection reaches its backend.
#[derive(Clone, Copy)]
struct Way<A> {
    source: A,
    flags: FlowFlags,
}

#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn new_connection<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    frontend: &Frontend,
) -> Verdict {
    let pod = ctx.device(ctx.ifindex()).is_some_and(|device| device.flags.has(DeviceFlags::POD));
    let slice = frontend.slice(if pod { Class::Inside } else { Class::Outside });
    if slice.count == 0 {
        if frontend.flags.has(FrontendFlags::REJECT) {
            return icmp::reject(ctx, headers, icmp::Error::PortUnreachable, Reason::NoEndpoints);
        }
        ctx.count(Reason::NoLocalEndpoints);
        return if C::XDP { Verdict::PASS } else { Verdict::DROP };
    }
    let hash = select::hash(&headers.key, frontend, ctx.hash_seed());
    let Some(backend) = ctx.backend(select::slot(slice, hash)) else {
        ctx.count(Reason::Inconsistent);
        return Verdict::PASS;
    };
    let way = way(ctx, headers, &backend, pod);
    if C::XDP && !way.flags.has(FlowFlags::REDIRECT) {
        ctx.count(Reason::Deferred);
        return Verdict::PASS;
    }
    let plan = Plan {
        client: headers.key,
        backend,
        service: frontend.service,
        source: way.source,
        flags: way.flags,
        hash,
    };
    connect(ctx, headers, &plan)
}

#[inline]
fn connect<A: Addr, C: Packet + Tables<A> + Interface>(ctx: &mut C, headers: &Headers<A>, plan: &Plan<A>) -> Verdict {
    let claim = match embryo::claim(ctx, plan) {
        Ok(claim) => claim,
        Err(reason) => {
            ctx.count(reason);
            return Verdict::DROP;
        }
    };
    if claim.again {
        // A table that is full, or a tuple that was taken, is no reason to hold this packet: the embryo still serves it.
        if embryo::ripe(ctx, &claim)
            && let Err(reason) = embryo::promote(ctx, &claim.key, &claim.answer)
        {
            ctx.count(reason);
        }
        if let Some(handle) = ctx.embryo(&claim.key) {
            handle.touch(ctx.now());
        }
    }
    let to = claim.key.reversed();
    let flow = Flow {
        src: to.src,
        dst: to.dst,
        sport: to.sport,
        dport: to.dport,
        flags: plan.flags,
        ..Flow::default()
    };
    let reason = if claim.again { Reason::Retransmitted } else { Reason::NewFlow };
    forward(ctx, headers, &flow, reason)
}

/// DESIGN section 5, one row a line.
#[inline]
fn way<A: Addr, C: Tables<A> + Interface>(ctx: &C, headers: &Headers<A>, backend: &Backend<A>, pod: bool) -> Way<A> {
    let client = headers.key.src;
    if backend.addr == client {
        return Way { source: ctx.hairpin(), flags: FlowFlags::SNAT.with(FlowFlags::HAIRPIN) };
    }
    if pod || backend.flags.has(BackendFlags::LOCAL) {
        return Way { source: client, flags: FlowFlags::default() };
    }
    match ours(ctx, headers, backend) {
        Some(source) => Way { source, flags: FlowFlags::SNAT.with(FlowFlags::REDIRECT) },
        None => Way { source: client, flags: FlowFlags::MASQUERADE },
    }
}

/// The source address of the fast way, if both the route to the backend and the device back to the client allow it.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn ours<A: Addr, C: Tables<A> + Interface>(ctx: &C, headers: &Headers<A>, backend: &Backend<A>) -> Option<A> {
    let ifindex = match ctx.route(ctx.ifindex(), headers.key.src, backend.addr) {
        Routed::To(route) if !C::XDP || route.macs.is_some() => route.ifindex,
        Routed::TooBig { ifindex } => ifindex,
        _ => return None,
    };
    if !send::redirectable(ctx, ifindex) || !send::redirectable(ctx, ctx.ifindex()) {
        return None;
    }
    let device = ctx.device(ifindex)?;
    let source = A::from_words(if A::IS_V6 { device.src6.words() } else { device.src4.words() });
    (source != A::unspecified()).then_some(source)
}
