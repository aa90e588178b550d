//! `sendmsg()` with an address on an IPv6 UDP socket.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::sock::Call;

#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(ctx: SockAddrContext) -> i32 {
    Call::of_host(ctx).map_or(1, |call| call.send6())
}
