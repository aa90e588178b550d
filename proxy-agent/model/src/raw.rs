//! The parts of the API objects that we read, as lenient as can be: wide numbers, strings, everything optional, nulls
//! tolerated. Nothing is judged here, so one bad object never fails a list; [`crate::Planner::apply`] does the judging.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// `null` is the same as absent.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// A list that may be `null` or hold `null`s.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let items = Option::<Vec<Option<T>>>::deserialize(from)?;
    Ok(items.unwrap_or_default().into_iter().flatten().collect())
}

/// A map that may be `null` or hold `null`s, which are empty strings.
fn map<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let items = Option::<BTreeMap<String, Option<String>>>::deserialize(from)?;
    Ok(items
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.unwrap_or_default()))
        .collect())
}

/// `metadata` of any object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Namespace; empty means `default`, as for kubectl.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// Unique id, for events about the object.
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
    /// Labels.
    #[serde(deserialize_with = "map")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "map")]
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339.
    pub creation_timestamp: Option<String>,
}

/// core/v1 Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Meta,
    /// What the user asked for.
    #[serde(deserialize_with = "nullable")]
    pub spec: ServiceSpec,
    /// What the load-balancer controller answered.
    #[serde(deserialize_with = "nullable")]
    pub status: ServiceStatus,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP` (also when empty), `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub service_type: String,
    /// The first cluster IP, or `None` for a headless Service.
    #[serde(rename = "clusterIP", deserialize_with = "nullable")]
    pub cluster_ip: String,
    /// Up to one per family.
    #[serde(rename = "clusterIPs", deserialize_with = "list")]
    pub cluster_ips: Vec<String>,
    /// Addresses that someone routes to the nodes.
    #[serde(rename = "externalIPs", deserialize_with = "list")]
    pub external_ips: Vec<String>,
    /// Who may reach the load balancer's addresses; empty is everybody.
    #[serde(deserialize_with = "list")]
    pub load_balancer_source_ranges: Vec<String>,
    /// Port of the health check of a Service with external policy Local; 0 is none.
    #[serde(deserialize_with = "nullable")]
    pub health_check_node_port: i64,
    /// Ports.
    #[serde(deserialize_with = "list")]
    pub ports: Vec<ServicePort>,
    /// `Cluster` (also when empty) or `Local`.
    #[serde(deserialize_with = "nullable")]
    pub external_traffic_policy: String,
    /// `Cluster` (also when empty) or `Local`.
    #[serde(deserialize_with = "nullable")]
    pub internal_traffic_policy: String,
    /// `None` (also when empty) or `ClientIP`.
    #[serde(deserialize_with = "nullable")]
    pub session_affinity: String,
    /// Timeout of the affinity.
    #[serde(deserialize_with = "nullable")]
    pub session_affinity_config: SessionAffinityConfig,
}

/// `sessionAffinityConfig` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionAffinityConfig {
    /// For `ClientIP`.
    #[serde(rename = "clientIP", deserialize_with = "nullable")]
    pub client_ip: ClientIpConfig,
}

/// `sessionAffinityConfig.clientIP` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpConfig {
    /// Seconds; 10800 when absent.
    pub timeout_seconds: Option<i64>,
}

/// One port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Name; may be empty in a Service with one port.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `TCP` (also when empty), `UDP` or `SCTP`.
    #[serde(deserialize_with = "nullable")]
    pub protocol: String,
    /// Port of the cluster IP.
    #[serde(deserialize_with = "nullable")]
    pub port: i64,
    /// Port of every node; 0 is none.
    #[serde(deserialize_with = "nullable")]
    pub node_port: i64,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// What the load balancer got.
    #[serde(deserialize_with = "nullable")]
    pub load_balancer: LoadBalancerStatus,
}

/// `status.loadBalancer` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerStatus {
    /// Its addresses.
    #[serde(deserialize_with = "list")]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// One address of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerIngress {
    /// Empty when the load balancer only has a host name.
    #[serde(deserialize_with = "nullable")]
    pub ip: String,
    /// `VIP` (also when absent) or `Proxy`.
    pub ip_mode: Option<String>,
}

/// discovery.k8s.io/v1 `EndpointSlice`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// Metadata; the label `kubernetes.io/service-name` names the Service.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Meta,
    /// `IPv4`, `IPv6` or `FQDN`.
    #[serde(deserialize_with = "nullable")]
    pub address_type: String,
    /// Endpoints.
    #[serde(deserialize_with = "list")]
    pub endpoints: Vec<Endpoint>,
    /// Ports that every endpoint has.
    #[serde(deserialize_with = "list")]
    pub ports: Vec<EndpointPort>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Only the first one counts.
    #[serde(deserialize_with = "list")]
    pub addresses: Vec<String>,
    /// Conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Conditions,
    /// The node it runs on.
    pub node_name: Option<String>,
    /// Who should use it.
    #[serde(deserialize_with = "nullable")]
    pub hints: Hints,
}

/// Conditions of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conditions {
    /// Absent is true.
    pub ready: Option<bool>,
    /// Absent is true.
    pub serving: Option<bool>,
    /// Absent is false.
    pub terminating: Option<bool>,
}

/// Topology hints of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hints {
    /// Zones.
    #[serde(deserialize_with = "list")]
    pub for_zones: Vec<Hint>,
    /// Nodes.
    #[serde(deserialize_with = "list")]
    pub for_nodes: Vec<Hint>,
}

/// One zone or node of a hint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hint {
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
}

/// One port of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// Name; empty is a name, absent is not.
    pub name: Option<String>,
    /// `TCP` (also when absent), `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// Port number.
    pub port: Option<i64>,
}

/// core/v1 Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Metadata; the label `topology.kubernetes.io/zone` names the zone.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(deserialize_with = "nullable")]
    pub spec: NodeSpec,
    /// Status.
    #[serde(deserialize_with = "nullable")]
    pub status: NodeStatus,
}

/// `spec` of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Pod address ranges of the node.
    #[serde(rename = "podCIDRs", deserialize_with = "list")]
    pub pod_cidrs: Vec<String>,
}

/// `status` of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Addresses.
    #[serde(deserialize_with = "list")]
    pub addresses: Vec<NodeAddress>,
}

/// One address of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, ...
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub address_type: String,
    /// The address.
    #[serde(deserialize_with = "nullable")]
    pub address: String,
}

/// networking.k8s.io `ServiceCIDR`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceCidr {
    /// Metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(deserialize_with = "nullable")]
    pub spec: ServiceCidrSpec,
}

/// `spec` of a `ServiceCIDR`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceCidrSpec {
    /// Up to one range per family.
    #[serde(deserialize_with = "list")]
    pub cidrs: Vec<String>,
}
