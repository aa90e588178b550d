//! clsact qdiscs and their bpf filters, for kernels without TCX.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use super::socket::Requests;
use super::wire::{Message, Request, attribute, msg, read_text, read_u32};

/// Which side of a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Direction {
    Egress,
    Ingress,
}

impl Direction {
    /// Attached in this order: answers must be translatable before the first connection is.
    pub(crate) const ORDER: [Self; 2] = [Self::Egress, Self::Ingress];

    fn parent(self) -> u32 {
        match self {
            Self::Ingress => 0xffff_fff2,
            Self::Egress => 0xffff_fff3,
        }
    }
}

/// `clsact` as parent and as handle.
const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;

/// First in line; filters of others at the same priority stay, told apart by the handle.
const PRIORITY: u32 = 1;
/// "ks".
const HANDLE: u32 = 0x6b73;
/// `ETH_P_ALL`, in network order.
const PROTOCOL: u32 = 0x0300;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
const DIRECT_ACTION: u32 = 1;
/// Our filters' names start with this.
const NAME: &str = "kube-shunt:";

/// struct tcmsg.
fn tcmsg(ifindex: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (at, field) in [(4, ifindex), (8, handle), (12, parent), (16, info)] {
        if let Some(bytes) = bytes.get_mut(at..at + 4) {
            bytes.copy_from_slice(&field.to_ne_bytes());
        }
    }
    bytes
}

/// Adds the clsact qdisc. `false`: somebody has already.
pub(crate) fn add_clsact(requests: &mut Requests, ifindex: u32) -> io::Result<bool> {
    let fixed = tcmsg(ifindex, CLSACT_HANDLE, CLSACT_PARENT, 0);
    let request = Request::new(
        msg::NEWQDISC,
        msg::ACK | msg::CREATE | msg::EXCLUSIVE,
        &fixed,
    )
    .attribute(TCA_KIND, b"clsact\0");
    match requests.request(request) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the clsact qdisc with all that is on it.
pub(crate) fn remove_clsact(requests: &mut Requests, ifindex: u32) -> io::Result<()> {
    let fixed = tcmsg(ifindex, CLSACT_HANDLE, CLSACT_PARENT, 0);
    requests.request(Request::new(msg::DELQDISC, msg::ACK, &fixed).attribute(TCA_KIND, b"clsact\0"))
}

/// Adds our filter, or replaces its program in place.
pub(crate) fn set_filter(
    requests: &mut Requests,
    ifindex: u32,
    direction: Direction,
    program: impl AsFd,
    symbol: &str,
) -> io::Result<()> {
    let fixed = tcmsg(
        ifindex,
        HANDLE,
        direction.parent(),
        PRIORITY << 16 | PROTOCOL,
    );
    let fd = program.as_fd().as_raw_fd().to_ne_bytes();
    let name = format!("{NAME}{symbol}\0");
    requests.request(
        Request::new(msg::NEWTFILTER, msg::ACK | msg::CREATE, &fixed)
            .attribute(TCA_KIND, b"bpf\0")
            .nested(TCA_OPTIONS, |options| {
                options
                    .attribute(TCA_BPF_FD, &fd)
                    .attribute(TCA_BPF_NAME, name.as_bytes())
                    .attribute(TCA_BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes())
            }),
    )
}

/// Removes our filter.
pub(crate) fn remove_filter(
    requests: &mut Requests,
    ifindex: u32,
    direction: Direction,
) -> io::Result<()> {
    let fixed = tcmsg(
        ifindex,
        HANDLE,
        direction.parent(),
        PRIORITY << 16 | PROTOCOL,
    );
    requests.request(Request::new(msg::DELTFILTER, msg::ACK, &fixed).attribute(TCA_KIND, b"bpf\0"))
}

/// The filters on one side of a device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Filters {
    /// Program id of ours, if it is there.
    pub(crate) ours: Option<u32>,
    /// Number of filters that are not ours.
    pub(crate) others: usize,
}

/// Lists the filters on one side of a device; none where there is no clsact.
pub(crate) fn filters(
    requests: &mut Requests,
    ifindex: u32,
    direction: Direction,
) -> io::Result<Filters> {
    let fixed = tcmsg(ifindex, 0, direction.parent(), 0);
    match requests.dump(
        &Request::new(msg::GETTFILTER, msg::DUMP, &fixed),
        read_filter,
    ) {
        // No such qdisc, or no such device.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINVAL | libc::ENOENT | libc::ENODEV)
            ) =>
        {
            Ok(Filters::default())
        }
        result => result,
    }
}

fn read_filter(filters: &mut Filters, message: &Message<'_>) {
    let Some(attributes) = message
        .payload
        .get(20..)
        .filter(|_rest| message.kind == msg::NEWTFILTER)
    else {
        return;
    };
    let Some(handle) = read_u32(message.payload, 8) else {
        return;
    };
    // A filter chain is announced without a handle first, then each filter with its own.
    if handle == 0 {
        return;
    }
    let options = attribute(attributes, TCA_OPTIONS).unwrap_or_default();
    let name = attribute(options, TCA_BPF_NAME)
        .map(read_text)
        .unwrap_or_default();
    if handle == HANDLE && name.starts_with(NAME) {
        filters.ours = attribute(options, TCA_BPF_ID)
            .and_then(|id| read_u32(id, 0))
            .or(Some(0));
    } else {
        filters.others += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::messages;
    use super::*;

    fn read(handle: u32, name: &str, id: u32) -> Filters {
        let name = format!("{name}\0");
        let bytes = Request::new(
            msg::NEWTFILTER,
            0,
            &tcmsg(2, handle, Direction::Ingress.parent(), 0),
        )
        .attribute(TCA_KIND, b"bpf\0")
        .nested(TCA_OPTIONS, |options| {
            options
                .attribute(TCA_BPF_NAME, name.as_bytes())
                .attribute(TCA_BPF_ID, &id.to_ne_bytes())
        })
        .finish(1)
        .unwrap();
        let mut filters = Filters::default();
        messages(&bytes).for_each(|message| read_filter(&mut filters, &message));
        filters
    }

    #[test]
    fn filters_tell_ours_from_others() {
        assert_eq!(
            read(HANDLE, "kube-shunt:tc_ingress", 9),
            Filters {
                ours: Some(9),
                others: 0
            }
        );
        assert_eq!(
            read(HANDLE, "cil_from_netdev", 9),
            Filters {
                ours: None,
                others: 1
            }
        );
        assert_eq!(
            read(1, "kube-shunt:tc_ingress", 9),
            Filters {
                ours: None,
                others: 1
            }
        );
        assert_eq!(read(0, "", 0), Filters::default());
    }
}
