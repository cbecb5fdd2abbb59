//! Barewire.
