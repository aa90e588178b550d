//! The command: questions from flags or a batch, put to both bodies.

use std::fs::File;
use std::io::{BufReader, Write as _, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use proxy_kernel::Capacities;
use proxy_kernel::explain::Runner;
use serde_json::Value;

use super::answer::Answer;
use super::args::ExplainArgs;
use super::ask::Told;
use super::batch;
use super::both::{Both, Difference};
use super::kernel::Kernel;
use super::live;
use super::offline::{self, Inputs, Offline};
use super::question::Question;
use super::table;
use crate::config::{Output, PinArgs, explain_config, load_for_explain};
use crate::manifests::{self, Files};

/// The exit code after a difference between the bodies: kube-shunt has a bug.
const DIFFERENCE: u8 = 3;

/// Answers.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let mut asked = Asked {
        node: Some(node(args)?),
        pins: &args.pins,
        live: args.manifests.is_none(),
        differences: 0,
    };
    let mut unanswered = 0;
    if let Some(file) = &args.batch {
        let count = lines(file, |question| Ok(asked.ask(question)?.answer))?;
        unanswered = count.failed;
        if unanswered > 0 {
            eprintln!(
                "kube-shunt: {unanswered} of {} lines could not be answered; their errors stand in place of their answers",
                unanswered + count.answered
            );
        }
    } else {
        let question = question(args)?;
        let told = asked.ask(&question)?;
        let mut out = stdout().lock();
        match args.output.output {
            Output::Json => batch::write(&mut out, &told.answer)?,
            Output::Table => out.write_all(asked.table(&question, &told).as_bytes())?,
        }
        out.flush()?;
    }
    if asked.differences > 0 {
        return Ok(ExitCode::from(DIFFERENCE));
    }
    Ok(if unanswered > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The node that is asked about, and what came of it.
struct Asked<'a> {
    /// Absent only while it is replaced.
    node: Option<Both>,
    pins: &'a PinArgs,
    live: bool,
    differences: usize,
}

impl Asked<'_> {
    fn ask(&mut self, question: &Question) -> anyhow::Result<Told> {
        let (mut told, mut difference) = self.once(question)?;
        if difference.is_some() && self.live {
            // The agent may have changed the maps since they were copied.
            self.look_again()?;
            (told, difference) = self.once(question)?;
        }
        if let Some(difference) = difference {
            self.differences += 1;
            eprintln!("kube-shunt: {}", difference.report());
        }
        Ok(told)
    }

    fn once(&mut self, question: &Question) -> anyhow::Result<(Told, Option<Difference>)> {
        self.node.as_mut().context("no node")?.ask(question)
    }

    fn look_again(&mut self) -> anyhow::Result<()> {
        if let Some(node) = self.node.take() {
            let settings = node.state.settings;
            let state = live::state(&self.pins.bpf_root, &self.pins.run_dir, settings)?;
            self.node = Some(node.over(state));
        }
        Ok(())
    }

    fn table(&self, question: &Question, told: &Told) -> String {
        let state = self.node.as_ref().map(|node| &node.state);
        state.map_or_else(String::new, |state| table::render(state, question, told))
    }
}

fn node(args: &ExplainArgs) -> anyhow::Result<Both> {
    let (Some(manifests), Some(node)) = (&args.manifests, &args.node) else {
        let PinArgs { bpf_root, run_dir } = &args.pins;
        let kernel = Kernel::Live(Box::new(Runner::live(bpf_root)?));
        let state = live::state(bpf_root, run_dir, kernel.settings())?;
        return Ok(Both::new(state, Some(kernel)));
    };
    let Files {
        objects,
        nodes,
        errors,
    } = manifests::read(manifests)
        .with_context(|| format!("--manifests {}: cannot be read", manifests.display()))?;
    for error in &errors {
        warn(error);
    }
    let node = node.trim().to_owned();
    let node_object = args.node_object.as_deref();
    let node_object = node_object.map(|file| offline::node_object(file, &node));
    let config = match &args.config {
        Some(file) => load_for_explain(file)?,
        None => explain_config("")?,
    };
    config.warnings.iter().for_each(|warning| warn(warning));
    let policy = config.policy.clone();
    let mut offline = Offline::new(Inputs {
        node_object: node_object.transpose()?,
        node,
        objects,
        nodes,
        node_addresses: args.node_address.clone(),
        policy: config.policy,
        node_port_addresses: config.node_port_addresses,
    });
    offline.warnings.iter().for_each(|warning| warn(warning));
    if args.without_kernel {
        return Ok(Both::new(offline.state, None));
    }
    let mut kernel = Kernel::offline(&policy, Capacities::default()).context(
        "the eBPF programs cannot be asked (--without-kernel answers by their copy in memory)",
    )?;
    kernel.fill(&offline)?;
    offline.state.settings = kernel.settings();
    Ok(Both::new(offline.state, Some(kernel)))
}

fn warn(what: &dyn std::fmt::Display) {
    eprintln!("kube-shunt: {what}");
}

fn question(args: &ExplainArgs) -> anyhow::Result<Question> {
    let (Some(src), Some(dst), Some(proto)) = (args.src, args.dst, args.proto) else {
        anyhow::bail!("--src, --dst and --proto are needed, or --batch");
    };
    Ok(Question::new(Value::Null, src, dst, proto, args.from)?)
}

fn lines(
    file: &Path,
    answer: impl FnMut(&Question) -> anyhow::Result<Answer>,
) -> anyhow::Result<batch::Count> {
    let output = stdout().lock();
    if file == Path::new("-") {
        return batch::run(stdin().lock(), output, answer);
    }
    let input =
        File::open(file).with_context(|| format!("--batch {}: cannot be read", file.display()))?;
    batch::run(BufReader::new(input), output, answer)
}
