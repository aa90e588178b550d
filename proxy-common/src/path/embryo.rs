//! Connections from their first packet to their first answer, and their promotion to FLOWS.
//!
//! A first packet costs one insert into EMBRYOS (LRU), under the tuple its answer will have. A SYN flood or a scan can fill
//! only that map. When the answer passes (TCP), or the client speaks again (UDP), both directions enter FLOWS, which
//! nothing evicts. The entry in EMBRYOS stays: it is not looked at again until its tuple is wanted for another connection.

use crate::addr::{Addr, proto};
use crate::be::Be16;
use crate::flags::{FlowFlags, flow_state};
use crate::key::FlowKey;
use crate::limits::SNAT_TRIES;
use crate::path::body::{Exists, FlowHandle as _, Interface, Tables};
use crate::path::select;
use crate::reason::Reason;
use crate::value::{Backend, Flow};

/// Seconds after which an unanswered tuple may be given to another connection.
const STALE_SECONDS: u32 = 60;

/// A new connection: its client's tuple, and what was decided.
#[derive(Clone, Copy)]
pub struct Plan<A> {
    /// The client's packet as it came.
    pub client: FlowKey<A>,
    /// The chosen backend.
    pub backend: Backend<A>,
    /// Service id.
    pub service: u32,
    /// The source address the backend will see.
    pub source: A,
    /// SNAT, REDIRECT, HAIRPIN, MASQUERADE.
    pub flags: FlowFlags,
    /// Hash of the tuple, for source ports.
    pub hash: u32,
}

/// What [`claim`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim<A> {
    /// The entry under the answer's tuple: translates the answer.
    pub answer: Flow<A>,
    /// The tuple that the answer will have.
    pub key: FlowKey<A>,
    /// The client's first packet was seen before.
    pub again: bool,
}

/// Claims a tuple for the answer: with the client's own source port where it is free, else another one.
///
/// # Errors
/// [`Reason::SnatPortsExhausted`] after [`SNAT_TRIES`] taken ports.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn claim<A: Addr, C: Tables<A> + Interface>(ctx: &C, plan: &Plan<A>) -> Result<Claim<A>, Reason> {
    let now = ctx.now();
    let client = plan.client;
    let answer = Flow {
        src: client.dst,
        dst: client.src,
        sport: client.dport,
        dport: client.sport,
        flags: plan.flags.with(FlowFlags::REPLY),
        state: 0,
        last_seen: now,
        backend: plan.backend.id,
        generation: plan.backend.generation,
        service: plan.service,
    };
    let (first, last) = ctx.snat_ports();
    let ports = last.wrapping_sub(first).wrapping_add(1);
    let keep = !plan.flags.has(FlowFlags::SNAT) || client.sport.get().wrapping_sub(first) < ports;
    let mut bits = plan.hash;
    let mut tries = 0;
    while tries < SNAT_TRIES {
        let port = if keep && tries == 0 {
            client.sport
        } else {
            let step = ((u64::from(bits) * u64::from(ports)) >> 32) as u16;
            bits = select::finish(bits.wrapping_add(0x9e37_79b9));
            Be16::new(first.wrapping_add(step))
        };
        tries += 1;
        let key = FlowKey::new(plan.backend.addr, plan.source, plan.backend.port, port, client.proto);
        if ctx.flow(&key).is_some() {
            continue;
        }
        let stale = match ctx.embryo(&key) {
            None => false,
            Some(handle) => {
                let old = handle.load();
                if old.translated(client.proto) == answer.translated(client.proto) && old.flags == answer.flags {
                    return Ok(Claim { answer: old, key, again: true });
                }
                if now.wrapping_sub(old.last_seen) < STALE_SECONDS {
                    continue;
                }
                true
            }
        };
        if ctx.embryo_insert(&key, &answer, stale).is_ok() {
            return Ok(Claim { answer, key, again: false });
        }
    }
    Err(Reason::SnatPortsExhausted)
}

/// Enters both directions into FLOWS. `key` is the answer's tuple, `answer` its embryo.
///
/// # Errors
/// [`Reason::FlowTableFull`]; [`Reason::TupleTaken`] if the client's tuple has got another backend meanwhile. Nothing is left behind.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn promote<A: Addr, C: Tables<A> + Interface>(ctx: &C, key: &FlowKey<A>, answer: &Flow<A>) -> Result<(), Reason> {
    let now = ctx.now();
    let reply = Flow { state: flow_state::REPLIED, last_seen: now, ..*answer };
    match ctx.flow_insert(key, &reply) {
        Ok(()) | Err(Exists::Taken) => {}
        Err(Exists::Full) => return Err(Reason::FlowTableFull),
    }
    let forward = Flow {
        src: key.dst,
        dst: key.src,
        sport: key.dport,
        dport: key.sport,
        flags: FlowFlags(answer.flags.0 & !FlowFlags::REPLY.0),
        ..reply
    };
    let client = answer.peer(key.proto);
    let reason = match ctx.flow_insert(&client, &forward) {
        Ok(()) => return Ok(()),
        Err(Exists::Taken) => match ctx.flow(&client) {
            Some(other) if other.load().peer(key.proto) == *key => return Ok(()),
            _ => Reason::TupleTaken,
        },
        Err(Exists::Full) => Reason::FlowTableFull,
    };
    ctx.flow_remove(key);
    Err(reason)
}

/// Removes both directions. `key` and `flow` are those of either.
#[inline]
pub fn remove<A: Addr, C: Tables<A>>(ctx: &C, key: &FlowKey<A>, flow: &Flow<A>) {
    ctx.flow_remove(key);
    ctx.flow_remove(&flow.peer(key.proto));
}

/// Whether a repeated first packet shows a conversation that deserves a place in FLOWS: it was answered, or goes on.
#[inline]
pub fn ripe<A: Addr, C: Interface>(ctx: &C, claim: &Claim<A>) -> bool {
    claim.key.proto == proto::UDP
        && claim.again
        && (claim.answer.state & flow_state::REPLIED != 0 || claim.answer.last_seen != ctx.now())
}
