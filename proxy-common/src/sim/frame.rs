//! A packet at one of the programs: the path's packet, maps and environment over a [`World`].

use crate::addr::{Addr, V4, V6};
use crate::be::Be16;
use crate::explain::Fact;
use crate::key::{FlowKey, FragmentKey};
use crate::path::csum::Delta;
use crate::path::hook::age::age as age_batch;
use crate::path::hook::explain::{ask, bound};
use crate::path::hook::{egress::egress, ingress::ingress};
use crate::path::{
    Action, Covers, Env, Exists, GSO_BY_FRAGS, Interface, Packet, Route, Services, SocketTables,
    Tables, Verdict,
};
use crate::reason::{Hook, Reason};
use crate::sim::skb::Skb;
use crate::sim::socket::Storage;
use crate::sim::tables::Handle;
use crate::sim::world::{Holds, World, of_world, services};
use crate::value::{Device, Flow, Fragment, SocketPeer};

/// The programs that see packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Program {
    /// `tc_ingress`.
    TcIngress,
    /// `tc_egress`.
    TcEgress,
    /// `tc_ingress_l3`.
    TcIngressL3,
    /// `tc_egress_l3`.
    TcEgressL3,
    /// `xdp_ingress`.
    Xdp,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::TcIngress,
        Self::TcEgress,
        Self::TcIngressL3,
        Self::TcEgressL3,
        Self::Xdp,
    ];

    /// The symbol in the eBPF object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcIngress => "tc_ingress",
            Self::TcEgress => "tc_egress",
            Self::TcIngressL3 => "tc_ingress_l3",
            Self::TcEgressL3 => "tc_egress_l3",
            Self::Xdp => "xdp_ingress",
        }
    }

    /// Length of the link-layer header it expects.
    pub const fn l2(self) -> usize {
        match self {
            Self::TcIngress | Self::TcEgress | Self::Xdp => 14,
            Self::TcIngressL3 | Self::TcEgressL3 => 0,
        }
    }

    /// Where it counts.
    pub const fn hook(self) -> Hook {
        match self {
            Self::TcIngress | Self::TcIngressL3 => Hook::TcIngress,
            Self::TcEgress | Self::TcEgressL3 => Hook::TcEgress,
            Self::Xdp => Hook::Xdp,
        }
    }

    /// Runs it on `skb`, which becomes what the program leaves behind.
    pub fn run(self, world: &World, skb: &mut Skb) -> Action {
        match self {
            Self::TcIngress => enter(&mut Frame::<14, INGRESS>::new(world, skb)),
            Self::TcIngressL3 => enter(&mut Frame::<0, INGRESS>::new(world, skb)),
            Self::Xdp => enter(&mut Frame::<14, XDP>::new(world, skb)),
            Self::TcEgress => leave(&mut Frame::<14, EGRESS>::new(world, skb)),
            Self::TcEgressL3 => leave(&mut Frame::<0, EGRESS>::new(world, skb)),
        }
    }
}

/// Runs `explain_socket` on a question (see [`crate::explain`]), which gets its answer.
pub fn explain_socket(world: &World, skb: &mut Skb) -> Option<()> {
    let mut frame = Frame::<14, INGRESS>::new(world, skb);
    let answered = ask(&mut frame);
    frame.act(Verdict::PASS);
    answered
}

/// Runs `age_v4` or `age_v6` on a batch of keys (see [`crate::path::hook::age`]). Returns how many entries went.
pub fn age<A: Addr>(world: &World, batch: &[u8]) -> u32
where
    World: Holds<A>,
{
    let mut skb = Skb::new(batch.to_vec(), 0);
    age_batch::<A, _>(&Frame::<14, INGRESS>::new(world, &mut skb))
}

const INGRESS: u32 = Hook::TcIngress as u32;
const EGRESS: u32 = Hook::TcEgress as u32;
const XDP: u32 = Hook::Xdp as u32;

