//! Logs: to stderr, as text or JSON, with structured fields of stable names. Nothing else may write there.

use tracing_subscriber::EnvFilter;

use crate::config::{LogArgs, LogFormat};

/// Sets up logging for the process. `default` is the level where the operator chose none.
pub fn init(args: &LogArgs, default: &str) -> anyhow::Result<()> {
    let LogArgs {
        log_format,
        log_level,
    } = args;
    let filter = filter(log_level.as_deref().unwrap_or(default))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let done = match log_format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init(),
    };
    done.map_err(|error| anyhow::anyhow!("cannot set up logging: {error}"))
}

/// The client's own account of a failed request comes three times a second while the API server is away, beside our one line.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let filter = EnvFilter::builder().parse(level)?;
    if level.contains("kube_client") {
        return Ok(filter);
    }
    Ok(filter.add_directive("kube_client::client::builder=off".parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_own_account_is_off_unless_asked_for() {
        assert!(filter("debug").unwrap().to_string().contains("builder=off"));
        assert!(
            !filter("info,kube_client=trace")
                .unwrap()
                .to_string()
                .contains("builder=off")
        );
    }
}
