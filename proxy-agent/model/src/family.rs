//! What differs between the two address families. Everything else is written once, over [`Family`].

use std::net::IpAddr;

use proxy_common::addr::{Addr, V4, V6};
use proxy_common::key::FrontendKey;
use proxy_common::value::{Backend, Frontend};

use crate::endpoint::{Endpoint, Endpoints};
use crate::plan::MapOp;

/// An address family of the planner.
pub(crate) trait Family: Addr {
    /// Name of its FRONTENDS.
    const FRONTENDS: &'static str;
    /// Name of its BACKENDS.
    const BACKENDS: &'static str;
    /// The endpoints, if they are of this family.
    fn endpoints(of: &Endpoints) -> &[Endpoint<Self>];
    /// Its [`MapOp`] that writes slots.
    fn write(offset: u32, backends: Vec<Backend<Self>>) -> MapOp;
    /// Its [`MapOp`] that stores frontends.
    fn upsert(frontends: Vec<(FrontendKey<Self>, Frontend)>) -> MapOp;
    /// Its [`MapOp`] that deletes frontends.
    fn delete(frontends: Vec<FrontendKey<Self>>) -> MapOp;
}

impl Family for V4 {
    const FRONTENDS: &'static str = "FRONTENDS_V4";
    const BACKENDS: &'static str = "BACKENDS_V4";

    fn endpoints(of: &Endpoints) -> &[Endpoint<Self>] {
        match of {
            Endpoints::V4(endpoints) => endpoints,
            Endpoints::V6(_) => &[],
        }
    }

    fn write(offset: u32, backends: Vec<Backend<Self>>) -> MapOp {
        MapOp::WriteBackends4 { offset, backends }
    }

    fn upsert(frontends: Vec<(FrontendKey<Self>, Frontend)>) -> MapOp {
        MapOp::UpsertFrontends4(frontends)
    }

    fn delete(frontends: Vec<FrontendKey<Self>>) -> MapOp {
        MapOp::DeleteFrontends4(frontends)
    }
}

impl Family for V6 {
    const FRONTENDS: &'static str = "FRONTENDS_V6";
    const BACKENDS: &'static str = "BACKENDS_V6";

    fn endpoints(of: &Endpoints) -> &[Endpoint<Self>] {
        match of {
            Endpoints::V4(_) => &[],
            Endpoints::V6(endpoints) => endpoints,
        }
    }

    fn write(offset: u32, backends: Vec<Backend<Self>>) -> MapOp {
        MapOp::WriteBackends6 { offset, backends }
    }

    fn upsert(frontends: Vec<(FrontendKey<Self>, Frontend)>) -> MapOp {
        MapOp::UpsertFrontends6(frontends)
    }

    fn delete(frontends: Vec<FrontendKey<Self>>) -> MapOp {
        MapOp::DeleteFrontends6(frontends)
    }
}

/// Whether `ip` is of family `A`.
pub(crate) fn is_of<A: Addr>(ip: IpAddr) -> bool {
    ip.is_ipv6() == A::IS_V6
}
