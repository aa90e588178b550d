//! Entry points: one program per file. Each takes the context, calls its hook and carries out the verdict.

#![expect(
    clippy::needless_pass_by_value,
    reason = "aya's entry points take their context by value"
)]

mod age_v4;
mod age_v6;
mod connect4;
mod connect6;
mod explain_socket;
mod getpeername4;
mod getpeername6;
mod recvmsg4;
mod recvmsg6;
mod sendmsg4;
mod sendmsg6;
mod tc_egress;
mod tc_egress_l3;
mod tc_ingress;
mod tc_ingress_l3;
mod xdp_ingress;
