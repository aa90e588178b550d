//! The path's traits for a program's context: written once as macros, since each context binds the maps of both families.

/// Implements `Services` and `Tables` of one family over its maps, for a context with `route_ctx()`.
macro_rules! family {
    ($ctx:ty, $addr:ty, ($($services:ident)*) $flows:ident $filter:ident $fragments:ident) => {
        $crate::body::services!($ctx, $addr, $($services)*);

        impl proxy_common::path::Tables<$addr> for $ctx {
            type Flow = $crate::tables::Handle<$addr>;

            #[inline]
            fn flow(&self, key: &proxy_common::key::FlowKey<$addr>) -> Option<Self::Flow> {
                $crate::tables::Handle::new($crate::maps::$flows.get_ptr_mut(key))
            }

            #[inline]
            fn flow_insert(
                &self,
                key: &proxy_common::key::FlowKey<$addr>,
                flow: &proxy_common::value::Flow<$addr>,
            ) -> Result<(), proxy_common::path::Exists> {
                $crate::tables::inserted($crate::maps::$flows.insert(
                    key,
                    flow,
                    aya_ebpf::bindings::BPF_NOEXIST.into(),
                ))
            }

            #[inline]
            fn flow_remove(&self, key: &proxy_common::key::FlowKey<$addr>) -> bool {
                $crate::maps::$flows.remove(key).is_ok()
            }

            #[inline]
            fn embryo(&self, key: &proxy_common::key::FlowKey<$addr>) -> Option<Self::Flow> {
                $crate::tables::Handle::found($crate::embryos::look_up($crate::embryos::place(key), key))
            }

            #[inline]
            fn embryo_place(&self, key: &proxy_common::key::FlowKey<$addr>) -> u64 {
                $crate::embryos::fetch(key)
            }

            #[inline(always)] // else one frame more
            fn embryo_claim(
                &self,
                place: u64,
                key: &proxy_common::key::FlowKey<$addr>,
                flow: &proxy_common::value::Flow<$addr>,
                patience: u32,
            ) -> proxy_common::reason::Reason {
                proxy_common::embryos::claimed($crate::embryos::claim(place, key, flow, patience))
            }

            #[inline]
            fn embryo_remove(&self, key: &proxy_common::key::FlowKey<$addr>) {
                // Evicted meanwhile, or removed by who promoted it at the same time.
                $crate::embryos::remove($crate::embryos::place(key), key);
            }

            #[inline]
            fn noted(&self, place: u16) -> bool {
                $crate::tables::noted(&$crate::maps::$filter, place)
            }

            #[inline]
            fn note_end(&self, place: u16) {
                $crate::tables::note_end(&$crate::maps::$filter, place);
            }

            #[inline]
            fn fragment(
                &self,
                key: &proxy_common::key::FragmentKey<$addr>,
            ) -> Option<proxy_common::value::Fragment<$addr>> {
                // SAFETY: read once, at once; see Handle::load for what a reused element means.
                unsafe { $crate::maps::$fragments.get(key) }.copied()
            }

            #[inline]
            fn fragment_insert(
                &self,
                key: &proxy_common::key::FragmentKey<$addr>,
                fragment: &proxy_common::value::Fragment<$addr>,
            ) {
                // If it fails the later parts are passed to the stack and counted there.
                $crate::maps::$fragments.insert(key, fragment, 0).ok();
            }

            #[inline]
            fn route(&self, ifindex: u32, src: $addr, dst: $addr) -> proxy_common::path::Route {
                $crate::tables::route(self.as_ptr(), ifindex, src, dst)
            }
        }
    };
}

/// Implements `Services` of one family over its maps.
macro_rules! services {
    ($ctx:ty, $addr:ty, $frontends:ident $backends:ident $addrs:ident $ranges:ident $cidrs:ident $affinity:ident) => {
        impl proxy_common::path::Services<$addr> for $ctx {
            #[inline]
            fn frontend(
                &self,
                key: &proxy_common::key::FrontendKey<$addr>,
            ) -> Option<&proxy_common::value::Frontend> {
                // SAFETY: not preallocated: the agent replaces whole elements, and RCU keeps the memory of the one that is read.
                unsafe { $crate::maps::$frontends.get(key) }
            }

            #[inline]
            fn backend(&self, slot: u32) -> Option<proxy_common::value::Backend<$addr>> {
                $crate::maps::$backends.get(slot).copied()
            }

            #[inline]
            fn addr(&self, addr: &$addr) -> Option<proxy_common::flags::AddrFlags> {
                // SAFETY: as in `frontend`.
                unsafe { $crate::maps::$addrs.get(addr) }.copied()
            }

            #[inline]
            fn in_range(&self, key: &proxy_common::key::RangeKey<$addr>) -> bool {
                $crate::maps::$ranges
                    .get($crate::tables::trie_key(key))
                    .is_some()
            }

            #[inline]
            fn cidr(&self, index: u32) -> Option<&proxy_common::value::Cidr<$addr>> {
                $crate::maps::$cidrs.get(index)
            }

            #[inline]
            fn affinity(
                &self,
                key: &proxy_common::key::AffinityKey<$addr>,
            ) -> Option<proxy_common::value::Affinity<$addr>> {
                // SAFETY: read once, at once; see Handle::load for what a reused element means.
                unsafe { $crate::maps::$affinity.get(key) }.copied()
            }

            #[inline]
            fn affinity_insert(
                &self,
                key: &proxy_common::key::AffinityKey<$addr>,
                affinity: &proxy_common::value::Affinity<$addr>,
            ) {
                // If it fails the client's next connection may go elsewhere.
                $crate::maps::$affinity.insert(key, affinity, 0).ok();
            }
        }
    };
}

