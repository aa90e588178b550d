//! `age_v4` and `age_v6`: connections that are over leave FLOWS. Attached nowhere; the agent runs them on batches of keys.
//!
//! That a connection is over must hold until it is deleted: its client may use the port again at any time, and then the entries are the
//! new connection's, whose next packet would find none, pass to the node and be answered by a RST. Between system calls any time can
//! pass. Here less than a microsecond does, and since Linux 6.3 neither tasks nor packets interrupt a program that runs for a system
//! call (before, packets do, and tasks where the kernel preempts itself). Packets on other processors are not quick enough: a SYN
//! removes the old entries, and the new ones come with its answer, some 10 us later.

use crate::addr::Addr;
use crate::be::{byte, halves, join};
use crate::expiry::{Seen, expired};
use crate::key::FlowKey;
use crate::path::body::{Env, FlowHandle, Packet, Tables};
use crate::path::embryo;

/// Keys that one run looks at; what follows them is ignored. Packets on the processor may have to wait for the run: 30 us.
pub const KEYS: usize = 32;

/// What stands before the keys: no MAC addresses, a type for experiments (as [`crate::explain::TYPE`], so that the kernel looks for no IP
/// header), and two bytes that are not used.
pub const HEADER: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xb5, 0, 0];

/// A key's bytes in a batch: as in a map.
pub fn bytes<A: Addr>(key: &FlowKey<A>) -> impl Iterator<Item = u8> + use<A> {
    let addr = |addr: A| addr.words().into_iter().take(size_of::<A>() / 4);
    let rest = [
        join(key.sport, key.dport),
        u32::from_ne_bytes([key.proto, 0, 0, 0]),
    ];
    let words = addr(key.src).chain(addr(key.dst)).chain(rest);
    words.flat_map(u32::to_ne_bytes)
}

/// Deletes the connections in the batch that are over. Returns how many entries went.
#[inline]
pub fn age<A: Addr, C: Packet + Tables<A> + Env>(ctx: &C) -> u32 {
    let mut ended = 0;
    let mut index = 0;
    while index < KEYS {
        ended += end::<A, C>(ctx, (HEADER.len() + index * size_of::<FlowKey<A>>()) as u32);
        index += 1;
    }
    ended
}

/// Deletes both directions of the connection whose key is at `offset`, if there is one and it is over. Returns the number of entries.
#[inline(never)] // one copy for all keys
fn end<A: Addr, C: Packet + Tables<A> + Env>(ctx: &C, offset: u32) -> u32 {
    let Some(key) = key::<A, C>(ctx, offset) else {
        return 0;
    };
    // It is gone where its other direction was met before.
    let Some(handle) = ctx.flow(&key) else {
        return 0;
    };
    let flow = handle.load();
    let peer = ctx.flow(&flow.peer(key.proto));
    let peer = peer.map(|peer| Seen::from(&peer.load()));
    if !expired(key.proto, Seen::from(&flow), peer, ctx.now()) {
        return 0;
    }
    embryo::remove(ctx, &key, &handle)
}

/// The key at `offset`; `None` behind the last.
#[inline]
fn key<A: Addr, C: Packet>(ctx: &C, offset: u32) -> Option<FlowKey<A>> {
    let (src, dst) = if A::IS_V6 {
        let [s0, s1, s2, s3, d0, d1, d2, d3] = ctx.words(offset)?;
        ([s0, s1, s2, s3], [d0, d1, d2, d3])
    } else {
        let [src, dst] = ctx.words(offset)?;
        ([src, 0, 0, 0], [dst, 0, 0, 0])
    };
    let [ports, proto] = ctx.words(offset + 2 * size_of::<A>() as u32)?;
    let (sport, dport) = halves(ports);
    let (src, dst) = (A::from_words(src), A::from_words(dst));
    Some(FlowKey::new(src, dst, sport, dport, byte(proto, 0)))
}
