//! How Go's libraries read and print what stands in a configuration: durations, booleans, addresses, networks. Pure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration as StdDuration;

use proxy_model::policy::Network;
use serde::{Deserialize, Serialize};

/// A duration as Go writes it (`1m30s`), in nanoseconds; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration(i64);

/// Nanoseconds of a unit.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
];
const SECOND: i64 = 1_000_000_000;

impl Duration {
    /// So many seconds.
    pub(crate) const fn seconds(seconds: i64) -> Self {
        Self(seconds * SECOND)
    }

    /// Nothing at all, which mostly means "unset".
    pub(crate) fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Below zero.
    pub(crate) fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Without a sign; zero if negative.
    pub(crate) fn to_std(self) -> StdDuration {
        StdDuration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// `None` where zero leaves something as it is.
    pub(crate) fn non_zero(self) -> Option<StdDuration> {
        (self.0 > 0).then(|| self.to_std())
    }
}

impl std::str::FromStr for Duration {
    type Err = String;

    /// A sequence of decimal numbers with units, or `0`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "must be a duration such as 30s, 1m30s or 24h".to_owned();
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(bad());
        }
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let digits = rest.len()
                - rest
                    .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
                    .len();
            let (number, after) = rest.split_at(digits);
            let unit = after.len()
                - after
                    .trim_start_matches(|c: char| c != '.' && !c.is_ascii_digit())
                    .len();
            let (unit, after) = after.split_at(unit);
            let scale = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(bad)?
                .1;
            total = nanos(number, scale)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(bad)?;
            rest = after;
        }
        Ok(Self(if negative { -total } else { total }))
    }
}

/// `1.5` of a unit; the fraction is cut at nanoseconds.
fn nanos(number: &str, scale: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut nanos = whole.checked_mul(scale)?;
    let mut place = scale;
    for digit in fraction.chars() {
        place /= 10;
        nanos = nanos.checked_add(i64::from(digit.to_digit(10)?) * place)?;
    }
    Some(nanos)
}

impl TryFrom<String> for Duration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for Duration {
    /// Go's form: `24h0m0s`, `1m30s`, `0s`, `250ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let total = self.0.unsigned_abs();
        let second = SECOND.unsigned_abs();
        let fraction = |value: u64, scale: u64, unit: &str| {
            let digits = scale.ilog10() as usize;
            let part = if value.is_multiple_of(scale) {
                String::new()
            } else {
                format!(".{:0digits$}", value % scale)
            };
            format!("{}{}{unit}", value / scale, part.trim_end_matches('0'))
        };
        let text = match total {
            0 => "0s".to_owned(),
            1..1_000 => format!("{total}ns"),
            1_000..1_000_000 => fraction(total, 1_000, "µs"),
            1_000_000..1_000_000_000 => fraction(total, 1_000_000, "ms"),
            _ => {
                let (minutes, rest) = (total / (60 * second), total % (60 * second));
                let seconds = fraction(rest, second, "s");
                match (minutes / 60, minutes % 60) {
                    (0, 0) => seconds,
                    (0, minutes) => format!("{minutes}m{seconds}"),
                    (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
                }
            }
        };
        write!(f, "{sign}{text}")
    }
}

/// What `strconv.ParseBool` takes.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// A network, with an address as lenient as everywhere (SEMANTICS 2.8).
pub(crate) fn network(text: &str) -> Option<Network> {
    let (address, length) = text.split_once('/')?;
    let address = proxy_model::parse_ip(address)?;
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let length: u8 = length.parse().ok().filter(|_| digits)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (length <= most).then_some((address, length))
}

/// `IP` or `IP:port` as kube-proxy completes it: without a port it gets `port`.
pub(crate) fn socket_address(text: &str, port: u16) -> Option<SocketAddr> {
    if let Some(ip) = proxy_model::parse_ip(text) {
        return Some(SocketAddr::new(ip, port));
    }
    let (host, port) = text.rsplit_once(':')?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let ip: IpAddr = match bare {
        Some(host) => proxy_model::parse_ip(host)?,
        None => proxy_model::parse_ip(host).filter(IpAddr::is_ipv4)?,
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port
        .parse()
        .ok()
        .filter(|&port: &u16| digits && port != 0)?;
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_go_does() {
        for (text, printed) in [
            ("0", "0s"),
            ("0s", "0s"),
            ("30s", "30s"),
            ("90s", "1m30s"),
            ("15m", "15m0s"),
            ("24h", "24h0m0s"),
            ("1h1m1s", "1h1m1s"),
            ("1.5h", "1h30m0s"),
            ("250ms", "250ms"),
            ("1.5s", "1.5s"),
            ("-30s", "-30s"),
            ("10us", "10µs"),
            ("7ns", "7ns"),
            (".5s", "500ms"),
        ] {
            let duration: Duration = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(duration.to_string(), printed, "{text}");
            assert_eq!(printed.parse(), Ok(duration), "{printed}");
        }
        for bad in [
            "",
            "-",
            "30",
            "s",
            "1x",
            "1.2.3s",
            "ten",
            "1s1",
            "9999999999h",
            "1 s",
        ] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_without_a_port_get_one() {
        for (text, expected) in [
            ("0.0.0.0", Some("0.0.0.0:10256")),
            ("::", Some("[::]:10256")),
            ("[::1]:99", Some("[::1]:99")),
            ("127.0.0.01:8080", Some("127.0.0.1:8080")),
            ("127.0.0.1:0", None),
            ("127.0.0.1:65536", None),
            ("127.0.0.1:", None),
            ("127.0.0.1:+5", None),
            ("localhost:80", None),
            (":10256", None),
            ("10256", None),
            ("[::1]", None),
            ("[10.0.0.1", None),
        ] {
            let got = socket_address(text, 10_256).map(|address| address.to_string());
            assert_eq!(got.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn networks_are_lenient_about_zeros_only() {
        assert_eq!(network("010.0.0.0/8"), network("10.0.0.0/8"));
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "fd00::/129",
            "x/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "",
        ] {
            assert_eq!(network(bad), None, "{bad}");
        }
    }
}
