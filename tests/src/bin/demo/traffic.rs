//! The traffic of the demo: each way through a Service beside the pods' own addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::Result;
use integration::place::Place;
use integration::probe::{Proto, Report, Request, process};
use integration::topology::addresses::{POD_PORT, cluster_ip};
use integration::topology::{Cluster, Family, Pod, at};

use crate::manifests::{FAR, NEAR, WEB};

/// Requests in a burst, and bursts. Service and pods take turns, so that noise of the machine hits both.
const BURST: u32 = 12;
const BURSTS: usize = 8;

/// One line of the table.
pub(crate) struct Row {
    pub(crate) way: &'static str,
    pub(crate) client: String,
    pub(crate) to: SocketAddr,
    pub(crate) proto: Proto,
    pub(crate) servers: BTreeMap<String, usize>,
    pub(crate) seen: BTreeSet<String>,
    pub(crate) service_ns: Option<u64>,
    pub(crate) direct_ns: Option<u64>,
    pub(crate) failed: u32,
}

struct Way<'a> {
    name: &'static str,
    client: &'a Place,
    to: fn(&Cluster, Family) -> SocketAddr,
    pods: Vec<&'a Pod>,
}

/// Runs all of it.
pub(crate) fn measure(cluster: &Cluster) -> Result<Vec<Row>> {
    let [near, _] = &cluster.a.pods[..] else {
        anyhow::bail!("node-a has not two pods")
    };
    let [far, _] = &cluster.b.pods[..] else {
        anyhow::bail!("node-b has not two pods")
    };
    let all: Vec<&Pod> = cluster.pods().collect();
    let web: fn(&Cluster, Family) -> SocketAddr = |_, family| at(cluster_ip(family, WEB.0), 80);
    let ways = [
        Way {
            name: "pod to ClusterIP",
            client: &near.place,
            to: web,
            pods: all.clone(),
        },
        Way {
            name: "pod to ClusterIP",
            client: &far.place,
            to: web,
            pods: all.clone(),
        },
        Way {
            name: "host to ClusterIP",
            client: &cluster.a.host,
            to: web,
            pods: all.clone(),
        },
        Way {
            name: "host to localhost NodePort",
            client: &cluster.b.host,
            to: |_, family| at(family.loopback(), WEB.1),
            pods: all,
        },
        Way {
            name: "outside to NodePort, local pod",
            client: &cluster.client,
            to: |cluster, family| at(cluster.a.ip(family), NEAR.1),
            pods: vec![near],
        },
        Way {
            name: "outside to NodePort, remote pod",
            client: &cluster.client,
            to: |cluster, family| at(cluster.a.ip(family), FAR.1),
            pods: vec![far],
        },
    ];
    let mut rows = Vec::new();
    for way in &ways {
        for family in Family::BOTH {
            for proto in Proto::BOTH {
                rows.push(measure_one(cluster, way, family, proto)?);
            }
        }
    }
    Ok(rows)
}

fn measure_one(cluster: &Cluster, way: &Way<'_>, family: Family, proto: Proto) -> Result<Row> {
    let to = (way.to)(cluster, family);
    let (mut service, mut direct) = (Report::default(), Report::default());
    // The pods take turns too, so that both sides make as many requests with as many processes.
    for pod in way.pods.iter().cycle().take(BURSTS) {
        let ask = |to| process::ask(way.client, &Request::new(proto, to, BURST));
        service.attempts.extend(ask(to)?.attempts);
        direct
            .attempts
            .extend(ask(at(pod.ip(family), POD_PORT))?.attempts);
    }
    Ok(Row {
        way: way.name,
        client: way.client.name.clone(),
        to,
        proto,
        servers: service
            .servers()
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
        seen: service
            .answers()
            .map(|answer| answer.client.ip().to_string())
            .collect(),
        service_ns: service.median_ns(),
        direct_ns: direct.median_ns(),
        failed: u32::try_from(service.failures().count())?,
    })
}
