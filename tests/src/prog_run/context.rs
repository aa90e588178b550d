//! The context that a test run gives to a program beside the packet.

use proxy_common::sim::{Program, Skb};

/// The context as user space gives it: `__sk_buff` or `xdp_md` of linux/bpf.h, by offsets.
pub(super) fn context(program: Program, skb: &Skb) -> Vec<u8> {
    let mut put: Vec<(usize, u32)> = Vec::new();
    let size = if program == Program::Xdp {
        let length = u32::try_from(skb.bytes.len()).unwrap_or(0);
        // data_end, ingress_ifindex
        put.extend([(4, length), (12, skb.ifindex)]);
        24
    } else {
        // mark, ifindex, gso_size
        put.extend([(8, skb.mark), (40, skb.ifindex), (176, skb.gso_size)]);
        192
    };
    let mut context = vec![0; size];
    for (offset, value) in put {
        context[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }
    context
}
