//! The demo's objects: the files of tests/manifests.

use anyhow::Result;
use integration::manifests::Manifests;

const FILES: [(&str, &str); 7] = [
    ("nodes", include_str!("../../../manifests/nodes.yaml")),
    ("web", include_str!("../../../manifests/web.yaml")),
    (WEB_ENDPOINTS, ALL_OF_WEB),
    ("near", include_str!("../../../manifests/near.yaml")),
    (
        "near-endpoints",
        include_str!("../../../manifests/near-endpoints.yaml"),
    ),
    ("far", include_str!("../../../manifests/far.yaml")),
    (
        "far-endpoints",
        include_str!("../../../manifests/far-endpoints.yaml"),
    ),
];
/// The file that scaling changes.
pub(crate) const WEB_ENDPOINTS: &str = "web-endpoints";
/// Its contents with all pods.
pub(crate) const ALL_OF_WEB: &str = include_str!("../../../manifests/web-endpoints.yaml");
/// Its contents without the last pod of node-b.
pub(crate) const WEB_WITHOUT_B2: &str =
    include_str!("../../../manifests/web-endpoints-without-b2.yaml");

/// Last numbers of the `ClusterIPs`, and the node ports.
pub(crate) const WEB: (u8, u16) = (10, 30080);
/// A pod on node-a.
pub(crate) const NEAR: (u8, u16) = (20, 30081);
/// A pod on node-b.
pub(crate) const FAR: (u8, u16) = (30, 30082);

/// Writes them where the agents look.
pub(crate) fn write_all(manifests: &Manifests) -> Result<()> {
    FILES
        .iter()
        .try_for_each(|(name, yaml)| manifests.write(name, yaml))
}
