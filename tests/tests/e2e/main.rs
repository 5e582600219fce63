//! One binary for all behaviours.
