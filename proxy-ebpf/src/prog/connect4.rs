//! `connect()` of an IPv4 socket.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::sock::Call;

#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    Call::connect_of_host(ctx).map_or(1, |call| call.send4())
}
