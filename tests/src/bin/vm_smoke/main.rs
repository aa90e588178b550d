//! The first process of a virtual machine (`cargo xtask vm-test`): real agents and real traffic on another kernel.
//!
//! It mounts what an init mounts, inserts the modules of /modules, runs [`checks`], tells on the second serial port
//! what the verifier made of each program, and ends with `KM_EXIT rc=N`. It must never run on a real machine.

mod checks;
mod guest;
mod programs;

use std::fs::File;
use std::io::Write as _;

use anyhow::{Result, ensure};

/// Where results go; the first port is the kernel's console.
const RESULTS: &str = "/dev/ttyS1";
/// Set by `cargo xtask vm-test --self-test` to prove that a failure is seen as one.
const FAIL: &str = "smoke=fail";
/// The same for a guest that never ends.
const HANG: &str = "smoke=hang";
/// The same for a guest whose kernel panics, as it does when its first process ends.
const PANIC: &str = "smoke=panic";

fn main() {
    if std::process::id() != 1 {
        eprintln!("vm_smoke is the init of a virtual machine; run `cargo xtask vm-test`");
        std::process::exit(1);
    }
    let code = match run() {
        Ok(()) => 0,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            1
        }
    };
    tell(&format!("KM_EXIT rc={code}"));
    guest::power_off();
}

fn run() -> Result<()> {
    guest::mount_all()?;
    let line = std::fs::read_to_string("/proc/cmdline")?;
    if line.contains(PANIC) {
        std::process::exit(1);
    }
    if line.contains(HANG) {
        loop {
            std::thread::park();
        }
    }
    guest::insert_modules()?;
    ensure!(!line.contains(FAIL), "asked to fail");
    checks::all()
}

/// Writes a line to the results, or to the console while there is no such port.
fn tell(line: &str) {
    let written = File::options()
        .write(true)
        .open(RESULTS)
        .and_then(|mut port| writeln!(port, "{line}"));
    if written.is_err() {
        println!("{line}");
    }
}
