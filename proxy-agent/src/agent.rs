//! `kube-shunt run`: everything put together, in order. Decides nothing itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use proxy_kernel::Capacities;
use proxy_kernel::aging::Aging;
use proxy_kernel::devices::{DeviceStatus, Devices};
use proxy_kernel::heap;
use proxy_kernel::trace::Trace;
use proxy_model::policy::DetectLocal;
use proxy_model::{Planner, PlannerConfig};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use crate::apiserver::Remembered;
use crate::config::{Config, startup};
use crate::events::{Events, Notice};
use crate::feed::{Feed, Outlets};
use crate::health::{Health, NodeState};
use crate::healthcheck::Servers;
use crate::http::{Listener, serve_tcp, serve_unix};
use crate::kernel::{Figures, Kernel, load, stale_sockets};
use crate::metrics::{KernelCollector, Metrics, ProcessCollector};
use crate::objects::NodeFacts;
use crate::servers::Exposed;
use crate::sync::{Audience, Ready, Sync};
use crate::tasks::{Shutdown, Tasks, signalled};
use crate::{apiserver, build, events, healthcheck, node, servers, source, sysctls};

/// Questions that wait for the sync task.
const QUERIES: usize = 16;

/// Runs the agent until it is told to stop. The kernel keeps serving afterwards.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let process = ProcessCollector::default();
    info!(
        version = build::VERSION,
        commit = build::COMMIT,
        node = config.node_name,
        "kube-shunt starts"
    );
    alone(&config.admin_socket())?;
    sysctls::apply(&config.conntrack, config.oom_score_adj);
    // Before anything is loaded: a wrong kubeconfig must not leave a half-started agent behind.
    let metrics = Metrics::default();
    let remembered = Remembered::at(apiserver::file(&config.state_dir));
    let server = source::connect(&config, &remembered, &metrics).await?;
    let node = if server.is_some() {
        NodeState::Missing
    } else {
        NodeState::NotExpected
    };
    let health = Arc::new(Health::new(config.health_timeout, node));
    let outlets = Feed::new(&config.node_name, Arc::clone(&health), metrics.clone());
    let (
        feed,
        Outlets {
            changes,
            node: facts,
            api_servers,
        },
    ) = outlets;
    let mut tasks = Tasks::default();
    let events = start_events(&mut tasks, server.as_ref(), &config.node_name);
    let planner = Planner::new(PlannerConfig {
        node_name: config.node_name.clone(),
        frontends: config.capacities.frontends,
        backends: config.capacities.backends,
        policy: config.policy.clone(),
    });
    let (loaded, ready) = oneshot::channel();
    let (queries, questions) = mpsc::channel(QUERIES);
    let checks = watch::Sender::default();
    let (status, device_status) = watch::channel(None);
    let sync = Sync::new(
        planner,
        ready,
        changes,
        questions,
        config.sync_batch_changes,
        Audience {
            health: Arc::clone(&health),
            metrics: metrics.clone(),
            events: events.clone(),
            checks: checks.clone(),
        },
    );
    tasks.spawn("sync", sync.run(tasks.shutdown()));
    // The first lists come in while the verifier walks the programs.
    source::follow(&mut tasks, &config, feed, server, remembered, api_servers);
    let KernelSide {
        ready,
        devices,
        figures,
        trace,
    } = tokio::task::block_in_place(|| kernel_side(&config))?;
    // If the sync task is gone, it says why itself.
    drop(loaded.send(ready));

    let mut registry = metrics.registry();
    registry.register_collector(Box::new(process));
    registry.register_collector(Box::new(KernelCollector(Arc::clone(&figures))));
    events.register(&mut registry);
    settings(&mut tasks, &config, &facts);
    tasks.spawn("trace", follow_trace(trace, tasks.shutdown()));
    let servers = Servers::new(Arc::clone(&health), events.clone());
    tasks.spawn(
        "health-checks",
        healthcheck::run(
            servers,
            config.nodeport_addresses.all,
            checks.subscribe(),
            device_status.clone(),
            tasks.shutdown(),
        ),
    );
    tasks.spawn(
        "devices",
        follow_devices(
            devices,
            facts,
            figures,
            Arc::clone(&health),
            status,
            tasks.shutdown(),
        ),
    );
    let admin = servers::admin(&config.node_name, queries, device_status);
    tasks.spawn(
        "admin",
        serve_unix(config.admin_socket(), admin, tasks.shutdown()),
    );
    web(&mut tasks, &config, health, metrics, registry, &events);
    tasks.run(signalled()).await
}

/// The servers of health and metrics.
fn web(
    tasks: &mut Tasks,
    config: &Config,
    health: Arc<Health>,
    metrics: Metrics,
    registry: Registry,
    events: &Events,
) {
    if let Some(address) = config.healthz_bind_address {
        tasks.spawn(
            "healthz",
            serve_tcp(
                Listener::new("healthz", address).hard_fail(
                    config.bind_address_hard_fail,
                    events,
                    "FailedToStartProxierHealthcheck",
                ),
                servers::health(health, metrics),
                tasks.shutdown(),
            ),
        );
    }
    if let Some(address) = config.metrics_bind_address {
        tasks.spawn(
            "metrics",
            serve_tcp(
                Listener::new("metrics", address).hard_fail(
                    config.bind_address_hard_fail,
                    events,
                    "FailedToStartMetricServer",
                ),
                servers::metrics(Exposed {
                    registry,
                    configz: config.configz(),
                    proxy_mode: config.proxy_mode(),
                    pings: AtomicU64::new(0),
                }),
                tasks.shutdown(),
            ),
        );
    }
}

