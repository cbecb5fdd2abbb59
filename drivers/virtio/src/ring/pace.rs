//! How often a receiver looks at what its peer writes.
//!
//! A receiver that is faster than its sender finds a packet or two at each look, and each look takes a cache line away
//! from the sender while that is still writing to it: of a packed ring, the line of the very next descriptor. The
//! sender then waits for the line once per packet instead of once per four, and both are slower for it. So where
//! look after look finds less than a burst, the next few calls do not look at all, the more of them the longer that
//! goes on, and the packets are taken together later.
//!
//! Calls are counted, not time: a function that has other things to do between two calls has waited already. Packets
//! that come one by one are not held up: each look in vain halves what is waited for, down to nothing.
#![forbid(unsafe_code)]

/// The most calls that are let pass without a look.
const MOST: u8 = 63;

/// Looks that find less than a burst, less those in vain, before any call is let pass.
const CLOSE: u8 = 64;

/// The pace of one queue. Starts with a look at every call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Calls that are still let pass.
    wait: u8,
    /// What that starts from.
    step: u8,
    /// How many looks, up to [`CLOSE`], have shown that the sender is followed closely.
    close: u8,
}

impl Pace {
    /// Whether this call is to look.
    #[inline]
    pub fn is_due(&mut self) -> bool {
        let due = self.wait == 0;
        self.wait = self.wait.saturating_sub(1);
        due
    }

    /// Takes note that a look found so many packets, and whether there is no room for more. (Out of line, because it is
    /// called once a burst and in many places.)
    #[inline(never)]
    pub fn found(&mut self, packets: usize, full: bool) {
        if full {
            // There may be more, and the sender is ahead.
            return;
        }
        if packets == 0 {
            self.step /= 2;
            self.close = self.close.saturating_sub(1);
        } else if self.close < CLOSE {
            self.close += 1;
        } else {
            self.step = (2 * self.step + 1).min(MOST);
        }
        self.wait = self.step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls up to and including the next look, which finds so many packets.
    fn calls(pace: &mut Pace, packets: usize) -> usize {
        let passed = (0..).take_while(|_| !pace.is_due()).count();
        pace.found(packets, packets == 32);
        1 + passed
    }

    #[test]
    fn a_sender_that_is_followed_closely_gets_room() {
        let mut pace = Pace::default();
        assert!((0..CLOSE).all(|_| calls(&mut pace, 3) == 1));
        let waits: Vec<usize> = (0..9).map(|_| calls(&mut pace, 3)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    }

    #[test]
    fn a_sender_that_is_ahead_is_not_waited_for() {
        let mut pace = Pace::default();
        assert!((0..100).all(|_| calls(&mut pace, 32) == 1));
    }

    #[test]
    fn looks_in_vain_end_the_waiting() {
        let mut pace = Pace::default();
        assert!((0..100).map(|_| calls(&mut pace, 1)).sum::<usize>() > 1000);
        let waits: Vec<usize> = (0..8).map(|_| calls(&mut pace, 0)).collect();
        assert_eq!(waits, [64, 32, 16, 8, 4, 2, 1, 1]);
        assert_eq!([1, 1, 0].map(|packets| calls(&mut pace, packets)), [1; 3]);
    }

    #[test]
    fn packets_that_come_one_by_one_are_not_held_up() {
        let mut pace = Pace::default();
        assert!((0..1000).all(|turn| calls(&mut pace, turn % 2) == 1));
    }
}
