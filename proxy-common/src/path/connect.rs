//! Connections that are not known yet: whether they are ours, who may have them, which backend they get and by which way.

use crate::addr::Addr;
use crate::flags::{
    AddrFlags, BackendFlags, DeviceFlags, FlowFlags, FrontendFlags, feature, flow_state,
};
use crate::key::FlowKey;
use crate::path::body::{FlowHandle as _, Found, Interface, Packet, Tables, Verdict};
use crate::path::embryo::{self, Plan};
use crate::path::lookup::{self, Terms};
use crate::path::parse::Headers;
use crate::path::step::{Decision, Step};
use crate::path::{affinity, filter, select, send};
use crate::reason::Reason;
use crate::value::Backend;

/// The first packet of a connection to an address that ADDRS does not have. That lookup is all that most of them cost.
#[inline]
pub fn stranger<A: Addr, C: Tables<A> + Interface>(ctx: &C, dst: &A) -> Step {
    if lookup::unallocated(ctx, dst) {
        drop_it(ctx, Reason::UnallocatedAddress)
    } else {
        untouched(ctx, Reason::NotOurs)
    }
}

/// Whether such an address may be a backend's to which the client speaks through a Service too: then [`connect`] looks closer.
#[inline]
pub fn may_meet<A: Addr, C: Tables<A>>(ctx: &C, client: &FlowKey<A>) -> bool {
    filter::may_meet(ctx, client) && !lookup::unallocated(ctx, &client.dst)
}

#[inline]
fn untouched<C: Interface>(ctx: &C, reason: Reason) -> Step {
    ctx.count(reason);
    Step::done(Verdict::PASS)
}

/// XDP leaves the packet to TC, which drops it, so that a capture on the device can show it.
#[inline]
fn drop_it<C: Interface>(ctx: &C, reason: Reason) -> Step {
    ctx.count(reason);
    Step::done(if C::XDP { Verdict::PASS } else { Verdict::DROP })
}

/// The first packet of a connection to an address of which ADDRS says `known`.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn connect<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &C,
    headers: &Headers<A>,
    known: AddrFlags,
    to: &mut FlowKey<A>,
) -> Step {
    let mut plan = Plan::blank(&headers.key, ctx.zero());
    let step = offer(ctx, known, &mut plan);
    if !matches!(step.decision(), Decision::Send(..)) {
        return step;
    }
    choose_way(ctx, &mut plan);
    if !C::XDP && ctx.has(feature::HOST_ROUTING) {
        past_the_stack(ctx, &mut plan);
    }
    if C::XDP && !plan.flags.has(FlowFlags::REDIRECT) {
        return untouched(ctx, Reason::Deferred);
    }
    filter::note(ctx, &plan);
    let reason = embryo::claim(ctx, &plan, to);
    match reason {
        Reason::SnatPortsExhausted => {
            ctx.count(reason);
            return Step::done(Verdict::DROP);
        }
        Reason::Retransmitted => embryo::again(ctx, to),
        _ => record(ctx, &plan, to),
    }
    *to = to.reversed();
    Step::send(plan.flags, reason)
}

/// What the Service has for the client: [`Decision::Send`] and the terms and a backend in `plan`, or what else to do.
#[inline(never)] // its own stack frame, and the verifier walks what follows once, not once for each way through this
fn offer<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &C,
    known: AddrFlags,
    plan: &mut Plan<'_, A>,
) -> Step {
    let client = plan.client;
    // NodePorts are kept under the unspecified address, which is no address to speak to. Loopback is for the host's own
    // processes: from the wire it is forged (RFC 1122 section 3.2.1.3), and would reach NodePorts that are served there only.
    if client.dst == A::unspecified() || client.dst.is_loopback() {
        return untouched(ctx, Reason::NotOurs);
    }
    let device = ctx
        .device(ctx.ifindex())
        .map_or(DeviceFlags::default(), |device| device.flags);
    plan.pod = device.has(DeviceFlags::POD);
    plan.device = ctx.ifindex() as u8;
    let class = lookup::class(ctx, device, &client.src);
    let wanted = (client.dst, client.dport, client.proto);
    match lookup::terms(ctx, known, wanted, class) {
        Some(terms) => plan.terms = terms,
        None if !C::XDP && meets(ctx, plan) => {
            return Step::send(FlowFlags::default(), Reason::NewFlow);
        }
        None => return unserved(ctx, client, known, plan.pod),
    }
    let terms = &plan.terms;
    if terms.flags.has(FrontendFlags::RANGES) && !lookup::in_range(ctx, terms.ranges, &client.src) {
        return drop_it(ctx, Reason::SourceRangeDenied);
    }
    if terms.slice.count == 0 {
        if terms.flags.has(FrontendFlags::REJECT) {
            return Step::reject(Reason::NoEndpoints, 0);
        }
        return drop_it(ctx, Reason::NoLocalEndpoints);
    }
    plan.hash = select::hash(client, terms, ctx.hash_seed());
    if !choose(ctx, client, terms, plan.hash, &mut plan.backend) {
        return untouched(ctx, Reason::Inconsistent);
    }
    Step::send(FlowFlags::default(), Reason::NewFlow)
}

