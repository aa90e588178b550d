//! The device thread: netlink events in, programs and maps kept to the plan.
//!
//! A thread of its own: attaching takes the kernel's RTNL lock, and a new pod must not wait for anything else we do.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use proxy_common::flags::{AddrFlags, DeviceFlags};
use proxy_common::value::{Device, Settings};
use std::os::fd::AsFd as _;
use tokio::sync::watch;

use super::classify::Rules;
use super::cover::Cover;
use super::plan::{Plan, plan};
use super::tables::Tables;
use super::world::{Changed, World};
use super::{Coverage, DeviceStatus, DeviceView};
use crate::error::{Error, Result};
use crate::masquerade;
use crate::netlink::socket::{Events, Quiet, Requests};
use crate::netlink::wire::{Request, family, messages, msg};
use crate::options::NodePortAddresses;
use crate::programs::chain;

/// How often everything is checked without an event.
const AUDIT: Duration = Duration::from_secs(5);
/// The same while something is wrong.
const RETRY: Duration = Duration::from_millis(500);

/// What the handle asks of the thread.
#[derive(Debug)]
pub(super) enum Command {
    NodeAddresses(Vec<IpAddr>),
}

/// Everything the thread owns.
pub(super) struct Follower {
    pub(super) events: Events,
    pub(super) requests: Requests,
    pub(super) wake: Arc<EventFd>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) rules: Rules,
    pub(super) node_ports: NodePortAddresses,
    pub(super) settings: Settings,
    /// The option that needs netfilter's masquerade whatever devices there are.
    pub(super) masquerade_always: Option<&'static str>,
    pub(super) cover: Cover,
    pub(super) tables: Tables,
    pub(super) report: watch::Sender<DeviceStatus>,
    pub(super) state: State,
}

/// What changes while the thread runs.
#[derive(Debug, Default)]
pub(super) struct State {
    world: World,
    swept: bool,
    masquerade: Option<bool>,
    /// The table that is there is of this run.
    masquerade_is_new: bool,
    error: Option<String>,
    /// The last error in the log: each is said once.
    logged: Option<String>,
}

/// Why the loop woke up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Woken {
    /// Something to act on.
    changed: bool,
    /// Programs may be gone.
    audit: bool,
    /// The handle is gone.
    stop: bool,
}

impl Follower {
    /// The first full pass: what is there now is covered when this returns, as far as it can be.
    pub(super) fn first_pass(&mut self) {
        if self.try_to("list devices", Self::list) {
            self.act();
        }
    }

    /// Runs until the handle is dropped.
    pub(super) fn run(mut self) {
        // Only a first pass that could list the devices has swept.
        let mut dumped = self.state.swept;
        let mut audited = Instant::now();
        loop {
            if !dumped {
                dumped = self.try_to("list devices", Self::list);
            }
            let settled = dumped && self.act();
            loop {
                let rest = if settled {
                    AUDIT.saturating_sub(audited.elapsed())
                } else {
                    RETRY
                };
                let woken = self.wait(rest, &mut dumped);
                if woken.stop {
                    return;
                }
                if woken.audit || audited.elapsed() >= AUDIT {
                    audited = Instant::now();
                    self.audit();
                    break;
                }
                if woken.changed || !settled || !dumped {
                    break;
                }
            }
        }
    }

    /// Runs a step; its error becomes part of the status and is logged once.
    fn try_to(&mut self, what: &str, step: impl FnOnce(&mut Self) -> Result<()>) -> bool {
        match step(self) {
            Ok(()) => true,
            Err(error) => {
                let text = chain(&error);
                if self.state.logged.as_ref() != Some(&text) {
                    tracing::warn!("cannot {what}: {text}");
                    self.state.logged = Some(text.clone());
                }
                self.state.error = Some(text);
                false
            }
        }
    }

