//! The one netfilter rule of ours.
