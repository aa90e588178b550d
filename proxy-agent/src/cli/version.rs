//! `kube-shunt version`.

use proxy_common::layout::LAYOUT_VERSION;
use serde::Serialize;

use super::write_out;
use crate::build;
use crate::config::{Output, OutputArgs};

#[derive(Serialize)]
struct Versions {
    version: &'static str,
    commit: &'static str,
    layout: u32,
    kernel: String,
}

/// Prints the versions.
pub fn version(args: OutputArgs) -> anyhow::Result<()> {
    let release = nix::sys::utsname::uname()?
        .release()
        .to_string_lossy()
        .into_owned();
    let versions = Versions {
        version: build::VERSION,
        commit: build::COMMIT,
        layout: LAYOUT_VERSION,
        kernel: release,
    };
    let text = match args.output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&versions)?),
        Output::Table => {
            let Versions {
                version,
                commit,
                layout,
                kernel,
            } = versions;
            format!(
                "kube-shunt {version}\ncommit     {commit}\nmap layout {layout}\nkernel     {kernel}\n"
            )
        }
    };
    write_out(&text)
}
