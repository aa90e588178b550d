//! The eBPF object, loaded for test runs: its programs and its maps.

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, LpmTrie, Map, MapData, PerCpuArray};
use aya::programs::xdp::XdpMode;
use aya::programs::{
    ProgramError, SchedClassifier, TestRun as _, TestRunAttrs, TestRunOptions, TestRunResult, Xdp,
};
use aya::{Ebpf, EbpfLoader};
use proxy_common::addr::{Addr as _, V4, V6};
use proxy_common::key::{AffinityKey, FlowKey, FragmentKey, FrontendKey};
use proxy_common::reason::{Hook, Reason, counter_index};
use proxy_common::sim::scene::DEVICES;
use proxy_common::sim::{Program, Skb, World};
use proxy_common::value::{
    Affinity, Backend, BackendState, Cidr, Device, Flow, FlowFilter, Fragment, Frontend, LutWord,
    Settings,
};

use super::context::context;
use super::embryos::Embryos;
use super::mirror::Table;

/// Service ids of the scene are below this.
const SERVICES: u32 = 256;

/// What a program left behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Left {
    /// Its return value.
    pub returned: i32,
    /// The packet.
    pub bytes: Vec<u8>,
    /// The packet's mark.
    pub mark: u32,
}

macro_rules! maps {
    ($name:ident, $addr:ty, $range:ty, $suffix:literal) => {
        /// Maps of one family.
        pub struct $name {
            frontends: Table<FrontendKey<$addr>, Frontend>,
            backends: Array<MapData, Backend<$addr>>,
            addrs: Table<$addr, u32>,
            /// FLOWS.
            pub flows: Table<FlowKey<$addr>, Flow<$addr>>,
            /// EMBRYOS.
            pub embryos: Embryos<$addr>,
            filter: Array<MapData, FlowFilter>,
            /// FRAGMENTS.
            pub fragments: Table<FragmentKey<$addr>, Fragment<$addr>>,
            /// AFFINITY.
            pub affinity: Table<AffinityKey<$addr>, Affinity<$addr>>,
            ranges: LpmTrie<MapData, $range, u32>,
            cidrs: Array<MapData, Cidr<$addr>>,
        }

        impl $name {
            fn take(ebpf: &mut Ebpf, settings: &Settings) -> Result<Self> {
                Ok(Self {
                    frontends: Table::take(ebpf, concat!("FRONTENDS_", $suffix))?,
                    backends: array(ebpf, concat!("BACKENDS_", $suffix))?,
                    addrs: Table::take(ebpf, concat!("ADDRS_", $suffix))?,
                    flows: Table::take(ebpf, concat!("FLOWS_", $suffix))?,
                    embryos: Embryos::of(array(ebpf, concat!("EMBRYOS_", $suffix))?, settings),
                    filter: array(ebpf, concat!("FLOW_FILTER_", $suffix))?,
                    fragments: Table::take(ebpf, concat!("FRAGMENTS_", $suffix))?,
                    affinity: Table::take(ebpf, concat!("AFFINITY_", $suffix))?,
                    ranges: LpmTrie::try_from(take(ebpf, concat!("SOURCE_RANGES_", $suffix))?)?,
                    cidrs: array(ebpf, concat!("CIDRS_", $suffix))?,
                })
            }
        }
    };
}

maps!(Maps4, V4, [u32; 2], "V4");
maps!(Maps6, V6, [u32; 5], "V6");

/// The loaded object. Use it only inside the namespace it was loaded in.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    /// IPv4.
    pub v4: Maps4,
    /// IPv6.
    pub v6: Maps6,
    devices: Table<u32, Device>,
    states: Array<MapData, BackendState>,
    lut: Array<MapData, LutWord>,
    turns: Array<MapData, u32>,
    counters: PerCpuArray<MapData, u64>,
    occupant: Option<Ebpf>,
}

fn array<V: aya::Pod>(ebpf: &mut Ebpf, name: &str) -> Result<Array<MapData, V>> {
    Array::try_from(take(ebpf, name)?).with_context(|| format!("map {name}"))
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    let map = ebpf.take_map(name);
    map.with_context(|| format!("no map {name}"))
}

