//! What to do next.

use integration::binaries;
use integration::topology::Cluster;

/// After a demo that cleaned up.
pub(crate) const FOR_THE_END: &str = "
That was: pods, hosts and an outside client reaching Services by eBPF alone, no kube-proxy and no rule in netfilter.
Next: `cargo xtask demo --keep` leaves the cluster running and says what to look at.
      `cargo xtask test` runs all tests. README.md says how to put it on a real cluster.";

/// Commands that work as they are.
pub(crate) fn for_a_kept_cluster(cluster: &Cluster) -> String {
    let kube_shunt = binaries::kube_shunt().map_or_else(
        |_| "kube-shunt".to_owned(),
        |path| path.display().to_string(),
    );
    let net = |name: &str| format!("nsenter --net=/run/netns/{}", cluster.state.name(name));
    let dir = cluster.state.dir.display();
    let where_a = format!(
        "--bpf-root {} --run-dir {dir}/node-a/run",
        cluster.a.bpf_root().display()
    );
    let cgroup = cluster.a.host.cgroup().path().display();
    let (client, pod, node) = (net("client"), net("pod-a1"), net("node-a"));
    format!(
        "The cluster runs. Try, as root:

  {client} curl -s http://172.18.0.2:30080/                   # outside to a NodePort; again and again: pods take turns
  {client} curl -gs 'http://[fd00:18::2]:30082/'              # IPv6, the pod is on the other node
  {pod} curl -s http://10.96.0.10/                        # pod to ClusterIP
  sh -c 'echo $$ > {cgroup}/cgroup.procs; {node} curl -s http://10.96.0.10/'   # a process of the host

  {kube_shunt} services {where_a}
  {kube_shunt} backends {where_a} web
  {kube_shunt} flows {where_a}
  {node} curl -s http://127.0.0.1:10249/metrics | grep kubeshunt
  {node} nft list ruleset                                 # empty: nothing of this is netfilter

Objects: {dir}/manifests/*.yaml, change them and see. Logs: {dir}/node-a/agent.log
Stop it: cargo xtask demo --cleanup"
    )
}
