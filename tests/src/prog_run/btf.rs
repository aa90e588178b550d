//! Struct layouts from the `.BTF` section of an eBPF object (Documentation/bpf/btf.rst), read by hand: libraries keep them to
//! themselves.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSection as _};

/// A struct.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Struct {
    /// Size in bytes.
    pub size: usize,
    /// Members and their offsets in bytes, in order.
    pub members: Vec<(String, usize)>,
}

/// All structs of `object`, by the name that its BTF gives them. Of several with one name the last.
pub fn structs(object: &[u8]) -> Result<BTreeMap<String, Struct>> {
    let file = object::File::parse(object).context("parse the object")?;
    let section = file.section_by_name(".BTF").context("no section .BTF")?;
    let btf = section.data()?;
    // Magic, version, flags, header length; then offset and length of types and of strings, behind the header.
    ensure!(
        word(btf, 0)? & 0xffff == 0xeb9f,
        "no BTF, or of a machine with another byte order"
    );
    let header = number(btf, 4)?;
    let (types, strings) = (header + number(btf, 8)?, header + number(btf, 16)?);
    let end = types + number(btf, 12)?;
    let mut found = BTreeMap::new();
    let mut at = types;
    while at < end {
        let (name, info, size) = (number(btf, at)?, word(btf, at + 4)?, number(btf, at + 8)?);
        let (kind, count) = (info >> 24 & 31, usize::try_from(info & 0xffff)?);
        at += 12;
        if kind == 4 {
            let mut members = Vec::new();
            for index in 0..count {
                let member = at + index * 12;
                let bits = number(btf, member + 8)?;
                ensure!(bits % 8 == 0, "a bit field");
                members.push((text(btf, strings + number(btf, member)?)?, bits / 8));
            }
            found.insert(text(btf, strings + name)?, Struct { size, members });
        }
        at += tail(kind, count).with_context(|| format!("BTF kind {kind} at {at}"))?;
    }
    Ok(found)
}

/// Bytes behind the three words that every type has.
fn tail(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Pointer, forward declaration, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        // Struct, union, data section, 64-bit enumeration.
        4 | 5 | 15 | 19 => count * 12,
        // Enumeration, function prototype.
        6 | 13 => count * 8,
        _ => return None,
    })
}

fn word(btf: &[u8], at: usize) -> Result<u32> {
    let bytes = btf.get(at..at + 4).context("BTF ends early")?;
    Ok(u32::from_ne_bytes(bytes.try_into()?))
}

fn number(btf: &[u8], at: usize) -> Result<usize> {
    Ok(usize::try_from(word(btf, at)?)?)
}

fn text(btf: &[u8], at: usize) -> Result<String> {
    let rest = btf.get(at..).context("BTF ends early")?;
    let bytes = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).into_owned())
}
