//! Deletes IPv6 connections that are over, for the agent; attached nowhere.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use proxy_common::addr::V6;
use proxy_common::path::hook::age::age;

use crate::skb::Skb;

#[classifier]
fn age_v6(ctx: TcContext) -> i32 {
    age::<V6, _>(&Skb::<14, false>::new(ctx.skb.skb)) as i32
}
