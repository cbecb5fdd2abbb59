//! A back end whose ring was broken in mid-traffic says so in its status (NEEDS_RESET), and our front end starts again on
//! the same connection: again and again, in both formats, and no buffer of either side is lost.

mod support;
#[path = "support/user.rs"]
mod user;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use netdev::{Burst, Config, Device, DropCause, RingFormat};
use support::{PATIENCE, frame, pool, socket_path};
use user::{FORMATS, User};
use vhost_user::VhostUserBackend;

/// With each round the buffers of two rings could be lost, of which the pool has eight.
const ROUNDS: u16 = 24;

/// Frames that must come back after each.
const FRAMES: u16 = 100;

/// A back end on a thread of its own (who resets waits for it) that sends back what it gets; in the end, how many of its
/// rings were broken, and how many of its buffers are missing.
fn echo(path: PathBuf, stop: Arc<AtomicBool>) -> JoinHandle<(u64, usize)> {
    std::thread::spawn(move || {
        let pool = pool(1024);
        let device = Box::new(VhostUserBackend::listen(&path).unwrap());
        let mut port = device.start(&Config::default(), &pool).unwrap();
        let mut burst = Burst::new();
        while !stop.load(Ordering::Relaxed) {
            port.rx[0].rx_burst(&mut burst);
            port.tx[0].tx_burst(&mut burst);
        }
        let broken = port.tx[0].stats().drops[DropCause::RingBroken];
        drop((port.stop(), burst));
        (broken, pool.buffers() - pool.available())
    })
}

/// The frame of a round; no two of a test are alike.
fn numbered(round: u16, number: u16) -> Vec<u8> {
    let mut frame = frame(usize::from(number), 60 + usize::from(number));
    frame[14..16].copy_from_slice(&round.to_be_bytes());
    frame[16..18].copy_from_slice(&number.to_be_bytes());
    frame
}

impl User {
    fn send(&mut self, frame: &[u8]) -> bool {
        let mut burst: Burst = self.pool.copy_from(frame).into_iter().collect();
        self.port.tx[0].tx_burst(&mut burst);
        burst.is_empty()
    }

    /// Sends the frames of a round and takes them back, in order; what is left of earlier ones may come before.
    fn passes(&mut self, round: u16) {
        let deadline = Instant::now() + PATIENCE;
        let (mut sent, mut back, mut burst) = (0, 0, Burst::new());
        while back < FRAMES {
            assert!(Instant::now() < deadline, "round {round}: {back} of {sent} came back");
            if sent < FRAMES && self.send(&numbered(round, sent)) {
                sent += 1;
            }
            self.port.rx[0].rx_burst(&mut burst);
            for packet in burst.drain(..).filter(|got| got.bytes()[14..16] == round.to_be_bytes()) {
                assert_eq!(packet.bytes(), numbered(round, back));
                back += 1;
            }
        }
    }

    /// Breaks the ring and sends into it until the device has been down and is up again. (A device that knows of enough
    /// buffers does not look at the ring's index, and a refill makes that good: so it is broken until the device knows.)
    fn breaks_and_recovers(&mut self, format: RingFormat) {
        let deadline = Instant::now() + PATIENCE;
        let (mut burst, mut was_down) = (Burst::new(), false);
        loop {
            assert!(Instant::now() < deadline, "{:?}", self.monitor.last_end());
            let up = self.port.control.link().up;
            if up && was_down {
                return;
            }
            was_down |= !up;
            if !was_down {
                self.break_receive_ring(format);
            }
            self.send(&numbered(u16::MAX, 0));
            self.port.rx[0].rx_burst(&mut burst);
            burst.clear();
        }
    }
}

fn recovers(format: RingFormat) {
    let path = socket_path(&format!("recovery-{format}"));
    let stop = Arc::new(AtomicBool::new(false));
    let back_end = echo(path.clone(), Arc::clone(&stop));
    let mut user = User::connect_with(&path, format);
    let deadline = Instant::now() + PATIENCE;
    while !user.port.control.link().up {
        assert!(Instant::now() < deadline, "no link");
    }
    user.passes(0);
    for round in 1..=ROUNDS {
        user.breaks_and_recovers(format);
        user.passes(round);
    }
    assert_eq!(user.monitor.last_end(), None);
    assert_eq!((user.monitor.connections(), user.monitor.violations()), (1, 0));
    drop(user.port.stop());
    assert_eq!(user.pool.available(), user.pool.buffers());
    stop.store(true, Ordering::Relaxed);
    assert_eq!(back_end.join().unwrap(), (ROUNDS.into(), 0), "broken once each, nothing missing");
}

#[test]
fn a_broken_ring_is_told_of_and_the_device_reset_in_mid_traffic_round_after_round() {
    FORMATS.into_iter().for_each(recovers);
}
