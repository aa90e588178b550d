//! The XDP body. Checksums are complete in a frame that comes from a NIC, so they are updated by hand.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::bpf_redirect;
use proxy_common::be::Be16;
use proxy_common::explain::Fact;
use proxy_common::path::csum::Delta;
use proxy_common::path::{Action, Covers, Packet, Verdict};
use proxy_common::reason::Hook;

use crate::body::{both_families, environment};
use crate::packet;

/// A frame at XDP.
pub(crate) struct Frame(*mut xdp_md);

impl Frame {
    #[inline]
    pub(crate) fn new(frame: *mut xdp_md) -> Self {
        Self(frame)
    }

    #[inline(always)] // a context access must not be reached through a copied pointer
    fn data(&self) -> usize {
        packet::pointer!(self.0, xdp_md, data)
    }

    #[inline(always)] // as `data`
    fn end(&self) -> usize {
        packet::pointer!(self.0, xdp_md, data_end)
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut core::ffi::c_void {
        self.0.cast()
    }

    #[inline]
    pub(crate) fn device_index(&self) -> u32 {
        // SAFETY: the context of this program.
        unsafe { (*self.0).ingress_ifindex }
    }

    /// A frame has no mark; `explain` asks TC.
    #[inline]
    #[expect(clippy::unused_self, reason = "as for an skb")]
    pub(crate) fn mark(&self) -> u32 {
        0
    }

    /// A frame has no place for facts; `explain` asks TC.
    #[inline]
    #[expect(clippy::unused_self, reason = "as for an skb")]
    pub(crate) fn set_fact(&self, _fact: Fact, _value: u32) {}

    /// Carries out `verdict`: all but a finished redirect goes on to TC.
    #[inline]
    pub(crate) fn act(self, verdict: Verdict) -> u32 {
        match verdict.action() {
            Action::Redirect(ifindex) if ifindex == self.device_index() => xdp_action::XDP_TX,
            // SAFETY: no pointers.
            Action::Redirect(ifindex) => unsafe { bpf_redirect(ifindex, 0) as u32 },
            Action::Drop => xdp_action::XDP_DROP,
            Action::Pass
            | Action::Mark(_)
            | Action::Back
            | Action::RedirectNeigh(_)
            | Action::RedirectPeer(_) => xdp_action::XDP_PASS,
        }
    }
}

impl Packet for Frame {
    const L2: u32 = 14;

    #[inline]
    fn ethertype(&self) -> Be16 {
        self.half(12).unwrap_or_default()
    }

    #[inline]
    fn len(&self) -> u32 {
        (self.end() - self.data()) as u32
    }

    /// XDP has no way to; what is not readable is left to TC.
    #[inline]
    fn pull(&mut self) -> bool {
        false
    }

    #[inline]
    fn segment_len(&self, _headers: u32) -> u32 {
        self.len().wrapping_sub(14)
    }

    #[inline]
    fn words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        packet::words(self.data(), self.end(), offset)
    }

    #[inline]
    fn set_words<const N: usize>(&mut self, offset: u32, words: [u32; N]) -> Option<()> {
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

    #[inline]
    fn update_csum(
        &mut self,
        offset: u32,
        delta: Delta,
        _covers: Covers,
        udp: bool,
        _v6: bool,
    ) -> Option<()> {
        let old = self.half(offset)?.raw();
        if udp && old == 0 {
            return Some(());
        }
        let new = delta.apply(old);
        self.set_half(
            offset,
            Be16::from_raw(if udp && new == 0 { 0xffff } else { new }),
        )
    }

    /// Errors are TC's to send.
    #[inline]
    fn resize(&mut self, _len: u32) -> Option<()> {
        None
    }
}

both_families!(Frame);
environment!(Frame, Hook::Xdp, xdp: true);
