//! An answer, as it is printed. Its JSON is stable: docs/explain.md describes it, and a test compares the two.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What becomes of a new connection.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It goes to one of the backends.
    Dnat,
    /// It is refused: ICMP port unreachable, or ECONNREFUSED.
    Reject,
    /// It is dropped without a word; a socket call fails with EHOSTUNREACH.
    Drop,
    /// It is none of our business and goes on as it is.
    Pass,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dnat, Self::Reject, Self::Drop, Self::Pass];

    /// As it is shown.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dnat => "dnat",
            Self::Reject => "reject",
            Self::Drop => "drop",
            Self::Pass => "pass",
        }
    }
}

/// Where it is decided.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// TC ingress of the device that the packet enters by.
    Tc,
    /// XDP of that device.
    Xdp,
    /// `connect()` or `sendmsg()` of the process.
    Socket,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tc, Self::Xdp, Self::Socket];

    /// As it is shown.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
            Self::Socket => "socket",
        }
    }
}

/// The answer to a question, in the order of its fields.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the question.
    pub id: Value,
    /// See [`Verdict`].
    pub verdict: Verdict,
    /// `namespace/name:port` of the Service whose frontend was addressed; the port by its name, by its number if it has none.
    pub service: Option<String>,
    /// `ip:port/proto` that was addressed, if it is a frontend.
    pub frontend: Option<String>,
    /// `ip:port` of every endpoint that a new connection could be sent to, in order of the text.
    pub backends: Vec<String>,
    /// Whether the source address is changed on the way to any of them.
    pub masquerade: bool,
    /// See [`Hook`].
    pub hook: Hook,
    /// Label of a [`proxy_common::reason::Reason`].
    pub reason: String,
}

impl Answer {
    /// Whether two bodies decided alike; ids and words about it do not count.
    pub fn agrees(&self, other: &Self) -> bool {
        let without = |answer: &Self| Self {
            id: Value::Null,
            ..answer.clone()
        };
        without(self) == without(other)
    }
}

/// A line that could not be answered.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of the question, as far as it could be read.
    pub id: Value,
    /// What is wrong, and what is allowed.
    pub error: String,
}
