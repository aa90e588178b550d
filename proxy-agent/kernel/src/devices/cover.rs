//! Keeps our programs on devices. Knows which are there, puts back those that are gone.

use std::collections::BTreeMap;

use super::plan::{Plan, Wanted};
use super::{Coverage, Role};
use crate::Loaded;
use crate::error::{Error, Result};
use crate::netlink::socket::Requests;
use crate::netlink::tc::Direction;
use crate::options::{LoadOptions, XdpDevices};
use crate::pins::{self, Pins};
use crate::programs::{Name, Programs, chain};
use crate::tc::{clsact, tcx};
use crate::xdp::{self, Choice};

/// One side of a covered device.
#[derive(Debug)]
enum Side {
    Tcx(tcx::Link),
    Clsact,
}

/// One device that should be covered.
#[derive(Debug, Default)]
pub(super) struct State {
    l3: bool,
    sides: BTreeMap<Direction, Side>,
    xdp: Option<tcx::Link>,
    /// Why a side is missing.
    error: Option<String>,
    /// Why XDP is missing although it was asked for.
    xdp_error: Option<String>,
}

impl State {
    pub(super) fn coverage(&self) -> Coverage {
        match self.sides.values().collect::<Vec<_>>().as_slice() {
            [Side::Tcx(_), Side::Tcx(_)] => Coverage::Tcx,
            [Side::Clsact, Side::Clsact] => Coverage::Clsact,
            _incomplete => Coverage::None,
        }
    }

    pub(super) fn runs_xdp(&self) -> bool {
        self.xdp.is_some()
    }

    pub(super) fn error(&self) -> Option<String> {
        self.error.clone().or_else(|| self.xdp_error.clone())
    }
}

/// Attaches and detaches.
#[derive(Debug)]
pub(super) struct Cover {
    programs: Programs,
    pins: Pins,
    requests: Requests,
    tcx: bool,
    xdp: XdpDevices,
    /// Netlink does not say which devices sit on a bus (before 5.14).
    ask_sysfs: bool,
    devices: BTreeMap<u32, State>,
    /// How often something of ours was gone.
    pub(super) reattached: u64,
}

impl Cover {
    /// For the calling thread's network namespace.
    pub(super) fn new(loaded: &Loaded, options: &LoadOptions) -> Result<Self> {
        Ok(Self {
            programs: loaded.programs.duplicate()?,
            pins: Pins::current(&options.bpf_root),
            requests: Requests::open().map_err(Error::netlink("opening a socket"))?,
            tcx: loaded.features.tcx,
            xdp: options.xdp.clone(),
            // The cookie of a namespace came with the same release as the device's parent.
            ask_sysfs: loaded.settings.host_netns_cookie == 0,
            devices: BTreeMap::new(),
            reattached: 0,
        })
    }

    pub(super) fn state(&self, index: u32) -> Option<&State> {
        self.devices.get(&index)
    }

    /// Makes the programs on devices follow the plan. What cannot be attached is tried again by the next call.
    pub(super) fn follow(&mut self, plan: &Plan) {
        let keep = |index: &u32, state: &State| {
            plan.devices
                .get(index)
                .is_some_and(|wanted| wanted.class.role.is_some() && wanted.l3 == state.l3)
        };
        let obsolete: Vec<u32> = self
            .devices
            .iter()
            .filter(|(index, state)| !keep(index, state))
            .map(|(index, _state)| *index)
            .collect();
        for index in obsolete {
            self.forget(index);
        }
        let of = |pods: bool| {
            plan.devices.iter().filter(move |(_index, wanted)| {
                wanted
                    .class
                    .role
                    .is_some_and(|role| (role == Role::Pod) == pods)
            })
        };
        // An answer may leave by another node-facing device than the one its request came in by.
        for direction in Direction::ORDER {
            for (index, wanted) in of(false) {
                self.cover(*index, wanted, direction);
            }
        }
        // Pods have one device each. An attachment waits for an RCU grace period in the kernel, some 10 ms, so with many new
        // pods each is finished before the next.
        for (index, wanted) in of(true) {
            for direction in Direction::ORDER {
                self.cover(*index, wanted, direction);
            }
        }
        for (index, wanted) in of(false).chain(of(true)) {
            self.cover_xdp(*index, wanted);
        }
    }

    fn cover(&mut self, index: u32, wanted: &Wanted, direction: Direction) {
        let state = self.devices.entry(index).or_insert_with(|| State {
            l3: wanted.l3,
            ..State::default()
        });
        if state.sides.contains_key(&direction) {
            return;
        }
        let name = crate::tc::program(direction, wanted.l3);
        let result = self.attach(index, direction, name);
        let Some(state) = self.devices.get_mut(&index) else {
            return;
        };
        match result {
            Ok(side) => {
                state.sides.insert(direction, side);
                state.error = None;
                tracing::debug!(device = wanted.name, program = name.symbol(), "attached");
            }
            Err(source) => {
                let error = Error::Attach {
                    program: name.symbol(),
                    device: wanted.name.clone(),
                    source,
                };
                note(&mut state.error, &error);
            }
        }
    }

    fn attach(&mut self, index: u32, direction: Direction, name: Name) -> std::io::Result<Side> {
        let program = self.programs.fd(name).map_err(std::io::Error::other)?;
        if self.tcx {
            let path = tcx::pin_path(&self.pins, direction, index);
            return tcx::Link::ensure(program, tcx::target(direction, index), &path).map(Side::Tcx);
        }
        clsact::ensure(
            &mut self.requests,
            &self.pins,
            index,
            direction,
            program,
            name.symbol(),
        )
        .map(|()| Side::Clsact)
    }

