//! Packets that leave by a device without a link-layer header (tun, wireguard, ipip).

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use proxy_common::path::hook::egress::egress;

use crate::skb::Skb;

#[classifier]
fn tc_egress_l3(ctx: TcContext) -> i32 {
    let mut skb = Skb::<0, true>::new(ctx.skb.skb);
    let verdict = egress(&mut skb);
    skb.act(verdict)
}
