//! The Services in the order in which a proxy goes through its rules, to measure the first and the last of them.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use integration::probe::Proto;
use integration::topology::Family;

use crate::record::Position;
use crate::services::{Edge, PORT, Target};

/// Whom a client wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    /// A numbered one with backends on the measured node, by its `ClusterIP`. TCP.
    ClusterIp(Position),
    /// One with TCP and UDP, by its `ClusterIP`.
    Edge(Edge, Position),
    /// One by its node port, on the measured node.
    NodePort(Edge, Position),
}

/// A rule of a frontend.
type Rule = (Family, Proto, Target);

/// The rules of all frontends, of each family in their order.
#[derive(Debug, Default)]
pub(super) struct Order {
    cluster_ips: Vec<Rule>,
    node_ports: Vec<Rule>,
}

impl Order {
    /// Of proxies that look Services up and go through none: by names.
    pub(super) fn of_names(services: u32) -> Self {
        let mut order = Self::default();
        for target in Target::all(services) {
            let is_there = |family: &Family| target.cluster_ip(*family).is_some();
            for family in Family::BOTH.into_iter().filter(is_there) {
                order.cluster_ips.push((family, Proto::Tcp, target));
                if target.edge().is_some() {
                    order.cluster_ips.push((family, Proto::Udp, target));
                    let rules = Proto::BOTH.map(|proto| (family, proto, target));
                    order.node_ports.extend(rules);
                }
            }
        }
        order
    }

    /// Of kube-proxy's mode iptables, by what `iptables-save` and `ip6tables-save` tell: its chains follow no order of names.
    pub(super) fn of_chains(saved: &[String; 2]) -> Self {
        let mut order = Self::default();
        for (family, saved) in Family::BOTH.into_iter().zip(saved) {
            let rule = |(proto, target)| (family, proto, target);
            for words in saved.lines().map(Words::of) {
                match words.after("-A") {
                    Some("KUBE-SERVICES") => {
                        order.cluster_ips.extend(words.cluster_ip().map(rule));
                    }
                    Some("KUBE-NODEPORTS") => {
                        order.node_ports.extend(words.node_port().map(rule));
                    }
                    _ => {}
                }
            }
        }
        order
    }

    /// The Service that `to` means.
    pub(super) fn find(&self, to: To, family: Family, proto: Proto) -> Result<Target> {
        let (rules, position, kind) = match to {
            To::ClusterIp(position) => (&self.cluster_ips, position, None),
            To::Edge(edge, position) => (&self.cluster_ips, position, Some(edge)),
            To::NodePort(edge, position) => (&self.node_ports, position, Some(edge)),
        };
        let is = |target: Target| match kind {
            None => matches!(target, Target::Many(_)) && target.is_local(),
            Some(_) => target.edge() == kind,
        };
        let mut rules = rules
            .iter()
            .filter(|&&(of, with, target)| (of, with) == (family, proto) && is(target));
        let found = match position {
            Position::First => rules.next(),
            Position::Last => rules.next_back(),
        };
        let (.., target) = found.with_context(|| {
            let (family, proto) = (family.name(), proto.name());
            format!("no Service for {to:?} with {family} and {proto}")
        })?;
        Ok(*target)
    }
}

