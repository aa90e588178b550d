//! Deletes IPv4 connections that are over, for the agent; attached nowhere.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use proxy_common::addr::V4;
use proxy_common::path::hook::age::age;

use crate::skb::Skb;

#[classifier]
fn age_v4(ctx: TcContext) -> i32 {
    age::<V4, _>(&Skb::<14, false>::new(ctx.skb.skb)) as i32
}
