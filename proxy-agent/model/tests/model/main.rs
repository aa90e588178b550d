//! Tests of the planner through its only door: changes in, plans performed on maps in memory.

mod bad_input;
mod capacity;
mod cases;
mod garbage;
mod golden;
mod health_checks;
mod hostile;
mod maglev_tables;
mod oracle;
mod oracle_rules;
mod outcome;
mod ownership;
mod properties;
mod random;
mod restart;
mod rig;
mod semantics_addresses;
mod semantics_changes;
mod semantics_objects;
mod semantics_policies;
mod semantics_traffic;
mod words;