/// `Services` of both families.
macro_rules! both_services {
    ($ctx:ty) => {
        $crate::body::services!($ctx, proxy_common::addr::V4,
            FRONTENDS_V4 BACKENDS_V4 ADDRS_V4 SOURCE_RANGES_V4 CIDRS_V4 AFFINITY_V4);
        $crate::body::services!($ctx, proxy_common::addr::V6,
            FRONTENDS_V6 BACKENDS_V6 ADDRS_V6 SOURCE_RANGES_V6 CIDRS_V6 AFFINITY_V6);
    };
}

/// All maps of both families for a packet context.
macro_rules! both_families {
    ($ctx:ty) => {
        $crate::body::family!($ctx, proxy_common::addr::V4,
            (FRONTENDS_V4 BACKENDS_V4 ADDRS_V4 SOURCE_RANGES_V4 CIDRS_V4 AFFINITY_V4)
            FLOWS_V4 FLOW_FILTER_V4 FRAGMENTS_V4);
        $crate::body::family!($ctx, proxy_common::addr::V6,
            (FRONTENDS_V6 BACKENDS_V6 ADDRS_V6 SOURCE_RANGES_V6 CIDRS_V6 AFFINITY_V6)
            FLOWS_V6 FLOW_FILTER_V6 FRAGMENTS_V6);
    };
}

/// The parts of `Env` that need no context.
macro_rules! shared_environment {
    () => {
        #[inline]
        fn zero(&self) -> u32 {
            $crate::tables::zero()
        }

        #[inline]
        fn now(&self) -> u32 {
            $crate::tables::now()
        }

        #[inline(always)] // lets the verifier see the constant
        fn has(&self, feature: u32) -> bool {
            $crate::settings::has(feature)
        }

        #[inline]
        fn backend_state(&self, id: u32) -> Option<proxy_common::value::BackendState> {
            $crate::tables::backend_state(id)
        }

        #[inline]
        fn count_connection(&self, id: u32, generation: u32, open: bool) {
            $crate::tables::count_connection(id, generation, open);
        }

        #[inline]
        fn lut(&self, word: u32) -> Option<proxy_common::value::LutWord> {
            $crate::maps::LUT.get(word).copied()
        }

        #[inline]
        fn turn(&self, service: u32) -> u32 {
            $crate::tables::turn(service)
        }

        #[inline]
        fn next_turn(&self, service: u32) {
            $crate::tables::next_turn(service);
        }
    };
}

/// `Env` and `Interface` for a packet context.
macro_rules! environment {
    ($ctx:ty, $hook:expr, xdp: $xdp:literal) => {
        impl proxy_common::path::Env for $ctx {
            $crate::body::shared_environment!();

            #[inline]
            fn count(&self, reason: proxy_common::reason::Reason) {
                if $crate::settings::has(proxy_common::flags::feature::DRY_RUN) {
                    self.set_fact(proxy_common::explain::Fact::Reason, reason as u32 + 1);
                } else {
                    $crate::tables::count(reason, $hook);
                }
            }

            #[inline]
            fn candidate(&self) -> u32 {
                self.mark()
            }

            #[inline]
            fn note(&self, fact: proxy_common::explain::Fact, value: u32) {
                self.set_fact(fact, value);
            }
        }

        impl proxy_common::path::Interface for $ctx {
            const XDP: bool = $xdp;

            #[inline]
            fn ifindex(&self) -> u32 {
                self.device_index()
            }

            #[inline]
            fn device(&self, ifindex: u32) -> Option<proxy_common::value::Device> {
                $crate::tables::device(ifindex)
            }

            #[inline]
            fn detect(&self) -> u32 {
                $crate::settings::detect()
            }

            #[inline]
            fn hash_seed(&self) -> u32 {
                $crate::settings::hash_seed()
            }

            #[inline]
            fn snat_ports(&self) -> (u16, u16) {
                (
                    $crate::settings::snat_port_min(),
                    $crate::settings::snat_port_max(),
                )
            }

            #[inline]
            fn masquerade_mark(&self) -> u32 {
                $crate::settings::masquerade_mark()
            }

            #[inline]
            fn hairpin<A: proxy_common::addr::Addr>(&self) -> A {
                $crate::tables::hairpin()
            }
        }
    };
}

pub(crate) use {both_families, both_services, environment, family, services, shared_environment};
