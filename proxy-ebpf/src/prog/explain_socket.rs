//! What the socket hooks would do, for `explain`; attached nowhere.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use proxy_common::path::Verdict;
use proxy_common::path::hook::explain::ask;

use crate::skb::Skb;

#[classifier]
fn explain_socket(ctx: TcContext) -> i32 {
    let mut skb = Skb::<14, false>::new(ctx.skb.skb);
    let answered = ask(&mut skb).is_some();
    skb.act(Verdict::PASS);
    if answered { TC_ACT_UNSPEC } else { TC_ACT_SHOT }
}