    /// Lists everything anew.
    fn list(&mut self) -> Result<()> {
        let mut gone: BTreeSet<u32> = std::mem::take(&mut self.state.world.gone);
        gone.extend(self.state.world.links.keys());
        let mut world = World::default();
        for (kind, fixed) in [(msg::GETLINK, 16), (msg::GETADDR, 8)] {
            let request = Request::new(kind, msg::DUMP, &vec![0; fixed]);
            let part: World = self
                .requests
                .dump(&request, |world: &mut World, message| {
                    world.record(message);
                })
                .map_err(Error::netlink("listing links and addresses"))?;
            world.links.extend(part.links);
            world.addresses.extend(part.addresses);
        }
        gone.retain(|index| !world.links.contains_key(index));
        world.gone = gone;
        self.state.world = world;
        self.list_default_routes()
    }

    fn list_default_routes(&mut self) -> Result<()> {
        let mut routes = BTreeSet::new();
        for family in [family::INET, family::INET6] {
            let mut fixed = [0; 12];
            fixed[0] = family;
            let request = Request::new(msg::GETROUTE, msg::DUMP, &fixed);
            let found: BTreeSet<u32> = self
                .requests
                .dump(&request, World::record_route)
                .map_err(Error::netlink("listing routes"))?;
            routes.extend(found);
        }
        self.state.world.default_routes = routes;
        Ok(())
    }

    /// Makes kernel and status follow the world. Whether nothing is left to do.
    fn act(&mut self) -> bool {
        for index in std::mem::take(&mut self.state.world.gone) {
            self.cover.forget(index);
        }
        let plan = plan(&self.state.world, &self.rules, &self.node_ports);
        self.state.error = None;
        let mut done = self.try_to("write DEVICES and ADDRS", |this| this.announce(&plan));
        self.cover.follow(&plan);
        if !self.state.swept {
            self.cover.sweep();
            self.state.swept = true;
        }
        done &= self.try_to("write DEVICES", |this| this.complete(&plan));
        done &= self.try_to("set up netfilter's masquerade", |this| {
            this.follow_masquerade(&plan)
        });
        if done {
            self.state.logged = None;
        }
        self.publish(&plan) && done
    }

    /// What the programs must know before they run.
    fn announce(&mut self, plan: &Plan) -> Result<()> {
        self.tables.set_addresses(&plan.addresses)?;
        self.tables
            .retain_devices(|index| plan.devices.contains_key(&index))?;
        for (index, wanted) in &plan.devices {
            // A device that serves since an earlier run keeps its entry.
            if self.tables.device(*index).is_none() {
                self.tables.set_device(*index, wanted.uncovered())?;
            }
        }
        Ok(())
    }

    /// What holds once the programs run.
    fn complete(&mut self, plan: &Plan) -> Result<()> {
        for (index, wanted) in &plan.devices {
            let state = self.cover.state(*index);
            let covered = state.is_some_and(|state| state.coverage() != Coverage::None);
            let mut device = if covered || wanted.class.role.is_none() {
                wanted.device
            } else {
                wanted.uncovered()
            };
            if state.is_some_and(super::cover::State::runs_xdp) {
                device = Device {
                    flags: device.flags.with(DeviceFlags::XDP),
                    ..device
                };
            }
            self.tables.set_device(*index, device)?;
        }
        Ok(())
    }

