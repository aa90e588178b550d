//! `kube-shunt cleanup`: every trace goes, and each is named.

use proxy_kernel::cleanup::{CleanupOptions, Removed};

use super::{names, write_out};
use crate::config::{CleanupArgs, Output, admin_socket};

/// Cleans up. An error with one thing does not keep the others.
pub fn cleanup(args: &CleanupArgs) -> anyhow::Result<()> {
    let CleanupArgs {
        pins,
        cgroup_root,
        output,
    } = args;
    anyhow::ensure!(
        !names::agent_runs(&pins.run_dir),
        "an agent is running ({} answers): stop it first, or it puts back what is removed",
        admin_socket(&pins.run_dir).display()
    );
    let cgroup_root = cgroup_root
        .clone()
        .or_else(|| proxy_kernel::host::cgroup_root().ok());
    let mut done = proxy_kernel::cleanup::cleanup(&CleanupOptions {
        bpf_root: pins.bpf_root.clone(),
        cgroup_root,
    });
    socket(&pins.run_dir, &mut done);
    let Removed { removed, errors } = &done;
    let text = match output.output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&done)?),
        Output::Table if removed.is_empty() => "nothing to remove\n".to_owned(),
        Output::Table => removed
            .iter()
            .flat_map(|line| ["removed ", line, "\n"])
            .collect(),
    };
    write_out(&text)?;
    for error in errors {
        eprintln!("kube-shunt: {error}");
    }
    anyhow::ensure!(errors.is_empty(), "{} could not be removed", errors.len());
    Ok(())
}

/// The socket that a killed agent left.
fn socket(run_dir: &std::path::Path, done: &mut Removed) {
    let socket = admin_socket(run_dir);
    match std::fs::remove_file(&socket) {
        Ok(()) => done.removed.push(format!("socket {}", socket.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => done
            .errors
            .push(format!("cannot remove {}: {error}", socket.display())),
    }
}