fn enter<const N: u32, const HOOK: u32>(frame: &mut Frame<'_, N, HOOK>) -> Action {
    let verdict = ingress(frame);
    frame.act(verdict)
}

fn leave<const N: u32, const HOOK: u32>(frame: &mut Frame<'_, N, HOOK>) -> Action {
    let verdict = egress(frame);
    frame.act(verdict)
}

/// A packet at a program whose link-layer header is `N` bytes long.
#[derive(Debug)]
struct Frame<'a, const N: u32, const HOOK: u32> {
    world: &'a World,
    skb: &'a mut Skb,
}

impl<'a, const N: u32, const HOOK: u32> Frame<'a, N, HOOK> {
    fn new(world: &'a World, skb: &'a mut Skb) -> Self {
        Self { world, skb }
    }

    fn act(&mut self, verdict: Verdict) -> Action {
        let action = verdict.action();
        if self.dry() {
            self.skb.mark = 0;
        }
        if let Action::Mark(bits) = action {
            self.skb.mark |= bits;
        }
        action
    }

    fn hook() -> Hook {
        match HOOK {
            INGRESS => Hook::TcIngress,
            EGRESS => Hook::TcEgress,
            _ => Hook::Xdp,
        }
    }

    fn slice(&self, offset: u32, bytes: usize) -> Option<&[u8]> {
        let start = offset as usize;
        self.skb.bytes.get(start..start.checked_add(bytes)?)
    }
}

impl<const N: u32, const HOOK: u32> Packet for Frame<'_, N, HOOK> {
    const L2: u32 = N;

    fn ethertype(&self) -> Be16 {
        self.skb.protocol
    }

    fn len(&self) -> u32 {
        u32::try_from(self.skb.bytes.len()).unwrap_or(u32::MAX)
    }

    fn pull(&mut self) -> bool {
        false
    }

    fn segment_len(&self, headers: u32) -> u32 {
        match self.skb.gso_size {
            _ if HOOK == XDP => self.len().wrapping_sub(N),
            0 => self.len().wrapping_sub(N),
            GSO_BY_FRAGS => headers,
            size => size.wrapping_add(headers),
        }
    }

    fn words<const COUNT: usize>(&self, offset: u32) -> Option<[u32; COUNT]> {
        let bytes = self.slice(offset, COUNT * 4)?;
        let mut words = [0; COUNT];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Some(words)
    }

    fn set_words<const COUNT: usize>(&mut self, offset: u32, words: [u32; COUNT]) -> Option<()> {
        let start = offset as usize;
        let place = self
            .skb
            .bytes
            .get_mut(start..start.checked_add(COUNT * 4)?)?;
        for (to, word) in place.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        Some(())
    }

    fn half(&self, offset: u32) -> Option<Be16> {
        let bytes = self.slice(offset, 2)?;
        Some(Be16::from_raw(u16::from_ne_bytes([bytes[0], bytes[1]])))
    }

    fn set_half(&mut self, offset: u32, half: Be16) -> Option<()> {
        let start = offset as usize;
        let place = self.skb.bytes.get_mut(start..start.checked_add(2)?)?;
        place.copy_from_slice(&half.raw().to_ne_bytes());
        Some(())
    }

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
        let new = if udp && new == 0 { 0xffff } else { new };
        self.set_half(offset, Be16::from_raw(new))
    }

    fn resize(&mut self, len: u32) -> Option<()> {
        if HOOK == XDP {
            return None;
        }
        self.skb.bytes.resize(len as usize, 0);
        Some(())
    }
}

impl<A: Addr, const N: u32, const HOOK: u32> Services<A> for Frame<'_, N, HOOK>
where
    World: Holds<A>,
{
    services!();
}

