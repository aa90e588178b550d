//! The two formats of a scrape: `OpenMetrics` for whoever asks for it, else Prometheus' text as kube-proxy serves it.

use prometheus_client::registry::Registry;

/// How a scrape looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    Open,
    /// Prometheus' text 0.0.4.
    Text,
}

impl Format {
    /// The format for a client that takes these media types.
    pub fn of(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::Open
        } else {
            Self::Text
        }
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// All figures of `registry`.
    pub fn encode(self, registry: &Registry) -> Result<String, std::fmt::Error> {
        let mut body = String::new();
        prometheus_client::encoding::text::encode(&mut body, registry)?;
        Ok(match self {
            Self::Open => body,
            Self::Text => plain(&body),
        })
    }
}

/// The older format names a family as its samples, has no type `info`, and no end mark.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        match line
            .strip_prefix("# ")
            .and_then(|rest| rest.split_once(' '))
        {
            Some(("HELP", rest)) => {
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                let kind = lines
                    .peek()
                    .and_then(|next| next.strip_prefix("# TYPE ")?.split_once(' '));
                let (suffix, _) = renamed(kind.map_or("", |(_, kind)| kind));
                text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            Some(("TYPE", rest)) => {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
                let (suffix, kind) = renamed(kind);
                text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            Some(_) => {}
            None if line == "# EOF" => {}
            None => text.extend([line, "\n"]),
        }
    }
    text
}

/// What is added to a family's name, and its type there.
fn renamed(kind: &str) -> (&'static str, &str) {
    match kind {
        "counter" => ("_total", kind),
        "info" => ("_info", "gauge"),
        _ => ("", kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn text_is_the_format_of_kube_proxy_and_open_metrics_is_for_those_who_ask() {
        assert_eq!(Format::of("text/plain, */*"), Format::Text);
        assert_eq!(
            Format::of("application/openmetrics-text;version=1.0.0,*/*;q=0.1"),
            Format::Open
        );
        let metrics = Metrics::default();
        let registry = metrics.registry();
        let (open, text) = (
            Format::Open.encode(&registry).unwrap(),
            Format::Text.encode(&registry).unwrap(),
        );
        assert!(open.ends_with("# EOF\n") && !text.contains("EOF"));
        for line in [
            "# TYPE kubeproxy_proxy_healthz_total counter",
            "# TYPE kubeshunt_build_info gauge",
            "# TYPE kubeproxy_sync_proxy_rules_no_local_endpoints_total gauge",
            "# TYPE kubeproxy_network_programming_duration_seconds histogram",
            r#"kubeproxy_proxy_healthz_total{code="200"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing");
        }
        let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(samples(&open), samples(&text));
    }
}