/// What looks at the settings again: once the node is known, when its podCIDRs change, and when their files do.
fn settings(tasks: &mut Tasks, config: &Config, facts: &watch::Receiver<Option<NodeFacts>>) {
    let check = startup::check(config.clone(), facts.clone(), tasks.shutdown());
    tasks.spawn("startup", check);
    if config.policy.detect_local == DetectLocal::NodeCidr {
        tasks.spawn("node", node::pod_cidrs(facts.clone(), tasks.shutdown()));
    }
    if !config.files.is_empty() {
        let changes = crate::config::watch(config.files.clone(), tasks.shutdown());
        tasks.spawn("config", changes);
    }
}

/// Does what needs more than the agent's own capabilities, so that it can run with those alone (`--init-only`).
pub fn init(config: &Config) -> anyhow::Result<()> {
    sysctls::apply(&config.conntrack, config.oom_score_adj);
    Ok(())
}

/// Events go to the API server, if there is one; the first tells that we start.
fn start_events(tasks: &mut Tasks, server: Option<&apiserver::Server>, node: &str) -> Events {
    let Some(server) = server else {
        return Events::nowhere(node);
    };
    let (events, told) = Events::channel(node);
    let publish = events::publish(server.client(), node.to_owned(), told, tasks.shutdown());
    tasks.spawn("events", publish);
    events.tell(Notice::starting());
    events
}

/// Two agents would write the same maps from two points of view.
fn alone(socket: &Path) -> anyhow::Result<()> {
    let answers = std::os::unix::net::UnixStream::connect(socket).is_ok();
    anyhow::ensure!(
        !answers,
        "another agent runs on this node: {} answers",
        socket.display()
    );
    Ok(())
}

/// What works on the kernel, ready for its tasks.
struct KernelSide {
    ready: Ready<Kernel>,
    devices: watch::Receiver<Option<Arc<Devices>>>,
    figures: Arc<Figures>,
    trace: Option<Trace>,
}

/// Loads, and reads what an earlier run left.
fn kernel_side(config: &Config) -> anyhow::Result<KernelSide> {
    let options = config.load_options(cgroup_root(config)?);
    let mut loaded = load(&options)?;
    let trace = loaded.trace.take();
    let Capacities {
        frontends,
        backends,
        ..
    } = loaded.capacities;
    let found = loaded.reused.then(|| loaded.maps.dump()).transpose();
    let found = found.context("cannot read the maps of the earlier run")?;
    heap::give_back();
    let aging = Aging::start(&loaded).context("cannot start the aging of flows")?;
    let stale = stale_sockets(&loaded.maps);
    let figures = Arc::new(Figures::open(&config.bpf_root, aging, stale.as_ref())?);
    let (executor, devices) = Kernel::new(loaded, options, stale)?;
    let ready = Ready {
        executor,
        frontends,
        backends,
        found,
    };
    Ok(KernelSide {
        ready,
        devices,
        figures,
        trace,
    })
}

/// Logs what the programs say, if they say anything.
async fn follow_trace(trace: Option<Trace>, mut shutdown: Shutdown) -> anyhow::Result<()> {
    let Some(trace) = trace else {
        shutdown.requested().await;
        return Ok(());
    };
    tokio::select! {
        () = shutdown.requested() => Ok(()),
        ended = trace.follow() => ended.context("cannot read the programs' log lines"),
    }
}

fn cgroup_root(config: &Config) -> anyhow::Result<PathBuf> {
    match &config.cgroup_root {
        Some(root) => Ok(root.clone()),
        None => proxy_kernel::host::cgroup_root().context("--cgroup-root is not set"),
    }
}

/// Gives the device thread the Node's addresses, and its state to health, admin and metrics.
async fn follow_devices(
    mut started: watch::Receiver<Option<Arc<Devices>>>,
    mut node: watch::Receiver<Option<NodeFacts>>,
    figures: Arc<Figures>,
    health: Arc<Health>,
    status: watch::Sender<Option<DeviceStatus>>,
    mut shutdown: Shutdown,
) -> anyhow::Result<()> {
    let devices = tokio::select! {
        () = shutdown.requested() => return Ok(()),
        started = started.wait_for(Option::is_some) => match started {
            Ok(devices) => devices.clone(),
            // The sync task is gone, and says why itself.
            Err(_gone) => None,
        },
    };
    let Some(devices) = devices else {
        shutdown.requested().await;
        return Ok(());
    };
    figures.devices_started(Arc::clone(&devices));
    let mut followed = devices.status();
    let mut said = String::new();
    loop {
        if let Some(facts) = node.borrow_and_update().as_ref() {
            info!(addresses = ?facts.addresses, "addresses of the Node object");
            devices.set_node_addresses(&facts.addresses);
        }
        loop {
            let now = followed.borrow_and_update().clone();
            if now.ready {
                health.devices_covered();
            }
            tell(&now, &mut said);
            status.send_replace(Some(now));
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                changed = followed.changed() => changed.context("the device thread ended")?,
                // An error means that the sources are gone: the agent is stopping.
                Ok(()) = node.changed() => break,
            }
        }
    }
}

fn tell(status: &DeviceStatus, said: &mut String) {
    let DeviceStatus {
        ready,
        wanted,
        covered,
        devices,
        addresses: _,
        masquerade,
        reattached: _,
        error,
    } = status;
    let mut problems: Vec<String> = devices
        .iter()
        .filter_map(|device| Some(format!("{}: {}", device.name, device.error.as_ref()?)))
        .collect();
    problems.extend(error.clone());
    let line = format!("{ready} {wanted} {covered} {masquerade} {problems:?}");
    if *said == line {
        debug!(wanted, covered, "devices");
        return;
    }
    *said = line;
    info!(ready, wanted, covered, masquerade, "devices");
    for problem in problems {
        warn!(problem, "device");
    }
}
