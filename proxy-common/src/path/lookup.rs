//! Tuple to frontend: ADDRS tells whether the address is ours at all, then the exact address is tried, then the `NodePorts`
//! (SEMANTICS 3.5, 17.3).

use crate::addr::Addr;
use crate::be::Be16;
use crate::explain::{self, Fact};
use crate::flags::{AddrFlags, DeviceFlags, FrontendFlags, detect};
use crate::key::{FrontendKey, RangeKey};
use crate::limits::CIDRS;
use crate::path::body::{Env, Interface, Services};
use crate::value::{Cidr, Class, Frontend, Slice};

/// What a frontend means for connections of one class: all that is read of it, and read at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Service id.
    pub service: u32,
    /// Its flags.
    pub flags: FrontendFlags,
    /// Seconds of affinity; 0 is none.
    pub affinity_seconds: u32,
    /// The set of `SOURCE_RANGES`.
    pub ranges: u32,
    /// The backends to choose from.
    pub slice: Slice,
    /// Their Maglev table in LUT; 0 is none.
    pub table: u32,
    /// The class.
    pub class: Class,
}

impl Terms {
    /// Terms to be overwritten: `zero` everywhere.
    #[inline]
    pub fn blank(zero: u32) -> Self {
        Self {
            service: zero,
            flags: FrontendFlags(zero),
            affinity_seconds: zero,
            ranges: zero,
            slice: Slice {
                offset: zero,
                count: zero,
            },
            table: zero,
            class: Class::Inside,
        }
    }

    #[inline]
    fn of(frontend: &Frontend, class: Class) -> Self {
        let [cluster, local] = frontend.tables;
        let flags = frontend.flags;
        Self {
            service: frontend.service,
            flags,
            affinity_seconds: frontend.affinity_seconds,
            ranges: frontend.ranges,
            slice: frontend.slice(class),
            table: if has(flags, FrontendFlags::LOCAL_INSIDE, class) {
                local
            } else {
                cluster
            },
            class,
        }
    }

    /// Whether the backends are localEndpoints, not clusterEndpoints.
    #[inline]
    pub fn local(&self) -> bool {
        has(self.flags, FrontendFlags::LOCAL_INSIDE, self.class)
    }

    /// Whether the frontend wants connections of this class masqueraded (SEMANTICS 9.2).
    #[inline]
    pub fn masquerade(&self) -> bool {
        has(self.flags, FrontendFlags::MASQUERADE_INSIDE, self.class)
    }
}

/// Whether `flags` has the bit of `class`, given that of [`Class::Inside`].
#[inline]
fn has(flags: FrontendFlags, inside: FrontendFlags, class: Class) -> bool {
    flags.0 & inside.0 << class as u32 != 0
}

/// The frontend at `dst`:`port`, of which ADDRS says `known`.
#[inline]
pub fn terms<A: Addr, T: Services<A> + Env>(
    tables: &T,
    known: AddrFlags,
    (dst, port, proto): (A, Be16, u8),
    class: Class,
) -> Option<Terms> {
    let mut place = explain::EXACT;
    let mut found = None;
    if known.has(AddrFlags::VIRTUAL) {
        found = tables.frontend(&FrontendKey::new(dst, port, proto));
    }
    if found.is_none() && known.0 & (AddrFlags::NODE_PORT.0 | AddrFlags::NODE.0) != 0 {
        place = explain::NODE_PORT;
        let any = A::from_words([tables.zero(); 4]);
        let served = known.has(AddrFlags::NODE_PORT);
        found = tables
            .frontend(&FrontendKey::new(any, port, proto))
            .filter(|frontend| served || frontend.flags.has(FrontendFlags::EVERYWHERE));
    }
    let terms = Terms::of(found?, class);
    if tables.dry() {
        tables.note(Fact::Frontend, place);
        tables.note(Fact::Service, terms.service);
        tables.note(Fact::Backends, terms.slice.count);
        tables.note(Fact::Class, class as u32 + 1);
    }
    Some(terms)
}

/// Whether the frontend's source ranges let `client` in (SEMANTICS 4.7).
#[inline(never)] // its own stack frame: 512 bytes have to do for the whole chain of calls
pub fn in_range<A: Addr, T: Services<A>>(tables: &T, set: u32, client: &A) -> bool {
    let prefix = if A::IS_V6 { 160 } else { 64 };
    tables.in_range(&RangeKey {
        prefix,
        set,
        addr: *client,
    })
}

/// Which policies a packet from `client` that entered by a device with `device`'s flags is subject to (SEMANTICS 9.4).
#[inline]
pub fn class<A: Addr, C: Services<A> + Interface>(
    ctx: &C,
    device: DeviceFlags,
    client: &A,
) -> Class {
    let inside = match ctx.detect() {
        detect::DEVICE => device.has(DeviceFlags::INSIDE),
        detect::CIDR => ctx.cidr(0).is_some_and(|cidr| within(cidr, client)),
        _ => false,
    };
    if inside {
        Class::Inside
    } else {
        Class::Outside
    }
}

/// Whether `addr`, of which ADDRS knows nothing, is in a `ServiceCIDR` (SEMANTICS 4.10). The first unused element ends the list.
#[inline]
pub fn unallocated<A: Addr, T: Services<A>>(tables: &T, addr: &A) -> bool {
    tables.cidr(1).is_some_and(|cidr| cidr.used != 0) && allocatable(tables, addr)
}

#[inline(never)] // seldom needed, and a loop in the middle of a packet's way makes the verifier walk all that follows again
fn allocatable<A: Addr, T: Services<A>>(tables: &T, addr: &A) -> bool {
    let mut index = 1;
    while index < CIDRS {
        match tables.cidr(index) {
            Some(cidr) if cidr.used != 0 => {
                if within(cidr, addr) {
                    return true;
                }
            }
            _ => return false,
        }
        index += 1;
    }
    false
}

/// Whether the network holds `addr`.
#[inline]
fn within<A: Addr>(cidr: &Cidr<A>, addr: &A) -> bool {
    let (net, mask, addr) = (cidr.addr.words(), cidr.mask.words(), addr.words());
    let mut differs = (addr[0] & mask[0]) ^ net[0];
    if A::IS_V6 {
        differs |= (addr[1] & mask[1]) ^ net[1];
        differs |= (addr[2] & mask[2]) ^ net[2];
        differs |= (addr[3] & mask[3]) ^ net[3];
    }
    cidr.used != 0 && differs == 0
}
