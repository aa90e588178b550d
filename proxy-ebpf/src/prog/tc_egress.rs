//! Packets that leave by a device with a link-layer header.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use proxy_common::path::hook::egress::egress;

use crate::skb::Skb;

#[classifier]
fn tc_egress(ctx: TcContext) -> i32 {
    let mut skb = Skb::<14, true>::new(ctx.skb.skb);
    let verdict = egress(&mut skb);
    skb.act(verdict)
}
