//! The packet path in memory: what DESIGN section 5 promises case by case, then laws that hold for any input.

mod aging;
mod choices;
mod crc32c;
mod dry;
mod echo;
mod embryos;
mod errors;
mod fragments;
mod host_routing;
mod icmp;
mod inputs;
mod laws;
mod node;
mod policies;
mod ports;
mod sctp;
mod select;
mod sockets;
mod strangers;
mod tcp;
mod traffic;
mod udp;
mod xdp;
