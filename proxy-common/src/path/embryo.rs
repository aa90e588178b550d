//! Connections from their first packet to their first answer, and their promotion to FLOWS.
//!
//! A first packet costs one insert into EMBRYOS ([`crate::embryos`]), under the tuple its answer will have. A SYN flood or a scan can fill
//! only that map. When the answer passes (TCP), or the client speaks again (UDP), both directions enter FLOWS, which
//! nothing evicts, and the one in EMBRYOS goes.

use crate::addr::{Addr, proto};
use crate::be::{Be16, join};
use crate::embryos::STALE_SECONDS;
use crate::flags::{BackendFlags, FlowFlags, flow_state};
use crate::key::FlowKey;
use crate::limits::SNAT_TRIES;
use crate::path::body::{Env, Exists, FlowHandle, Interface, Tables};
use crate::path::lookup::Terms;
use crate::path::select;
use crate::reason::Reason;
use crate::value::{Backend, Flow, backend_state};

/// The same while ports run out: who has heard nothing for so long, though a SYN is repeated after 1 and after 3 seconds, gives its
/// source port to the next. So a flood to one backend keeps others away from it for seconds, not for a minute.
const HURRIED_SECONDS: u32 = 5;
/// Tries that take free ports only, before those of the silent are taken.
const PATIENT_TRIES: u32 = SNAT_TRIES / 2;

/// A new connection: its client's tuple, and what was decided.
#[derive(Clone, Copy)]
pub struct Plan<'a, A> {
    /// The client's packet as it came.
    pub client: &'a FlowKey<A>,
    /// What the frontend says.
    pub terms: Terms,
    /// The chosen backend.
    pub backend: Backend<A>,
    /// The source address the backend will see.
    pub source: A,
    /// Hash of the tuple, for source ports.
    pub hash: u32,
    /// SNAT, REDIRECT, HAIRPIN, MASQUERADE.
    pub flags: FlowFlags,
    /// Whether the client is a pod of this node, by the device the packet entered by.
    pub pod: bool,
    /// The low bits of that device's number.
    pub device: u8,
}

impl<'a, A: Addr> Plan<'a, A> {
    /// A plan to be made: `zero` everywhere.
    #[inline]
    pub fn blank(client: &'a FlowKey<A>, zero: u32) -> Self {
        Self {
            client,
            terms: Terms::blank(zero),
            backend: Backend::blank(zero),
            source: client.src,
            hash: zero,
            flags: FlowFlags(zero as u16),
            pod: zero != 0,
            device: zero as u8,
        }
    }
}

impl<A: Addr> Plan<'_, A> {
    /// The entry under the answer's tuple: translates the answer.
    #[inline]
    fn answer(&self, now: u32) -> Flow<A> {
        Flow {
            src: self.client.dst,
            dst: self.client.src,
            sport: self.client.dport,
            dport: self.client.sport,
            flags: self.flags.with(FlowFlags::REPLY),
            state: 0,
            last_seen: now,
            backend: self.backend.id,
            generation: self.backend.generation,
            service: self.terms.service,
        }
    }
}

/// Claims a tuple for the answer: with the client's own source port where it is free, else another one. `key` becomes the
/// tuple that the answer will have.
///
/// [`Reason::NewFlow`], [`Reason::Retransmitted`] if the client's packet was seen before, or
/// [`Reason::SnatPortsExhausted`] after [`SNAT_TRIES`] taken ports.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn claim<A: Addr, C: Tables<A> + Interface>(
    ctx: &C,
    plan: &Plan<'_, A>,
    key: &mut FlowKey<A>,
) -> Reason {
    let (first, last) = ctx.snat_ports();
    let ports = last.wrapping_sub(first).wrapping_add(1);
    let own = plan.client.sport;
    let keep = !plan.flags.has(FlowFlags::SNAT) || own.get().wrapping_sub(first) < ports;
    *key = FlowKey::new(
        plan.backend.addr,
        plan.source,
        plan.backend.port,
        own,
        plan.client.proto,
    );
    if ctx.dry() {
        return Reason::NewFlow;
    }
    // With session affinity all connections of a client have one hash.
    let mut bits = select::finish(plan.hash ^ join(own, plan.client.dport));
    let mut tries = 0;
    while tries < SNAT_TRIES {
        if !keep || tries != 0 {
            let step = ((u64::from(bits) * u64::from(ports)) >> 32) as u16;
            bits = select::finish(bits.wrapping_add(0x9e37_79b9));
            key.dport = Be16::new(first.wrapping_add(step));
        }
        let patience = if tries < PATIENT_TRIES {
            STALE_SECONDS
        } else {
            HURRIED_SECONDS
        };
        tries += 1;
        match claim_one(ctx, plan, key, patience) {
            Reason::TupleTaken => {}
            reason => return reason,
        }
    }
    Reason::SnatPortsExhausted
}

#[inline(never)] // its own stack frame, and one copy for all tries
fn claim_one<A: Addr, C: Tables<A> + Interface>(
    ctx: &C,
    plan: &Plan<'_, A>,
    key: &FlowKey<A>,
    patience: u32,
) -> Reason {
    // First, since what it fetches takes as long as the look at FLOWS.
    let place = ctx.embryo_place(key);
    if ctx.flow(key).is_some() {
        return Reason::TupleTaken;
    }
    ctx.embryo_claim(place, key, &plan.answer(ctx.now()), patience)
}

/// A first packet that came again: keeps the embryo young, and promotes a UDP conversation that deserves it. A full table or
/// a taken tuple is no reason to hold the packet: the embryo still serves it.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn again<A: Addr, C: Tables<A> + Interface>(ctx: &C, key: &FlowKey<A>) {
    let Some(handle) = ctx.embryo(key) else {
        return;
    };
    let now = ctx.now();
    let ripe = ripe(&handle.load(), key.proto, now);
    handle.touch(now);
    if ripe && let Err(reason) = promote(ctx, key, &handle) {
        ctx.count(reason);
    }
}

