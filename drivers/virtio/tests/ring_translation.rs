//! Device halves over addresses that a platform translates: what is not mapped yet stays in the ring, in order, until it
//! is or never will be; and a buffer over several ranges is one buffer.

mod ring_support;

use netbuf::Burst;
use netdev::DropCause::BadDescriptor;
use ring_support::{Guest, HIGH, LOW, OPTIONS, frame, packed, pool};
use virtio::memory::{Access, MemoryMap, Miss, Ranges};
use virtio::ring::packed::flags as packed_flags;
use virtio::ring::split::{Desc, DeviceOptions, flags};
use virtio::ring::{DeviceHalf, RingOptions};

const FRAMES: u8 = 20;
const PAGE: u64 = 2048;

/// A driver of either format, that names one buffer a chain.
enum Driver {
    Split(Guest),
    Packed(packed::Guest),
}

impl Driver {
    fn each() -> [Self; 2] {
        [Self::Split(Guest::new(64)), Self::Packed(packed::Guest::new(64))]
    }

    fn device(&self, options: DeviceOptions) -> DeviceHalf {
        match self {
            Self::Split(guest) => guest.device(options).into(),
            Self::Packed(guest) => guest.device(options).into(),
        }
    }

    fn memory(&self) -> &Guest {
        match self {
            Self::Split(guest) => guest,
            Self::Packed(guest) => &guest.memory,
        }
    }

    fn publish(&mut self, number: u8, addr: u64, len: u32, write: bool, table: bool) {
        let write = if write { flags::DESC_WRITE } else { 0 };
        let table = if table { flags::DESC_INDIRECT } else { 0 };
        match self {
            Self::Split(guest) => {
                guest
                    .ring
                    .set_desc(number.into(), Desc { addr, len, flags: write | table, next: 0 });
                guest.publish(number.into());
            }
            Self::Packed(guest) => guest.publish(number.into(), &[(addr, len, write | table)]),
        }
    }

    fn used(&mut self) -> Option<u32> {
        match self {
            Self::Split(guest) => guest.used().map(|elem| elem.len),
            Self::Packed(guest) => guest.used(1).map(|(_, len)| len),
        }
    }

    fn drops(&self) -> (u64, u64) {
        match self {
            Self::Split(guest) => (guest.drops(BadDescriptor), guest.all_drops()),
            Self::Packed(guest) => guest.drops(BadDescriptor),
        }
    }

    fn counters(&self) -> &netdev::QueueCounters {
        match self {
            Self::Split(guest) => &guest.counters,
            Self::Packed(guest) => &guest.counters,
        }
    }

    /// The guest's memory but for some pages, each page a range by itself.
    fn pages_without(&self, missing: &[u64]) -> Ranges {
        self.memory().ranges(PAGE, missing)
    }
}

fn page(number: u8) -> u64 {
    LOW + u64::from(number) * PAGE
}

/// Frames that the device half takes now.
fn take(driver: &Driver, device: &mut DeviceHalf, map: &MemoryMap) -> Vec<Vec<u8>> {
    let pool = pool(64);
    let mut out = Burst::new();
    device.receive(map, &pool, &mut out, driver.counters(), 0);
    out.drain(..)
        .map(|packet| {
            let mut bytes = vec![0; packet.len()];
            packet.copy_to(&mut bytes);
            bytes
        })
        .collect()
}

