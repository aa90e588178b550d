//! Every field of `KubeProxyConfiguration` and every flag of kube-proxy, in one table.
//!
//! The command line, the names in errors and warnings, and the test of docs/configuration.md are made from it.

use crate::config::settings::settings;

settings! {
    /// In the order of the document.
    "featureGates" "feature-gates" Gates
        Has("Feature gates of kube-proxy; AllowServiceExternalIPs, MultiCIDRServiceAllocator and PreferSameTrafficDistribution have an effect");
    "clientConnection.kubeconfig" "kubeconfig" Text
        Has("Watch the API server of this kubeconfig; without it, the one of the pod's service account");
    "clientConnection.acceptContentTypes" "" Text None("the API server is asked for JSON");
    "clientConnection.contentType" "kube-api-content-type" Text None("the API server is asked for JSON");
    "clientConnection.qps" "kube-api-qps" Number None("a handful of watches need no rate limit; broken ones are asked again ever more slowly");
    "clientConnection.burst" "kube-api-burst" Int None("a handful of watches need no rate limit; broken ones are asked again ever more slowly");
    "logging.format" "logging-format" Text Has("How log lines look: text or json; --log-format wins");
    "logging.flushFrequency" "log-flush-frequency" Text None("log lines are written at once");
    "logging.verbosity" "v" Int Has("Verbosity of the log: 0 to 3 is info, 4 and 5 debug, more is trace; --log-level wins");
    "logging.vmodule" "vmodule" Text None("--log-level sets the level of a module");
    "logging.options.text.splitStream" "log-text-split-stream" Bool None("all log lines go to stderr");
    "logging.options.text.infoBufferSize" "log-text-info-buffer-size" Text None("log lines are written at once");
    "logging.options.json.splitStream" "log-json-split-stream" Bool None("all log lines go to stderr");
    "logging.options.json.infoBufferSize" "log-json-info-buffer-size" Text None("log lines are written at once");
    "hostnameOverride" "" Text Has("This node's name in the cluster; --hostname-override wins");
    "bindAddress" "bind-address" Text
        Has("Replaces the node's primary IP, and chooses the primary IP family; nothing is bound to it");
    "healthzBindAddress" "healthz-bind-address" Text
        Has("Serve /healthz and /livez here, IP or IP:PORT; 0.0.0.0 also means IPv6; an empty flag is off");
    "metricsBindAddress" "metrics-bind-address" Text
        Has("Serve /metrics, /healthz, /proxyMode and /configz here, IP or IP:PORT; an empty flag is off");
    "bindAddressHardFail" "bind-address-hard-fail" Bool Has("End when one of the two addresses cannot be bound");
    "enableProfiling" "profiling" Bool None("there is no Go runtime to profile");
    "showHiddenMetricsForVersion" "show-hidden-metrics-for-version" Text None("no metric is hidden");
    "mode" "proxy-mode" Text
        Has("Whose observable behaviour to follow where the modes of kube-proxy differ: iptables, ipvs or nftables; eBPF does the work in each");
    "iptables.masqueradeBit" "iptables-masquerade-bit" Int
        InMode("iptables or ipvs", "Bit of the packet mark that asks netfilter for masquerade, 0 to 31");
    "iptables.masqueradeAll" "masquerade-all" Bool InMode("iptables or ipvs", "Masquerade every connection to a cluster IP");
    "iptables.localhostNodePorts" "iptables-localhost-nodeports" Bool InMode("iptables", "Serve NodePorts on 127.0.0.1 too");
    "iptables.syncPeriod" "iptables-sync-period" Duration
        InMode("iptables", "The agent is unhealthy when an update waits for twice this time");
    "iptables.minSyncPeriod" "iptables-min-sync-period" Duration
        None("a sync writes what changed and nothing else, so syncs need not be kept apart");
    "ipvs.syncPeriod" "ipvs-sync-period" Duration InMode("ipvs", "The agent is unhealthy when an update waits for twice this time");
    "ipvs.minSyncPeriod" "ipvs-min-sync-period" Duration
        None("a sync writes what changed and nothing else, so syncs need not be kept apart");
    "ipvs.scheduler" "ipvs-scheduler" Text
        InMode("ipvs", "How a backend is chosen: rr and wrr mean round-robin; lc, wlc, lblc, lblcr, sed and nq least-connections; sh, mh and dh maglev");
    "ipvs.excludeCIDRs" "ipvs-exclude-cidrs" List None("there are no ipvs rules to clean up");
    "ipvs.strictARP" "ipvs-strict-arp" Bool None("no address of a Service is put on a device, so nothing answers ARP for it");
    "ipvs.tcpTimeout" "ipvs-tcp-timeout" Duration None("flows have timeouts of their own");
    "ipvs.tcpFinTimeout" "ipvs-tcpfin-timeout" Duration None("flows have timeouts of their own");
    "ipvs.udpTimeout" "ipvs-udp-timeout" Duration None("flows have timeouts of their own");
    "nftables.masqueradeBit" "" Int InMode("nftables", "Bit of the packet mark that asks netfilter for masquerade, 0 to 31");
    "nftables.masqueradeAll" "" Bool InMode("nftables", "Masquerade every connection to a cluster IP");
    "nftables.syncPeriod" "" Duration InMode("nftables", "The agent is unhealthy when an update waits for twice this time");
    "nftables.minSyncPeriod" "" Duration None("a sync writes what changed and nothing else, so syncs need not be kept apart");
    "winkernel.networkName" "" Text None("it is for Windows");
    "winkernel.sourceVip" "" Text None("it is for Windows");
    "winkernel.enableDSR" "" Bool None("it is for Windows");
    "winkernel.rootHnsEndpointName" "" Text None("it is for Windows");
    "winkernel.forwardHealthCheckVip" "" Bool None("it is for Windows");
    "detectLocalMode" "detect-local-mode" Text
        Has("How pods of this node are told from everybody else: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix; --local-detector wins; empty is ClusterCIDR where clusterCIDR is set, and else as --local-detector device");
    "detectLocal.bridgeInterface" "pod-bridge-interface" Text Has("The bridge of detect-local-mode BridgeInterface");
    "detectLocal.interfaceNamePrefix" "pod-interface-name-prefix" Text Has("The prefix of detect-local-mode InterfaceNamePrefix");
    "clusterCIDR" "cluster-cidr" Text Has("Network of the cluster's pods for detect-local-mode ClusterCIDR, or one of each IP family with a comma");
    "nodePortAddresses" "nodeport-addresses" List
        Has("Serve NodePorts on these local addresses: all, primary (those of the Node object), localhost, and networks; without any, all, and in mode nftables primary");
    "oomScoreAdj" "oom-score-adj" Int Has("The agent's oom_score_adj, -1000 to 1000");
    "conntrack.maxPerCore" "conntrack-max-per-core" Int
        Has("Raise nf_conntrack_max to this many entries for each processor; 0 leaves it alone");
    "conntrack.min" "conntrack-min" Int Has("Raise nf_conntrack_max to this at least");
    "conntrack.tcpEstablishedTimeout" "conntrack-tcp-timeout-established" Duration
        Has("Set nf_conntrack_tcp_timeout_established; 0 leaves it alone");
    "conntrack.tcpCloseWaitTimeout" "conntrack-tcp-timeout-close-wait" Duration
        Has("Set nf_conntrack_tcp_timeout_close_wait; 0 leaves it alone");
    "conntrack.tcpBeLiberal" "conntrack-tcp-be-liberal" Bool Has("Set nf_conntrack_tcp_be_liberal to 1");
    "conntrack.udpTimeout" "conntrack-udp-timeout" Duration Has("Set nf_conntrack_udp_timeout; 0 leaves it alone");
    "conntrack.udpStreamTimeout" "conntrack-udp-timeout-stream" Duration
        Has("Set nf_conntrack_udp_timeout_stream; 0 leaves it alone");
    "configSyncPeriod" "config-sync-period" Duration
        None("an unchanged object causes no work; --watch-timeout-seconds says how often a watch is asked anew");
    "portRange" "proxy-port-range" Text None("kube-proxy does not use it either");
    "windowsRunAsService" "windows-service" Bool None("it is for Windows");
    "" "master" Text Has("Reach the API server here, whatever the kubeconfig says; --apiserver wins");
    "" "healthz-port" Int Has("Port for a --healthz-bind-address without one; 0 turns the server off. Deprecated by kube-proxy");
    "" "metrics-port" Int Has("Port for a --metrics-bind-address without one; 0 turns the server off. Deprecated by kube-proxy");
    "" "write-config-to" Text Has("Write the settings to this file as two YAML documents, and exit");
    "" "cleanup" Bool Has("Remove every trace of kube-shunt from this node as `kube-shunt cleanup` does, and exit");
    "" "init-only" Bool Has("Do only what needs more than CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, which is to set sysctls, and exit");
    "" "boot-id-file" Text None("it belongs to a library of kube-proxy");
    "" "machine-id-file" Text None("it belongs to a library of kube-proxy");
}
