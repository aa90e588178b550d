//! TC ingress and XDP: requests to frontends, and answers to connections whose source we translated.

use crate::addr::{Addr, V4, V6, proto};
use crate::be::Be16;
use crate::flags::{AddrFlags, FlowFlags, feature, flow_state};
use crate::key::FlowKey;
use crate::path::body::{FlowHandle, Interface, Packet, Tables, Verdict};
use crate::path::parse::{self, Headers, Parse, Part, ethertype, tcp};
use crate::path::step::{Decision, Step};
use crate::path::{connect, embryo, filter, icmp, send};
use crate::reason::Reason;
use crate::value::{Flow, Fragment, backend_state};

/// A packet that enters by a covered device.
#[inline]
pub fn ingress<C: Packet + Tables<V4> + Tables<V6> + Interface>(ctx: &mut C) -> Verdict {
    match ctx.ethertype() {
        ethertype::IPV4 if !filter::is_others::<V4, C>(ctx, false) => family::<V4, C>(ctx),
        ethertype::IPV6 if !filter::is_others::<V6, C>(ctx, false) => family::<V6, C>(ctx),
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
    let mut headers = Headers::<A>::blank(ctx.zero());
    if !parse::parse_into(ctx, &mut headers) {
        return pass(ctx);
    }
    let mut to = FlowKey::blank(ctx.zero());
    let step = decide(ctx, &mut headers, &mut to);
    carry_out(ctx, &headers, &to, step)
}

/// Edits and sends the packet as was decided.
#[inline]
pub fn carry_out<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    to: &FlowKey<A>,
    mut step: Step,
) -> Verdict {
    if let Decision::Send(flags, reason) = step.decision() {
        if headers.part == Part::First && !ctx.dry() {
            first_fragment(ctx, headers, to, flags);
        }
        step = send::send(ctx, headers, to, flags, reason);
    }
    if let Decision::Reject(reason, mtu) = step.decision() {
        step = icmp::reject(ctx, headers, reason, mtu);
    }
    match step.decision() {
        Decision::Done(verdict) => verdict,
        Decision::Send(..) | Decision::Reject(..) => Verdict::DROP,
    }
}

/// What to do with the packet; `to` becomes the tuple to give it.
#[inline]
fn decide<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &mut Headers<A>,
    to: &mut FlowKey<A>,
) -> Step {
    if headers.part == Part::Later {
        return later_fragment(ctx, headers, to, false);
    }
    match headers.key.proto {
        proto::TCP | proto::UDP | proto::SCTP => {}
        _ => return icmp::translate(ctx, headers, to, false),
    }
    // UDP flows go with the address that they were made for, so that ADDRS alone tells what is not ours: it is small and its lines
    // stay in the processor's caches. Answers to source ports of ours come to addresses that need not be there, and so do answers past
    // the stack.
    if headers.key.proto == proto::UDP
        && !ctx.has(feature::HOST_ROUTING)
        && !in_snat_range(ctx, headers.key.dport)
        && ctx.addr(&headers.key.dst).is_none()
        && !filter::may_meet(ctx, &headers.key)
    {
        return connect::stranger(ctx, &headers.key.dst);
    }
    // A dry run asks what becomes of a new connection, not of one that may have this very tuple.
    if !ctx.dry()
        && let Some(step) = known(ctx, headers, to)
    {
        return step;
    }
    if headers.key.proto != proto::UDP && !headers.opens() {
        return Step::done(pass(ctx));
    }
    // For UDP once more: to keep the first answer costs stack that is not there.
    let known = match ctx.addr(&headers.key.dst) {
        Some(known) => known,
        None if !C::XDP && connect::may_meet(ctx, &headers.key) => AddrFlags::default(),
        None => return connect::stranger(ctx, &headers.key.dst),
    };
    connect::connect(ctx, headers, known, to)
}

/// A packet of a flow, or the first answer of a connection whose source we translated.
#[inline]
fn known<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &C,
    headers: &Headers<A>,
    to: &mut FlowKey<A>,
) -> Option<Step> {
    // Of plain TCP the filter was asked before; the rest is rare.
    let opens = headers.key.proto == proto::UDP || headers.opens();
    if opens && !filter::may_have(ctx, &headers.key) {
        return None;
    }
    if let Some(handle) = ctx.flow(&headers.key) {
        let flow = handle.load();
        if flow.flags.at_egress() {
            return Some(Step::done(pass(ctx)));
        }
        if valid(ctx, headers, &flow) {
            return Some(established(ctx, headers, &handle, to));
        }
        embryo::remove(ctx, &headers.key, &handle);
        if headers.key.proto == proto::UDP {
            ctx.count(Reason::Rebalanced);
        }
    } else if answers(headers)
        && (ctx.has(feature::HOST_ROUTING) || in_snat_range(ctx, headers.key.dport))
        && let Some(handle) = ctx.embryo(&headers.key)
        && embryo::waits(&handle, ctx.now())
        && is_answer_here(handle.load().flags)
    {
        return Some(answer(ctx, headers, &handle, to));
    }
    None
}

