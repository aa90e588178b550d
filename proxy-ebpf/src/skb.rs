//! The TC body: an `__sk_buff` as the path's packet, maps and environment.

use core::ptr::write_volatile;

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_INGRESS, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_REDIRECT, TC_ACT_SHOT,
    TC_ACT_UNSPEC,
};
use aya_ebpf::helpers::{
    bpf_csum_update, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer,
    bpf_skb_change_tail, bpf_skb_pull_data,
};
use proxy_common::addr::proto;
use proxy_common::be::{Be16, byte};
use proxy_common::explain::Fact;
use proxy_common::flags::feature;
use proxy_common::path::csum::Delta;
use proxy_common::path::parse::ethertype;
use proxy_common::path::{Action, Covers, GSO_BY_FRAGS, Packet, Verdict};
use proxy_common::reason::Hook;

use crate::body::{both_families, environment};
use crate::{packet, settings};

/// Bytes that are made readable at once, where headers are not plain: Ethernet, IPv6, `ICMPv6`, and of the packet that it is
/// about IPv6 and ports; more than an extension header and TCP take.
const HEADERS: u32 = 14 + 40 + 8 + 40 + 8;

/// A packet at TC ingress or egress of a device with (`L2` = 14) or without (0) a link-layer header.
pub(crate) struct Skb<const L2: u32, const EGRESS: bool>(*mut __sk_buff);

impl<const L2: u32, const EGRESS: bool> Skb<L2, EGRESS> {
    /// The packet, of which as much is readable as the kernel made so; see [`Packet::pull`].
    #[inline]
    pub(crate) fn new(skb: *mut __sk_buff) -> Self {
        Self(skb)
    }

    /// Whether TCP's or UDP's header follows a plain IP header and is readable: no more of it is read. To pull more costs a copy of
    /// what a local socket sends, since the socket keeps the packet too and its data lies elsewhere than its headers.
    #[inline]
    fn is_plain(&self) -> bool {
        let (protocol, l4) = if self.ethertype() == ethertype::IPV6 {
            match self.words::<2>(L2) {
                Some([_, length]) => (byte(length, 2), L2 + 40),
                None => return false,
            }
        } else {
            match self.words::<3>(L2) {
                Some([first, _, ttl]) if byte(first, 0) == 0x45 => (byte(ttl, 1), L2 + 20),
                _ => return false,
            }
        };
        let bytes = match protocol {
            proto::TCP => 20,
            proto::UDP => 8,
            _ => return false,
        };
        packet::holds(self.data(), self.end(), l4, bytes)
    }

    #[inline(always)] // a context access must not be reached through a copied pointer
    fn data(&self) -> usize {
        packet::pointer!(self.0, __sk_buff, data)
    }

    #[inline(always)] // as `data`
    fn end(&self) -> usize {
        packet::pointer!(self.0, __sk_buff, data_end)
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut core::ffi::c_void {
        self.0.cast()
    }

    #[inline]
    pub(crate) fn device_index(&self) -> u32 {
        // SAFETY: the context of this program.
        unsafe { (*self.0).ifindex }
    }

    /// `skb->mark`.
    #[inline]
    pub(crate) fn mark(&self) -> u32 {
        // SAFETY: the context of this program.
        unsafe { (*self.0).mark }
    }

    /// A word of `skb->cb`.
    #[inline]
    pub(crate) fn set_fact(&self, fact: Fact, value: u32) {
        // SAFETY: the context of this program; `Fact` is an index of its five words.
        unsafe {
            write_volatile(
                (&raw mut (*self.0).cb).cast::<u32>().add(fact as usize),
                value,
            );
        }
    }

    /// Carries out `verdict`. On to the next program is `TC_ACT_UNSPEC`, which is `TCX_NEXT` too.
    #[inline]
    pub(crate) fn act(self, verdict: Verdict) -> i32 {
        if settings::has(feature::DRY_RUN) {
            // SAFETY: the context of this program.
            unsafe { (*self.0).mark = 0 };
        }
        match verdict.action() {
            Action::Pass => TC_ACT_UNSPEC,
            Action::Mark(bits) => {
                // SAFETY: the context of this program.
                unsafe { (*self.0).mark |= bits };
                TC_ACT_UNSPEC
            }
            Action::Back if EGRESS => redirect(self.device_index(), u64::from(BPF_F_INGRESS)),
            Action::Back => redirect(self.device_index(), 0),
            Action::Redirect(ifindex) => redirect(ifindex, 0),
            // SAFETY: no parameters: the kernel looks the route up again.
            Action::RedirectNeigh(ifindex) => unsafe {
                bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32
            },
            Action::RedirectPeer(ifindex) if EGRESS => redirect(ifindex, 0),
            // SAFETY: no pointers.
            Action::RedirectPeer(ifindex) => unsafe { bpf_redirect_peer(ifindex, 0) as i32 },
            Action::Drop => TC_ACT_SHOT,
        }
    }
}

#[inline]
fn redirect(ifindex: u32, flags: u64) -> i32 {
    const _: () = assert!(TC_ACT_REDIRECT == 7);
    // SAFETY: no pointers.
    unsafe { bpf_redirect(ifindex, flags) as i32 }
}

impl<const N: u32, const EGRESS: bool> Packet for Skb<N, EGRESS> {
    const L2: u32 = N;

