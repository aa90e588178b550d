//! Every file of tests/scenarios, three ways: planner, memory, kernel.

use std::path::Path;

use proxy_scenario::{Runner, Tally};

#[test]
fn every_scenario_holds_in_planner_memory_and_kernel() {
    let kernel = nix::unistd::geteuid().is_root() && !proxy_kernel::object::bytes().is_empty();
    if !kernel {
        println!(
            "SKIPPED every_scenario_holds_in_planner_memory_and_kernel (kernel): needs root and the eBPF object"
        );
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    let (mut runner, mut tally) = (Runner::new(kernel), Tally::default());
    for file in &files {
        runner.run(file, &mut tally);
    }
    let [planner, memory, kernel] = tally.flows;
    println!(
        "{} scenarios; flows: {planner} planner, {memory} memory, {kernel} kernel",
        tally.scenarios
    );
    assert!(tally.scenarios >= 150, "only {} scenarios", tally.scenarios);
    assert!(
        tally.wrong.is_empty(),
        "{} differences:\n{}",
        tally.wrong.len(),
        tally.wrong.join("\n")
    );
}
