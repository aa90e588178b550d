//! This kernel's verifier takes every program; prints how many instructions it walked. `cargo xtask vm-test` holds other
//! kernels' counts to bench/verifier-budget.toml.

use anyhow::{Context as _, Result, ensure};
use aya::EbpfLoader;
use aya::programs::{Program, ProgramInfo};
use integration::prog_run::object;
use integration::requirements;
use proxy_common::flags::feature;
use proxy_common::sim::scene;
use proxy_common::value::Settings;

/// All programs of the object.
const PROGRAMS: [&str; 16] = [
    "tc_ingress",
    "tc_egress",
    "tc_ingress_l3",
    "tc_egress_l3",
    "xdp_ingress",
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
    "explain_socket",
    "age_v4",
    "age_v6",
];

/// A kernel gives up at a million; others walk more than this one.
const MOST: u32 = 250_000;

fn load(program: &mut Program) -> Result<ProgramInfo> {
    match program {
        Program::SchedClassifier(program) => program.load()?,
        Program::Xdp(program) => program.load()?,
        Program::CgroupSockAddr(program) => program.load()?,
        other => anyhow::bail!("a program of type {:?}", other.prog_type()),
    }
    Ok(match program {
        Program::SchedClassifier(program) => program.info()?,
        Program::Xdp(program) => program.info()?,
        Program::CgroupSockAddr(program) => program.info()?,
        other => anyhow::bail!("a program of type {:?}", other.prog_type()),
    })
}

#[test]
fn kernel_takes_every_program() -> Result<()> {
    if !requirements::met("kernel_takes_every_program") {
        return Ok(());
    }
    let settings = Settings {
        features: feature::COARSE_CLOCK | feature::NETNS_COOKIE | feature::SET_RETVAL,
        ..scene::settings()
    };
    let mut ebpf = EbpfLoader::new()
        .override_global("SETTINGS", &settings, true)
        .load(&object()?)?;
    let all: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    ensure!(
        all.len() == PROGRAMS.len(),
        "the object has the programs {all:?}"
    );
    for name in PROGRAMS {
        let program = ebpf
            .program_mut(name)
            .with_context(|| format!("no program {name}"))?;
        let info = load(program).with_context(|| format!("load {name}"))?;
        let walked = info.verified_instruction_count().unwrap_or_default();
        let left = info.size_translated().unwrap_or_default() / 8;
        println!("program {name} {walked} walked, {left} in the program");
        ensure!(walked <= MOST, "{name}: {walked} instructions were walked");
    }
    Ok(())
}
