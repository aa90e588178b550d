//! The eBPF object: entry points (`prog`) and the kernel body of the packet path. Decisions are made in proxy-common's `path`.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the kernel's fields are wider than what they hold"
)]

mod body;
mod embryos;
mod layout;
mod maps;
mod packet;
mod prog;
mod question;
mod settings;
mod skb;
mod sock;
mod tables;
mod xdp;

/// Endless on purpose: the verifier refuses a program that can reach it.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers this object needs are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 7] = *b"GPL v2\0";
