//! The same generated packets and map contents through the kernel's programs and the memory body: return value, bytes,
//! counters, flows, embryos and fragments must be equal after every packet.
//!
//! It guards compiler, adapters and helpers; the logic itself is judged in proxy-common, by an oracle of its own.

use anyhow::{Result, ensure};
use integration::prog_run::{Lane, Policy, namespace};
use integration::requirements;
use proxy_common::flags::{detect, feature};
use proxy_common::reason::Reason;
use proxy_common::sim::Program;
use proxy_common::sim::scene::FAMILIES;
use proxy_common::sim::traffic::Hooks;

/// Packets for each program and family.
const PACKETS: usize = 10_000;
/// Sequences count up from here.
const SEED: u64 = 0x5eed_0000;

/// Reasons that the traffic must lead to, by program.
fn expected(program: Program) -> &'static [Reason] {
    match program {
        Program::TcIngress | Program::TcIngressL3 => &[
            Reason::NotOurs,
            Reason::Established,
            Reason::NewFlow,
            Reason::Retransmitted,
            Reason::NoEndpoints,
            Reason::NoLocalEndpoints,
            Reason::SnatPortsExhausted,
            Reason::FlowTableFull,
            Reason::TtlExceeded,
            Reason::TooBig,
            Reason::NoRoute,
            Reason::IcmpTranslated,
            Reason::TupleTaken,
            Reason::Inconsistent,
            Reason::Rebalanced,
            Reason::FragmentUnknown,
            Reason::SourceRangeDenied,
            Reason::UnknownPort,
            Reason::UnallocatedAddress,
            Reason::EchoAnswered,
            Reason::RoutingLoop,
        ],
        Program::TcEgress | Program::TcEgressL3 => &[
            Reason::NotOurs,
            Reason::Established,
            Reason::FlowTableFull,
            Reason::IcmpTranslated,
            Reason::TupleTaken,
            Reason::FragmentUnknown,
        ],
        Program::Xdp => &[
            Reason::NotOurs,
            Reason::Established,
            Reason::NewFlow,
            Reason::Retransmitted,
            Reason::NoLocalEndpoints,
            Reason::SnatPortsExhausted,
            Reason::FlowTableFull,
            Reason::NoRoute,
            Reason::Inconsistent,
            Reason::Rebalanced,
            Reason::FragmentUnknown,
            Reason::Deferred,
        ],
    }
}

/// Each pair of programs and families has another one.
fn policy(v6: bool, hooks: Hooks) -> Policy {
    let exact = hooks.ingress == Program::TcIngressL3 && !v6;
    let detect = match (hooks.ingress, v6) {
        (Program::TcIngress, false) => detect::DEVICE,
        (Program::TcIngress, true) | (Program::TcIngressL3, false) => detect::CIDR,
        _ => detect::NONE,
    };
    let features = match (exact, v6) {
        (true, _) => feature::EXACT_MASQUERADE,
        (false, true) => feature::HOST_ROUTING,
        (false, false) => 0,
    };
    Policy { features, detect }
}

fn agree(test: &str, v6: bool, hooks: Hooks, programs: &[Program]) -> Result<()> {
    if !requirements::met(test) {
        return Ok(());
    }
    let scene = namespace()?;
    let policy = policy(v6, hooks);
    // Where few connections get a source port of ours they neither run out nor collide.
    let few = [Reason::SnatPortsExhausted, Reason::TupleTaken];
    let exact = policy.features & feature::EXACT_MASQUERADE != 0;
    let wanted: Vec<_> = programs
        .iter()
        .flat_map(|program| expected(*program).iter().map(|reason| (*program, *reason)))
        .filter(|(_, reason)| !exact || !few.contains(reason))
        .collect();
    let tally = scene.enter(|| {
        Lane::new(FAMILIES[usize::from(v6)], hooks, policy)?.play(SEED, programs, PACKETS, &wanted)
    })??;
    println!("{test}, seed {SEED:#x}\n{tally}");
    for one in wanted {
        ensure!(
            tally.reasons.contains_key(&one),
            "{} was never counted by {}",
            one.1.label(),
            one.0.name()
        );
    }
    Ok(())
}

const L2: Hooks = Hooks {
    ingress: Program::TcIngress,
    egress: Program::TcEgress,
};
const L3: Hooks = Hooks {
    ingress: Program::TcIngressL3,
    egress: Program::TcEgressL3,
};
const XDP: Hooks = Hooks {
    ingress: Program::Xdp,
    egress: Program::TcEgress,
};

#[test]
fn tc_agrees_on_ipv4() -> Result<()> {
    agree("tc_agrees_on_ipv4", false, L2, &[L2.ingress, L2.egress])
}

#[test]
fn tc_agrees_on_ipv6() -> Result<()> {
    agree("tc_agrees_on_ipv6", true, L2, &[L2.ingress, L2.egress])
}

#[test]
fn tc_without_link_layer_agrees_on_ipv4() -> Result<()> {
    agree(
        "tc_without_link_layer_agrees_on_ipv4",
        false,
        L3,
        &[L3.ingress, L3.egress],
    )
}

#[test]
fn tc_without_link_layer_agrees_on_ipv6() -> Result<()> {
    agree(
        "tc_without_link_layer_agrees_on_ipv6",
        true,
        L3,
        &[L3.ingress, L3.egress],
    )
}

#[test]
fn xdp_agrees_on_ipv4() -> Result<()> {
    agree("xdp_agrees_on_ipv4", false, XDP, &[XDP.ingress])
}

#[test]
fn xdp_agrees_on_ipv6() -> Result<()> {
    agree("xdp_agrees_on_ipv6", true, XDP, &[XDP.ingress])
}
