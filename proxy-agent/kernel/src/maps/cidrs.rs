//! CIDRS: the local pods' range, then the `ServiceCIDR`s.

use aya::Pod;
use proxy_common::addr::Addr;
use proxy_common::value::Cidr;

use super::table::Table;
use crate::error::{Error, Result};

/// Makes the map hold `local` in element 0 and `services` behind it. Only what differs is written: a store is no single one for a
/// packet.
pub(crate) fn set<A: Addr>(
    table: &Table<u32, Cidr<A>>,
    local: Option<(A, u8)>,
    services: &[(A, u8)],
) -> Result<()>
where
    Cidr<A>: Pod,
{
    let mut elements = vec![local.map_or_else(Cidr::default, cidr)];
    elements.extend(services.iter().copied().map(cidr));
    let room = table.max_entries() as usize;
    let kept = elements.len().min(room);
    let refused = elements.len() - kept;
    elements.resize_with(room, Cidr::default);
    for (index, wanted) in (0u32..).zip(&elements) {
        if table.lookup(&index)?.as_ref() != Some(wanted) {
            table.update(&index, wanted)?;
        }
    }
    if refused == 0 {
        return Ok(());
    }
    let error = std::io::Error::other(format!(
        "{refused} ServiceCIDRs are more than the map holds: their unknown addresses are not dropped"
    ));
    Err(Error::map(table.name(), "setting ServiceCIDRs")(error))
}

/// All elements.
pub(crate) fn all<A: Addr>(table: &Table<u32, Cidr<A>>) -> Result<Vec<Cidr<A>>>
where
    Cidr<A>: Pod,
{
    (0..table.max_entries())
        .map(|index| Ok(table.lookup(&index)?.unwrap_or_default()))
        .collect()
}

/// As an element: the network's address and its mask.
fn cidr<A: Addr>((addr, bits): (A, u8)) -> Cidr<A> {
    let mask = mask::<A>(bits);
    let mut words = addr.words();
    for (word, mask) in words.iter_mut().zip(mask.words()) {
        *word &= mask;
    }
    Cidr {
        addr: A::from_words(words),
        mask,
        used: 1,
    }
}

/// The mask of a prefix, in network byte order.
fn mask<A: Addr>(bits: u8) -> A {
    let word = |index: u32| {
        let ones = u32::from(bits).saturating_sub(index * 32).min(32);
        u32::MAX.checked_shl(32 - ones).unwrap_or(0).to_be()
    };
    A::from_words([word(0), word(1), word(2), word(3)])
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proxy_common::addr::{V4, V6};

    use super::*;

    fn check<A: Addr>(addr: &str, bits: u8, network: &str, mask: &str) {
        let parse = |text: &str| A::from_ip(text.parse::<IpAddr>().unwrap()).unwrap();
        let expected = Cidr {
            addr: parse(network),
            mask: parse(mask),
            used: 1,
        };
        assert_eq!(cidr((parse(addr), bits)), expected, "{addr}/{bits}");
    }

    #[test]
    fn cidr_has_the_network_and_its_mask() {
        check::<V4>("10.244.3.4", 16, "10.244.0.0", "255.255.0.0");
        check::<V4>("10.244.3.4", 0, "0.0.0.0", "0.0.0.0");
        check::<V4>("10.244.3.4", 32, "10.244.3.4", "255.255.255.255");
        check::<V4>("10.244.3.4", 23, "10.244.2.0", "255.255.254.0");
        check::<V6>("fd00:1:2:3::7", 64, "fd00:1:2:3::", "ffff:ffff:ffff:ffff::");
        check::<V6>("fd00:1:2:3::7", 44, "fd00:1::", "ffff:ffff:fff0::");
        check::<V6>("fd00::7", 0, "::", "::");
        check::<V6>(
            "fd00::7",
            128,
            "fd00::7",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        );
    }
}
