//! From the rules of a `ServicePort` to the values of its frontends.

use proxy_common::flags::FrontendFlags;
use proxy_common::value::Frontend;

use crate::desired::Sets;
use crate::family::{Family, Range, contains, range};
use crate::policy::{Algorithm, Policy, SourceIp};
use crate::service::Service;
use crate::view::FrontendKind;

/// What a frontend's value needs beside its slices.
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) internal_local: bool,
    pub(crate) external_local: bool,
    pub(crate) reject: bool,
    /// The refusal holds on every address of the node, whatever `nodePortAddresses` says (SEMANTICS 3.6).
    pub(crate) everywhere: bool,
    pub(crate) affinity_seconds: u32,
    /// The source ranges leave this node out.
    pub(crate) host_denied: bool,
    pub(crate) algorithm: Algorithm,
    pub(crate) masquerade: Masquerade,
}

/// Which classes of clients are masqueraded (SEMANTICS 9.2), as MASQUERADE flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Masquerade {
    cluster_ip: FrontendFlags,
    /// External frontends with policy Cluster.
    external: FrontendFlags,
    /// External frontends with policy Local.
    external_local: FrontendFlags,
}

const NOBODY: FrontendFlags = FrontendFlags(0);
const OUTSIDE_AND_HOST: FrontendFlags =
    FrontendFlags::MASQUERADE_OUTSIDE.with(FrontendFlags::MASQUERADE_HOST);
const EVERYBODY: FrontendFlags = OUTSIDE_AND_HOST.with(FrontendFlags::MASQUERADE_INSIDE);

impl Masquerade {
    /// `detects`: local pods can be told from others.
    pub(crate) const fn new(policy: &Policy, detects: bool) -> Self {
        let exact = matches!(policy.source_ip, SourceIp::KubeProxy);
        let cluster_ip = match (policy.masquerade_all, exact && detects) {
            (true, _) => EVERYBODY,
            (false, true) => OUTSIDE_AND_HOST,
            (false, false) => NOBODY,
        };
        Self {
            cluster_ip,
            external: if exact { EVERYBODY } else { NOBODY },
            external_local: if exact {
                FrontendFlags::MASQUERADE_HOST
            } else {
                NOBODY
            },
        }
    }
}

/// Where the Maglev tables of clusterEndpoints and localEndpoints stand; 0 is none.
pub(crate) type Offsets = [u32; 2];

impl Rules {
    /// The value of a frontend (SEMANTICS 4.3, 4.4, 4.7, 7.1, 7.2, 9.2). `ranges` is the set of its source ranges.
    pub(crate) fn frontend(
        &self,
        service: u32,
        kind: FrontendKind,
        sets: Sets,
        tables: Offsets,
        ranges: Option<u32>,
    ) -> Frontend {
        let Sets { cluster, local } = sets;
        let Masquerade {
            cluster_ip,
            external,
            external_local,
        } = self.masquerade;
        let all_local = FrontendFlags::LOCAL_INSIDE
            .with(FrontendFlags::LOCAL_OUTSIDE)
            .with(FrontendFlags::LOCAL_HOST);
        let (flags, slices) = match kind {
            FrontendKind::ClusterIp if self.internal_local => {
                (all_local.with(cluster_ip), [local; 3])
            }
            FrontendKind::ClusterIp => (cluster_ip, [cluster; 3]),
            // Pods and processes of this node are not outside: they reach all endpoints (SEMANTICS 4.4 a, b).
            _ if self.external_local => (
                FrontendFlags::EXTERNAL
                    .with(FrontendFlags::LOCAL_OUTSIDE)
                    .with(external_local),
                [cluster, local, cluster],
            ),
            _ => (FrontendFlags::EXTERNAL.with(external), [cluster; 3]),
        };
        let more = [
            (kind == FrontendKind::NodePort, FrontendFlags::NODE_PORT),
            (self.reject, FrontendFlags::REJECT),
            (
                kind == FrontendKind::NodePort && self.everywhere,
                FrontendFlags::EVERYWHERE,
            ),
            (ranges.is_some(), FrontendFlags::RANGES),
            (
                ranges.is_some() && self.host_denied,
                FrontendFlags::HOST_DENIED,
            ),
        ];
        let more = more.into_iter().filter(|(holds, _)| *holds);
        let flags = more.fold(flags.with(self.algorithm()), |flags, (_, flag)| {
            flags.with(flag)
        });
        // A table goes with a slice: where a frontend has none of a set, it names no table of it.
        let [cluster_table, local_table] = tables;
        let tables = [
            if flags.has(all_local) {
                0
            } else {
                cluster_table
            },
            if flags.has(FrontendFlags::LOCAL_OUTSIDE) {
                local_table
            } else {
                0
            },
        ];
        Frontend {
            service,
            flags,
            affinity_seconds: self.affinity_seconds,
            ranges: ranges.unwrap_or(0),
            slices,
            tables,
        }
    }

    const fn algorithm(&self) -> FrontendFlags {
        match self.algorithm {
            Algorithm::Random => FrontendFlags(0),
            Algorithm::RoundRobin => FrontendFlags::ROUND_ROBIN,
            Algorithm::Maglev => FrontendFlags::MAGLEV,
            Algorithm::LeastConnections => FrontendFlags::LEAST_CONNECTIONS,
        }
    }
}

/// Who may connect to the load balancer's addresses.
#[derive(Clone, Debug)]
pub(crate) struct Admitted<A> {
    pub(crate) ranges: Vec<Range<A>>,
    /// The node itself may.
    pub(crate) node: bool,
}

/// The ranges of a Service in family `A`. Where they hold the node's own address, they hold the load balancer's too: a process of
/// this node that connects to an address that is bound here has it for its source (SEMANTICS 4.7).
pub(crate) fn admitted<A: Family>(service: &Service, node: A) -> Admitted<A> {
    let mut ranges: Vec<Range<A>> = service
        .source_ranges
        .iter()
        .copied()
        .filter_map(range)
        .collect();
    let node = ranges.iter().any(|range| contains(*range, node));
    if node {
        let own = service
            .load_balancer_ips
            .iter()
            .copied()
            .filter_map(A::from_ip);
        ranges.extend(own.map(|addr| (addr, A::BITS)));
    }
    ranges.sort_unstable();
    ranges.dedup();
    Admitted { ranges, node }
}
