//! Keys and certificates of a test's control plane. They live as long as the test.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};

/// Writes `ca.crt`, `api.crt` and `api.key` for a server at `ip`, and `tokens.key` and `tokens.pub` for service accounts.
pub(super) fn write(dir: &Path, ip: IpAddr) -> Result<()> {
    let put = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    let mut authority = params("test authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    put("ca.crt", issuer.pem())?;

    let mut server = params("kube-apiserver");
    server.subject_alt_names = vec![SanType::IpAddress(ip)];
    let key = KeyPair::generate()?;
    put("api.crt", server.signed_by(&key, &issuer)?.pem())?;
    put("api.key", key.serialize_pem())?;

    let tokens = KeyPair::generate()?;
    put("tokens.key", tokens.serialize_pem())?;
    put("tokens.pub", tokens.public_key_pem())
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
