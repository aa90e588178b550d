//! The source and the sink, as instructions.

use anyhow::Result;

use super::Flows;
use super::frame::{BALANCE, Places, UDP};
use crate::bpf::Hook;

/// An instruction: operation, destination and source register, offset, immediate.
fn op(code: u8, to: u8, from: u8, offset: i16, value: u32) -> u64 {
    u64::from(code)
        | u64::from(to | from << 4) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(value) << 32
}

const CALL: u8 = 0x85;
const MOV: u8 = 0xb7;
const MOV_REG: u8 = 0xbf;
const ADD: u8 = 0x07;
const SUB_REG: u8 = 0x1f;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const LOAD_32: u8 = 0x61;
const LOAD_16: u8 = 0x69;
const LOAD_64: u8 = 0x79;
const LOAD_8: u8 = 0x71;
const XOR: u8 = 0xa7;
const STORE_16: u8 = 0x6b;
const STORE_64: u8 = 0x7b;
const STORE_32_VALUE: u8 = 0x62;
const TO_BIG_ENDIAN: u8 = 0xdc;
const IF_GREATER_REG: u8 = 0x2d;
const JUMP: u8 = 0x05;
const IF_EQUAL: u8 = 0x15;
const IF_NOT_EQUAL: u8 = 0x55;
const LOAD_MAP: u8 = 0x18;
const EXIT: u8 = 0x95;
/// Helpers of linux/bpf.h.
const MAP_LOOKUP: u32 = 1;
const TAIL_CALL: u32 = 12;

/// The address of a map into register `to`.
fn map_into(to: u8, map: u32) -> [u64; 2] {
    // BPF_PSEUDO_MAP_FD
    [op(LOAD_MAP, to, 1, 0, map), 0]
}

/// r0: the counter's address. Element 0 of an array is always there, but the verifier wants to see it checked by the caller.
fn find_counter(map: u32) -> Vec<u64> {
    let mut code = vec![
        op(STORE_32_VALUE, 10, 0, -4, 0),
        op(MOV_REG, 2, 10, 0, 0),
        op(ADD, 2, 0, 0, (-4_i32).cast_unsigned()),
    ];
    code.extend(map_into(1, map));
    code.push(op(CALL, 0, 0, 0, MAP_LOOKUP));
    code
}

/// The sink.
pub(super) fn count(counter: u32, hook: Hook, verdict: u32) -> Vec<u64> {
    const IPV4: u32 = 0x0800_u16.to_be() as u32;
    const IPV6: u32 = 0x86dd_u16.to_be() as u32;
    // Where xdp_md and __sk_buff have data and data_end; XDP_PASS, TC_ACT_UNSPEC.
    let (data, pass) = match hook {
        Hook::Xdp => (0, 2),
        Hook::TcxIngress | Hook::TcxEgress => (76, u32::MAX),
    };
    let mut code = vec![
        op(LOAD_32, 7, 1, data, 0),
        op(LOAD_32, 8, 1, data + 4, 0),
        op(MOV_REG, 1, 7, 0, 0),
        op(ADD, 1, 0, 0, 34),
        op(IF_GREATER_REG, 1, 8, 7, 0),
        op(LOAD_16, 1, 7, 12, 0),
        op(IF_EQUAL, 1, 0, 3, IPV4),
        op(IF_NOT_EQUAL, 1, 0, 4, IPV6),
        op(LOAD_8, 1, 7, 20, 0),
        op(JUMP, 0, 0, 1, 0),
        op(LOAD_8, 1, 7, 23, 0),
        op(IF_EQUAL, 1, 0, 2, UDP.into()),
        op(MOV, 0, 0, 0, pass),
        op(EXIT, 0, 0, 0, 0),
    ];
    code.extend(find_counter(counter));
    code.extend([
        op(IF_EQUAL, 0, 0, 3, 0),
        op(LOAD_64, 1, 0, 0, 0),
        op(ADD, 1, 0, 0, 1),
        op(STORE_64, 0, 1, 0, 0),
        op(MOV, 0, 0, 0, verdict),
        op(EXIT, 0, 0, 0, 0),
    ]);
    code
}

/// The source: writes the whole frame anew, since pages come back as packets left them.
pub(super) fn generate(
    frame: &[u8],
    flows: Flows,
    counter: u32,
    next: Option<u32>,
) -> Result<Vec<u64>> {
    let pass = [op(MOV, 0, 0, 0, 2), op(EXIT, 0, 0, 0, 0)];
    let mut code = vec![
        op(MOV_REG, 6, 1, 0, 0),
        op(LOAD_32, 7, 6, 0, 0),
        op(LOAD_32, 8, 6, 4, 0),
        op(MOV_REG, 1, 7, 0, 0),
        op(ADD, 1, 0, 0, u32::try_from(frame.len())?),
        // The verifier wants to know that the frame is as long as it is.
        op(IF_GREATER_REG, 1, 8, 1, 0),
        op(JUMP, 0, 0, 2, 0),
    ];
    code.extend(pass);
    for (offset, word) in (0..).step_by(4).zip(frame.chunks_exact(4)) {
        let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        code.push(op(STORE_32_VALUE, 7, 0, offset, word));
    }
    if flows == Flows::New {
        let change = differ(Places::of(frame));
        code.extend(find_counter(counter));
        code.push(op(IF_EQUAL, 0, 0, i16::try_from(change.len())?, 0));
        code.extend(change);
    }
    if let Some(programs) = next {
        code.push(op(MOV_REG, 1, 6, 0, 0));
        code.extend(map_into(2, programs));
        code.extend([op(MOV, 3, 0, 0, 0), op(CALL, 0, 0, 0, TAIL_CALL)]);
    }
    code.extend(pass);
    Ok(code)
}

/// Makes the frame at r7 one of the next flow; the counter is at r0.
fn differ(places: Places) -> Vec<u64> {
    let mut code = vec![
        op(LOAD_64, 1, 0, 0, 0),
        op(MOV_REG, 2, 1, 0, 0),
        op(ADD, 2, 0, 0, 1),
        op(STORE_64, 0, 2, 0, 0),
        // Source port: 1024 and more.
        op(MOV_REG, 2, 1, 0, 0),
        op(AND, 2, 0, 0, 0x7fff),
        op(ADD, 2, 0, 0, 1024),
        op(TO_BIG_ENDIAN, 2, 0, 0, 16),
        op(STORE_16, 7, 2, places.port, 0),
    ];
    if let Some(balance) = places.port_balance {
        code.extend([
            op(XOR, 2, 0, 0, u16::MAX.into()),
            op(STORE_16, 7, 2, balance, 0),
        ]);
    }
    code.extend([
        // Low half of the source address, and the rest of BALANCE.
        op(SHIFT_RIGHT, 1, 0, 0, 15),
        op(AND, 1, 0, 0, BALANCE.into()),
        op(MOV, 3, 0, 0, BALANCE.into()),
        op(SUB_REG, 3, 1, 0, 0),
        op(TO_BIG_ENDIAN, 1, 0, 0, 16),
        op(STORE_16, 7, 1, places.source, 0),
        op(TO_BIG_ENDIAN, 3, 0, 0, 16),
        op(STORE_16, 7, 3, places.source_balance, 0),
    ]);
    code
}
