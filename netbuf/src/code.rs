//! Codes of pools: a byte in each packet's word that tells its pool, made so that a whole burst is compared at once.
//!
//! Every code has exactly four of eight bits set. The OR of several such codes has more bits than four unless
//! all are the same, so one OR per packet and one comparison per burst prove that a burst is of one pool. There
//! are 70 codes, given out in the order of creation; further pools share [`NONE`], which no comparison accepts:
//! their packets are told apart by the pool's address, one at a time.

use core::sync::atomic::{AtomicU8, Ordering};

/// The code of pools that came too late for one of their own.
pub(crate) const NONE: u8 = 0xff;

/// How many bits of a code are set.
const WEIGHT: u32 = 4;

/// Where the search for the next code starts.
static NEXT: AtomicU8 = AtomicU8::new(0);

/// A code that no other pool of this program has, or [`NONE`].
pub(crate) fn take() -> u8 {
    take_from(&NEXT)
}

fn take_from(next: &AtomicU8) -> u8 {
    let step = |from| Some(after(from)?.saturating_add(1));
    match next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
        Ok(from) => after(from).unwrap_or(NONE),
        Err(_) => NONE,
    }
}

/// The first code from `from` on.
fn after(from: u8) -> Option<u8> {
    (from..NONE).find(|code| code.count_ones() == WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_codes_or_together_to_a_code() {
        let mut codes = Vec::new();
        let mut from = 0;
        while let Some(code) = after(from) {
            codes.push(code);
            from = code + 1;
        }
        assert_eq!(codes.len(), 70);
        for &one in codes.iter().chain(&[NONE]) {
            for &two in codes.iter().chain(&[NONE]) {
                assert!(one == two || !codes.contains(&(one | two)), "{one:#x} {two:#x}");
            }
        }
    }

    #[test]
    fn a_code_is_taken_once_and_then_there_are_none() {
        let next = AtomicU8::new(0);
        let mut taken: Vec<u8> = (0..300).map(|_| take_from(&next)).collect();
        assert_eq!(taken.last(), Some(&NONE));
        taken.retain(|&code| code != NONE);
        assert_eq!(taken.len(), 70);
        taken.dedup();
        assert_eq!(taken.len(), 70);
    }
}