/// Whether the client speaks by the very same ports through a Service to where it sends this packet directly. Then the answers of both would have one
/// tuple, so the connection, which is none of ours otherwise, gets another source port: netfilter's NAT does the same. `plan` gets its backend.
///
/// What one device let in translated, another may see as if it were sent so: hence only if both came by the same device.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn meets<A: Addr, C: Tables<A> + Interface>(ctx: &C, plan: &mut Plan<'_, A>) -> bool {
    let client = plan.client;
    if ctx.dry() || !filter::may_meet(ctx, client) {
        return false;
    }
    let answer = client.reversed();
    let flags = match ctx.flow(&answer) {
        // A closed one ends with the answer: see `egress`.
        Some(handle) if flow_state::closed(handle.load().state) => return false,
        Some(handle) => handle.load().flags,
        None => match ctx.embryo(&answer) {
            Some(handle) if embryo::waits(&handle, ctx.now()) => handle.load().flags,
            _ => return false,
        },
    };
    if !flags.has(FlowFlags::REPLY) || flags.has(FlowFlags::SNAT) || !flags.is_by(ctx.ifindex()) {
        return false;
    }
    plan.backend.addr = client.dst;
    plan.backend.port = client.dport;
    // Its address is kept wherever it is.
    plan.backend.flags = BackendFlags::LOCAL;
    plan.hash = select::hash(client, &plan.terms, ctx.hash_seed());
    true
}

/// [`FlowFlags::COUNTED`] with [`FrontendFlags::LEAST_CONNECTIONS`]. By shifting: with a condition the verifier would walk all
/// that follows twice.
#[inline]
fn counted(terms: &Terms) -> FlowFlags {
    const SHIFT: u32 =
        FrontendFlags::LEAST_CONNECTIONS.0.trailing_zeros() - FlowFlags::COUNTED.0.trailing_zeros();
    FlowFlags((terms.flags.0 >> SHIFT) as u16 & FlowFlags::COUNTED.0)
}

/// What the next packets of the client must be told.
#[inline]
fn record<A: Addr, C: Tables<A> + Interface>(ctx: &C, plan: &Plan<'_, A>, answer: &FlowKey<A>) {
    if ctx.dry() {
        return;
    }
    let terms = &plan.terms;
    if terms.affinity_seconds != 0 {
        affinity::note(ctx, terms.service, &plan.client.src, &plan.backend);
    } else if select::is_fleeting(terms) {
        embryo::remember(ctx, plan, answer);
        ctx.next_turn(terms.service);
    }
}

/// A backend that the client is known to have, or else a new one.
#[inline]
fn choose<A: Addr, C: Tables<A> + Interface>(
    ctx: &C,
    client: &FlowKey<A>,
    terms: &Terms,
    hash: u32,
    backend: &mut Backend<A>,
) -> bool {
    let known = !ctx.dry()
        && (terms.affinity_seconds != 0 && affinity::find(ctx, terms, &client.src, backend)
            || select::is_fleeting(terms) && embryo::remembered(ctx, client, terms, backend));
    known || select::choose(ctx, terms, &client.src, hash, backend)
}

/// A port that no Service has, of an address that we know (SEMANTICS 4.10).
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn unserved<A: Addr, C: Tables<A> + Interface>(
    ctx: &C,
    client: &FlowKey<A>,
    known: AddrFlags,
    pod: bool,
) -> Step {
    if known.has(AddrFlags::NODE) || !known.has(AddrFlags::VIRTUAL) {
        return untouched(ctx, Reason::NotOurs);
    }
    if known.has(AddrFlags::REJECT_UNKNOWN) {
        return Step::reject(Reason::UnknownPort, 0);
    }
    // The address leads here, and from here it leads back: a router and this node would pass the packet to and fro.
    if !pod {
        let route = ctx.route(ctx.ifindex(), client.src, client.dst);
        if route.found != Found::Nowhere && route.ifindex == ctx.ifindex() {
            return drop_it(ctx, Reason::RoutingLoop);
        }
    }
    untouched(ctx, Reason::NotOurs)
}

/// How the connection reaches its backend: DESIGN section 5. A pod's device sees the answers too; those of other clients'
/// remote backends would not come back by this node.
#[inline]
fn choose_way<A: Addr, C: Tables<A> + Interface>(ctx: &C, plan: &mut Plan<'_, A>) {
    let counted = counted(&plan.terms);
    let hairpin = plan.backend.addr == plan.client.src;
    let remote = !plan.backend.flags.has(BackendFlags::LOCAL);
    let away = !plan.pod && remote;
    if plan.pod && hairpin {
        plan.source = ctx.hairpin();
        plan.flags = FlowFlags::SNAT.with(FlowFlags::HAIRPIN);
    } else if plan.terms.masquerade() || hairpin || away && !ctx.has(feature::EXACT_MASQUERADE) {
        plan.flags = FlowFlags::MASQUERADE;
        if away {
            ours(ctx, plan);
        }
    }
    plan.flags = plan
        .flags
        .with(counted)
        .with(FlowFlags::by(plan.device.into()));
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

/// Straight to the pod, with the client's own address, if the route leads to its device, or to the bridge that has it as a port, and if the
/// answer may be sent out of the device that the client came by.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn past_the_stack<A: Addr, C: Tables<A> + Interface>(ctx: &C, plan: &mut Plan<'_, A>) {
    let translated = FlowFlags::SNAT.with(FlowFlags::MASQUERADE);
    // Not what `meets` found: its answers become those of the other connection, as egress sees them.
    let local = plan.backend.flags.has(BackendFlags::LOCAL) && plan.backend.id != 0;
    if plan.flags.0 & translated.0 != 0 || !local {
        return;
    }
    let route = ctx.route(ctx.ifindex(), plan.client.src, plan.backend.addr);
    let pods = ctx.device(route.ifindex).is_some_and(|device| {
        device.flags.has(DeviceFlags::REDIRECT) && !device.flags.has(DeviceFlags::NODE)
    });
    if route.found != Found::Nowhere && pods && send::redirectable(ctx, ctx.ifindex()) {
        plan.flags = plan.flags.with(FlowFlags::REDIRECT);
    }
}
