//! kube-proxy's habits of the command line: no subcommand, `_` for `-` in flags, `--version=true`.

use std::ffi::OsString;

/// Arguments as clap takes them. `commands` are the names of the subcommands; without one, `run` is meant.
pub fn normalize(
    arguments: impl IntoIterator<Item = OsString>,
    commands: &[String],
) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next();
    let given: Vec<OsString> = arguments.filter_map(flag).collect();
    let text = |argument: &OsString| argument.to_string_lossy().into_owned();
    let names_command = given
        .iter()
        .map(text)
        .any(|argument| commands.contains(&argument));
    let of_itself = |argument: &OsString| {
        let name = text(argument);
        matches!(name.as_str(), "--version" | "-V" | "--help" | "-h")
            || name.starts_with("--log-format")
            || name.starts_with("--log-level")
    };
    let run = given
        .iter()
        .any(|argument| text(argument).starts_with('-') && !of_itself(argument))
        && !names_command;
    program
        .into_iter()
        .chain(run.then(|| OsString::from("run")))
        .chain(given)
        .collect()
}

fn flag(argument: OsString) -> Option<OsString> {
    let Some(text) = argument.to_str().filter(|text| text.starts_with("--")) else {
        return Some(argument);
    };
    let (name, value) = text
        .split_once('=')
        .map_or((text, None), |(name, value)| (name, Some(value)));
    let name = name.replace('_', "-");
    match (name.as_str(), value) {
        ("--version", Some("false")) => None,
        ("--version", Some(_)) => Some("--version".into()),
        (_, Some(value)) => Some(format!("{name}={value}").into()),
        (_, None) => Some(name.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_proxys_command_lines_mean_run() {
        let commands = ["run", "services", "help"].map(str::to_owned);
        let check = |given: &str, expected: &str| {
            let arguments = given.split(' ').map(OsString::from);
            let got = normalize(arguments, &commands);
            let got: Vec<_> = got
                .iter()
                .map(|argument| argument.to_string_lossy())
                .collect();
            assert_eq!(got.join(" "), expected, "{given}");
        };
        check(
            "kube-proxy --config=/c --hostname_override=A_b",
            "kube-proxy run --config=/c --hostname-override=A_b",
        );
        check("kube-shunt run --config=/c", "kube-shunt run --config=/c");
        check(
            "kube-shunt --log-level debug services",
            "kube-shunt --log-level debug services",
        );
        check(
            "kube-shunt --log-level debug",
            "kube-shunt --log-level debug",
        );
        check("kube-shunt --version=true", "kube-shunt --version");
        check("kube-shunt --version=raw", "kube-shunt --version");
        check("kube-shunt --cleanup", "kube-shunt run --cleanup");
        check("kube-shunt -v=4", "kube-shunt run -v=4");
        check("kube-shunt", "kube-shunt");
    }
}
