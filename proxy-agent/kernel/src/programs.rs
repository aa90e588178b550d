//! The programs of the object, by name, and how each is loaded.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::programs::{CgroupSockAddr, Program, SchedClassifier, Xdp};

use crate::error::{Error, Result};
use crate::sys::bpf::program_id;
use crate::sys::links::attach_type;

/// The programs of the object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Name {
    /// TC ingress of devices with a link-layer header.
    TcIngress,
    /// TC egress of such devices.
    TcEgress,
    /// TC ingress of devices without a link-layer header.
    TcIngressL3,
    /// TC egress of such devices.
    TcEgressL3,
    /// XDP.
    XdpIngress,
    /// connect(2), IPv4.
    Connect4,
    /// connect(2), IPv6.
    Connect6,
    /// sendmsg(2) on unconnected sockets, IPv4.
    Sendmsg4,
    /// sendmsg(2) on unconnected sockets, IPv6.
    Sendmsg6,
    /// recvmsg(2), IPv4.
    Recvmsg4,
    /// recvmsg(2), IPv6.
    Recvmsg6,
    /// getpeername(2), IPv4.
    Getpeername4,
    /// getpeername(2), IPv6.
    Getpeername6,
}

impl Name {
    /// All programs.
    pub const ALL: [Self; 13] = [
        Self::TcIngress,
        Self::TcEgress,
        Self::TcIngressL3,
        Self::TcEgressL3,
        Self::XdpIngress,
        Self::Connect4,
        Self::Connect6,
        Self::Sendmsg4,
        Self::Sendmsg6,
        Self::Recvmsg4,
        Self::Recvmsg6,
        Self::Getpeername4,
        Self::Getpeername6,
    ];

    /// The ELF symbol.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::TcIngress => "tc_ingress",
            Self::TcEgress => "tc_egress",
            Self::TcIngressL3 => "tc_ingress_l3",
            Self::TcEgressL3 => "tc_egress_l3",
            Self::XdpIngress => "xdp_ingress",
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::Sendmsg4 => "sendmsg4",
            Self::Sendmsg6 => "sendmsg6",
            Self::Recvmsg4 => "recvmsg4",
            Self::Recvmsg6 => "recvmsg6",
            Self::Getpeername4 => "getpeername4",
            Self::Getpeername6 => "getpeername6",
        }
    }

    /// The attach type of a socket hook; `None` for programs on devices.
    pub(crate) const fn cgroup_attach_type(self) -> Option<u32> {
        Some(match self {
            Self::TcIngress
            | Self::TcEgress
            | Self::TcIngressL3
            | Self::TcEgressL3
            | Self::XdpIngress => return None,
            Self::Connect4 => attach_type::INET4_CONNECT,
            Self::Connect6 => attach_type::INET6_CONNECT,
            Self::Sendmsg4 => attach_type::UDP4_SENDMSG,
            Self::Sendmsg6 => attach_type::UDP6_SENDMSG,
            Self::Recvmsg4 => attach_type::UDP4_RECVMSG,
            Self::Recvmsg6 => attach_type::UDP6_RECVMSG,
            Self::Getpeername4 => attach_type::INET4_GETPEERNAME,
            Self::Getpeername6 => attach_type::INET6_GETPEERNAME,
        })
    }
}

/// One loaded program.
#[derive(Debug)]
struct Loaded {
    fd: OwnedFd,
    id: u32,
    verified_instructions: u32,
}

/// All programs, in the kernel.
#[derive(Debug)]
pub struct Programs {
    loaded: BTreeMap<Name, Loaded>,
}

impl Programs {
    /// Loads all programs of `object`.
    pub(crate) fn load(object: &mut Ebpf) -> Result<Self> {
        let mut loaded = BTreeMap::new();
        for name in Name::ALL {
            let symbol = name.symbol();
            let program = object.program_mut(symbol).ok_or(Error::Missing {
                kind: "program",
                name: symbol,
            })?;
            loaded.insert(
                name,
                load(program).map_err(|reason| Error::Program {
                    name: symbol.to_owned(),
                    reason,
                })?,
            );
        }
        Ok(Self { loaded })
    }

    /// Handle of a program.
    pub(crate) fn fd(&self, name: Name) -> Result<BorrowedFd<'_>> {
        let missing = Error::Missing {
            kind: "program",
            name: name.symbol(),
        };
        self.loaded
            .get(&name)
            .map(|program| program.fd.as_fd())
            .ok_or(missing)
    }

    /// Kernel id of a program; 0 if it is not there.
    pub(crate) fn id(&self, name: Name) -> u32 {
        self.loaded.get(&name).map_or(0, |program| program.id)
    }

    /// Another handle of each program.
    pub(crate) fn duplicate(&self) -> Result<Self> {
        let mut loaded = BTreeMap::new();
        for (name, program) in &self.loaded {
            let fd = program
                .fd
                .try_clone()
                .map_err(Error::io("duplicate program", name.symbol()))?;
            loaded.insert(*name, Loaded { fd, ..*program });
        }
        Ok(Self { loaded })
    }

    /// Verified instructions by program name (0 where the kernel does not tell, below 5.16).
    pub fn verified_instructions(&self) -> Vec<(&'static str, u32)> {
        self.loaded
            .iter()
            .map(|(name, program)| (name.symbol(), program.verified_instructions))
            .collect()
    }
}

fn load(program: &mut Program) -> Result<Loaded, String> {
    let text = |error: &dyn std::error::Error| chain(error);
    let loaded = match program {
        Program::SchedClassifier(program) => SchedClassifier::load(program),
        Program::Xdp(program) => Xdp::load(program),
        Program::CgroupSockAddr(program) => CgroupSockAddr::load(program),
        _other => return Err("it is of a type that this agent does not know".to_owned()),
    };
    loaded.map_err(|error| text(&error))?;
    let fd = program.fd().map_err(|error| text(&error))?;
    let fd = fd
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| text(&error))?;
    let id = program_id(&fd).map_err(|error| text(&error))?;
    // Below 5.16 the kernel does not count.
    let verified_instructions = program
        .info()
        .ok()
        .and_then(|info| info.verified_instruction_count())
        .unwrap_or(0);
    Ok(Loaded {
        fd,
        id,
        verified_instructions,
    })
}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
