//! Packets that enter by a device with a link-layer header.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use proxy_common::path::hook::ingress::ingress;

use crate::skb::Skb;

#[classifier]
fn tc_ingress(ctx: TcContext) -> i32 {
    let mut skb = Skb::<14, false>::new(ctx.skb.skb);
    let verdict = ingress(&mut skb);
    skb.act(verdict)
}
