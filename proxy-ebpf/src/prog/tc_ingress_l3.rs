//! Packets that enter by a device without a link-layer header (tun, wireguard, ipip).

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use proxy_common::path::hook::ingress::ingress;

use crate::skb::Skb;

#[classifier]
fn tc_ingress_l3(ctx: TcContext) -> i32 {
    let mut skb = Skb::<0, false>::new(ctx.skb.skb);
    let verdict = ingress(&mut skb);
    skb.act(verdict)
}
