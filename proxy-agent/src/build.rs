//! Which build this is.

/// Crate version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Source commit, or "unknown" where the source was no git checkout.
pub const COMMIT: &str = match option_env!("KUBE_SHUNT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
