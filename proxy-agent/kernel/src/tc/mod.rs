//! TC programs on devices.
