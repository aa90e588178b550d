//! An answer for a person: one screen.

use std::fmt::Write as _;
use std::net::SocketAddr;

use proxy_common::flags::FrontendFlags;
use proxy_common::reason::Reason;
use proxy_common::value::Frontend;

use super::answer::{Hook, Verdict};
use super::ask::Told;
use super::question::{Question, Side};
use super::state::State;

/// The answer as text.
pub fn render(state: &State, question: &Question, told: &Told) -> String {
    let Told {
        answer,
        side,
        frontend,
        sources,
    } = told;
    let mut lines = vec![("FLOW", flow(question, *side))];
    lines.push(("SERVICE", answer.service.clone().unwrap_or_else(none)));
    let shown = match (&answer.frontend, frontend) {
        (Some(shown), Some((frontend, node_port))) => {
            format!("{shown} ({})", kind(frontend, *node_port))
        }
        _ => none(),
    };
    lines.push(("FRONTEND", shown));
    if let Some((frontend, _)) = frontend {
        lines.extend(
            policies(frontend, *side)
                .into_iter()
                .map(|policy| ("POLICY", policy)),
        );
    }
    for backend in &answer.backends {
        let local = backend
            .parse()
            .is_ok_and(|backend: SocketAddr| state.local.contains(&backend.ip()));
        let place = if local { " (on this node)" } else { "" };
        lines.push(("BACKEND", format!("{backend}{place}")));
    }
    lines.push((
        "VERDICT",
        verdict(answer.verdict, answer.backends.len(), *side),
    ));
    lines.push((
        "REASON",
        format!("{}: {}", answer.reason, why(&answer.reason)),
    ));
    let sources: Vec<_> = sources
        .iter()
        .map(|source| match source {
            Some(source) => source.to_string(),
            None => "the address of the device it leaves by".to_owned(),
        })
        .collect();
    let masquerade = match (answer.verdict, sources.is_empty()) {
        (Verdict::Dnat, false) => format!("to {}", sources.join(" or ")),
        (Verdict::Dnat, true) => "no, the client's address is kept".to_owned(),
        _ => none(),
    };
    lines.push(("MASQUERADE", masquerade));
    lines.push(("HOOK", hook(answer.hook).to_owned()));
    let mut text = String::new();
    let mut before = "";
    for (title, line) in lines {
        let shown = if title == before { "" } else { title };
        before = title;
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{shown:<12}{line}");
    }
    text
}

fn none() -> String {
    "-".to_owned()
}

fn flow(question: &Question, side: Side) -> String {
    let from = match side {
        Side::Pod => "from a pod of this node",
        Side::Host => "from a process of this node",
        Side::Outside => "from outside",
    };
    let guessed = if question.from.is_none() {
        ", by its address"
    } else {
        ""
    };
    format!(
        "{} to {}/{}, {from}{guessed}",
        question.src.ip,
        question.dst,
        question.proto.label()
    )
}

fn kind(frontend: &Frontend, node_port: bool) -> &'static str {
    if node_port {
        "NodePort"
    } else if frontend.flags.has(FrontendFlags::EXTERNAL) {
        "external IP or load-balancer IP"
    } else {
        "ClusterIP"
    }
}

/// What the Service asks for that has a part in the answer.
fn policies(frontend: &Frontend, side: Side) -> Vec<String> {
    let flags = frontend.flags;
    let local = match side {
        Side::Pod => FrontendFlags::LOCAL_INSIDE,
        Side::Host => FrontendFlags::LOCAL_HOST,
        Side::Outside => FrontendFlags::LOCAL_OUTSIDE,
    };
    let mut policies = Vec::new();
    policies.push(
        match (flags.has(FrontendFlags::EXTERNAL), flags.has(local)) {
            (true, true) => "externalTrafficPolicy Local: endpoints on this node",
            (true, false) if flags.has(FrontendFlags::LOCAL_OUTSIDE) => {
                "externalTrafficPolicy Local, but this client is on this node: all endpoints"
            }
            (true, false) => "externalTrafficPolicy Cluster: all endpoints",
            (false, true) => "internalTrafficPolicy Local: endpoints on this node",
            (false, false) => "internalTrafficPolicy Cluster: all endpoints",
        }
        .to_owned(),
    );
    if flags.has(FrontendFlags::RANGES) {
        policies.push("loadBalancerSourceRanges".to_owned());
    }
    if frontend.affinity_seconds > 0 {
        policies.push(format!(
            "sessionAffinity ClientIP, {} s: a client with a record keeps its backend",
            frontend.affinity_seconds
        ));
    }
    let algorithms = [
        (FrontendFlags::ROUND_ROBIN, "round-robin"),
        (FrontendFlags::MAGLEV, "maglev"),
        (FrontendFlags::LEAST_CONNECTIONS, "least-connections"),
    ];
    let algorithm = algorithms.iter().find(|(flag, _)| flags.has(*flag));
    policies.extend(algorithm.map(|(_, name)| format!("algorithm {name}")));
    policies
}

fn verdict(verdict: Verdict, backends: usize, side: Side) -> String {
    match (verdict, side) {
        (Verdict::Dnat, _) if backends == 1 => "DNAT to the backend".to_owned(),
        (Verdict::Dnat, _) => format!("DNAT to one of {backends} backends"),
        (Verdict::Reject, Side::Host) => "rejected: the call fails with ECONNREFUSED".to_owned(),
        (Verdict::Reject, _) => "rejected: ICMP port unreachable".to_owned(),
        (Verdict::Drop, Side::Host) => "dropped: the call fails with EHOSTUNREACH".to_owned(),
        (Verdict::Drop, _) => "dropped".to_owned(),
        (Verdict::Pass, _) => "passed on as it is".to_owned(),
    }
}

const fn hook(hook: Hook) -> &'static str {
    match hook {
        Hook::Tc => "TC ingress",
        Hook::Xdp => "XDP",
        Hook::Socket => "socket (connect, sendmsg)",
    }
}

/// What the reasons mean that an answer can have; docs/explain.md lists them.
pub const REASONS: [(Reason, &str); 10] = [
    (Reason::NewFlow, "a new connection gets a backend"),
    (Reason::NotOurs, "no Service has this address and port"),
    (Reason::NoEndpoints, "the Service has no endpoints"),
    (
        Reason::NoLocalEndpoints,
        "it has endpoints, but the traffic policy leaves none for this client",
    ),
    (
        Reason::SourceRangeDenied,
        "the client is in none of the loadBalancerSourceRanges",
    ),
    (
        Reason::UnknownPort,
        "the address is a Service's, but no Service has the port",
    ),
    (
        Reason::UnallocatedAddress,
        "the address is in a ServiceCIDR, but no Service has it",
    ),
    (
        Reason::RoutingLoop,
        "the packet would leave by the device that it came in by",
    ),
    (Reason::NoRoute, "the node has no route to the backend"),
    (
        Reason::Inconsistent,
        "a map holds what must not be there; the packet is handed to the stack",
    ),
];

fn why(reason: &str) -> &'static str {
    let known = REASONS.iter().find(|(known, _)| known.label() == reason);
    known.map_or("see docs/metrics.md", |(_, why)| why)
}
