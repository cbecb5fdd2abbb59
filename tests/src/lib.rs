//! End-to-end tests: boot images and talk to them.