impl Kernel {
    /// Loads `programs`, with `settings` and room for `flows` entries in each FLOWS.
    pub fn load(settings: Settings, flows: u32, programs: &[Program]) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        loader.override_global("SETTINGS", &settings, true);
        loader.map_max_entries("FLOWS_V4", flows);
        loader.map_max_entries("FLOWS_V6", flows);
        loader.map_max_entries("EMBRYOS_V4", settings.embryo_mask + 1);
        loader.map_max_entries("EMBRYOS_V6", settings.embryo_mask + 1);
        let mut ebpf = loader.load(&super::object()?).context("load the object")?;
        for program in programs {
            load_program(&mut ebpf, *program)?;
        }
        Ok(Self {
            v4: Maps4::take(&mut ebpf, &settings)?,
            v6: Maps6::take(&mut ebpf, &settings)?,
            devices: Table::take(&mut ebpf, "DEVICES")?,
            states: array(&mut ebpf, "BACKEND_STATE")?,
            lut: array(&mut ebpf, "LUT")?,
            turns: array(&mut ebpf, "TURNS")?,
            counters: PerCpuArray::try_from(ebpf.take_map("COUNTERS").context("no map COUNTERS")?)?,
            ebpf,
            occupant: None,
        })
    }

    /// Puts an XDP program without any Services on every device of the scene: test runs want devices that run one. Not the
    /// program under test, whose counters would count the namespace's own packets too.
    pub fn occupy_devices(&mut self) -> Result<()> {
        let mut ebpf = EbpfLoader::new().load(&super::object()?)?;
        load_program(&mut ebpf, Program::Xdp)?;
        let program = ebpf.program_mut(Program::Xdp.name());
        let program: &mut Xdp = program.context("no XDP program")?.try_into()?;
        for (ifindex, _) in DEVICES {
            for device in [format!("dev{ifindex}"), format!("peer{ifindex}")] {
                let attached = program.attach(&device, XdpMode::Driver);
                attached.with_context(|| format!("attach XDP to {device}"))?;
            }
        }
        self.occupant = Some(ebpf);
        Ok(())
    }

    /// Runs `program` once; `None`: the kernel itself refuses such a packet.
    pub fn run(&self, program: Program, skb: &Skb) -> Result<Option<Left>> {
        let mut bytes = vec![0; 4096];
        let mut context = context(program, skb);
        let given = context.clone();
        let outcome = self.test_run(
            program,
            TestRunOptions {
                data_in: Some(&skb.bytes),
                data_out: Some(&mut bytes),
                ctx_in: Some(&given),
                ctx_out: Some(&mut context),
                ..TestRunOptions::new()
            },
        );
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::EINVAL) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error).context("test run"),
        };
        bytes.truncate(usize::try_from(outcome.data_size_out)?);
        let mark = match program {
            Program::Xdp => 0,
            _ => u32::from_ne_bytes([context[8], context[9], context[10], context[11]]),
        };
        Ok(Some(Left {
            returned: outcome.return_value.cast_signed(),
            bytes,
            mark,
        }))
    }

    /// Nanoseconds for one of `repeat` runs.
    pub fn time(&self, program: Program, skb: &Skb, repeat: u32) -> Result<f64> {
        let mut bytes = vec![0; 4096];
        let outcome = self.test_run(
            program,
            TestRunOptions {
                data_in: Some(&skb.bytes),
                data_out: Some(&mut bytes),
                ctx_in: Some(&context(program, skb)),
                repeat,
                ..TestRunOptions::new()
            },
        )?;
        // The kernel has divided by the number of runs already, in whole nanoseconds.
        Ok(outcome.duration.as_secs_f64() * 1e9)
    }

    /// Sends `count` copies of a frame in at `skb.ifindex`, through XDP and on to wherever it sends them.
    pub fn live(&self, skb: &Skb, count: u32) -> Result<()> {
        let outcome = self.test_run(
            Program::Xdp,
            TestRunOptions {
                data_in: Some(&skb.bytes),
                ctx_in: Some(&context(Program::Xdp, skb)),
                repeat: count,
                attrs: TestRunAttrs::new().xdp_live_frames(count),
                ..TestRunOptions::new()
            },
        );
        outcome.map(drop).context("test run with live frames")
    }

    fn test_run(
        &self,
        program: Program,
        options: TestRunOptions<'_>,
    ) -> Result<TestRunResult, ProgramError> {
        let found = self
            .ebpf
            .program(program.name())
            .ok_or(ProgramError::NotLoaded)?;
        match program {
            Program::Xdp => <&Xdp>::try_from(found)?.test_run(options),
            _ => <&SchedClassifier>::try_from(found)?.test_run(options),
        }
    }

    /// Makes all maps hold what `world` holds.
    pub fn mirror(&mut self, world: &World) -> Result<()> {
        macro_rules! family {
            ($family:ident) => {
                let (maps, memory) = (&mut self.$family, &world.$family);
                let frontends = memory.frontends.iter();
                maps.frontends
                    .mirror(frontends.map(|(key, value)| (*key, *value)))?;
                for (slot, backend) in memory.backends.iter() {
                    maps.backends.set(slot, backend, 0)?;
                }
                let addrs = memory.addrs.iter();
                maps.addrs
                    .mirror(addrs.map(|(addr, flags)| (*addr, flags.0)))?;
                maps.flows.mirror(memory.flows.all())?;
                maps.embryos.mirror(memory.embryos.sets())?;
                maps.filter
                    .set(0, filter(memory.filter.borrow().iter()), 0)?;
                let fragments = memory.fragments.borrow();
                maps.fragments
                    .mirror(fragments.iter().map(|(key, value)| (*key, *value)))?;
                maps.affinity.mirror(memory.affinity_records())?;
                for range in &memory.ranges {
                    let mut data = [range.set; _];
                    let words = range.addr.words();
                    data.iter_mut()
                        .skip(1)
                        .zip(words)
                        .for_each(|(to, word)| *to = word);
                    maps.ranges.insert(&Key::new(range.prefix, data), 1, 0)?;
                }
                for (index, cidr) in (0..).zip(memory.cidrs) {
                    maps.cidrs.set(index, cidr, 0)?;
                }
            };
        }
        family!(v4);
        family!(v6);
        self.devices
            .mirror(world.devices.iter().map(|(key, value)| (*key, *value)))?;
        for (id, state) in world.states.iter() {
            self.states.set(id, state, 0)?;
        }
        for (index, word) in world.lut.iter() {
            self.lut.set(index, word, 0)?;
        }
        for service in 0..SERVICES {
            self.turns
                .set(service, world.turns.get(service).unwrap_or_default(), 0)?;
        }
        Ok(())
    }

    /// Copies one backend's state.
    pub fn mirror_state(&mut self, world: &World, id: u32) -> Result<()> {
        if let Some(state) = world.states.get(id) {
            self.states.set(id, state, 0)?;
        }
        Ok(())
    }

    /// Copies all frontends.
    pub fn mirror_frontends(&mut self, world: &World) -> Result<()> {
        for (key, value) in &world.v4.frontends {
            self.v4.frontends.put(*key, *value)?;
        }
        for (key, value) in &world.v6.frontends {
            self.v6.frontends.put(*key, *value)?;
        }
        Ok(())
    }

    /// Copies all flows, embryos and affinity records.
    pub fn mirror_flows(&mut self, world: &World) -> Result<()> {
        macro_rules! family {
            ($($family:ident)*) => {$(
                for (key, flow) in world.$family.flows.all() {
                    self.$family.flows.put(key, flow)?;
                }
                self.$family.embryos.mirror(world.$family.embryos.sets())?;
                for (key, record) in world.$family.affinity_records() {
                    self.$family.affinity.put(key, record)?;
                }
            )*};
        }
        family!(v4 v6);
        Ok(())
    }

    /// Fails if what packets write holds anything but what `world` holds.
    pub fn same(&self, world: &World) -> Result<()> {
        macro_rules! family {
            ($($family:ident)*) => {$(
                self.$family.flows.same(world.$family.flows.all())?;
                self.$family.embryos.same(world.$family.embryos.sets())?;
                let noted = self.$family.filter.get(&0, 0)? == filter(world.$family.filter.borrow().iter());
                ensure!(noted, "other ends are noted in FLOW_FILTER");
                let fragments = world.$family.fragments.borrow();
                self.$family.fragments.same(fragments.iter().map(|(key, value)| (*key, *value)))?;
                self.$family.affinity.same(world.$family.affinity_records())?;
            )*};
        }
        family!(v4 v6);
        for (id, state) in world.states.iter() {
            let kernel = self.states.get(&id, 0)?;
            ensure!(
                kernel == state,
                "backend {id}: kernel {kernel:?}, memory {state:?}"
            );
        }
        for (service, turn) in world.turns.iter() {
            let kernel = self.turns.get(&service, 0)?;
            ensure!(
                kernel == turn,
                "turn of {service}: kernel {kernel}, memory {turn}"
            );
        }
        Ok(())
    }

    /// How often `reason` was counted at `hook`.
    pub fn counted(&self, reason: Reason, hook: Hook) -> Result<u64> {
        let values = self.counters.get(&counter_index(reason, hook), 0)?;
        Ok(values.iter().sum())
    }

    /// The verifier's count of instructions that it walked.
    pub fn verified_instructions(&self, program: Program) -> Result<u32> {
        let found = self.ebpf.program(program.name()).context("no program")?;
        let info = match program {
            Program::Xdp => <&Xdp>::try_from(found)?.info()?,
            _ => <&SchedClassifier>::try_from(found)?.info()?,
        };
        info.verified_instruction_count()
            .context("this kernel does not tell")
    }
}

fn load_program(ebpf: &mut Ebpf, program: Program) -> Result<()> {
    let name = program.name();
    let Some(found) = ebpf.program_mut(name) else {
        bail!("no program {name}")
    };
    match program {
        Program::Xdp => <&mut Xdp>::try_from(found)?.load(),
        _ => <&mut SchedClassifier>::try_from(found)?.load(),
    }
    .with_context(|| format!("load {name}"))
}

/// `FLOW_FILTER` with the bytes at `places` set.
#[expect(clippy::large_stack_arrays, reason = "aya takes a value as a whole")]
fn filter<'a>(places: impl Iterator<Item = &'a u16>) -> FlowFilter {
    let mut filter = [0; _];
    for place in places {
        filter[usize::from(*place)] = 1;
    }
    filter
}
