//! Pointsman.
