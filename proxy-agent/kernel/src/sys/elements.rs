//! Map elements: single and batched system calls over any plain key and value.

#![expect(unsafe_code, reason = "raw system calls")]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::AsFd;

use aya::Pod;

use super::bpf::{Attr, address, bpf, raw};

const LOOKUP_ELEM: u32 = 1;
const UPDATE_ELEM: u32 = 2;
const DELETE_ELEM: u32 = 3;
const GET_NEXT_KEY: u32 = 4;
const LOOKUP_BATCH: u32 = 24;
const UPDATE_BATCH: u32 = 26;
const DELETE_BATCH: u32 = 27;

#[repr(C)]
struct ElemAttr {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}
// SAFETY: integers without padding.
unsafe impl Attr for ElemAttr {}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    elem_flags: u64,
    flags: u64,
}
// SAFETY: integers without padding.
unsafe impl Attr for BatchAttr {}

/// Sets one element. K and V must be of the map's sizes, which [`super::super::maps`] checks when it opens a map.
pub(crate) fn update<K: Pod, V: Pod>(map: impl AsFd, key: &K, value: &V) -> io::Result<()> {
    set(map, key, value, 0)
}

/// As [`update`], but EEXIST if the element is there.
pub(crate) fn insert<K: Pod, V: Pod>(map: impl AsFd, key: &K, value: &V) -> io::Result<()> {
    const BPF_NOEXIST: u64 = 1;
    set(map, key, value, BPF_NOEXIST)
}

