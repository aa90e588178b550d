//! What is measured. Each module is one subset of the command line.

pub mod connections;
pub mod established;
pub mod packets;
pub mod program;
pub mod programming;
pub mod scale;
mod usage;

use integration::topology::Family;

use crate::contestant::Contestant;
use crate::record::Position;

/// How names of figures of a family begin: IPv4 is the usual one.
const fn prefix(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => "IPv6 ",
    }
}

/// Where the Services stand that `contestant` is measured with. Without a proxy there is no order.
fn positions(contestant: Contestant, services: u32) -> Vec<Option<Position>> {
    if contestant.is_direct() {
        return vec![None];
    }
    Position::of(services).iter().copied().map(Some).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_proxy_is_measured_with_the_first_and_the_last_service() {
        let both = [Position::First, Position::Last].map(Some);
        for contestant in [
            Contestant::KubeShunt,
            Contestant::IptablesNft,
            Contestant::Nftables,
        ] {
            assert_eq!(positions(contestant, 1_000), both);
            assert_eq!(positions(contestant, 1), both[..1]);
        }
        assert_eq!(positions(Contestant::Beside, 1_000), [None]);
    }
}
