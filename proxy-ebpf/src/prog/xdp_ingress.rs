//! Frames of a NIC, before an skb is made: requests to remote backends and their answers. All else goes on to TC.

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use proxy_common::path::hook::ingress::ingress;

use crate::xdp::Frame;

#[xdp(frags)]
fn xdp_ingress(ctx: XdpContext) -> u32 {
    let mut frame = Frame::new(ctx.ctx);
    let verdict = ingress(&mut frame);
    frame.act(verdict)
}