/// Bursts in which any one frame lies in a page that is not known, one after another.
#[test]
fn a_frame_at_an_unknown_address_waits_in_the_ring() {
    for missing in 0..FRAMES {
        for mut driver in Driver::each() {
            let mut device = driver.device(OPTIONS);
            for number in 0..FRAMES {
                driver.memory().write(page(number), &[0; 12]);
                driver.memory().write(page(number) + 12, &frame(number, 100));
                driver.publish(number, page(number), 112, false, false);
            }
            let without = driver.pages_without(&[page(missing)]);
            let mut map = MemoryMap::translated(without.clone(), Access::Read, without.clone());
            let mut frames = take(&driver, &mut device, &map);
            for _ in 0..3 {
                assert_eq!(frames.len(), usize::from(missing));
                let miss = Miss { address: page(missing), access: Access::Read };
                assert_eq!(map.miss(), Some(miss));
                frames.extend(take(&driver, &mut device, &map));
                // The same again, since what came does not help.
                map.retranslate(without.clone(), without.clone());
                frames.extend(take(&driver, &mut device, &map));
            }
            let all = driver.pages_without(&[]);
            map.retranslate(all.clone(), all);
            frames.extend(take(&driver, &mut device, &map));
            let expected: Vec<_> = (0..FRAMES).map(|number| frame(number, 100)).collect();
            assert_eq!(frames, expected);
            assert_eq!(driver.drops(), (0, 0));
            assert!((0..FRAMES).all(|_| driver.used() == Some(0)) && driver.used().is_none());
        }
    }
}

#[test]
fn a_frame_for_a_buffer_at_an_unknown_address_is_not_taken() {
    for missing in 0..FRAMES {
        for mut driver in Driver::each() {
            let mut device = driver.device(OPTIONS);
            for number in 0..FRAMES {
                driver.publish(number, page(number), 2048, true, false);
            }
            let (all, without) =
                (driver.pages_without(&[]), driver.pages_without(&[page(missing)]));
            // Read it may be, but that does not help.
            let mut map = MemoryMap::translated(without, Access::Write, all.clone());
            let pool = pool(64);
            let mut packets: Burst =
                (0..FRAMES).map(|number| pool.copy_from(&frame(number, 100)).unwrap()).collect();
            for expected in [usize::from(missing), 0, 0] {
                let sent = device.transmit(&map, &mut packets, driver.counters());
                assert_eq!(sent, expected);
                let miss = Miss { address: page(missing), access: Access::Write };
                assert_eq!(map.miss(), Some(miss));
            }
            assert_eq!(packets.len(), usize::from(FRAMES - missing));
            map.retranslate(all.clone(), all);
            device.transmit(&map, &mut packets, driver.counters());
            assert!(packets.is_empty());
            assert_eq!(driver.drops(), (0, 0));
            for number in 0..FRAMES {
                assert_eq!(driver.used(), Some(112));
                assert_eq!(driver.memory().read(page(number) + 12, 100), frame(number, 100));
            }
        }
    }
}

#[test]
fn a_refused_address_costs_its_frame_and_no_other() {
    for mut driver in Driver::each() {
        let mut device = driver.device(OPTIONS);
        for number in 0..FRAMES {
            driver.memory().write(page(number), &[0; 12]);
            driver.memory().write(page(number) + 12, &frame(number, 100));
            driver.publish(number, page(number), 112, false, false);
        }
        let ranges = driver.pages_without(&[page(3), page(4), page(11)]);
        let map = MemoryMap::translated(ranges.clone(), Access::Read, ranges);
        let mut frames = take(&driver, &mut device, &map);
        for (number, before) in [(3, 3), (4, 3), (11, 9)] {
            assert_eq!(frames.len(), before);
            assert_eq!(map.miss(), Some(Miss { address: page(number), access: Access::Read }));
            map.refuse(page(number));
            frames.extend(take(&driver, &mut device, &map));
        }
        let good = (0..FRAMES).filter(|number| ![3, 4, 11].contains(number));
        assert_eq!(frames, good.map(|number| frame(number, 100)).collect::<Vec<_>>());
        assert_eq!(driver.drops(), (3, 3));
        assert!((0..FRAMES).all(|_| driver.used() == Some(0)));
    }
}

