//! TC egress: answers of backends to clients whose address was kept get the frontend's address back.
//!
//! Here and not at ingress, so that routing, netfilter and the CNI's policies see pods' own addresses both ways.

use crate::addr::{Addr, V4, V6, proto};
use crate::flags::{FlowFlags, flow_state};
use crate::key::FlowKey;
use crate::path::body::{FlowHandle as _, Interface, Packet, Tables, Verdict};
use crate::path::hook::ingress;
use crate::path::parse::{self, Headers, Parse, Part, ethertype, tcp};
use crate::path::step::Step;
use crate::path::{embryo, filter, icmp};
use crate::reason::Reason;

/// A packet that leaves by a covered device.
#[inline]
pub fn egress<C: Packet + Tables<V4> + Tables<V6> + Interface>(ctx: &mut C) -> Verdict {
    match ctx.ethertype() {
        ethertype::IPV4 if !filter::is_others::<V4, C>(ctx, true) => family::<V4, C>(ctx),
        ethertype::IPV6 if !filter::is_others::<V6, C>(ctx, true) => family::<V6, C>(ctx),
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
    ingress::carry_out(ctx, &headers, &to, step)
}

#[inline]
fn decide<A: Addr, C: Packet + Tables<A> + Interface>(
    ctx: &mut C,
    headers: &mut Headers<A>,
    to: &mut FlowKey<A>,
) -> Step {
    if headers.part == Part::Later {
        return ingress::later_fragment(ctx, headers, to, true);
    }
    match headers.key.proto {
        proto::TCP | proto::UDP | proto::SCTP => {}
        _ => return icmp::translate(ctx, headers, to, true),
    }
    if let Some(handle) = ctx.flow(&headers.key) {
        let flow = handle.load();
        if is_kept_client(flow.flags) {
            if headers.tcp & tcp::SYN == 0 || !flow_state::closed(flow.state) {
                return ingress::established(ctx, headers, &handle, to).by_the_stack();
            }
            // A closed connection does not answer a SYN: the client speaks to the backend directly now, by the same ports.
            // What follows has no SYN, so the old entries must not be there any more.
            embryo::remove(ctx, &headers.key, &handle);
        }
    } else if ingress::answers(headers)
        && let Some(handle) = ctx.embryo(&headers.key)
        && embryo::waits(&handle, ctx.now())
        && is_kept_client(handle.load().flags)
    {
        return ingress::answer(ctx, headers, &handle, to).by_the_stack();
    }
    Step::done(pass(ctx))
}

/// An entry for answers whose client address was not translated. Those that should have gone past the stack too: when `hostRouting` is
/// switched off, ingress knows no more of them.
#[inline]
fn is_kept_client(flags: FlowFlags) -> bool {
    flags.has(FlowFlags::REPLY) && !flags.has(FlowFlags::SNAT)
}
