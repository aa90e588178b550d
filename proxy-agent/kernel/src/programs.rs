//! The programs of the object, by name, and how each is loaded.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::programs::{CgroupSockAddr, Program, ProgramError, SchedClassifier, Xdp};

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
    /// Deletes IPv4 connections that are over; attached nowhere, as the next.
    AgeV4,
    /// The same for IPv6.
    AgeV6,
}

impl Name {
    /// All programs.
    pub const ALL: [Self; 15] = [
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
        Self::AgeV4,
        Self::AgeV6,
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
            Self::AgeV4 => "age_v4",
            Self::AgeV6 => "age_v6",
        }
    }

    /// The attach type of a socket hook; `None` for other programs.
    pub(crate) const fn cgroup_attach_type(self) -> Option<u32> {
        Some(match self {
            Self::TcIngress
            | Self::TcEgress
            | Self::TcIngressL3
            | Self::TcEgressL3
            | Self::XdpIngress
            | Self::AgeV4
            | Self::AgeV6 => return None,
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

/// Loads one TC program of `object`.
pub(crate) fn load_classifier(object: &mut Ebpf, name: &'static str) -> Result<()> {
    let missing = Error::Missing {
        kind: "program",
        name,
    };
    let refused = |reason| Error::Program {
        name: name.to_owned(),
        reason,
    };
    let program = object.program_mut(name).ok_or(missing)?;
    let program: &mut SchedClassifier = program
        .try_into()
        .map_err(|error: ProgramError| refused(chain(&error)))?;
    program.load().map_err(|error| refused(refusal(error)))
}

fn load(program: &mut Program) -> Result<Loaded, String> {
    let text = |error: &dyn std::error::Error| chain(error);
    let loaded = match program {
        Program::SchedClassifier(program) => SchedClassifier::load(program),
        Program::Xdp(program) => Xdp::load(program),
        Program::CgroupSockAddr(program) => CgroupSockAddr::load(program),
        _other => return Err("it is of a type that this agent does not know".to_owned()),
    };
    loaded.map_err(refusal)?;
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

/// Why the kernel refused a program, on one line: its log can have thousands, and says what is wrong in its last one.
fn refusal(error: ProgramError) -> String {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            tracing::debug!("verifier log:\n{log}");
            match verdict(&log) {
                Some(verdict) => format!("{verdict} ({io_error})"),
                None => io_error.to_string(),
            }
        }
        other => chain(&other),
    }
}

/// The line of a verifier log that says what is wrong: the last one before the statistics.
fn verdict(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 3] = ["verification time ", "stack depth ", "processed "];
    let lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .rev()
        .find(|line| !STATISTICS.iter().any(|prefix| line.starts_with(prefix)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_is_the_last_line_before_the_statistics() {
        let log = "0: (b7) r0 = 1\ncombined stack size of 6 calls is 544. Too large\n\
                   verification time 16584782 usec\nstack depth 4+152\nprocessed 9 insns\n";
        assert_eq!(
            verdict(log),
            Some("combined stack size of 6 calls is 544. Too large")
        );
        assert_eq!(verdict("processed 9 insns\n\n"), None);
        assert_eq!(verdict(""), None);
    }
}