    fn follow_masquerade(&mut self, plan: &Plan) -> Result<()> {
        let device = plan.masquerade().map(|device| format!("device {device}"));
        let why = self.masquerade_always.map(str::to_owned).or(device);
        let there = match self.state.masquerade {
            Some(there) => there,
            // One of an earlier run may have another mark.
            None if why.is_some() && !self.state.masquerade_is_new => false,
            None => masquerade::exists()?,
        };
        self.state.masquerade = Some(there);
        match why {
            Some(why) if !there => {
                masquerade::install(&self.settings, &why)?;
                tracing::info!(
                    "netfilter's masquerade is needed for {why}: table {} added",
                    masquerade::TABLE
                );
                self.state.masquerade = Some(true);
                self.state.masquerade_is_new = true;
            }
            None if there => {
                masquerade::remove()?;
                tracing::info!(
                    "netfilter's masquerade is not needed any more: table {} removed",
                    masquerade::TABLE
                );
                self.state.masquerade = Some(false);
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Looks for what somebody else took away; [`Self::act`] puts it back.
    fn audit(&mut self) {
        self.cover.audit();
        // Somebody may have flushed all tables.
        if self.state.masquerade == Some(true) {
            self.state.masquerade = None;
        }
    }

    /// Publishes the status; whether every wanted device is covered.
    fn publish(&self, plan: &Plan) -> bool {
        let devices: Vec<DeviceView> = plan
            .devices
            .iter()
            .map(|(index, wanted)| {
                let state = self.cover.state(*index);
                DeviceView {
                    ifindex: *index,
                    name: wanted.name.clone(),
                    kind: wanted.kind.clone(),
                    role: wanted.class.role,
                    why: wanted.class.why,
                    l3: wanted.l3,
                    mtu: wanted.device.mtu,
                    coverage: state.map_or(Coverage::None, super::cover::State::coverage),
                    xdp: state.is_some_and(super::cover::State::runs_xdp),
                    error: state.and_then(super::cover::State::error),
                }
            })
            .collect();
        let wanted = devices
            .iter()
            .filter(|device| device.role.is_some())
            .count();
        let covered = devices
            .iter()
            .filter(|device| device.role.is_some() && device.coverage != Coverage::None)
            .count();
        let complete = wanted == covered;
        self.report.send_if_modified(|status| {
            let next = DeviceStatus {
                ready: status.ready || complete,
                wanted,
                covered,
                devices,
                addresses: plan
                    .addresses
                    .iter()
                    .map(|(ip, flags)| (*ip, flags.has(AddrFlags::NODE_PORT)))
                    .collect(),
                masquerade: self.state.masquerade == Some(true),
                reattached: self.cover.reattached,
                error: self.state.error.clone(),
            };
            let modified = *status != next;
            *status = next;
            modified
        });
        complete
    }

    /// Waits until something happens, or `most` has passed, and takes in all that did.
    fn wait(&mut self, most: Duration, dumped: &mut bool) -> Woken {
        let timeout =
            PollTimeout::try_from(most.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
        let mut fds = [
            PollFd::new(self.events.fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        if let Err(error) = poll(&mut fds, timeout)
            && error != nix::errno::Errno::EINTR
        {
            tracing::error!(%error, "poll");
        }
        let commanded = fds[1].any() == Some(true);
        let mut woken = Woken::default();
        if commanded {
            // Only the wake-up counts; the commands are in their channel.
            self.wake.read().ok();
            self.take_commands(&mut woken);
        }
        self.take_events(&mut woken, dumped);
        woken
    }

    fn take_commands(&mut self, woken: &mut Woken) {
        loop {
            match self.commands.try_recv() {
                Ok(Command::NodeAddresses(addresses)) => {
                    woken.changed |= self.rules.node_addresses != addresses;
                    self.rules.node_addresses = addresses;
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    woken.stop = true;
                    return;
                }
            }
        }
    }

    fn take_events(&mut self, woken: &mut Woken, dumped: &mut bool) {
        let mut routes = false;
        loop {
            match self.events.receive() {
                Ok(datagram) => {
                    for message in messages(&datagram) {
                        match self.state.world.record(&message) {
                            Changed::Nothing => {}
                            Changed::Recorded => woken.changed = true,
                            Changed::DefaultRoutes => routes = true,
                            Changed::Filters => woken.audit = true,
                        }
                    }
                }
                Err(Quiet::Empty) => break,
                Err(Quiet::Overflow) => {
                    tracing::info!("netlink events were lost: listing all devices again");
                    *dumped = false;
                    woken.audit = true;
                }
                Err(Quiet::Broken(error)) => {
                    tracing::error!(%error, "netlink events");
                    break;
                }
            }
        }
        if routes && *dumped {
            woken.changed = true;
            *dumped = self.try_to("list default routes", Self::list_default_routes);
        }
    }
}