/// An entry for answers that are translated at ingress.
#[inline]
fn is_answer_here(flags: FlowFlags) -> bool {
    flags.has(FlowFlags::REPLY) && !flags.at_egress()
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

/// Whether the flow still holds for this packet. UDP follows its backend's life; TCP and SCTP are left to finish, but a SYN or INIT asks anew.
#[inline]
fn valid<A: Addr, C: Interface>(ctx: &C, headers: &Headers<A>, flow: &Flow<A>) -> bool {
    if flow.flags.has(FlowFlags::REPLY) {
        // As at egress: a closed connection does not answer a SYN.
        return flow.flags.has(FlowFlags::SNAT)
            || headers.tcp & tcp::SYN == 0
            || !flow_state::closed(flow.state);
    }
    let udp = headers.key.proto == proto::UDP;
    if !udp && !headers.opens() {
        return true;
    }
    if !udp && flow_state::closed(flow.state) {
        return false;
    }
    // None: the client addressed the backend itself.
    if flow.backend == 0 {
        return true;
    }
    ctx.backend_state(flow.backend).is_some_and(|state| {
        state.generation == flow.generation
            && (state.state == backend_state::ACTIVE
                || udp && state.state == backend_state::DRAINING)
    })
}

/// A packet of a known flow.
#[inline]
pub fn established<A: Addr, C: Tables<A> + Interface>(
    ctx: &C,
    headers: &Headers<A>,
    handle: &<C as Tables<A>>::Flow,
    to: &mut FlowKey<A>,
) -> Step {
    handle.touch(ctx.now());
    if headers.tcp & (tcp::FIN | tcp::RST) != 0 {
        note_end(ctx, headers, handle);
    }
    let flow = handle.load();
    *to = flow.translated(headers.key.proto);
    Step::send(flow.flags, Reason::Established)
}

/// Records a FIN or RST, or what SCTP has for them, in the entries of both directions.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn note_end<A: Addr, C: Tables<A>>(ctx: &C, headers: &Headers<A>, handle: &<C as Tables<A>>::Flow) {
    let flow = handle.load();
    let (fin, rst) = if flow.flags.has(FlowFlags::REPLY) {
        (flow_state::FIN_BACKEND, flow_state::RST_BACKEND)
    } else {
        (flow_state::FIN_CLIENT, flow_state::RST_CLIENT)
    };
    let bits = if headers.tcp & tcp::RST != 0 {
        rst
    } else {
        fin
    };
    handle.add_state(bits);
    if let Some(peer) = ctx.flow(&flow.peer(headers.key.proto)) {
        peer.add_state(bits);
    }
}

#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn first_fragment<A: Addr, C: Tables<A>>(
    ctx: &C,
    headers: &Headers<A>,
    to: &FlowKey<A>,
    flags: FlowFlags,
) {
    let fragment = Fragment {
        src: to.src,
        dst: to.dst,
        flags,
        reserved: 0,
    };
    ctx.fragment_insert(&headers.fragment_key(), &fragment);
}

/// A fragment without ports goes where its first part went.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn later_fragment<A: Addr, C: Tables<A> + Interface>(
    ctx: &C,
    headers: &Headers<A>,
    to: &mut FlowKey<A>,
    egress: bool,
) -> Step {
    let Some(fragment) = ctx.fragment(&headers.fragment_key()) else {
        ctx.count(Reason::FragmentUnknown);
        return Step::done(Verdict::PASS);
    };
    if fragment.flags.at_egress() != egress {
        return Step::done(pass(ctx));
    }
    *to = headers.key;
    to.src = fragment.src;
    to.dst = fragment.dst;
    Step::send(fragment.flags, Reason::Established)
}

/// The first answer of a connection.
#[inline]
pub fn answer<A: Addr, C: Tables<A> + Interface>(
    ctx: &C,
    headers: &Headers<A>,
    handle: &<C as Tables<A>>::Flow,
    to: &mut FlowKey<A>,
) -> Step {
    // Before it may be another connection's, see `promote`; and not kept, for the stack's sake.
    let flow = handle.load();
    let flags = flow.flags;
    *to = flow.translated(headers.key.proto);
    if headers.key.proto == proto::UDP {
        handle.add_state(flow_state::REPLIED);
        handle.touch(ctx.now());
    } else if headers.tcp & tcp::RST == 0
        && let Err(reason) = embryo::promote(ctx, &headers.key, handle)
    {
        ctx.count(reason);
        return Step::done(Verdict::DROP);
    }
    Step::send(flags, Reason::Established)
}
