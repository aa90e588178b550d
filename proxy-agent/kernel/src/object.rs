//! The eBPF object that the build put into this binary.

use std::borrow::Cow;

/// The ELF bytes; empty if this binary was built without it.
pub fn bytes() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kube-shunt.bpf.o"))
}

/// The object for a kernel with or without XDP programs in several buffers (5.18).
///
/// Below, the kernel refuses the flag that aya derives from the section name `xdp.frags`, so the name is cut to `xdp`: the
/// program is the same, and large MTUs are refused when it is attached.
pub(crate) fn for_kernel(object: &[u8], xdp_frags: bool) -> Cow<'_, [u8]> {
    const FRAGS: &[u8] = b"xdp.frags\0";
    const DOT: usize = 3;
    if xdp_frags {
        return Cow::Borrowed(object);
    }
    let mut object = object.to_vec();
    let names: Vec<usize> = object
        .windows(FRAGS.len())
        .enumerate()
        .filter(|(_at, window)| *window == FRAGS)
        .map(|(at, _window)| at)
        .collect();
    for name in names {
        if let Some(dot) = object.get_mut(name + DOT) {
            *dot = 0;
        }
    }
    Cow::Owned(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_kernel_without_frags_still_loads() {
        if bytes().is_empty() || !nix::unistd::geteuid().is_root() {
            println!(
                "SKIPPED for_kernel_without_frags_still_loads: needs root and the eBPF object"
            );
            return;
        }
        for frags in [true, false] {
            let object = for_kernel(bytes(), frags);
            let parsed = aya_obj::Object::parse(&object).unwrap();
            let section = &parsed.programs["xdp_ingress"].section;
            assert!(
                matches!(section, aya_obj::ProgramSection::Xdp { frags: found, .. } if *found == frags),
                "{section:?}"
            );
            let mut loaded = aya::EbpfLoader::new().load(&object).unwrap();
            let program: &mut aya::programs::Xdp = loaded
                .program_mut("xdp_ingress")
                .unwrap()
                .try_into()
                .unwrap();
            program.load().unwrap();
        }
    }

    #[test]
    fn for_kernel_without_frags_cuts_the_section_name() {
        let object = b"\0.relxdp.frags\0.text\0";
        assert_eq!(for_kernel(object, true).as_ref(), object);
        assert_eq!(
            for_kernel(object, false).as_ref(),
            b"\0.relxdp\0frags\0.text\0"
        );
    }
}
