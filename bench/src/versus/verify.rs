//! The twin of the trials: numbered frames go out, a few at a time, to a peer that swaps addresses, and every byte
//! of what comes back is compared, in order.

use std::time::{Duration, Instant};

use netbuf::{Burst, Pool};
use netdev::Port;

use super::traffic::swap_addresses;
use crate::frames;

/// Frames that are on their way at most: far from filling a ring.
const WINDOW: u32 = 128;
/// Bits of a frame's number that count; those above are the verification's own, because frames of the last one
/// may still be on their way.
const COUNTING: u32 = 24;
/// How long nothing may come back before a frame counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// The state of a verification.
pub(super) struct Verifier {
    size: usize,
    /// The number of the first frame; the one before it is the probe, which asks whether the peer is there.
    first: u32,
    /// The peer sends back: probes are over.
    there: bool,
    sent: u32,
    back: u32,
    wrong: u64,
    burst: Burst,
    heard: Instant,
}

impl Verifier {
    /// Frames of `size` bytes; `run` tells this verification's from others'.
    pub(super) fn new(size: u16, run: u8) -> Self {
        Self {
            size: size.into(),
            first: (u32::from(run) << COUNTING) + 1,
            there: false,
            sent: 0,
            back: 0,
            wrong: 0,
            burst: Burst::new(),
            heard: Instant::now(),
        }
    }

    /// Frames that came back as they should.
    pub(super) fn checked(&self) -> u64 {
        self.back.into()
    }

    /// Frames that came back otherwise, or did not.
    pub(super) fn wrong(&self) -> u64 {
        self.wrong
    }

    /// Receives, compares, sends.
    pub(super) fn turn(&mut self, port: &mut Port, pool: &Pool) {
        port.rx[0].rx_burst(&mut self.burst);
        for mut packet in self.burst.drain(..) {
            swap_addresses(packet.bytes_mut());
            // What is left in the rings from before has another type, or belongs to another verification.
            if packet.bytes().get(12..15) != Some(&[0x88, 0xb5, run_of(self.first)]) {
                continue;
            }
            self.heard = Instant::now();
            if packet.bytes() == frames::frame(self.first - 1, self.size) {
                self.there = true;
            } else if packet.bytes() == frames::frame(self.first + self.back, self.size) {
                self.back += 1;
            } else {
                self.wrong += 1;
            }
        }
        if !self.there {
            std::thread::sleep(Duration::from_millis(1));
            self.burst.extend(pool.copy_from(&frames::frame(self.first - 1, self.size)));
        } else if self.heard.elapsed() > PATIENCE {
            self.wrong += u64::from(self.sent - self.back);
            self.heard = Instant::now();
        } else {
            while !self.burst.is_full() && self.sent - self.back < WINDOW {
                let frame = frames::frame(self.first + self.sent, self.size);
                let Some(packet) = pool.copy_from(&frame) else { break };
                self.burst.push(packet);
                self.sent += 1;
            }
        }
        while !self.burst.is_empty() && port.tx[0].tx_burst(&mut self.burst) > 0 {}
        // (The window is smaller than a ring: nothing is left, unless the peer does not take anything.)
        if self.there {
            self.wrong += self.burst.len() as u64;
        }
        self.burst.clear();
    }
}

fn run_of(number: u32) -> u8 {
    number.to_be_bytes()[0]
}

#[cfg(test)]
mod tests {
    use netbuf::Netbuf;
    use netdev::{Config, loopback};

    use super::*;
    use crate::gates::new_pool;

    /// A peer that swaps, and does `harm` to each frame; `None` loses it.
    fn against(mut harm: impl FnMut(u32, Netbuf) -> Option<Netbuf>, turns: usize) -> (u64, u64) {
        let (pool, config) = (new_pool(2048), Config::default());
        let (here, there) = loopback::pair();
        let mut here = here.start(&config, &pool).unwrap();
        let mut there = there.start(&config, &pool).unwrap();
        let (mut verifier, mut burst, mut number) = (Verifier::new(64, 3), Burst::new(), 0);
        for _ in 0..turns {
            verifier.turn(&mut here, &pool);
            there.rx[0].rx_burst(&mut burst);
            let mut back: Burst = burst
                .drain(..)
                .filter_map(|mut packet| {
                    number += 1;
                    swap_addresses(packet.bytes_mut());
                    harm(number, packet)
                })
                .collect();
            there.tx[0].tx_burst(&mut back);
        }
        (verifier.checked(), verifier.wrong())
    }

    #[test]
    fn honest_peers_pass() {
        let (checked, wrong) = against(|_, packet| Some(packet), 200);
        assert_eq!(wrong, 0);
        assert!(checked > 1000, "{checked}");
    }

    #[test]
    fn one_changed_byte_is_noticed() {
        for at in [0, 11, 15, 63] {
            let damage = |number, mut packet: Netbuf| {
                packet.bytes_mut()[at] ^= u8::from(number == 500);
                Some(packet)
            };
            assert!(against(damage, 200).1 > 0, "byte {at}");
        }
    }

    #[test]
    fn a_frame_that_is_lost_or_doubled_is_noticed() {
        assert!(against(|number, packet| (number != 500).then_some(packet), 200).1 > 0);
        let mut kept = None;
        let repeat = |number, packet: Netbuf| {
            if number == 500 {
                kept = Pool::of(&packet).and_then(|pool| pool.copy_from(packet.bytes()));
            }
            if number == 501 { kept.take() } else { Some(packet) }
        };
        assert!(against(repeat, 200).1 > 0);
    }

    #[test]
    fn a_peer_that_falls_silent_is_noticed() {
        let began = Instant::now();
        let silent = |number, packet| {
            // (With nothing answered any more, the verifier's patience is outlasted.)
            if number == 600 {
                std::thread::sleep(PATIENCE + Duration::from_millis(10));
            }
            (number < 500).then_some(packet)
        };
        let wrong = against(silent, 200).1;
        assert!(began.elapsed() > PATIENCE);
        assert!(wrong > 0);
    }
}
