//! Every map, one line each; docs/maps.md has the long form. The agent sets the sizes before it loads the object.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use proxy_common::addr::{V4, V6};
use proxy_common::flags::NodeAddrFlags;
use proxy_common::key::{FlowKey, FragmentKey, FrontendKey};
use proxy_common::limits;
use proxy_common::reason;
use proxy_common::value::{Backend, BackendState, Device, Flow, Fragment, Frontend, Socket};

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
/// Connections that were not answered yet; the kernel evicts the oldest.
#[map]
pub(crate) static EMBRYOS_V4: LruHashMap<FlowKey<V4>, Flow<V4>> =
    LruHashMap::with_max_entries(limits::EMBRYOS, 0);
/// As `EMBRYOS_V4`.
#[map]
pub(crate) static EMBRYOS_V6: LruHashMap<FlowKey<V6>, Flow<V6>> =
    LruHashMap::with_max_entries(limits::EMBRYOS, 0);
/// Datagrams of which more parts follow.
#[map]
pub(crate) static FRAGMENTS_V4: LruHashMap<FragmentKey<V4>, Fragment<V4>> =
    LruHashMap::with_max_entries(limits::FRAGMENTS, 0);
/// As `FRAGMENTS_V4`.
#[map]
pub(crate) static FRAGMENTS_V6: LruHashMap<FragmentKey<V6>, Fragment<V6>> =
    LruHashMap::with_max_entries(limits::FRAGMENTS, 0);
/// Addresses of this node.
#[map]
pub(crate) static NODE_ADDRS_V4: HashMap<V4, NodeAddrFlags> =
    HashMap::with_max_entries(limits::NODE_ADDRS, BPF_F_NO_PREALLOC);
/// As `NODE_ADDRS_V4`.
#[map]
pub(crate) static NODE_ADDRS_V6: HashMap<V6, NodeAddrFlags> =
    HashMap::with_max_entries(limits::NODE_ADDRS, BPF_F_NO_PREALLOC);
/// By ifindex.
#[map]
pub(crate) static DEVICES: HashMap<u32, Device> =
    HashMap::with_max_entries(limits::DEVICES, BPF_F_NO_PREALLOC);
/// By `reason::counter_index`.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(reason::COUNTERS, 0);
/// Translations of a socket's destinations; dies with the socket.
#[btf_map]
pub(crate) static SOCKETS: SkStorage<Socket> = SkStorage::new();