    #[inline]
    fn ethertype(&self) -> Be16 {
        // SAFETY: the context of this program. The field holds a 16-bit number as it lies in the packet.
        Be16::from_raw(unsafe { (*self.0).protocol } as u16)
    }

    #[inline]
    fn len(&self) -> u32 {
        // SAFETY: the context of this program.
        unsafe { (*self.0).len }
    }

    #[inline]
    fn pull(&mut self) -> bool {
        let len = self.len();
        let readable = (self.end() - self.data()) as u32;
        // Segments of SCTP hang behind a packet of headers only, which is readable; to pull would tear the first one.
        // SAFETY: the context of this program.
        let segments = unsafe { (*self.0).gso_size } == GSO_BY_FRAGS;
        if readable >= HEADERS || readable >= len || segments || self.is_plain() {
            return false;
        }
        let wanted = if len < HEADERS { len } else { HEADERS };
        // SAFETY: the context of this program. What cannot be pulled is not read either: every access checks.
        unsafe { bpf_skb_pull_data(self.0, wanted) == 0 }
    }

    #[inline]
    fn segment_len(&self, headers: u32) -> u32 {
        // SAFETY: the context of this program.
        let gso_size = unsafe { (*self.0).gso_size };
        match gso_size {
            0 => self.len().wrapping_sub(N),
            GSO_BY_FRAGS => headers,
            size => size.wrapping_add(headers),
        }
    }

    #[inline]
    fn words<const COUNT: usize>(&self, offset: u32) -> Option<[u32; COUNT]> {
        packet::words(self.data(), self.end(), offset)
    }

    #[inline]
    fn set_words<const COUNT: usize>(&mut self, offset: u32, words: [u32; COUNT]) -> Option<()> {
        packet::set_words(self.data(), self.end(), offset, words)
    }

    #[inline]
    fn half(&self, offset: u32) -> Option<Be16> {
        packet::half(self.data(), self.end(), offset).map(Be16::from_raw)
    }

    #[inline]
    fn set_half(&mut self, offset: u32, half: Be16) -> Option<()> {
        packet::set_half(self.data(), self.end(), offset, half.raw())
    }

    /// By the helper, since only the kernel knows what the field holds: a sum, or with checksum offload just the pseudo header's.
    #[inline]
    fn update_csum(
        &mut self,
        offset: u32,
        delta: Delta,
        covers: Covers,
        udp: bool,
        v6: bool,
    ) -> Option<()> {
        /// Not in the bindings. A kernel that knows it (6.16 and stable ones since) keeps skb->csum right for IPv6, whose
        /// addresses no header checksum makes up for; linux commit ead7f9b8de65.
        const BPF_F_IPV6: u64 = 1 << 7;
        let pseudo = covers == Covers::PseudoHeader;
        let mut flags = if udp {
            u64::from(BPF_F_MARK_MANGLED_0)
        } else {
            0
        };
        if pseudo {
            flags |= u64::from(BPF_F_PSEUDO_HDR);
        }
        let sum = delta.folded();
        if pseudo && v6 {
            // SAFETY: the context of this program.
            if unsafe { bpf_l4_csum_replace(self.0, offset, 0, u64::from(sum), flags | BPF_F_IPV6) }
                == 0
            {
                return Some(());
            }
            // An older kernel adds the change to skb->csum too; taking it away again is all that its fix does.
            // SAFETY: the context of this program.
            if unsafe { bpf_l4_csum_replace(self.0, offset, 0, u64::from(sum), flags) } != 0 {
                return None;
            }
            // SAFETY: the context of this program. It fails where there is no skb->csum to keep.
            unsafe { bpf_csum_update(self.0, !sum) };
            return Some(());
        }
        // SAFETY: the context of this program.
        (unsafe { bpf_l4_csum_replace(self.0, offset, 0, u64::from(sum), flags) } == 0)
            .then_some(())
    }

    #[inline]
    fn resize(&mut self, len: u32) -> Option<()> {
        // SAFETY: the context of this program.
        (unsafe { bpf_skb_change_tail(self.0, len, 0) } == 0).then_some(())
    }
}

both_families!(Skb<14, false>);
both_families!(Skb<14, true>);
both_families!(Skb<0, false>);
both_families!(Skb<0, true>);
environment!(Skb<14, false>, Hook::TcIngress, xdp: false);
environment!(Skb<14, true>, Hook::TcEgress, xdp: false);
environment!(Skb<0, false>, Hook::TcIngress, xdp: false);
environment!(Skb<0, true>, Hook::TcEgress, xdp: false);
