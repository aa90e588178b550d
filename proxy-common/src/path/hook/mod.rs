//! The order of stages per hook. These files read as lists; what a stage does stands in its own file.

pub mod age;
pub mod egress;
pub mod explain;
pub mod ingress;
pub mod socket;
