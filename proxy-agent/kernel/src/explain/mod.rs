//! What the programs would do, asked by test runs (`BPF_PROG_TEST_RUN`): for `kube-shunt explain`.
//!
//! The object is loaded a second time, with [`feature::DRY_RUN`], attached nowhere and pinned nowhere. [`Runner::live`] reads the
//! pinned maps that decide about a new connection; [`Sandbox`] has all maps to itself. Whatever the programs record goes into
//! maps of their own in either case, so no question leaves a trace.

mod sandbox;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;

use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use nix::sched::{CloneFlags, setns};
use proxy_common::explain::{FACTS, Fact, Question};
use proxy_common::flags::feature;
use proxy_common::reason::Reason;
use proxy_common::value::Settings;

use crate::error::{Error, Result};
use crate::pins::Pins;
use crate::programs::{self, chain};
use crate::schema::{self, MAPS, MapSpec};
use crate::{features, host, object, settings};

pub use sandbox::{Sandbox, SandboxOptions};

/// The maps that decide about a new connection, written by the agent.
const SHARED: [MapSpec; 13] = [
    schema::FRONTENDS_V4,
    schema::FRONTENDS_V6,
    schema::BACKENDS_V4,
    schema::BACKENDS_V6,
    schema::BACKEND_STATE,
    schema::ADDRS_V4,
    schema::ADDRS_V6,
    schema::SOURCE_RANGES_V4,
    schema::SOURCE_RANGES_V6,
    schema::CIDRS_V4,
    schema::CIDRS_V6,
    schema::LUT,
    schema::DEVICES,
];
/// Entries of the maps that a dry run writes nothing into.
const UNUSED: u32 = 64;

/// The program for packets. A packet of a device without a link-layer header is asked about with one: it decides nothing.
const PACKET: &str = "tc_ingress";
/// The program for socket calls.
const SOCKET: &str = "explain_socket";

/// What a program left behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Left {
    /// Its return value, a `TC_ACT_*`: -1 is on to the next program, 2 drop, 7 redirect.
    pub returned: i32,
    /// The packet, translated as it would be.
    pub bytes: Vec<u8>,
    /// The bits of the packet's mark that the program set.
    pub mark: u32,
    facts: [u32; FACTS],
}

impl Left {
    /// What the program noted; 0 is nothing.
    pub fn fact(&self, fact: Fact) -> u32 {
        self.facts.get(fact as usize).copied().unwrap_or(0)
    }

    /// The last reason that would have been counted.
    pub fn reason(&self) -> Option<Reason> {
        let number = self.fact(Fact::Reason).checked_sub(1)?;
        Reason::from_number(number)
    }
}

