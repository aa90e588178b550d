//! The whole of what decides about a new connection - configuration, planner, packet path, socket hooks, `explain`, in memory and
//! in the kernel - against the oracle, which computes the same from SEMANTICS alone (section 22).
//!
//! Each case is a random node with a random cluster; each flow is asked of every body. A difference is shown with its seed and the
//! smallest cluster that still has it. The kernel is asked if we are root and the eBPF object is built.
//!
//! `KUBE_SHUNT_ORACLE_CASES` asks for another number of cases, `KUBE_SHUNT_ORACLE_SEED` for another first one.

mod bodies;
mod difference;
mod tally;

use std::thread;

use bodies::{Bodies, Kernels};
use difference::{Difference, Judge};
use proxy_oracle::random::Case;
use tally::Tally;

/// Flows of a case.
const FLOWS: usize = 200;
/// Cases, so that there are 100,000 flows.
const CASES: usize = 500;
/// More differences than these help nobody.
const SHOWN: usize = 5;

#[test]
fn planner_path_kernel_and_oracle_agree_on_random_flows() {
    let number = |name, default| {
        let text = std::env::var(name);
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let first = number("KUBE_SHUNT_ORACLE_SEED", 0);
    let cases = number("KUBE_SHUNT_ORACLE_CASES", CASES);
    let kernel = nix::unistd::geteuid().is_root() && !proxy_kernel::object::bytes().is_empty();
    if !kernel {
        println!(
            "SKIPPED planner_path_kernel_and_oracle_agree_on_random_flows (kernel): needs root and the eBPF object"
        );
    }
    let kernels = || {
        if kernel {
            Kernels::default()
        } else {
            Kernels::absent()
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = |worker| {
        let (mut kernels, mut tally) = (kernels(), Tally::default());
        let seeds = (first + worker..first + cases).step_by(workers);
        let found = seeds
            .filter_map(|seed| difference(seed as u64, &mut kernels, &mut tally))
            .collect::<Vec<_>>();
        (found, tally)
    };
    let (mut found, mut tally) = (Vec::new(), Tally::default());
    thread::scope(|scope| {
        let running: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        for worker in running {
            let (differences, counts) = worker.join().expect("no worker panics");
            found.extend(differences);
            tally.add(counts);
        }
    });
    println!(
        "seeds from {first} on, asked of {}: {tally}",
        if kernel {
            "memory and kernel"
        } else {
            "memory"
        }
    );
    let mut kernels = kernels();
    let shown = found
        .iter()
        .take(SHOWN)
        .map(|difference| difference.smallest(&mut kernels).to_string());
    let shown: Vec<String> = shown.collect();
    assert!(
        found.is_empty(),
        "{} clusters of {cases} differ:\n{}",
        found.len(),
        shown.join("\n\n")
    );
    assert_eq!((tally.clusters, tally.flows), (cases, cases * FLOWS));
}

/// The first difference of a case.
fn difference(seed: u64, kernels: &mut Kernels, tally: &mut Tally) -> Option<Difference> {
    let case = Case::random(seed);
    let judge = Judge::new(&case);
    let mut bodies = Bodies::new(&case, kernels);
    tally.clusters += 1;
    for flow in case.flows(seed, FLOWS) {
        match judge.compare(&mut bodies, &flow) {
            Ok(answer) => tally.note(&flow, &answer),
            Err(wrong) => {
                return Some(Difference {
                    seed,
                    case,
                    flow,
                    wrong,
                });
            }
        }
    }
    None
}
