//! The checks on what a peer wrote, by one name, so that their cost can be told.
//!
//! A build with `--cfg barewire_unchecked` believes the peer where a burst is taken in groups: ids, lengths, flags, addresses,
//! index steps, what headers ask for. What is left is what a half must look at to know that there is anything, and where.
//! `bench` counts its instructions beside those of the product (`gates --twin`) and runs it against a peer of its own; every
//! argument for an `unsafe` block that rests on a check rests there on that.
//!
//! No product can be built so: it is no feature, which a dependency could switch on, but a word on the compiler's
//! command line, and neither platform (`plat-kvm`, `plat-linux`) compiles with it. An image has the one, a process the other.

/// Whether the peer is believed.
pub(crate) const BELIEVES: bool = cfg!(barewire_unchecked);

/// Whether a value that a peer wrote passes: `holds`, or anything where it is believed (and then `holds`, if nothing else
/// needs it, is not calculated).
#[inline(always)]
pub(crate) const fn checked(holds: bool) -> bool {
    BELIEVES || holds
}
