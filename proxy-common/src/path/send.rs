//! The last step: translate, then out by the way that the flow's flags name.

use crate::addr::Addr;
use crate::flags::{DeviceFlags, FlowFlags, feature};
use crate::key::FlowKey;
use crate::path::body::{Found, Interface, Packet, Route, Tables, Verdict};
use crate::path::parse::Headers;
use crate::path::rewrite;
use crate::path::step::Step;
use crate::reason::Reason;

/// Whether `ifindex` is a device that packets may be redirected out of.
#[inline]
pub fn redirectable<C: Interface>(ctx: &C, ifindex: u32) -> bool {
    let wanted = if C::XDP {
        DeviceFlags::REDIRECT.with(DeviceFlags::XDP)
    } else {
        DeviceFlags::REDIRECT
    };
    ctx.device(ifindex)
        .is_some_and(|device| device.flags.has(wanted))
}

/// Translates a packet to `to` and sends it as `flags` say. In XDP all but a redirect is left to TC, untouched.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn send<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    to: &FlowKey<A>,
    flags: FlowFlags,
    reason: Reason,
) -> Step {
    if !rewrite::can_translate(headers, to) {
        return failed(ctx);
    }
    if flags.has(FlowFlags::REDIRECT) {
        return redirect(ctx, headers, to, reason);
    }
    if C::XDP {
        ctx.count(Reason::Deferred);
        return Step::done(Verdict::PASS);
    }
    if rewrite::translate(ctx, headers, to).is_none() {
        return failed(ctx);
    }
    ctx.count(reason);
    if flags.has(FlowFlags::HAIRPIN) {
        return back(ctx);
    }
    // Answers are past netfilter, and the mark would stay with them into a tunnel.
    let masquerade = flags.has(FlowFlags::MASQUERADE) && !flags.has(FlowFlags::REPLY);
    Step::done(if masquerade {
        Verdict::mark(ctx.masquerade_mark())
    } else {
        Verdict::PASS
    })
}

/// The packet may be half written, and cannot be what it should become: nobody else may see it.
#[inline]
fn failed<C: Interface>(ctx: &C) -> Step {
    ctx.count(Reason::EditFailed);
    Step::done(Verdict::DROP)
}

/// Out of the device the packet came in by, to the host that sent it.
#[inline]
pub fn back<C: Packet + Interface>(ctx: &mut C) -> Step {
    match rewrite::swap_macs(ctx) {
        Some(()) => Step::done(Verdict::BACK),
        None => failed(ctx),
    }
}

#[inline]
fn redirect<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    to: &FlowKey<A>,
    reason: Reason,
) -> Step {
    let route = ctx.route(ctx.ifindex(), to.src, to.dst);
    if route.found == Found::Nowhere {
        // The stack would take the packet for a martian, or for its own: what it cannot deliver it must not see.
        ctx.count(Reason::NoRoute);
        return Step::done(if C::XDP { Verdict::PASS } else { Verdict::DROP });
    }
    if C::XDP && (route.found == Found::Device || !redirectable(ctx, route.ifindex)) {
        ctx.count(Reason::Deferred);
        return Step::done(Verdict::PASS);
    }
    let mtu = ctx
        .device(route.ifindex)
        .map_or(u32::MAX, |device| device.mtu);
    if route.found == Found::TooBig
        || ctx.segment_len(headers.l4 - headers.l3 + u32::from(headers.l4_len)) > mtu
    {
        return Step::reject(Reason::TooBig, mtu);
    }
    match rewrite::age::<A, C>(ctx, headers.l3) {
        Some(true) => {}
        Some(false) => return Step::reject(Reason::TtlExceeded, 0),
        None => return failed(ctx),
    }
    if rewrite::translate(ctx, headers, to).is_none() {
        return failed(ctx);
    }
    ctx.count(reason);
    leave(ctx, &route)
}

/// The link-layer header, where the neighbour is known; else the kernel's own way. To the other end of a pod's device without
/// that device's queue.
#[inline]
fn leave<C: Packet + Interface>(ctx: &mut C, route: &Route) -> Step {
    if C::L2 == 0 || route.found != Found::Neighbour {
        return Step::done(Verdict::redirect_neigh(route.ifindex));
    }
    match ctx.set_words(0, route.macs) {
        Some(()) if ctx.has(feature::HOST_ROUTING) && is_pair(ctx, route.ifindex) => {
            Step::done(Verdict::redirect_peer(route.ifindex))
        }
        Some(()) => Step::done(Verdict::redirect(route.ifindex)),
        None => failed(ctx),
    }
}

/// Asked for only where it matters: the verifier would walk all that is between twice.
#[inline]
fn is_pair<C: Interface>(ctx: &C, ifindex: u32) -> bool {
    ctx.device(ifindex)
        .is_some_and(|device| device.flags.has(DeviceFlags::PEER))
}