impl<A: Addr, const N: u32, const HOOK: u32> Tables<A> for Frame<'_, N, HOOK>
where
    World: Holds<A>,
{
    type Flow = Handle<A>;

    fn flow(&self, key: &FlowKey<A>) -> Option<Handle<A>> {
        self.world.family().flows.handle(key)
    }

    fn flow_insert(&self, key: &FlowKey<A>, flow: &Flow<A>) -> Result<(), Exists> {
        self.world.family().flows.insert(key, flow)
    }

    fn flow_remove(&self, key: &FlowKey<A>) -> bool {
        self.world.family().flows.remove(key)
    }

    fn embryo(&self, key: &FlowKey<A>) -> Option<Handle<A>> {
        self.world.family().embryos.handle(key)
    }

    fn embryo_place(&self, _key: &FlowKey<A>) -> u64 {
        0
    }

    fn embryo_claim(&self, _place: u64, key: &FlowKey<A>, flow: &Flow<A>, patience: u32) -> Reason {
        self.world.family().embryos.claim(key, flow, patience)
    }

    fn embryo_remove(&self, key: &FlowKey<A>) {
        self.world.family().embryos.remove(key);
    }

    fn noted(&self, place: u16) -> bool {
        self.world.family().filter.borrow().contains(&place)
    }

    fn note_end(&self, place: u16) {
        self.world.family().filter.borrow_mut().insert(place);
    }

    fn fragment(&self, key: &FragmentKey<A>) -> Option<Fragment<A>> {
        self.world.family().fragments.borrow().get(key).copied()
    }

    fn fragment_insert(&self, key: &FragmentKey<A>, fragment: &Fragment<A>) {
        let mut fragments = self.world.family().fragments.borrow_mut();
        fragments.insert(*key, *fragment);
    }

    fn route(&self, _ifindex: u32, src: A, dst: A) -> Route {
        // Only the helper of TC compares the packet with the device's MTU, and never a GSO packet.
        let measured = HOOK != XDP && self.skb.gso_size == 0;
        let length = measured.then(|| self.len().wrapping_sub(14));
        self.world.family().route(src, dst, length)
    }
}

impl<const N: u32, const HOOK: u32> Env for Frame<'_, N, HOOK> {
    of_world!();

    fn count(&self, reason: Reason) {
        if self.dry() {
            self.note(Fact::Reason, reason as u32 + 1);
        } else {
            self.world.count(reason, Self::hook());
        }
    }

    fn candidate(&self) -> u32 {
        self.skb.mark
    }

    fn note(&self, fact: Fact, value: u32) {
        let mut facts = self.skb.cb.get();
        if let Some(place) = facts.get_mut(fact as usize) {
            *place = value;
        }
        self.skb.cb.set(facts);
    }
}

/// `explain_socket`: a question about a socket call in place of a packet.
impl SocketTables for Frame<'_, 14, INGRESS> {
    type Socket = &'static Storage;

    fn socket(&self, _create: bool) -> Option<&'static Storage> {
        None
    }

    fn connects(&self) -> bool {
        false
    }

    fn connected(&self, _peer: &SocketPeer) {}

    fn random(&self) -> u32 {
        0
    }

    fn bound<A: Addr>(&self) -> A {
        bound(self)
    }
}

impl<const N: u32, const HOOK: u32> Interface for Frame<'_, N, HOOK> {
    const XDP: bool = HOOK == XDP;

    fn ifindex(&self) -> u32 {
        self.skb.ifindex
    }

    fn device(&self, ifindex: u32) -> Option<Device> {
        self.world.devices.get(&ifindex).copied()
    }

    fn detect(&self) -> u32 {
        self.world.settings.detect
    }

    fn hash_seed(&self) -> u32 {
        self.world.settings.hash_seed
    }

    fn snat_ports(&self) -> (u16, u16) {
        let settings = &self.world.settings;
        (settings.snat_port_min, settings.snat_port_max)
    }

    fn masquerade_mark(&self) -> u32 {
        self.world.settings.masquerade_mark
    }

    fn hairpin<A: Addr>(&self) -> A {
        let V4(v4) = self.world.settings.hairpin4;
        let V6(v6) = self.world.settings.hairpin6;
        A::from_words(if A::IS_V6 { v6 } else { [v4, 0, 0, 0] })
    }
}
