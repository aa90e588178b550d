//! The read-only settings of the programs.
