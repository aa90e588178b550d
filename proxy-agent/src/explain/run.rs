//! The command: questions from flags or a batch, put to both bodies.

use std::fs::File;
use std::io::{BufReader, Write as _, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;

use super::args::ExplainArgs;
use super::ask::{Told, ask};
use super::batch;
use super::memory::Memory;
use super::offline::{self, Inputs, Offline};
use super::question::Question;
use super::state::State;
use super::table;
use crate::config::Output;
use crate::manifests::{self, Files};

/// Answers.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let state = state(args)?;
    let mut memory = Memory::new(&state);
    let mut answer = |question: &Question| ask(&state, &mut memory, question);
    if let Some(file) = &args.batch {
        let count = lines(file, |question| Ok(answer(question)?.answer))?;
        if count.failed > 0 {
            eprintln!(
                "kube-shunt: {} of {} lines could not be answered; their errors stand in place of their answers",
                count.failed,
                count.failed + count.answered
            );
        }
    } else {
        let question = question(args)?;
        let told = answer(&question)?;
        print(args.output.output, &state, &question, &told)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn state(args: &ExplainArgs) -> anyhow::Result<State> {
    let (Some(manifests), Some(node)) = (&args.manifests, &args.node) else {
        anyhow::bail!("live maps: not yet");
    };
    let node = node.trim().to_owned();
    let Files {
        objects,
        nodes,
        errors,
    } = manifests::read(manifests)
        .with_context(|| format!("--manifests {}: cannot be read", manifests.display()))?;
    let node_object = args.node_object.as_deref();
    let node_object = node_object.map(|file| offline::node_object(file, &node));
    let offline = Offline::new(Inputs {
        node_object: node_object.transpose()?,
        node,
        objects,
        nodes,
        node_addresses: args.node_address.clone(),
        policy: proxy_model::Policy::default(),
        node_port_addresses: proxy_kernel::NodePortAddresses::default(),
    });
    for error in errors {
        eprintln!("kube-shunt: {error}");
    }
    for warning in &offline.warnings {
        eprintln!("kube-shunt: {warning}");
    }
    Ok(offline.state)
}

fn question(args: &ExplainArgs) -> anyhow::Result<Question> {
    let (Some(src), Some(dst), Some(proto)) = (args.src, args.dst, args.proto) else {
        anyhow::bail!("--src, --dst and --proto are needed, or --batch");
    };
    Ok(Question::new(Value::Null, src, dst, proto, args.from)?)
}

fn lines(
    file: &Path,
    answer: impl FnMut(&Question) -> anyhow::Result<super::answer::Answer>,
) -> anyhow::Result<batch::Count> {
    let output = stdout().lock();
    if file == Path::new("-") {
        return batch::run(stdin().lock(), output, answer);
    }
    let input =
        File::open(file).with_context(|| format!("--batch {}: cannot be read", file.display()))?;
    batch::run(BufReader::new(input), output, answer)
}

fn print(output: Output, state: &State, question: &Question, told: &Told) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    match output {
        Output::Json => batch::write(&mut out, &told.answer)?,
        Output::Table => out.write_all(table::render(state, question, told).as_bytes())?,
    }
    Ok(out.flush()?)
}
