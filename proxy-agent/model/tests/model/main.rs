//! Tests of the planner through its only door: changes in, plans performed on maps in memory.

mod capacity;
mod ownership;
mod restart;
mod rig;
mod semantics;
mod words;