    fn cover_xdp(&mut self, index: u32, wanted: &Wanted) {
        let physical = wanted.physical
            || (self.ask_sysfs && self.xdp == XdpDevices::Auto && xdp::on_a_bus(&wanted.name));
        let node_facing = wanted.class.role == Some(Role::Node);
        let choice = xdp::choose(&self.xdp, &wanted.name, node_facing, wanted.l3, physical);
        let Some(state) = self
            .devices
            .get_mut(&index)
            .filter(|state| choice != Choice::No && state.xdp.is_none())
        else {
            return;
        };
        match xdp::ensure(&self.programs, &self.pins, index, &wanted.name) {
            Ok(link) => {
                state.xdp = Some(link);
                state.xdp_error = None;
                tracing::info!(device = wanted.name, "XDP attached");
            }
            Err(error) if choice == Choice::Must => note(&mut state.xdp_error, &error),
            Err(error) => tracing::debug!(device = wanted.name, error = chain(&error), "no XDP"),
        }
    }

    /// Forgets what is not where it should be, so that [`Self::follow`] attaches it again.
    pub(super) fn audit(&mut self) {
        for (index, state) in &mut self.devices {
            let lost: Vec<Direction> = state
                .sides
                .iter()
                .filter(|(direction, side)| {
                    let id = self.programs.id(crate::tc::program(**direction, state.l3));
                    let there = match side {
                        Side::Tcx(link) => link.audit(id),
                        // Not knowing is no reason to attach again.
                        Side::Clsact => clsact::audit(&mut self.requests, *index, **direction, id)
                            .unwrap_or(true),
                    };
                    !there
                })
                .map(|(direction, _side)| *direction)
                .collect();
            for direction in lost {
                state.sides.remove(&direction);
                self.reattached += 1;
                tracing::warn!(
                    device = index,
                    ?direction,
                    "our program is gone from a device: attaching it again"
                );
            }
            let xdp = self.programs.id(Name::XdpIngress);
            if state.xdp.take_if(|link| !link.audit(xdp)).is_some() {
                self.reattached += 1;
                tracing::warn!(
                    device = index,
                    "our XDP program is gone from a device: attaching it again"
                );
            }
        }
    }

    /// Detaches from a device, or drops what is left of one that is gone.
    pub(super) fn forget(&mut self, index: u32) {
        let Some(state) = self.devices.remove(&index) else {
            return;
        };
        let mut filters = false;
        // Ingress first: no new connection whose answer nobody would translate.
        for (_direction, side) in state.sides.into_iter().rev() {
            match side {
                Side::Tcx(link) => link.remove(),
                Side::Clsact => filters = true,
            }
        }
        if let Some(link) = state.xdp {
            link.remove();
        }
        if filters && let Err(error) = clsact::remove(&mut self.requests, &self.pins, index) {
            tracing::warn!(device = index, %error, "filters could not be removed");
        }
    }

    /// Removes what earlier runs left on devices that are gone or not wanted any more.
    pub(super) fn sweep(&mut self) {
        for (name, path) in pins::entries(&self.pins.links()) {
            let Some((kind, index)) = device_pin(&name) else {
                continue;
            };
            let state = self.devices.get(&index);
            let used = match kind {
                PinKind::Tc(direction) => state
                    .is_some_and(|state| matches!(state.sides.get(&direction), Some(Side::Tcx(_)))),
                PinKind::Xdp => state.is_some_and(|state| state.xdp.is_some()),
                PinKind::Qdisc => state.is_some_and(|state| state.coverage() == Coverage::Clsact),
            };
            if used {
                continue;
            }
            let removed: Result<()> = match kind {
                PinKind::Tc(_) | PinKind::Xdp => pins::unlink(&path).map(drop),
                PinKind::Qdisc => clsact::remove(&mut self.requests, &self.pins, index)
                    .map(drop)
                    .map_err(Error::io("remove", &path)),
            };
            match removed {
                Ok(()) => tracing::info!(pin = name, "left over from an earlier run: removed"),
                Err(error) => {
                    tracing::warn!(pin = name, %error, "left over from an earlier run, and cannot be removed");
                }
            }
        }
    }
}

/// Keeps and logs an error once until it changes.
fn note(place: &mut Option<String>, error: &Error) {
    let text = chain(error);
    if place.as_ref() != Some(&text) {
        tracing::warn!("{text}");
        *place = Some(text);
    }
}

/// What a pin among the links stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PinKind {
    Tc(Direction),
    Xdp,
    Qdisc,
}

/// Kind and ifindex of a device's pin; `None` for the socket hooks' links.
fn device_pin(name: &str) -> Option<(PinKind, u32)> {
    let prefixes = [
        (
            crate::tc::pin_prefix(Direction::Ingress),
            PinKind::Tc(Direction::Ingress),
        ),
        (
            crate::tc::pin_prefix(Direction::Egress),
            PinKind::Tc(Direction::Egress),
        ),
        (xdp::PIN_PREFIX, PinKind::Xdp),
        (clsact::MARKER_PREFIX, PinKind::Qdisc),
    ];
    prefixes
        .into_iter()
        .find_map(|(prefix, kind)| Some((kind, name.strip_prefix(prefix)?.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_pin_reads_names_and_leaves_socket_hooks() {
        assert_eq!(
            device_pin("tc-ingress-7"),
            Some((PinKind::Tc(Direction::Ingress), 7))
        );
        assert_eq!(
            device_pin("tc-egress-7"),
            Some((PinKind::Tc(Direction::Egress), 7))
        );
        assert_eq!(device_pin("xdp-12"), Some((PinKind::Xdp, 12)));
        assert_eq!(device_pin("qdisc-3"), Some((PinKind::Qdisc, 3)));
        for other in ["connect4", "tc-ingress-", "tc-ingress-x", "xdp"] {
            assert_eq!(device_pin(other), None, "{other}");
        }
    }
}
