//! The path's traits for a program's context: written once as macros, since each context binds the maps of both families.

/// Implements `Services` and `Tables` of one family over its maps, for a context with `route_ctx()`.
macro_rules! family {
    ($ctx:ty, $addr:ty, $frontends:ident, $backends:ident, $node_addrs:ident, $flows:ident, $embryos:ident, $fragments:ident) => {
        $crate::body::services!($ctx, $addr, $frontends, $backends, $node_addrs);

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
                    $crate::tables::insert_flags(false),
                ))
            }

            #[inline]
            fn flow_remove(&self, key: &proxy_common::key::FlowKey<$addr>) {
                // An entry that is gone already is as good as removed.
                $crate::maps::$flows.remove(key).ok();
            }

            #[inline]
            fn embryo(&self, key: &proxy_common::key::FlowKey<$addr>) -> Option<Self::Flow> {
                $crate::tables::Handle::new($crate::maps::$embryos.get_ptr_mut(key))
            }

            #[inline]
            fn embryo_insert(
                &self,
                key: &proxy_common::key::FlowKey<$addr>,
                flow: &proxy_common::value::Flow<$addr>,
                replace: bool,
            ) -> Result<(), proxy_common::path::Exists> {
                let flags = $crate::tables::insert_flags(replace);
                $crate::tables::inserted($crate::maps::$embryos.insert(key, flow, flags))
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

/// Implements `Services` of one family.
macro_rules! services {
    ($ctx:ty, $addr:ty, $frontends:ident, $backends:ident, $node_addrs:ident) => {
        impl proxy_common::path::Services<$addr> for $ctx {
            #[inline]
            fn frontend(
                &self,
                key: &proxy_common::key::FrontendKey<$addr>,
            ) -> Option<proxy_common::value::Frontend> {
                // SAFETY: not preallocated: the agent replaces whole elements, and RCU keeps the one that is read.
                unsafe { $crate::maps::$frontends.get(key) }.copied()
            }

            #[inline]
            fn backend(&self, slot: u32) -> Option<proxy_common::value::Backend<$addr>> {
                $crate::maps::$backends.get(slot).copied()
            }

            #[inline]
            fn node_addr(&self, addr: &$addr) -> Option<proxy_common::flags::AddrFlags> {
                // SAFETY: as in `frontend`.
                unsafe { $crate::maps::$node_addrs.get(addr) }.copied()
            }
        }
    };
}

/// Both families for a packet context.
macro_rules! both_families {
    ($ctx:ty) => {
        $crate::body::family!(
            $ctx,
            proxy_common::addr::V4,
            FRONTENDS_V4,
            BACKENDS_V4,
            ADDRS_V4,
            FLOWS_V4,
            EMBRYOS_V4,
            FRAGMENTS_V4
        );
        $crate::body::family!(
            $ctx,
            proxy_common::addr::V6,
            FRONTENDS_V6,
            BACKENDS_V6,
            ADDRS_V6,
            FLOWS_V6,
            EMBRYOS_V6,
            FRAGMENTS_V6
        );
    };
}

/// `Env` and `Interface` for a packet context.
macro_rules! environment {
    ($ctx:ty, $hook:expr, xdp: $xdp:literal) => {
        impl proxy_common::path::Env for $ctx {
            #[inline]
            fn zero(&self) -> u32 {
                $crate::tables::zero()
            }

            #[inline]
            fn now(&self) -> u32 {
                $crate::tables::now()
            }

            #[inline]
            fn backend_state(&self, id: u32) -> Option<proxy_common::value::BackendState> {
                $crate::tables::backend_state(id)
            }

            #[inline]
            fn count(&self, reason: proxy_common::reason::Reason) {
                $crate::tables::count(reason, $hook);
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

pub(crate) use {both_families, environment, family, services};
