//! A second thread rewrites descriptors, headers and both rings while they are processed (the family of
//! CVE-2020-14374): no crash, no frame outside its bounds, no buffer lost, and good traffic afterwards.

mod ring_support;

use std::sync::atomic::{AtomicBool, Ordering};

use netbuf::Burst;
use ring_support::{
    END, Guest, HIGH, Headers, LOW, any_packet, frame, is_sound, mutated_options, pool,
};
use virtio::ring::split::{Desc, DeviceOptions, Indexes, SplitDevice, SplitRing, flags};

const ENTRIES: u16 = 32;
const BURSTS: u32 = 30_000;

struct Mutated(SplitRing);

// SAFETY: a view of memory that is never given back; both sides use volatile words and atomics only.
unsafe impl Send for Mutated {}

impl Mutated {
    fn run(self, headers: &Headers, stop: &AtomicBool, direction: u16) {
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let below = |random: u64, limit: u16| u16::try_from(random % u64::from(limit)).unwrap_or(0);
        while !stop.load(Ordering::Relaxed) {
            let (choice, at) = (next(), below(next(), ENTRIES));
            headers.flip(next());
            match choice % 8 {
                0 => self.0.set_avail(at, below(next(), 40)),
                1..4 => {
                    let len =
                        [0, 1, 12, 26, 72, 72, 1530, 4096, u32::MAX][usize::from(below(next(), 9))];
                    let addr =
                        [LOW, HIGH - 40, HIGH, END - 100, next()][usize::from(below(next(), 5))];
                    let flags = [
                        direction,
                        direction,
                        flags::DESC_NEXT | direction,
                        below(next(), u16::MAX),
                    ][usize::from(below(next(), 4))];
                    self.0.set_desc(at, Desc { addr, len, flags, next: below(next(), 40) });
                }
                _ => {
                    let good = Desc { addr: LOW, len: 72, flags: direction, next: 0 };
                    self.0.set_desc(at, good);
                }
            }
        }
    }
}

/// Runs `burst` against a guest that another thread is spoiling, and publishes more entries each time.
fn spoiled(direction: u16, mut burst: impl FnMut(&mut Guest, u32)) -> Guest {
    let mut guest = Guest::new(ENTRIES);
    let stop = AtomicBool::new(false);
    let (mutated, headers) = (Mutated(guest.ring), Headers::new(&guest.map));
    std::thread::scope(|scope| {
        scope.spawn({
            let stop = &stop;
            move || mutated.run(&headers, stop, direction)
        });
        for round in 0..BURSTS {
            for head in 0..8 {
                guest.publish(head);
            }
            burst(&mut guest, round);
        }
        stop.store(true, Ordering::Relaxed);
    });
    guest
}

/// The device half of a ring whose first eight entries are already published.
fn first_device(guest: &Guest, options: DeviceOptions) -> SplitDevice {
    SplitDevice::new(guest.ring, Indexes::default(), options)
}

#[test]
fn receive_while_a_second_thread_flips_descriptors_headers_and_rings() {
    for options in mutated_options() {
        receive_spoiled(options);
    }
}

fn receive_spoiled(options: DeviceOptions) {
    let pool = pool(128);
    let mut device = None;
    let mut guest = spoiled(0, |guest, _| {
        let device = device.get_or_insert_with(|| first_device(guest, options));
        let before = guest.counters.snapshot();
        let out = guest.receive(device, &pool);
        for packet in &out {
            assert!(is_sound(packet, &options), "{packet:?}");
        }
        let after = guest.counters.snapshot();
        let handled =
            (after.packets - before.packets) + (after.drops.total() - before.drops.total());
        assert_eq!(after.packets - before.packets, out.len() as u64);
        assert!(handled <= 32);
        assert!(!device.is_broken());
    });
    let mut device = device.unwrap();
    let stats = guest.counters.snapshot();
    assert!(stats.packets > 0 && stats.drops.total() > 0, "{stats:?}");
    guest.receive(&mut device, &pool);
    guest.send(0, &frame(1, 60));
    assert_eq!(guest.receive(&mut device, &pool)[0].bytes(), frame(1, 60));
    assert_eq!(pool.available(), 128);
}

#[test]
fn transmit_while_a_second_thread_flips_descriptors_and_rings() {
    for options in mutated_options() {
        transmit_spoiled(options);
    }
}

fn transmit_spoiled(options: DeviceOptions) {
    let pool = pool(64);
    let mut device = None;
    let guest = spoiled(flags::DESC_WRITE, |guest, round| {
        let device = device.get_or_insert_with(|| first_device(guest, options));
        let mut packets: Burst = (0..8).map(|at| any_packet(&pool, round + at)).collect();
        let taken = device.transmit(&guest.map, &mut packets, &guest.counters);
        assert_eq!(packets.len(), 8 - taken);
        // What stays when packets were larger than every buffer stays for the next burst: take the rest now.
        while guest.ring.load_avail_index(Ordering::Acquire) != device.indexes().avail {
            let mut small: Burst = pool.copy_from(&frame(0, 14)).into_iter().collect();
            if small.is_empty() || device.transmit(&guest.map, &mut small, &guest.counters) == 0 {
                break;
            }
        }
    });
    let stats = guest.counters.snapshot();
    assert!(stats.packets > 0 && stats.drops.total() > 0, "{stats:?}");
    assert_eq!(pool.available(), 64);
}
