//! A flow that is asked about: from flags, or from a line of a batch. Says what is wrong by name, value and what is allowed.

use std::net::{IpAddr, SocketAddr};

use clap::ValueEnum;
use proxy_common::addr::proto;
use serde_json::{Map, Value};

/// Transport protocol.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proto {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Proto {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As it is typed and shown.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// IANA protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => proto::TCP,
            Self::Udp => proto::UDP,
            Self::Sctp => proto::SCTP,
        }
    }
}

/// Where a flow begins.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Enters by the device of a pod of this node
    Pod,
    /// Is made by a process in the node's own network namespace
    Host,
    /// Enters by a device that leads to other nodes or the outside
    Outside,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pod, Self::Host, Self::Outside];

    /// As it is typed and shown.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Host => "host",
            Self::Outside => "outside",
        }
    }
}

/// A source: an address, and a port where one was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Address.
    pub ip: IpAddr,
    /// Port. It takes no part: the question is about a new connection, whatever its port.
    pub port: Option<u16>,
}

/// A flow that is asked about. Source and destination are of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Given back with the answer; `null` where the caller gave none.
    pub id: Value,
    /// Client.
    pub src: Source,
    /// What it addresses.
    pub dst: SocketAddr,
    /// Protocol.
    pub proto: Proto,
    /// Where it begins; absent: found out by the source address.
    pub from: Option<Side>,
}

/// A question that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value}: {reason}")]
pub struct BadQuestion {
    /// The flag or the field of the line.
    field: String,
    /// What was given.
    value: String,
    /// What is allowed.
    reason: String,
}

const SRC: &str = "expected an IP address, with or without a port: 10.1.2.3, 10.1.2.3:40000, fd00::1 or [fd00::1]:40000";
const DST: &str =
    "expected an IP address and a port, IPv6 in brackets: 10.96.0.10:53 or [fd00:10:96::a]:53";

/// Parses `ip[:port]`. An error says what is allowed.
pub fn source(text: &str) -> Result<Source, String> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let bracketed = bare.and_then(|ip| ip.parse().ok()).map(IpAddr::V6);
    let alone = text.parse().ok().or(bracketed);
    let source = match alone {
        Some(ip) => Some((ip, None)),
        None => text
            .parse()
            .ok()
            .map(|whole: SocketAddr| (whole.ip(), Some(whole.port()))),
    };
    let (ip, port) = source.ok_or(SRC)?;
    Ok(Source {
        ip: plain(ip),
        port,
    })
}

/// Parses `ip:port`. An error says what is allowed.
pub fn destination(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let whole: SocketAddr = text.parse().map_err(|_any| {
        if text.parse::<IpAddr>().is_ok() || source(text).is_ok() {
            format!("it has no port; {DST}")
        } else {
            DST.to_owned()
        }
    })?;
    if whole.port() == 0 {
        return Err("port 0 is no port of a Service; expected 1 to 65535".to_owned());
    }
    Ok(SocketAddr::new(plain(whole.ip()), whole.port()))
}

/// An IPv4-mapped address is an IPv4 one: that is what the packet carries.
fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Parses a protocol in either case.
pub fn protocol(text: &str) -> Result<Proto, String> {
    named(text, &Proto::ALL, Proto::label)
}

/// Parses where a flow begins.
pub fn side(text: &str) -> Result<Side, String> {
    named(text, &Side::ALL, Side::label)
}

fn named<T: Copy>(text: &str, all: &[T], label: fn(T) -> &'static str) -> Result<T, String> {
    let found = all
        .iter()
        .find(|one| label(**one).eq_ignore_ascii_case(text.trim()));
    let labels: Vec<_> = all.iter().map(|one| label(*one)).collect();
    found
        .copied()
        .ok_or_else(|| format!("expected one of {}", labels.join(", ")))
}

impl Question {
    /// Puts the parts together. `name` gives a part the name that the caller knows it by: a flag, or a field.
    pub fn new(
        id: Value,
        src: Source,
        dst: SocketAddr,
        proto: Proto,
        from: Option<Side>,
    ) -> Result<Self, BadQuestion> {
        if src.ip.is_ipv4() != dst.is_ipv4() {
            let family = |v4| if v4 { "IPv4" } else { "IPv6" };
            return Err(BadQuestion {
                field: "src".to_owned(),
                value: src.ip.to_string(),
                reason: format!(
                    "it is {}, but dst {dst} is {}; expected two addresses of one family",
                    family(src.ip.is_ipv4()),
                    family(dst.is_ipv4())
                ),
            });
        }
        Ok(Self {
            id,
            src,
            dst,
            proto,
            from,
        })
    }
}

/// Reads a line of a batch; other fields are ignored. An error comes with the line's id, as far as there is one.
pub fn line(text: &str) -> Result<Question, (Value, String)> {
    let mut line: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        let error = error.to_string();
        let what = error.split(" at line ").next().unwrap_or_default();
        let example =
            r#"{"id":"7","src":"10.1.2.3","dst":"10.96.0.10:53","proto":"udp","from":"pod"}"#;
        (
            Value::Null,
            format!("not a flow as JSON ({what}); expected {example}"),
        )
    })?;
    // Fields of any type, so that a wrong one can be named.
    let [id, src, dst, proto, from] =
        ["id", "src", "dst", "proto", "from"].map(|name| line.remove(name).unwrap_or_default());
    let question = || {
        let src = field("src", &src, source)?;
        let dst = field("dst", &dst, destination)?;
        let proto = field("proto", &proto, protocol)?;
        let from = match from {
            Value::Null => None,
            given => Some(field("from", &given, side)?),
        };
        Question::new(id.clone(), src, dst, proto, from)
    };
    question().map_err(|error| (id.clone(), error.to_string()))
}

fn field<T>(
    name: &str,
    value: &Value,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, BadQuestion> {
    let bad = |reason: String| BadQuestion {
        field: name.to_owned(),
        value: value.to_string(),
        reason,
    };
    match value {
        Value::String(text) => parse(text).map_err(bad),
        // Whatever was wrong with the empty text: the field is missing.
        Value::Null => match parse("") {
            Ok(parsed) => Ok(parsed),
            Err(reason) => Err(BadQuestion {
                value: "missing".to_owned(),
                ..bad(reason)
            }),
        },
        _ => Err(bad("expected a string".to_owned())),
    }
}

#[cfg(test)]
mod tests;
