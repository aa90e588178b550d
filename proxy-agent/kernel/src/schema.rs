//! The maps of the object: names, types and sizes this build expects.
