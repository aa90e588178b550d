//! System calls that neither aya nor nix offers.
