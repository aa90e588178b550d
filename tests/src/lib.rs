//! Clusters out of network namespaces: what the tests of real traffic and the demo are built from.
//!
//! ```text
//! topology ── makes ──▶ Place (namespace + cgroup) ◀── runs in ── probe (client, server), agent
//! manifests ── writes ──▶ a directory that the agents watch
//! ```
//!
//! Needs root and a Linux kernel with network namespaces and cgroup v2; [`requirements`] says what is missing.
//! Nothing in the cluster part may know how kube-shunt works: it is judged by traffic, exit codes, HTTP answers and its
//! command line. `maps` alone looks inside, to wait for a change and to time it.

pub mod agent;
pub mod binaries;
pub mod bpf;
pub mod cgroup;
pub mod control_plane;
pub mod expect;
pub mod live;
pub mod manifests;
pub mod maps;
pub mod netns;
pub mod place;
pub mod probe;
pub mod prog_bench;
pub mod prog_run;
pub mod raw;
pub mod requirements;
pub mod rival;
pub mod testbed;
pub mod topology;
pub mod wait;
