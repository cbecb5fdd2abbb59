//! Micro-benchmarks and instruction-count gates.
