//! XDP programs on devices.
