//! Session affinity by client address: one record per client and `ServicePort`, for all its frontends and hooks (SEMANTICS 8).

use crate::addr::Addr;
use crate::key::AffinityKey;
use crate::path::body::{Env, Services};
use crate::path::lookup::Terms;
use crate::value::{Affinity, Backend, backend_sets, backend_state};

/// Finds the backend that `client` had, if its record lives (SEMANTICS 8.3) and the backend is in the set that is asked for (8.6).
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn find<A: Addr, C: Services<A> + Env>(
    ctx: &C,
    terms: &Terms,
    client: &A,
    backend: &mut Backend<A>,
) -> bool {
    let Some(record) = ctx.affinity(&AffinityKey {
        service: terms.service,
        client: *client,
    }) else {
        return false;
    };
    let set = if terms.local() {
        backend_sets::LOCAL
    } else {
        backend_sets::CLUSTER
    };
    let usable = ctx.backend_state(record.backend.id).is_some_and(|state| {
        state.generation == record.backend.generation
            && state.state == backend_state::ACTIVE
            && state.sets & set != 0
    });
    if !usable || ctx.now().wrapping_sub(record.last_new) >= terms.affinity_seconds {
        return false;
    }
    *backend = record.backend;
    true
}

/// Notes a new connection of `client`.
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn note<A: Addr, C: Services<A> + Env>(
    ctx: &C,
    service: u32,
    client: &A,
    backend: &Backend<A>,
) {
    let record = Affinity {
        backend: *backend,
        last_new: ctx.now(),
    };
    ctx.affinity_insert(
        &AffinityKey {
            service,
            client: *client,
        },
        &record,
    );
}
