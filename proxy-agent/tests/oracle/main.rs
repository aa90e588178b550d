//! The whole of what decides about a new connection - configuration, planner, packet path, socket hooks, `explain`, in memory and
//! in the kernel - against the oracle, which computes the same from SEMANTICS alone (section 22).
//!
//! Each case is a random node with a random cluster; each flow is asked of every body. A difference is shown with the
//! smallest cluster that still has it. The kernel is asked if we are root and the eBPF object is built.

mod bodies;
mod difference;

use std::thread;

use bodies::{Bodies, Kernels};
use difference::{Difference, Judge};
use proxy_oracle::random::Case;

/// Flows of a case.
const FLOWS: usize = 200;
/// Cases, so that there are 100,000 flows. `KUBE_SHUNT_ORACLE_CASES` asks for another number.
const CASES: usize = 500;
/// More differences than these help nobody.
const SHOWN: usize = 5;

#[test]
fn planner_path_kernel_and_oracle_agree_on_random_flows() {
    let wanted = std::env::var("KUBE_SHUNT_ORACLE_CASES");
    let cases = wanted.map_or(CASES, |text| text.parse().expect("a number of cases"));
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
        let mut kernels = kernels();
        let seeds = (worker..cases).step_by(workers);
        seeds
            .filter_map(|seed| difference(seed as u64, &mut kernels))
            .collect::<Vec<_>>()
    };
    let found: Vec<Difference> = thread::scope(|scope| {
        let running: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        running
            .into_iter()
            .flat_map(|worker| worker.join().expect("no worker panics"))
            .collect()
    });
    let mut kernels = kernels();
    let shown = found
        .iter()
        .take(SHOWN)
        .map(|difference| difference.smallest(&mut kernels).to_string());
    let shown: Vec<String> = shown.collect();
    println!(
        "{cases} clusters, {} flows, asked of {}",
        cases * FLOWS,
        if kernel {
            "memory and kernel"
        } else {
            "memory"
        }
    );
    assert!(
        found.is_empty(),
        "{} clusters of {cases} differ:\n{}",
        found.len(),
        shown.join("\n\n")
    );
}

/// The first difference of a case.
fn difference(seed: u64, kernels: &mut Kernels) -> Option<Difference> {
    let case = Case::random(seed);
    let judge = Judge::new(&case);
    let mut bodies = Bodies::new(&case, kernels);
    case.flows(seed, FLOWS).into_iter().find_map(|flow| {
        let wrong = judge.differs(&mut bodies, &flow)?;
        Some(Difference {
            seed,
            case: case.clone(),
            flow,
            wrong,
        })
    })
}
