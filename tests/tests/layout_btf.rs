//! The shared structs as the eBPF object was compiled, against the same structs as this machine compiles them.

use std::collections::BTreeMap;
use std::mem::offset_of;

use anyhow::{Context as _, Result, ensure};
use integration::prog_run::{btf, object};
use proxy_common::addr::{V4, V6};
use proxy_common::embryos::{Embryo, EmbryoSet, Header, bpf_spin_lock};
use proxy_common::key::{AffinityKey, FlowKey, FragmentKey, FrontendKey, RangeKey};
use proxy_common::value::{
    Affinity, Backend, BackendState, Cidr, Device, Flow, Fragment, Frontend, Settings, Slice,
    Socket, SocketPeer,
};

/// A struct as user space sees it. `pad` is private and follows from the rest.
struct Expected {
    name: String,
    size: usize,
    members: Vec<(&'static str, usize)>,
}

macro_rules! expected {
    ($($type:ty { $($member:ident)* })*) => {
        vec![$(Expected {
            name: btf_name::<$type>(),
            size: size_of::<$type>(),
            members: vec![$((stringify!($member), offset_of!($type, $member)),)*],
        }),*]
    };
}

/// The name that bpf-linker gives a type: without its own path, and with letters for what C does not allow in a name.
fn btf_name<T>() -> String {
    let path = std::any::type_name::<T>();
    let (own, parameters) = path.split_at(path.find('<').unwrap_or(path.len()));
    let name = own.rsplit("::").next().unwrap_or(own);
    let parameters = parameters.replace('<', "_3C_").replace('>', "_3E_");
    format!("{name}{}", parameters.replace(':', "_3A_"))
}

#[test]
fn object_and_user_space_agree_on_every_shared_struct() -> Result<()> {
    let found = btf::structs(&object()?)?;
    let expected = expected! {
        FrontendKey<V4> { addr port proto }
        FrontendKey<V6> { addr port proto }
        FlowKey<V4> { src dst sport dport proto }
        FlowKey<V6> { src dst sport dport proto }
        FragmentKey<V4> { src dst id proto }
        FragmentKey<V6> { src dst id proto }
        AffinityKey<V4> { service client }
        AffinityKey<V6> { service client }
        RangeKey<V4> { prefix set addr }
        RangeKey<V6> { prefix set addr }
        Affinity<V4> { backend last_new }
        Affinity<V6> { backend last_new }
        Cidr<V4> { addr mask used }
        Cidr<V6> { addr mask used }
        Slice { offset count }
        Frontend { service flags affinity_seconds ranges slices tables }
        Backend<V4> { addr port flags id generation }
        Backend<V6> { addr port flags id generation }
        BackendState { generation state sets active reserved }
        Flow<V4> { src dst sport dport flags state last_seen backend generation service }
        Flow<V6> { src dst sport dport flags state last_seen backend generation service }
        Fragment<V4> { src dst flags reserved }
        Fragment<V6> { src dst flags reserved }
        Device { flags mtu src4 src6 }
        SocketPeer { frontend backend frontend_port backend_port id generation }
        Socket { peers next }
        Settings { host_netns_cookie hash_seed features masquerade_mark hairpin4 hairpin6 snat_port_min snat_port_max detect embryo_mask reserved }
        bpf_spin_lock { val }
        EmbryoSet<V4> { lock header ways }
        EmbryoSet<V6> { lock header ways }
        Embryo<V4> { key flow }
        Embryo<V6> { key flow }
        Header { order tags }
    };
    for Expected {
        name,
        size,
        members,
    } in expected
    {
        let object = found
            .get(&name)
            .with_context(|| format!("{name} is not in the object's BTF"))?;
        ensure!(
            object.size == size,
            "{name}: {} bytes in the object, {size} here",
            object.size
        );
        let theirs: BTreeMap<&str, usize> = object
            .members
            .iter()
            .map(|(name, offset)| (name.as_str(), *offset))
            .filter(|(name, _)| !name.starts_with("pad"))
            .collect();
        let ours: BTreeMap<&str, usize> = members.into_iter().collect();
        ensure!(
            theirs == ours,
            "{name}: {theirs:?} in the object, {ours:?} here"
        );
    }
    Ok(())
}
