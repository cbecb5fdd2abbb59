//! The Linux process: huge pages, clock, core pinning, signals.
