//! Tables of kube-proxy's rules: one Service, its endpoints, what becomes of connections.

use proxy_common::value::Class;

use crate::rig::Rig;
use crate::words::{service, slice};

/// A Service and its slice, and what becomes of connections: frontend, class, outcome.
pub(crate) struct Case {
    pub(crate) rule: &'static str,
    pub(crate) service: &'static str,
    pub(crate) endpoints: &'static [&'static str],
    pub(crate) expected: &'static [(&'static str, Option<Class>, &'static str)],
}

pub(crate) const IN: Option<Class> = Some(Class::Inside);
pub(crate) const OUT: Option<Class> = Some(Class::Outside);
pub(crate) const HOST: Option<Class> = Some(Class::Host);
pub(crate) const ALL: Option<Class> = None;

pub(crate) fn check(cases: &[Case]) {
    for Case {
        rule,
        service: words,
        endpoints,
        expected,
    } in cases
    {
        let mut rig = Rig::new();
        rig.zone("zone-1").service(service("web", words));
        rig.slice(slice("web", "web-1", "http/TCP/8080", endpoints))
            .settle();
        for (frontend, class, outcome) in *expected {
            let actual = class.map_or_else(
                || rig.everyone(frontend),
                |class| rig.outcome(frontend, class),
            );
            assert_eq!(actual, *outcome, "{rule}: {frontend} {class:?}");
        }
    }
}

pub(crate) const WEB: &str = "ip=10.96.0.1 port=http/TCP/80";
pub(crate) const LB: &str =
    "LoadBalancer ip=10.96.0.1 port=http/TCP/80/30080 external=192.0.2.7 lb=198.51.100.9";
pub(crate) const LB_ETP: &str =
    "LoadBalancer ip=10.96.0.1 port=http/TCP/80/30080 external=192.0.2.7 lb=198.51.100.9 etp";
