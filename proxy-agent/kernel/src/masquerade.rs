//! The netfilter rules of ours: masquerade what carries our mark, and take the mark off. Present only while something needs them,
//! so that plain nodes do not pay for connection tracking.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use proxy_common::value::Settings;

use crate::error::{Error, Result};
use crate::settings::netfilter_ports;

/// Family and name of the table.
pub(crate) const TABLE: &str = "inet kube-shunt";

/// Puts the table in place, replacing an earlier one atomically. `why` made it necessary.
pub(crate) fn install(settings: &Settings, why: &str) -> Result<()> {
    run(&ruleset(settings), why)
}

/// Removes the table; none is fine.
pub(crate) fn remove() -> Result<()> {
    run(&format!("add table {TABLE}\ndelete table {TABLE}\n"), "")
}

/// Whether the table is there. Without nft there is none of ours.
pub(crate) fn exists() -> Result<bool> {
    let mut nft = Command::new("nft");
    nft.args(["list", "table"])
        .args(TABLE.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null());
    match nft.status() {
        Ok(status) => Ok(status.success()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::Nft(error.to_string())),
    }
}

/// Source ports come from a range of our own: an answer to a port in the `NodePort` range would pass for a new connection to that `NodePort`.
///
/// (101 is behind srcnat.) The programs mark every packet, but a chain of type nat sees a connection's first one only. So chains of their own take
/// the bit off, behind it, as kube-proxy's rule does: nobody else acts on it, in this namespace or on the next round.
fn ruleset(settings: &Settings) -> String {
    let mark = settings.masquerade_mark;
    let ports = netfilter_ports(settings);
    let marked = format!("meta mark & {mark:#x} == {mark:#x}");
    let clear = format!("{marked} meta mark set meta mark & {:#x}", !mark);
    format!(
        "add table {TABLE}\n\
         delete table {TABLE}\n\
         table {TABLE} {{\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\t{marked} counter meta l4proto {{ tcp, udp, sctp }} masquerade to :{first}-{last} fully-random\n\
         \t}}\n\
         \tchain forwarded {{\n\
         \t\ttype filter hook postrouting priority 101; policy accept;\n\
         \t\t{clear}\n\
         \t}}\n\
         \tchain delivered {{\n\
         \t\ttype filter hook input priority 101; policy accept;\n\
         \t\t{clear}\n\
         \t}}\n\
         }}\n",
        first = ports.start(),
        last = ports.end(),
    )
}

fn run(script: &str, why: &str) -> Result<()> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::NftMissing {
            why: why.to_owned(),
        },
        _other => Error::Nft(error.to_string()),
    };
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = nft.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Error::Nft(
        complaint
            .lines()
            .next()
            .unwrap_or("no reason given")
            .to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ruleset_replaces_in_one_transaction_and_clears_the_bit() {
        let settings = Settings {
            masquerade_mark: 0x4000,
            snat_port_min: 1024,
            snat_port_max: 15_511,
            ..Settings::default()
        };
        let ruleset = ruleset(&settings);
        let lines: Vec<_> = ruleset.lines().collect();
        assert_eq!(
            &lines[..2],
            ["add table inet kube-shunt", "delete table inet kube-shunt"]
        );
        let clears = "meta mark & 0x4000 == 0x4000 meta mark set meta mark & 0xffffbfff";
        assert_eq!(
            ruleset.matches(clears).count(),
            2,
            "forwarded, and delivered here"
        );
        assert!(ruleset.contains("masquerade to :15512-29998 fully-random"));
    }
}
