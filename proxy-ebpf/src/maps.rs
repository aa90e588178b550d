//! Every map, one line each; docs/maps.md has the long form. The agent sets the sizes before it loads the object.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray};
use proxy_common::addr::{V4, V6};
use proxy_common::flags::AddrFlags;
use proxy_common::key::{AffinityKey, FlowKey, FragmentKey, FrontendKey};
use proxy_common::limits;
use proxy_common::reason;
use proxy_common::value::{
    Affinity, Backend, BackendState, Cidr, Device, Flow, FlowFilter, Fragment, Frontend, LutWord,
    Socket, SocketPeer,
};

use crate::embryos::Sets;

/// Not preallocated: memory follows the number of Services.
#[map]
pub(crate) static FRONTENDS_V4: HashMap<FrontendKey<V4>, Frontend> =
    HashMap::with_max_entries(limits::FRONTENDS, BPF_F_NO_PREALLOC);
/// As `FRONTENDS_V4`.
#[map]
pub(crate) static FRONTENDS_V6: HashMap<FrontendKey<V6>, Frontend> =
    HashMap::with_max_entries(limits::FRONTENDS, BPF_F_NO_PREALLOC);
/// Written by the agent through mmap.
#[map]
pub(crate) static BACKENDS_V4: Array<Backend<V4>> =
    Array::with_max_entries(limits::BACKENDS, BPF_F_MMAPABLE);
/// As `BACKENDS_V4`.
#[map]
pub(crate) static BACKENDS_V6: Array<Backend<V6>> =
    Array::with_max_entries(limits::BACKENDS, BPF_F_MMAPABLE);
/// By backend id, for both families.
#[map]
pub(crate) static BACKEND_STATE: Array<BackendState> =
    Array::with_max_entries(limits::BACKENDS, BPF_F_MMAPABLE);
/// Preallocated: an insert in a packet must not wait for memory.
#[map]
pub(crate) static FLOWS_V4: HashMap<FlowKey<V4>, Flow<V4>> =
    HashMap::with_max_entries(limits::FLOWS, 0);
/// As `FLOWS_V4`.
#[map]
pub(crate) static FLOWS_V6: HashMap<FlowKey<V6>, Flow<V6>> =
    HashMap::with_max_entries(limits::FLOWS, 0);
/// Connections that were not answered yet. With BTF, by which the kernel finds the sets' locks.
#[btf_map]
pub(crate) static EMBRYOS_V4: Sets<V4> = Sets::new();
/// As `EMBRYOS_V4`.
#[btf_map]
pub(crate) static EMBRYOS_V6: Sets<V6> = Sets::new();
/// Which ends connections have had.
#[map]
pub(crate) static FLOW_FILTER_V4: Array<FlowFilter> = Array::with_max_entries(1, 0);
/// As `FLOW_FILTER_V4`.
#[map]
pub(crate) static FLOW_FILTER_V6: Array<FlowFilter> = Array::with_max_entries(1, 0);
/// Datagrams of which more parts follow.
#[map]
pub(crate) static FRAGMENTS_V4: LruHashMap<FragmentKey<V4>, Fragment<V4>> =
    LruHashMap::with_max_entries(limits::FRAGMENTS, 0);
/// As `FRAGMENTS_V4`.
#[map]
pub(crate) static FRAGMENTS_V6: LruHashMap<FragmentKey<V6>, Fragment<V6>> =
    LruHashMap::with_max_entries(limits::FRAGMENTS, 0);
/// What an address is to us: looked up first, so that a packet that is not ours costs one lookup.
#[map]
pub(crate) static ADDRS_V4: HashMap<V4, AddrFlags> =
    HashMap::with_max_entries(limits::NODE_ADDRS, BPF_F_NO_PREALLOC);
/// As `ADDRS_V4`.
#[map]
pub(crate) static ADDRS_V6: HashMap<V6, AddrFlags> =
    HashMap::with_max_entries(limits::NODE_ADDRS, BPF_F_NO_PREALLOC);
/// Who may connect where loadBalancerSourceRanges restrict it.
#[map]
pub(crate) static SOURCE_RANGES_V4: LpmTrie<[u32; 2], u32> =
    LpmTrie::with_max_entries(limits::SOURCE_RANGES, BPF_F_NO_PREALLOC);
/// As `SOURCE_RANGES_V4`.
#[map]
pub(crate) static SOURCE_RANGES_V6: LpmTrie<[u32; 5], u32> =
    LpmTrie::with_max_entries(limits::SOURCE_RANGES, BPF_F_NO_PREALLOC);
/// Clients of Services with session affinity; the kernel evicts the oldest.
#[map]
pub(crate) static AFFINITY_V4: LruHashMap<AffinityKey<V4>, Affinity<V4>> =
    LruHashMap::with_max_entries(limits::AFFINITY, 0);
/// As `AFFINITY_V4`.
#[map]
pub(crate) static AFFINITY_V6: LruHashMap<AffinityKey<V6>, Affinity<V6>> =
    LruHashMap::with_max_entries(limits::AFFINITY, 0);
/// Element 0 is the local pods' range, the others are `ServiceCIDR`s.
#[map]
pub(crate) static CIDRS_V4: Array<Cidr<V4>> = Array::with_max_entries(limits::CIDRS, 0);
/// As `CIDRS_V4`.
#[map]
pub(crate) static CIDRS_V6: Array<Cidr<V6>> = Array::with_max_entries(limits::CIDRS, 0);
/// Maglev tables, written by the agent through mmap.
#[map]
pub(crate) static LUT: Array<LutWord> = Array::with_max_entries(limits::LUT, BPF_F_MMAPABLE);
/// Whose turn it is, by service id.
#[map]
pub(crate) static TURNS: Array<u32> = Array::with_max_entries(limits::TURNS, 0);
/// By ifindex.
#[map]
pub(crate) static DEVICES: HashMap<u32, Device> =
    HashMap::with_max_entries(limits::DEVICES, BPF_F_NO_PREALLOC);
/// By `reason::counter_index`.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(reason::COUNTERS, 0);
/// By a socket's cookie: where `connect()` led a UDP socket. The agent looks for its backends that are gone.
#[map]
pub(crate) static CONNECTED: LruHashMap<u64, SocketPeer> =
    LruHashMap::with_max_entries(limits::CONNECTED, 0);
/// Translations of a socket's destinations; dies with the socket.
#[btf_map]
pub(crate) static SOCKETS: SkStorage<Socket> = SkStorage::new();
