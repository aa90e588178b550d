//! What the random cases reach: a property test of cases that never ask proves nothing.

use std::collections::BTreeMap;

use proxy_oracle::random::Case;
use proxy_oracle::{Flow, From, Proto, Reason, decide};
use serde_json::Value;

const CASES: u64 = 300;
const FLOWS: usize = 50;

#[test]
fn random_flows_reach_every_reason_from_everywhere() {
    let mut reached: BTreeMap<String, usize> = BTreeMap::new();
    let mut masqueraded = 0;
    let mut served = 0;
    for seed in 0..CASES {
        let case = Case::random(seed);
        let (cluster, config, node) = case.world();
        for flow in case.flows(seed, FLOWS) {
            let answer = decide(&cluster, &config, &node, &flow);
            let key = format!(
                "{:?} from {:?} over {}",
                answer.reason,
                flow.from,
                if flow.dst.is_ipv4() { 4 } else { 6 }
            );
            *reached.entry(key).or_default() += 1;
            served += usize::from(answer.reason == Reason::Served);
            masqueraded += usize::from(answer.masquerade);
        }
    }
    let total = usize::try_from(CASES).expect("a small number") * FLOWS;
    let reasons = [
        Reason::Served,
        Reason::OutOfRange,
        Reason::NoEndpoints,
        Reason::NoLocalEndpoints,
        Reason::UnknownPort,
        Reason::UnallocatedAddress,
        Reason::NoService,
    ];
    for reason in reasons {
        for from in [From::Pod, From::Host, From::Outside] {
            for family in [4, 6] {
                let key = format!("{reason:?} from {:?} over {family}", Some(from));
                assert!(
                    reached.get(&key).is_some_and(|count| *count >= 5),
                    "{key}: {reached:#?}"
                );
            }
        }
    }
    assert!(
        served * 3 > total,
        "only {served} of {total} are served: {reached:#?}"
    );
    assert!(
        masqueraded * 10 > total,
        "only {masqueraded} of {total} are masqueraded"
    );
}

#[test]
fn a_seed_makes_one_case() {
    let (first, second) = (Case::random(7), Case::random(7));
    assert_eq!(first.objects, second.objects);
    assert_eq!(first.flows(7, 20), second.flows(7, 20));
    assert_ne!(first.objects, Case::random(8).objects);
}

#[test]
fn shrinking_leaves_what_matters() {
    let asks = |case: &Case| {
        let (cluster, config, node) = case.world();
        let flow = Flow {
            src: "10.1.0.9".parse().expect("an address"),
            dst: "10.96.0.10:80".parse().expect("an address"),
            proto: Proto::Tcp,
            from: Some(From::Pod),
        };
        decide(&cluster, &config, &node, &flow).reason == Reason::Served
    };
    let case = (0..1000)
        .map(Case::random)
        .find(asks)
        .expect("some case serves it");
    let count = case.objects.len();
    let small = case.shrink(asks);
    assert!(asks(&small));
    assert_eq!(
        small.objects.len(),
        2,
        "a Service and a slice of {count} objects: {:#?}",
        small.objects
    );
    assert_eq!(small.config, Vec::<Value>::new());
    for object in &small.objects {
        let (ports, endpoints) = (&object["spec"]["ports"], &object["endpoints"]);
        let many = |list: &Value| list.as_array().is_some_and(|list| list.len() > 1);
        assert!(!many(ports) && !many(endpoints), "{object:#}");
        assert_eq!(object["spec"]["externalIPs"], Value::Null, "{object:#}");
    }
}