/// Whether an answer may still come. After that the tuple is free, for another connection or for one that is not ours.
#[inline]
pub fn waits<A: Addr, H: FlowHandle<A>>(embryo: &H, now: u32) -> bool {
    now.wrapping_sub(embryo.load().last_seen) < STALE_SECONDS
}

/// Whether a repeated first packet shows a conversation that deserves a place in FLOWS: it was answered, or goes on.
#[inline]
fn ripe<A>(answer: &Flow<A>, protocol: u8, now: u32) -> bool {
    protocol == proto::UDP && (answer.state & flow_state::REPLIED != 0 || answer.last_seen != now)
}

/// Enters both directions into FLOWS. `key` is the answer's tuple, `answer` its embryo, which is gone afterwards: nothing may be
/// read of it any more, since it may be another connection's already.
///
/// # Errors
/// [`Reason::FlowTableFull`]; [`Reason::TupleTaken`] if the client's tuple has got another backend meanwhile. Nothing is left behind.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn promote<A: Addr, C: Tables<A> + Interface>(
    ctx: &C,
    key: &FlowKey<A>,
    answer: &<C as Tables<A>>::Flow,
) -> Result<(), Reason> {
    let mut flow = answer.load();
    let client = flow.peer(key.proto);
    flow.state = flow_state::REPLIED;
    flow.last_seen = ctx.now();
    if ctx.flow_insert(key, &flow) == Err(Exists::Full) {
        return Err(Reason::FlowTableFull);
    }
    flow.src = key.dst;
    flow.dst = key.src;
    flow.sport = key.dport;
    flow.dport = key.sport;
    flow.flags = FlowFlags(flow.flags.0 & !FlowFlags::REPLY.0);
    let reason = match ctx.flow_insert(&client, &flow) {
        Ok(()) => {
            // The room is used again at once, while it is in the processor's caches; to evict another cost more.
            ctx.embryo_remove(key);
            count(ctx, &flow, true);
            return Ok(());
        }
        Err(Exists::Full) => Reason::FlowTableFull,
        Err(Exists::Taken) => match ctx.flow(&client) {
            Some(other) if other.leads_to(key) => return Ok(()),
            _ => Reason::TupleTaken,
        },
    };
    ctx.flow_remove(key);
    Err(reason)
}

/// Removes both directions. `key` and `handle` are those of either. Returns how many entries there were.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn remove<A: Addr, C: Tables<A> + Env>(
    ctx: &C,
    key: &FlowKey<A>,
    handle: &<C as Tables<A>>::Flow,
) -> u32 {
    let flow = handle.load();
    let peer = flow.peer(key.proto);
    let (client, answer) = if flow.flags.has(FlowFlags::REPLY) {
        (&peer, key)
    } else {
        (key, &peer)
    };
    // The answer's entry first: a SYN that comes in between on another processor finds its own, sees that it is over, and begins anew,
    // where without it the answer's tuple would be taken.
    let mut removed = u32::from(ctx.flow_remove(answer));
    // Only who removes the client's entry takes the connection out of the count: two processors may meet here.
    if ctx.flow_remove(client) {
        count(ctx, &flow, false);
        removed += 1;
    }
    removed
}

/// Keeps a backend's open connections, where its Service's algorithm wants them.
#[inline]
fn count<A, C: Env>(ctx: &C, flow: &Flow<A>, open: bool) {
    if flow.flags.has(FlowFlags::COUNTED) {
        ctx.count_connection(flow.backend, flow.generation, open);
    }
}

/// Notes the backend under the client's own tuple, for a choice that its next packet could not make again.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn remember<A: Addr, C: Tables<A> + Interface>(
    ctx: &C,
    plan: &Plan<'_, A>,
    answer: &FlowKey<A>,
) {
    let local = if plan.backend.flags.has(BackendFlags::LOCAL) {
        FlowFlags::LOCAL
    } else {
        FlowFlags::default()
    };
    let flow = Flow {
        src: answer.dst,
        dst: answer.src,
        sport: answer.dport,
        dport: answer.sport,
        flags: plan.flags.with(local),
        state: 0,
        last_seen: ctx.now(),
        backend: plan.backend.id,
        generation: plan.backend.generation,
        service: plan.terms.service,
    };
    // Whatever is there chose a backend that is not there any more, or another Service's.
    ctx.embryo_remove(plan.client);
    ctx.embryo_claim(
        ctx.embryo_place(plan.client),
        plan.client,
        &flow,
        HURRIED_SECONDS,
    );
}

/// Finds what [`remember`] noted, while the backend takes connections.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn remembered<A: Addr, C: Tables<A> + Interface>(
    ctx: &C,
    client: &FlowKey<A>,
    terms: &Terms,
    backend: &mut Backend<A>,
) -> bool {
    let Some(handle) = ctx.embryo(client) else {
        return false;
    };
    let flow = handle.load();
    let usable = ctx.backend_state(flow.backend).is_some_and(|state| {
        state.generation == flow.generation && state.state == backend_state::ACTIVE
    });
    let ours = flow.service == terms.service && !flow.flags.has(FlowFlags::REPLY);
    if !ours || !usable || !waits(&handle, ctx.now()) {
        return false;
    }
    handle.touch(ctx.now());
    *backend = Backend {
        addr: flow.dst,
        port: flow.dport,
        flags: if flow.flags.has(FlowFlags::LOCAL) {
            BackendFlags::LOCAL
        } else {
            BackendFlags::default()
        },
        id: flow.backend,
        generation: flow.generation,
    };
    true
}