fn set<K: Pod, V: Pod>(map: impl AsFd, key: &K, value: &V, flags: u64) -> io::Result<()> {
    let mut attr = ElemAttr {
        map: raw(map),
        pad: 0,
        key: address(std::ptr::from_ref(key)),
        value: address(std::ptr::from_ref(value)),
        flags,
    };
    // SAFETY: the kernel reads a key and a value, which are borrowed for the call.
    unsafe { bpf(UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Removes one element; ENOENT if there is none.
pub(crate) fn delete<K: Pod>(map: impl AsFd, key: &K) -> io::Result<()> {
    let mut attr = ElemAttr {
        map: raw(map),
        pad: 0,
        key: address(std::ptr::from_ref(key)),
        value: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads a key, which is borrowed for the call.
    unsafe { bpf(DELETE_ELEM, &mut attr) }.map(drop)
}

/// Reads one element.
pub(crate) fn lookup<K: Pod, V: Pod>(map: impl AsFd, key: &K) -> io::Result<Option<V>> {
    let mut value = MaybeUninit::<V>::uninit();
    let mut attr = ElemAttr {
        map: raw(map),
        pad: 0,
        key: address(std::ptr::from_ref(key)),
        value: address(value.as_mut_ptr()),
        flags: 0,
    };
    // SAFETY: the kernel reads a key and writes a value of the map's value size, which is V's.
    match unsafe { bpf(LOOKUP_ELEM, &mut attr) } {
        // SAFETY: the call succeeded, so the kernel has written the whole value; V is plain data.
        Ok(_) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The key behind `key`, the first for `None`; `None` at the end.
pub(crate) fn next_key<K: Pod>(map: impl AsFd, key: Option<&K>) -> io::Result<Option<K>> {
    let mut next = MaybeUninit::<K>::uninit();
    let mut attr = ElemAttr {
        map: raw(map),
        pad: 0,
        key: key.map_or(0, |key| address(std::ptr::from_ref(key))),
        value: address(next.as_mut_ptr()),
        flags: 0,
    };
    // SAFETY: the kernel reads a key, if there is one, and writes a key to `next`, which has room for it.
    match unsafe { bpf(GET_NEXT_KEY, &mut attr) } {
        // SAFETY: the call succeeded, so the kernel has written the whole key; K is plain data.
        Ok(_) => Ok(Some(unsafe { next.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads one element of a per-CPU map of u64 into `values`, one for each possible CPU.
pub(crate) fn lookup_per_cpu(map: impl AsFd, key: u32, values: &mut [u64]) -> io::Result<()> {
    let mut attr = ElemAttr {
        map: raw(map),
        pad: 0,
        key: address(&raw const key),
        value: address(values.as_mut_ptr()),
        flags: 0,
    };
    // SAFETY: the kernel writes eight bytes for each possible CPU; the caller sized `values` by that number.
    unsafe { bpf(LOOKUP_ELEM, &mut attr) }.map(drop)
}

/// Sets elements in order. Returns how many were set, and the error that stopped the kernel at the next one.
pub(crate) fn update_batch<K: Pod, V: Pod>(
    map: impl AsFd,
    keys: &[K],
    values: &[V],
) -> (usize, io::Result<()>) {
    let many = keys.len().min(values.len());
    modify_batch(
        UPDATE_BATCH,
        map,
        keys,
        Some(address(values.as_ptr())),
        many,
    )
}

/// Removes elements in order. Returns how many were removed, and the error that stopped the kernel at the next one.
pub(crate) fn delete_batch<K: Pod>(map: impl AsFd, keys: &[K]) -> (usize, io::Result<()>) {
    modify_batch(DELETE_BATCH, map, keys, None, keys.len())
}

fn modify_batch<K: Pod>(
    command: u32,
    map: impl AsFd,
    keys: &[K],
    values: Option<u64>,
    many: usize,
) -> (usize, io::Result<()>) {
    let Ok(count) = u32::try_from(many) else {
        return (0, Err(io::ErrorKind::InvalidInput.into()));
    };
    if count == 0 {
        return (0, Ok(()));
    }
    let mut attr = BatchAttr {
        keys: address(keys.as_ptr()),
        values: values.unwrap_or(0),
        count,
        map: raw(map),
        ..BatchAttr::default()
    };
    // SAFETY: the kernel reads `count` keys (and values), at most as many as the borrowed slices hold.
    match unsafe { bpf(command, &mut attr) } {
        Ok(_) => (many, Ok(())),
        // Kernels before 6.0 leave `count` as it was when they fail before the first element.
        Err(error) if attr.count >= count => (0, Err(error)),
        Err(error) => (attr.count as usize, Err(error)),
    }
}

/// Where a batched walk over a hash map stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    bucket: Option<u32>,
}

/// The next elements of a hash map, at most `most`. `true`: these were the last.
///
/// ENOSPC: `most` is smaller than one bucket's chain; ask for more.
pub(crate) fn lookup_batch<K: Pod, V: Pod>(
    map: impl AsFd,
    cursor: &mut Cursor,
    most: usize,
    keys: &mut Vec<K>,
    values: &mut Vec<V>,
) -> io::Result<bool> {
    keys.clear();
    values.clear();
    keys.reserve(most);
    values.reserve(most);
    let mut next = 0u32;
    let mut attr = BatchAttr {
        in_batch: cursor
            .bucket
            .as_ref()
            .map_or(0, |bucket| address(std::ptr::from_ref(bucket))),
        out_batch: address(&raw mut next),
        keys: address(keys.as_mut_ptr()),
        values: address(values.as_mut_ptr()),
        count: u32::try_from(most).map_err(|_too_many| io::ErrorKind::InvalidInput)?,
        map: raw(map),
        ..BatchAttr::default()
    };
    // SAFETY: both vectors have room for `most` elements of the map's sizes; cursors of hash maps are four bytes.
    let result = unsafe { bpf(LOOKUP_BATCH, &mut attr) };
    let last = match result {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    let filled = (attr.count as usize).min(most);
    debug_assert!(size_of::<K>() > 0 && size_of::<V>() > 0);
    // SAFETY: the kernel has written `filled` keys, which is within the reserved capacity; K is plain data.
    unsafe { keys.set_len(filled) };
    // SAFETY: the same for values.
    unsafe { values.set_len(filled) };
    cursor.bucket = Some(next);
    Ok(last)
}
