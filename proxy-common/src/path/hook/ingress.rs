//! TC ingress and XDP: requests to frontends, and answers to connections whose source we translated.

use crate::addr::{Addr, V4, V6, proto};
use crate::be::Be16;
use crate::flags::{BackendFlags, DeviceFlags, FlowFlags, FrontendFlags, flow_state};
use crate::key::FlowKey;
use crate::path::body::{FlowHandle, Found, Interface, Packet, Tables, Verdict};
use crate::path::embryo::{self, Plan};
use crate::path::parse::{self, Headers, Parse, Part, ethertype, tcp};
use crate::path::step::{Decision, Step};
use crate::path::{icmp, lookup, select, send};
use crate::reason::Reason;
use crate::value::{Class, Flow, Fragment, Frontend, backend_state};

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
        if headers.part == Part::First {
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
        proto::TCP | proto::UDP => {}
        _ => return icmp::translate(ctx, headers, to, false),
    }
    if let Some(handle) = ctx.flow(&headers.key) {
        let flow = handle.load();
        if flow.flags.has(FlowFlags::REPLY) && !flow.flags.has(FlowFlags::SNAT) {
            return Step::done(pass(ctx));
        }
        if valid(ctx, headers, &flow) {
            return established(ctx, headers, &handle, to);
        }
        embryo::remove(ctx, &headers.key, &handle);
        if headers.key.proto == proto::UDP {
            ctx.count(Reason::Rebalanced);
        }
    } else if answers(headers)
        && in_snat_range(ctx, headers.key.dport)
        && let Some(handle) = ctx.embryo(&headers.key)
        && embryo::waits(&handle, ctx.now())
        && handle.load().flags.has(FlowFlags::SNAT)
    {
        return answer(ctx, headers, &handle, to);
    }
    if headers.key.proto == proto::TCP && !headers.opens() {
        return Step::done(pass(ctx));
    }
    let mut frontend = Frontend::blank(ctx.zero());
    if !lookup::frontend(ctx, &headers.key, &mut frontend) {
        return Step::done(pass(ctx));
    }
    new_connection(ctx, headers, &frontend, to)
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

/// Records a FIN or RST in the entries of both directions.
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
    let at_egress = fragment.flags.has(FlowFlags::REPLY) && !fragment.flags.has(FlowFlags::SNAT);
    if at_egress != egress {
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
    if headers.key.proto == proto::UDP {
        handle.add_state(flow_state::REPLIED);
        handle.touch(ctx.now());
    } else if headers.tcp & tcp::RST == 0
        && let Err(reason) = embryo::promote(ctx, &headers.key, handle)
    {
        ctx.count(reason);
        return Step::done(Verdict::DROP);
    }
    let flow = handle.load();
    *to = flow.translated(headers.key.proto);
    Step::send(flow.flags, Reason::Established)
}

/// A connection that is not known yet.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn new_connection<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &C,
    headers: &Headers<A>,
    frontend: &Frontend,
    to: &mut FlowKey<A>,
) -> Step {
    let pod = ctx
        .device(ctx.ifindex())
        .is_some_and(|device| device.flags.has(DeviceFlags::POD));
    let slice = frontend.slice(if pod { Class::Inside } else { Class::Outside });
    if slice.count == 0 {
        if frontend.flags.has(FrontendFlags::REJECT) {
            return Step::reject(Reason::NoEndpoints, 0);
        }
        ctx.count(Reason::NoLocalEndpoints);
        return Step::done(if C::XDP { Verdict::PASS } else { Verdict::DROP });
    }
    let hash = select::hash(&headers.key, frontend, ctx.hash_seed());
    let Some(backend) = ctx
        .backend(select::slot(slice, hash))
        .filter(|backend| backend.id != 0)
    else {
        ctx.count(Reason::Inconsistent);
        return Step::done(Verdict::PASS);
    };
    let mut plan = Plan {
        client: &headers.key,
        backend: &backend,
        service: frontend.service,
        source: headers.key.src,
        flags: FlowFlags::default(),
        hash,
    };
    choose_way(ctx, &mut plan, pod);
    if C::XDP && !plan.flags.has(FlowFlags::REDIRECT) {
        ctx.count(Reason::Deferred);
        return Step::done(Verdict::PASS);
    }
    let reason = embryo::claim(ctx, &plan, to);
    if reason == Reason::SnatPortsExhausted {
        ctx.count(reason);
        return Step::done(Verdict::DROP);
    }
    if reason == Reason::Retransmitted {
        embryo::again(ctx, to);
    }
    *to = to.reversed();
    Step::send(plan.flags, reason)
}

/// How the connection reaches its backend: DESIGN section 5, one row a line.
#[inline]
fn choose_way<A: Addr, C: Tables<A> + Interface>(ctx: &C, plan: &mut Plan<'_, A>, pod: bool) {
    if pod && plan.backend.addr == plan.client.src {
        plan.source = ctx.hairpin();
        plan.flags = FlowFlags::SNAT.with(FlowFlags::HAIRPIN);
    } else if !pod && !plan.backend.flags.has(BackendFlags::LOCAL) {
        plan.flags = FlowFlags::MASQUERADE;
        ours(ctx, plan);
    }
}

/// The fast way, if both the route to the backend and the device back to the client allow it.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn ours<A: Addr, C: Tables<A> + Interface>(ctx: &C, plan: &mut Plan<'_, A>) {
    let route = ctx.route(ctx.ifindex(), plan.client.src, plan.backend.addr);
    if route.found == Found::Nowhere || C::XDP && route.found == Found::Device {
        return;
    }
    if !send::redirectable(ctx, route.ifindex) || !send::redirectable(ctx, ctx.ifindex()) {
        return;
    }
    let Some(device) = ctx.device(route.ifindex) else {
        return;
    };
    let source = A::from_words(if A::IS_V6 {
        device.src6.words()
    } else {
        device.src4.words()
    });
    if source != A::unspecified() {
        plan.source = source;
        plan.flags = FlowFlags::SNAT.with(FlowFlags::REDIRECT);
    }
}