/// The loaded programs.
pub struct Runner {
    object: Ebpf,
    settings: Settings,
    /// The namespaces to ask in and to return to, if not the caller's.
    away: Option<(OwnedFd, OwnedFd)>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Runner {
    /// Over the pinned maps, with the settings of the programs that serve. [`Error::NotLoaded`] if nothing is pinned.
    ///
    /// Questions name devices of the calling thread's network namespace, which must be the node's.
    pub fn live(bpf_root: &Path) -> Result<Self> {
        let pins = Pins::current(bpf_root);
        if !MAPS.iter().all(|spec| pins.map(spec.name).exists()) {
            return Err(Error::NotLoaded {
                path: bpf_root.to_path_buf(),
            });
        }
        let settings = settings::published(&pins)?;
        Self::load(settings, |loader, spec| {
            if SHARED.contains(spec) {
                loader.map_pin_path(spec.name, pins.map(spec.name));
            } else {
                loader.map_max_entries(spec.name, unused(spec));
            }
        })
    }

    fn load(
        mut settings: Settings,
        mut choose: impl FnMut(&mut EbpfLoader<'_>, &MapSpec),
    ) -> Result<Self> {
        let elf = object::bytes();
        if elf.is_empty() {
            return Err(Error::NoObject);
        }
        host::check_root()?;
        settings.features |= feature::DRY_RUN;
        let elf = object::for_kernel(elf, features::probe()?.xdp_frags);
        let mut loader = EbpfLoader::new();
        loader.override_global("SETTINGS", &settings, true);
        for spec in MAPS {
            choose(&mut loader, spec);
        }
        let mut object = loader
            .load(&elf)
            .map_err(|error| Error::Object(chain(&error)))?;
        for name in [PACKET, SOCKET] {
            programs::load_classifier(&mut object, name)?;
        }
        Ok(Self {
            object,
            settings,
            away: None,
        })
    }

    /// What the programs were given.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs the frame `bytes` through TC ingress of a device; `candidate` is the number of the wanted backend in the set.
    pub fn packet(&self, ifindex: u32, candidate: u32, bytes: &[u8]) -> Result<Left> {
        self.run(PACKET, ifindex, candidate, bytes)
    }

    /// Asks about a socket call; [`proxy_common::explain::answer`] reads what is left.
    pub fn socket(&self, question: &Question, candidate: u32) -> Result<Left> {
        /// The loopback device of every namespace.
        const ANY_DEVICE: u32 = 1;
        self.run(SOCKET, ANY_DEVICE, candidate, &question.bytes())
    }

    fn run(&self, name: &'static str, ifindex: u32, mark: u32, bytes: &[u8]) -> Result<Left> {
        let missing = Error::Missing {
            kind: "program",
            name,
        };
        let program = self.object.program(name).ok_or(missing)?;
        let program =
            <&SchedClassifier>::try_from(program).map_err(|error| refused(name, &error))?;
        // An ICMP error may be longer than the packet that it is about.
        let mut out = vec![0; bytes.len() + ROOM];
        let given = Context::question(mark, ifindex);
        let mut context = given.clone();
        let away = self.go()?;
        let result = program.test_run(TestRunOptions {
            data_in: Some(bytes),
            data_out: Some(&mut out),
            ctx_in: Some(&given.0),
            ctx_out: Some(&mut context.0),
            ..TestRunOptions::new()
        });
        drop(away);
        let result = result.map_err(|error| refused(name, &error))?;
        out.truncate(result.data_size_out as usize);
        Ok(Left {
            returned: result.return_value.cast_signed(),
            bytes: out,
            mark: context.word(Context::MARK),
            facts: std::array::from_fn(|fact| context.word(Context::CB + 4 * fact)),
        })
    }

    /// Moves the thread to where questions are asked, until the guard is dropped.
    fn go(&self) -> Result<Option<Away<'_>>> {
        let Some((there, home)) = &self.away else {
            return Ok(None);
        };
        enter(there)?;
        Ok(Some(Away(home)))
    }
}

/// Bytes that an answer may be longer than the question: outer headers of an ICMP error.
const ROOM: usize = 256;

/// Returns the thread to its own network namespace.
struct Away<'a>(&'a OwnedFd);

impl Drop for Away<'_> {
    fn drop(&mut self) {
        if let Err(error) = enter(self.0) {
            tracing::error!(%error, "a thread is lost in another network namespace");
        }
    }
}

fn enter(netns: &OwnedFd) -> Result<()> {
    setns(netns, CloneFlags::CLONE_NEWNET)
        .map_err(|error| Error::io("enter", "a network namespace")(error.into()))
}

fn refused(name: &'static str, error: &ProgramError) -> Error {
    Error::TestRun {
        name,
        reason: chain(error),
    }
}

/// The context as user space gives it: `__sk_buff` of linux/bpf.h, by offsets.
#[derive(Clone)]
struct Context([u8; 192]);

impl Context {
    const MARK: usize = 8;
    const IFINDEX: usize = 40;
    const CB: usize = 48;

    fn question(mark: u32, ifindex: u32) -> Self {
        let mut context = Self([0; 192]);
        for (offset, value) in [(Self::MARK, mark), (Self::IFINDEX, ifindex)] {
            if let Some(bytes) = context.0.get_mut(offset..offset + 4) {
                bytes.copy_from_slice(&value.to_ne_bytes());
            }
        }
        context
    }

    fn word(&self, offset: usize) -> u32 {
        let bytes = self.0.get(offset..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }
}

/// Entries of a map that no dry run writes into.
fn unused(spec: &MapSpec) -> u32 {
    match spec.size {
        schema::Size::Fixed(entries) => entries,
        _sized => UNUSED,
    }
}