/// A line of `iptables-save`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        Self(line.split_whitespace().collect())
    }

    fn after(&self, flag: &str) -> Option<&'a str> {
        let place = self.0.iter().position(|word| *word == flag)?;
        self.0.get(place + 1).copied()
    }

    fn proto(&self) -> Option<Proto> {
        let name = self.after("-p")?;
        Proto::BOTH
            .into_iter()
            .find(|proto| proto.name().eq_ignore_ascii_case(name))
    }

    fn port(&self) -> Option<u16> {
        self.after("--dport")?.parse().ok()
    }

    /// The rule that leads packets for a `ClusterIP` to backends.
    fn cluster_ip(&self) -> Option<(Proto, Target)> {
        let is_ours = self.port()? == PORT && self.after("-j")?.starts_with("KUBE-SVC-");
        let (ip, _bits) = self.after("-d")?.split_once('/')?;
        let ip: IpAddr = ip.parse().ok()?;
        let target = Target::of_cluster_ip(ip).filter(|_| is_ours)?;
        Some((self.proto()?, target))
    }

    /// The rule that leads packets for a node port to backends.
    fn node_port(&self) -> Option<(Proto, Target)> {
        let is_ours = self.after("-j")?.starts_with("KUBE-EXT-");
        let target = Target::of_node_port(self.port()?).filter(|_| is_ours)?;
        Some((self.proto()?, target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::Numbered;

    const SAVED: &str = r#"*nat
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-NODEPORTS -p udp -m comment --comment "default/many-000015:udp" -m udp --dport 30201 -j KUBE-EXT-A
-A KUBE-NODEPORTS -d 127.0.0.0/8 -p tcp -m comment --comment "default/edge-local:tcp" -m nfacct --nfacct-name x -m tcp --dport 30080 -j KUBE-EXT-B
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/edge-local:tcp" -m tcp --dport 30080 -j KUBE-EXT-B
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/edge-local:cross-check" -m tcp --dport 30090 -j KUBE-EXT-C
-A KUBE-NODEPORTS -p udp -m comment --comment "default/edge-remote:udp" -m udp --dport 30081 -j KUBE-EXT-D
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-X
-A KUBE-SERVICES -d 10.96.1.15/32 -p tcp -m comment --comment "default/many-000015:tcp cluster IP" -m tcp --dport 80 -j KUBE-SVC-E
-A KUBE-SERVICES -d 10.96.1.7/32 -p tcp -m comment --comment "default/many-000007:tcp cluster IP" -m tcp --dport 80 -j KUBE-SVC-F
-A KUBE-SERVICES -d 10.96.1.15/32 -p udp -m comment --comment "default/many-000015:udp cluster IP" -m udp --dport 80 -j KUBE-SVC-G
-A KUBE-SERVICES -d 10.96.0.240/32 -p tcp -m comment --comment "default/edge-local:tcp cluster IP" -m tcp --dport 80 -j KUBE-SVC-H
-A KUBE-SERVICES -d 10.96.1.3/32 -p tcp -m comment --comment "default/many-000003:tcp cluster IP" -m tcp --dport 80 -j KUBE-SVC-I
-A KUBE-SERVICES -d 10.96.1.9/32 -p tcp -m comment --comment "default/many-000009:tcp has no endpoints" -m tcp --dport 80 -j REJECT
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-F -d 10.96.1.8/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
"#;

    const SAVED6: &str = r#"*nat
-A KUBE-NODEPORTS -p udp -m comment --comment "default/many6-000015:udp" -m udp --dport 31451 -j KUBE-EXT-A
-A KUBE-NODEPORTS -p udp -m comment --comment "default/edge-remote:udp" -m udp --dport 30081 -j KUBE-EXT-D
-A KUBE-SERVICES -d fd00:10:96::100f/128 -p tcp -m comment --comment "default/many6-000015:tcp cluster IP" -m tcp --dport 80 -j KUBE-SVC-E
-A KUBE-SERVICES -d fd00:10:96::1008/128 -p tcp -m comment --comment "default/many6-000008:tcp cluster IP" -m tcp --dport 80 -j KUBE-SVC-F
-A KUBE-SERVICES -d fd00:10:96::1001/128 -p tcp -m comment --comment "default/many6-000001:tcp cluster IP" -m tcp --dport 80 -j KUBE-SVC-I
-A KUBE-SERVICES -d fd00:10:96::f0/128 -p tcp -m comment --comment "default/edge-local:tcp cluster IP" -m tcp --dport 80 -j KUBE-SVC-H
"#;

    const BOTH: [Position; 2] = [Position::First, Position::Last];

    fn of_chains() -> Order {
        Order::of_chains(&[SAVED, SAVED6].map(str::to_owned))
    }

    fn found(
        order: &Order,
        to: impl Fn(Position) -> To,
        family: Family,
        proto: Proto,
    ) -> [Target; 2] {
        BOTH.map(|position| order.find(to(position), family, proto).unwrap())
    }

    fn numbered(family: Family, number: u32) -> Target {
        Target::Many(Numbered { family, number })
    }

    #[test]
    fn iptables_has_the_order_of_its_chains_in_each_family() {
        let (order, v4) = (of_chains(), Family::V4);
        // 15 has its backends elsewhere.
        for (family, numbers) in [(v4, [7, 3]), (Family::V6, [8, 1])] {
            assert_eq!(
                found(&order, To::ClusterIp, family, Proto::Tcp),
                numbers.map(|number| numbered(family, number))
            );
            let remote = |position| To::NodePort(Edge::Remote, position);
            let expected = [numbered(family, 15), Target::Edge(Edge::Remote)];
            assert_eq!(found(&order, remote, family, Proto::Udp), expected);
        }
        let local = |position| To::Edge(Edge::Local, position);
        assert_eq!(
            found(&order, local, v4, Proto::Tcp),
            [Target::Edge(Edge::Local); 2]
        );
        let cluster_ip = |position| To::Edge(Edge::Remote, position);
        assert_eq!(
            found(&order, cluster_ip, v4, Proto::Udp),
            [numbered(v4, 15); 2]
        );
    }

    #[test]
    fn what_is_not_in_the_chains_is_not_found() {
        let order = of_chains();
        let kept = To::NodePort(Edge::Kept, Position::First);
        let error = order.find(kept, Family::V4, Proto::Tcp).unwrap_err();
        assert!(error.to_string().contains("Kept"), "{error}");
    }

    #[test]
    fn others_have_the_order_of_names() {
        let order = Order::of_names(30);
        for family in Family::BOTH {
            assert_eq!(
                found(&order, To::ClusterIp, family, Proto::Tcp),
                [0, 29].map(|number| numbered(family, number))
            );
            for (edge, last) in [(Edge::Local, 5), (Edge::Remote, 15), (Edge::Kept, 25)] {
                let expected = [Target::Edge(edge), numbered(family, last)];
                for proto in Proto::BOTH {
                    let node_ports = found(&order, |at| To::NodePort(edge, at), family, proto);
                    assert_eq!(node_ports, expected);
                    let cluster_ips = found(&order, |at| To::Edge(edge, at), family, proto);
                    assert_eq!(cluster_ips, expected);
                }
            }
        }
    }
}
