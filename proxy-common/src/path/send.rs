//! The last step: translate, then out by the way that the flow's flags name.

use crate::addr::Addr;
use crate::flags::{DeviceFlags, FlowFlags};
use crate::key::FlowKey;
use crate::path::body::{Interface, Packet, Route, Routed, Tables, Verdict};
use crate::path::icmp;
use crate::path::parse::Headers;
use crate::path::rewrite;
use crate::reason::Reason;

/// Whether `ifindex` is a device that packets may be redirected out of.
#[inline]
pub fn redirectable<C: Interface>(ctx: &C, ifindex: u32) -> bool {
    let wanted = if C::XDP { DeviceFlags::REDIRECT.with(DeviceFlags::XDP) } else { DeviceFlags::REDIRECT };
    ctx.device(ifindex).is_some_and(|device| device.flags.has(wanted))
}

/// Translates a packet to `to` and sends it as `flags` say. In XDP all but a redirect is left to TC, untouched.
#[inline]
pub fn send<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    to: &FlowKey<A>,
    flags: FlowFlags,
    reason: Reason,
) -> Verdict {
    if flags.has(FlowFlags::REDIRECT) {
        return redirect(ctx, headers, to, reason);
    }
    if C::XDP {
        ctx.count(Reason::Deferred);
        return Verdict::PASS;
    }
    if rewrite::translate(ctx, headers, to).is_none() {
        ctx.count(Reason::EditFailed);
        return Verdict::DROP;
    }
    ctx.count(reason);
    if flags.has(FlowFlags::HAIRPIN) {
        return back(ctx);
    }
    if flags.has(FlowFlags::MASQUERADE) {
        return Verdict::mark(ctx.masquerade_mark());
    }
    Verdict::PASS
}

/// Out of the device the packet came in by, to the host that sent it.
#[inline]
pub fn back<C: Packet + Interface>(ctx: &mut C) -> Verdict {
    if rewrite::swap_macs(ctx).is_none() {
        ctx.count(Reason::EditFailed);
        return Verdict::DROP;
    }
    Verdict::BACK
}

#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
fn redirect<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &Headers<A>,
    to: &FlowKey<A>,
    reason: Reason,
) -> Verdict {
    let route = match ctx.route(ctx.ifindex(), to.src, to.dst) {
        Routed::To(route) => route,
        Routed::TooBig { ifindex } => return too_big(ctx, headers, ifindex),
        // The stack would take the packet for a martian, or for its own: what it cannot deliver it must not see.
        Routed::Nowhere => {
            ctx.count(Reason::NoRoute);
            return if C::XDP { Verdict::PASS } else { Verdict::DROP };
        }
    };
    if C::XDP && (route.macs.is_none() || !redirectable(ctx, route.ifindex)) {
        ctx.count(Reason::Deferred);
        return Verdict::PASS;
    }
    let mtu = ctx.device(route.ifindex).map_or(u32::MAX, |device| device.mtu);
    if ctx.segment_len(headers.l4 - headers.l3) > mtu {
        return too_big(ctx, headers, route.ifindex);
    }
    match rewrite::age::<A, C>(ctx, headers.l3) {
        Some(true) => {}
        Some(false) => return icmp::reject(ctx, headers, icmp::Error::TtlExceeded, Reason::TtlExceeded),
        None => {
            ctx.count(Reason::EditFailed);
            return Verdict::DROP;
        }
    }
    if rewrite::translate(ctx, headers, to).is_none() {
        ctx.count(Reason::EditFailed);
        return Verdict::DROP;
    }
    ctx.count(reason);
    leave(ctx, route)
}

/// The link-layer header, where the neighbour is known; else the kernel's own way.
#[inline]
fn leave<C: Packet + Interface>(ctx: &mut C, route: Route) -> Verdict {
    match route.macs {
        Some(macs) if C::L2 != 0 => match ctx.set_words(0, macs) {
            Some(()) => Verdict::redirect(route.ifindex),
            None => Verdict::DROP,
        },
        _ => Verdict::redirect_neigh(route.ifindex),
    }
}

#[inline]
fn too_big<A: Addr, C: Packet + Tables<A> + Interface>(ctx: &mut C, headers: &Headers<A>, ifindex: u32) -> Verdict {
    let mtu = ctx.device(ifindex).map_or(0, |device| device.mtu);
    icmp::reject(ctx, headers, icmp::Error::TooBig(mtu), Reason::TooBig)
}