/// Pages of which neighbours here are no neighbours there, one of them unknown at first.
#[test]
fn a_buffer_over_several_ranges_is_one_buffer() {
    let at = HIGH - 700;
    for missing in [None, Some(HIGH - PAGE), Some(HIGH)] {
        for mut driver in Driver::each() {
            let mut device = driver.device(OPTIONS);
            driver.memory().write(at, &[0; 12]);
            driver.memory().write(at + 12, &frame(9, 1400));
            driver.publish(0, at, 1412, false, false);
            let all = driver.pages_without(&[]);
            let some = driver.pages_without(missing.as_slice());
            let mut map = MemoryMap::translated(some.clone(), Access::Read, some);
            if let Some(page) = missing {
                assert!(take(&driver, &mut device, &map).is_empty());
                assert_eq!(map.miss().map(|miss| miss.address), Some(page.max(at)));
                map.retranslate(all.clone(), all);
            }
            assert_eq!(take(&driver, &mut device, &map), [frame(9, 1400)]);
            assert_eq!(driver.drops(), (0, 0));
        }
        for mut driver in Driver::each() {
            let mut device = driver.device(OPTIONS);
            driver.publish(0, at, 1600, true, false);
            let all = driver.pages_without(&[]);
            let some = driver.pages_without(missing.as_slice());
            let mut map = MemoryMap::translated(some.clone(), Access::Write, some);
            let pool = pool(64);
            let mut packets: Burst =
                [pool.copy_from(&frame(9, 1400)).unwrap()].into_iter().collect();
            if let Some(page) = missing {
                assert_eq!(device.transmit(&map, &mut packets, driver.counters()), 0);
                assert_eq!(map.miss().map(|miss| miss.address), Some(page.max(at)));
                map.retranslate(all.clone(), all);
            }
            assert_eq!(device.transmit(&map, &mut packets, driver.counters()), 1);
            assert_eq!(driver.memory().read(at + 12, 1400), frame(9, 1400));
            assert_eq!((driver.used(), driver.drops()), (Some(1412), (0, 0)));
        }
    }
}

/// A table is read, also on a ring whose buffers are written.
#[test]
fn an_indirect_table_at_an_unknown_address_waits_like_a_buffer() {
    for access in [Access::Read, Access::Write] {
        for mut driver in Driver::each() {
            let write = access == Access::Write;
            let ring = RingOptions::INDIRECT;
            let mut device = driver.device(DeviceOptions { ring, ..OPTIONS });
            let write_flag = if write { flags::DESC_WRITE } else { 0 };
            // A packed table has the flags where a split one has `next`.
            let [flags, next] = match driver {
                Driver::Split(_) => [write_flag, 0],
                Driver::Packed(_) => [0, write_flag],
            };
            let buffer = Desc { addr: page(8), len: 1000, flags, next };
            driver.memory().write(page(8), &[0; 12]);
            driver.memory().write(page(8) + 12, &frame(1, 988));
            driver.memory().table(page(2), &[buffer]);
            driver.publish(0, page(2), 16, false, true);
            let (all, some) = (driver.pages_without(&[]), driver.pages_without(&[page(2)]));
            let mut map = MemoryMap::translated(all.clone(), access, some);
            let pool = pool(8);
            let mut packets: Burst =
                [pool.copy_from(&frame(1, 988)).unwrap()].into_iter().collect();
            for known in [false, true] {
                if known {
                    map.retranslate(all.clone(), all.clone());
                }
                if write {
                    let sent = device.transmit(&map, &mut packets, driver.counters());
                    assert_eq!(sent, usize::from(known));
                } else {
                    let frames = take(&driver, &mut device, &map);
                    assert_eq!(frames, vec![frame(1, 988); usize::from(known)]);
                }
                let miss = Miss { address: page(2), access: Access::Read };
                assert_eq!(map.miss(), (!known).then_some(miss));
            }
            assert_eq!(driver.drops(), (0, 0));
        }
    }
}

const _: () = assert!(packed_flags::DESC_WRITE == flags::DESC_WRITE);
const _: () = assert!(packed_flags::DESC_INDIRECT == flags::DESC_INDIRECT);
