//! One boot of one kernel in qemu. The guest's last line is the verdict: qemu's own exit says nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{initrd::INIT, kernels::Kernel};

/// For a boot with the smoke test: without hardware virtualisation they take about half a minute on an idle machine.
pub(super) const LIMIT: Duration = Duration::from_mins(6);
/// From the verdict to the end of qemu.
const GRACE: Duration = Duration::from_secs(3);
/// How often the files are looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// Lines of the console that are shown after a failure.
const TAIL: usize = 30;

/// How a boot ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    Passed,
    Failed,
    /// The guest gave up without a verdict: a panic of the kernel.
    Died,
    Hung,
}

/// What a boot left.
pub(super) struct Outcome {
    pub(super) ending: Ending,
    /// What the guest wrote to its second port.
    pub(super) results: String,
    console: String,
}

impl Outcome {
    /// What the guest left out, and why.
    pub(super) fn skipped(&self) -> Vec<String> {
        let lines = self.results.lines();
        let skips = lines.filter_map(|line| line.trim().strip_prefix("SKIPPED "));
        skips.map(str::to_owned).collect()
    }

    /// Verified instructions by program.
    pub(super) fn programs(&self) -> BTreeMap<String, u64> {
        let told = self
            .results
            .lines()
            .filter_map(|line| line.trim().strip_prefix("program ")?.split_once(' '));
        told.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
            .collect()
    }

    /// The end of the kernel's messages.
    pub(super) fn console_tail(&self) -> String {
        let lines: Vec<&str> = self.console.lines().collect();
        lines
            .get(lines.len().saturating_sub(TAIL)..)
            .unwrap_or_default()
            .join("\n")
    }
}

/// A running qemu, killed when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only if it ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Boots `kernel` with `initrd`; `word` is added to its command line. After `limit` it counts as hung.
pub(super) fn boot(kernel: &Kernel, initrd: &Path, word: &str, limit: Duration) -> Result<Outcome> {
    let files = initrd.parent().context("the initrd has a folder")?;
    let (console, results) = (files.join("console.log"), files.join("results.log"));
    for file in [&console, &results] {
        fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let child = qemu(kernel, initrd, word, &console, &results)
        .spawn()
        .context("cannot start qemu")?;
    let mut machine = Machine(child);
    let ending = wait(&mut machine.0, &results, limit)?;
    let read =
        |path: &PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    Ok(Outcome {
        ending,
        results: read(&results),
        console: read(&console),
    })
}

fn qemu(kernel: &Kernel, initrd: &Path, word: &str, console: &Path, results: &Path) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    // Listing both accelerators would not fall back: qemu aborts.
    let accelerator = if has_kvm() { "kvm" } else { "tcg,thread=multi" };
    qemu.args([
        "-M",
        "q35",
        "-cpu",
        "max",
        "-m",
        "1024",
        "-smp",
        "2",
        "-accel",
        accelerator,
    ]);
    qemu.args([
        "-display",
        "none",
        "-monitor",
        "none",
        "-nodefaults",
        "-no-reboot",
        "-no-user-config",
    ]);
    for port in [console, results] {
        qemu.args(["-serial", &format!("file:{}", port.display())]);
    }
    qemu.arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initrd);
    let line = format!(
        "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic mitigations=off PATH=/sbin rdinit={INIT} {word}"
    );
    qemu.args(["-append", &line]).stdin(Stdio::null());
    qemu
}

/// Hardware virtualisation that works: not a nested one whose host hides it.
fn has_kvm() -> bool {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let able = cpu
        .split_whitespace()
        .any(|word| word == "vmx" || word == "svm");
    let opens = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    able && opens && !Path::new("/sys/module/kvm_pvm").exists()
}

fn wait(qemu: &mut Child, results: &Path, limit: Duration) -> Result<Ending> {
    let start = Instant::now();
    let mut end: Option<(Ending, Instant)> = None;
    loop {
        // Asked before the file is read: what was written before the end is seen.
        let ended = qemu.try_wait().context("cannot wait for qemu")?.is_some();
        if end.is_none() {
            end = verdict(&String::from_utf8_lossy(
                &fs::read(results).unwrap_or_default(),
            ))
            .map(|ending| (ending, Instant::now()));
        }
        match end {
            Some((ending, since)) if ended || since.elapsed() > GRACE => return Ok(ending),
            None if ended => return Ok(Ending::Died),
            None if start.elapsed() > limit => return Ok(Ending::Hung),
            _ => {}
        }
        thread::sleep(PAUSE);
    }
}

fn verdict(results: &str) -> Option<Ending> {
    let code = results
        .lines()
        .find_map(|line| line.trim().strip_prefix("KM_EXIT rc="))?;
    // A line that is still being written has no number yet.
    code.parse::<i32>().ok().map(|code| {
        if code == 0 {
            Ending::Passed
        } else {
            Ending::Failed
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Ending, verdict};

    #[test]
    fn only_a_whole_last_line_is_a_verdict() {
        assert_eq!(
            verdict("program a 1\r\nKM_EXIT rc=0\r\n"),
            Some(Ending::Passed)
        );
        assert_eq!(verdict("KM_EXIT rc=1\r\n"), Some(Ending::Failed));
        assert_eq!(verdict("KM_EXIT rc="), None);
        assert_eq!(verdict("error: KM_EXIT"), None);
    }
}
