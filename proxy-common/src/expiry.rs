//! When a connection is over: by protocol, by what both directions saw, and by how long both are silent.
//!
//! The agent asks whether an entry is worth a look, the program that deletes ([`crate::path::hook::age`]) whether its connection is over.

use crate::addr::proto;
use crate::flags::flow_state;
use crate::limits;
use crate::value::Flow;

/// What counts for expiry of one entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// As in [`flow_state`].
    state: u16,
    /// Second of the monotonic clock of its last packet.
    last: u32,
}

impl<A> From<&Flow<A>> for Seen {
    #[inline]
    fn from(flow: &Flow<A>) -> Self {
        Self {
            state: flow.state,
            last: flow.last_seen,
        }
    }
}

/// Seconds a connection in `state` may stay silent.
#[inline]
fn patience(proto: u8, state: u16) -> u32 {
    match proto {
        proto::TCP | proto::SCTP if flow_state::closed(state) => limits::CLOSED_SECONDS,
        proto::TCP if state & (flow_state::FIN_CLIENT | flow_state::FIN_BACKEND) != 0 => {
            limits::TCP_HALF_CLOSED_SECONDS
        }
        proto::TCP => limits::TCP_ESTABLISHED_SECONDS,
        proto::SCTP => limits::SCTP_SECONDS,
        _udp => limits::UDP_SECONDS,
    }
}

/// Whether a connection is over: both directions count as one, with the later packet and all that either saw.
#[inline]
pub fn expired(proto: u8, entry: Seen, peer: Option<Seen>, now: u32) -> bool {
    let peer = peer.unwrap_or(entry);
    let last = entry.last.max(peer.last);
    // A packet may have been seen after `now` was read, or by a finer clock.
    now.saturating_sub(last) > patience(proto, entry.state | peer.state)
}

/// Whether the entry could be over, if its peer agrees: the shortest patience that its peer's state can cause.
pub fn suspicious(proto: u8, entry: Seen, now: u32) -> bool {
    let fins = flow_state::FIN_CLIENT | flow_state::FIN_BACKEND;
    let worst = if entry.state & fins == 0 {
        entry.state
    } else {
        entry.state | fins
    };
    now.saturating_sub(entry.last) > patience(proto, worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u32 = 1_000_000;

    fn check(proto: u8, entry: (u16, u32), peer: Option<(u16, u32)>, expected: bool) {
        let seen = |(state, idle): (u16, u32)| Seen {
            state,
            last: NOW - idle,
        };
        assert_eq!(
            expired(proto, seen(entry), peer.map(seen), NOW),
            expected,
            "proto {proto}, entry {entry:?}, peer {peer:?}"
        );
        if expected {
            assert!(
                suspicious(proto, seen(entry), NOW),
                "an expired entry must be looked at: {entry:?}"
            );
        }
    }

    #[test]
    fn expired_follows_protocol_and_state() {
        const EST: u32 = limits::TCP_ESTABLISHED_SECONDS;
        check(proto::TCP, (0, EST), None, false);
        check(proto::TCP, (0, EST + 1), None, true);
        check(proto::TCP, (flow_state::RST_CLIENT, 3), None, false);
        check(proto::TCP, (flow_state::RST_BACKEND, 4), None, true);
        check(proto::TCP, (flow_state::FIN_CLIENT, 3_600), None, false);
        check(proto::TCP, (flow_state::FIN_CLIENT, 3_601), None, true);
        check(
            proto::TCP,
            (flow_state::FIN_CLIENT | flow_state::FIN_BACKEND, 4),
            None,
            true,
        );
        check(proto::UDP, (0, 120), None, false);
        check(proto::UDP, (0, 121), None, true);
        check(proto::SCTP, (0, 210), None, false);
        check(proto::SCTP, (0, 211), None, true);
        check(proto::SCTP, (flow_state::FIN_CLIENT, 210), None, false);
        check(proto::SCTP, (flow_state::FIN_BACKEND, 211), None, true);
        check(proto::SCTP, (flow_state::RST_CLIENT, 3), None, false);
        check(proto::SCTP, (flow_state::RST_CLIENT, 4), None, true);
    }

    #[test]
    fn expired_never_takes_a_flow_whose_peer_is_fresh() {
        check(proto::UDP, (0, 500), Some((0, 5)), false);
        check(proto::UDP, (0, 500), Some((0, 121)), true);
        check(proto::TCP, (0, 100_000), Some((0, 10)), false);
    }

    #[test]
    fn expired_joins_what_both_directions_saw() {
        check(
            proto::TCP,
            (flow_state::FIN_CLIENT, 10),
            Some((flow_state::FIN_BACKEND, 10)),
            true,
        );
        check(
            proto::TCP,
            (flow_state::FIN_CLIENT, 10),
            Some((flow_state::FIN_BACKEND, 2)),
            false,
        );
        check(
            proto::TCP,
            (flow_state::FIN_CLIENT, 10),
            Some((0, 10)),
            false,
        );
    }

    #[test]
    fn expired_tolerates_a_packet_after_now() {
        let later = Seen {
            state: flow_state::RST_CLIENT,
            last: NOW + 5,
        };
        assert!(!expired(proto::TCP, later, None, NOW));
    }
}
