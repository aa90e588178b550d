//! More Services than the kernel map holds: what is in it stays right, the rest is reported and comes in when there is room.

use anyhow::ensure;
use integration::agent::AgentOptions;
use integration::manifests::{Endpoint, Service};
use integration::maps::Frontends;
use integration::probe::{Proto, Request, process};
use integration::testbed::with_agents;
use integration::topology::{Family, Options, at};
use integration::wait;

/// The smallest map there is: 32 Services, each with a TCP and a UDP frontend.
const ENTRIES: &str = "64";
const FIT: u8 = 32;

#[test]
fn existing_services_are_served_and_late_ones_follow() {
    with_agents(
        Options::default(),
        &AgentOptions::default().with("map-frontends-entries", ENTRIES),
        |cluster| {
            let pods = cluster.first_pods()?.map(Endpoint::pod);
            (1..=FIT).try_for_each(|index| {
                cluster
                    .manifests
                    .service(&Service::new(&format!("web-{index}"), index), &pods)
            })
        },
        |cluster| {
            let pods = cluster.first_pods()?.map(Endpoint::pod);
            let late = Service::new("late", 200);
            cluster.manifests.service(&late, &pods)?;
            let agent = cluster.a.agent()?;
            wait::until("the full map is reported", wait::SOON, || {
                let log = agent.log();
                ensure!(log.to_lowercase().contains("full"), "{log}");
                Ok(())
            })?;
            let [client, _] = cluster.first_pods()?;
            for index in 1..=FIT {
                for family in Family::BOTH {
                    let report = process::ask(
                        &client.place,
                        &Request::new(Proto::Tcp, at(Service::new("", index).ip(family), 80), 2),
                    )?;
                    ensure!(report.failures().count() == 0, "web-{index}: {report:?}");
                }
            }
            // A change of a Service that is in the map still arrives.
            let frontends = Frontends::open(cluster.a.bpf_root())?;
            let [one, _] = pods.clone();
            cluster
                .manifests
                .endpoints(&Service::new("web-5", 5), &[one])?;
            wait::until("a change arrives", wait::SOON, || {
                let counts =
                    frontends.counts(Service::new("", 5).ip(Family::V6), 80, Proto::Tcp)?;
                ensure!(counts == Some([1; 3]), "{counts:?}");
                Ok(())
            })?;
            // Room is made: the late one comes in by itself.
            cluster.manifests.remove_service("web-7")?;
            cluster.programmed(&late, 2)?;
            let report = process::ask(
                &client.place,
                &Request::new(Proto::Tcp, at(late.ip(Family::V6), 80), 4),
            )?;
            ensure!(report.failures().count() == 0, "{report:?}");
            Ok(())
        },
    );
}
