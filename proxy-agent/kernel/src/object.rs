//! The eBPF object that the build put into this binary.

/// The ELF bytes; empty if this binary was built without it.
pub fn bytes() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kube-shunt.bpf.o"))
}
