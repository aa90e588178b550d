//! Where things are pinned.
