//! Mergeable receive buffers in the device half, both formats: a frame goes over as many of the driver's buffers as it
//! takes, all of them or none.

mod ring_support;

use netbuf::{Burst, Netbuf, Pool};
use netdev::DropCause::{BadDescriptor, Oversize};
use ring_support::either::{Either, FORMATS};
use ring_support::{END, HIGH, frame, pool};
use virtio::ring::RingOptions;
use virtio::ring::split::DeviceOptions;

const BUFFER: u32 = 2048;

fn options(mergeable: bool) -> DeviceOptions {
    DeviceOptions { ring: RingOptions { mergeable, ..RingOptions::NONE }, max_frame: 9018 }
}

fn each(entries: u16, mergeable: bool, case: impl Fn(Either, Pool)) {
    for format in FORMATS {
        case(Either::new(format, entries, options(mergeable)), pool(64));
    }
}

fn place(id: u16) -> u64 {
    HIGH + u64::from(BUFFER) * u64::from(id)
}

fn post(guest: &mut Either, id: u16) {
    guest.publish(id, &[(place(id), BUFFER)], true);
}

/// A packet of several segments.
fn packet(pool: &Pool, number: u8, len: usize) -> Netbuf {
    let bytes = frame(number, len);
    let mut pieces = bytes.chunks(1500).map(|piece| pool.copy_from(piece).unwrap());
    let mut packet = pieces.next().unwrap();
    pieces.for_each(|piece| packet.chain(piece));
    packet
}

/// The frame that starts in buffer `id` and goes on in those behind.
fn received(guest: &mut Either, id: u16, len: usize) -> Vec<u8> {
    let (mut bytes, mut buffers) = (Vec::new(), 0);
    while bytes.len() < 12 + len {
        let (used, count) = guest.used(1).expect("a further buffer");
        assert_eq!(used, id + buffers);
        bytes.extend(guest.read(place(used), count as usize));
        buffers += 1;
    }
    let [low, high] = buffers.to_le_bytes();
    assert_eq!(bytes[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, low, high]);
    bytes.split_off(12)
}

#[test]
fn frames_of_every_size_over_as_many_buffers_as_they_take() {
    for len in [2035, 2036, 2037, 4083, 4084, 4085, 4096, 9000, 9018] {
        each(16, true, |mut guest, pool| {
            for id in 0..8 {
                post(&mut guest, id);
            }
            let sent = [60, len, 64].into_iter().zip(1..);
            let mut packets: Burst = sent.map(|(len, number)| packet(&pool, number, len)).collect();
            assert_eq!((guest.transmit(&mut packets), packets.len()), (3, 0));
            let buffers = u16::try_from((12 + len).div_ceil(BUFFER as usize)).unwrap();
            assert_eq!(received(&mut guest, 0, 60), frame(1, 60));
            assert_eq!(received(&mut guest, 1, len), frame(2, len), "{:?}", guest.format);
            assert_eq!(received(&mut guest, 1 + buffers, 64), frame(3, 64));
            assert_eq!((guest.used(1), pool.available()), (None, 64));
        });
    }
}

#[test]
fn mergeable_receive_running_out_halfway() {
    each(16, true, |mut guest, pool| {
        let mut packets: Burst =
            [packet(&pool, 1, 5000), packet(&pool, 2, 60)].into_iter().collect();
        for id in 0..2 {
            post(&mut guest, id);
            // Nothing is published, and nothing overtakes.
            assert_eq!((guest.transmit(&mut packets), packets.len()), (0, 2));
            assert_eq!(guest.used(1), None);
        }
        post(&mut guest, 2);
        assert_eq!(guest.transmit(&mut packets), 1);
        assert_eq!(received(&mut guest, 0, 5000), frame(1, 5000));
        post(&mut guest, 3);
        assert_eq!(guest.transmit(&mut packets), 1);
        assert_eq!(received(&mut guest, 3, 60), frame(2, 60));
        assert_eq!((guest.drops(Oversize), pool.available()), ((0, 0), 64));
    });
}

#[test]
fn a_frame_that_the_whole_ring_cannot_take_is_dropped() {
    each(4, true, |mut guest, pool| {
        for id in 0..4 {
            post(&mut guest, id);
        }
        let mut packets: Burst =
            [packet(&pool, 1, 9000), packet(&pool, 2, 60)].into_iter().collect();
        assert_eq!((guest.transmit(&mut packets), packets.len()), (2, 0));
        assert_eq!(guest.drops(Oversize), (1, 1));
        assert_eq!(received(&mut guest, 0, 60), frame(2, 60));
        assert_eq!(pool.available(), 64);
    });
}

#[test]
fn a_frame_larger_than_a_buffer_that_is_not_mergeable_is_dropped() {
    each(16, false, |mut guest, pool| {
        for id in 0..4 {
            post(&mut guest, id);
        }
        let mut packets: Burst =
            [packet(&pool, 1, 5000), packet(&pool, 2, 60)].into_iter().collect();
        assert_eq!(guest.transmit(&mut packets), 2);
        assert_eq!(guest.drops(Oversize), (1, 1));
        let (id, len) = guest.used(1).unwrap();
        assert_eq!(len, 72);
        assert_eq!(guest.read(place(id) + 12, 60), frame(2, 60));
    });
}

/// The first buffer is good and the second breaks a rule: the frame is lost, no part of it is shown as one, and what
/// comes behind it arrives.
#[test]
fn a_bad_buffer_in_the_middle_of_a_frame() {
    for (addr, len, writable) in [
        (END - 100, 2048, true),
        (u64::MAX, 2048, true),
        (place(1), 0, true),
        (place(1), 2048, false),
    ] {
        each(16, true, |mut guest, pool| {
            post(&mut guest, 0);
            guest.publish(1, &[(addr, len)], writable);
            for id in 2..6 {
                post(&mut guest, id);
            }
            let mut packets: Burst =
                [packet(&pool, 1, 5000), packet(&pool, 2, 60)].into_iter().collect();
            assert_eq!(guest.transmit(&mut packets), 2);
            assert_eq!(guest.drops(BadDescriptor), (1, 1));
            assert_eq!((guest.used(1), guest.used(1)), (Some((0, 0)), Some((1, 0))));
            assert_eq!(received(&mut guest, 2, 60), frame(2, 60));
            assert_eq!((guest.used(1), pool.available()), (None, 64));
        });
    }
}

#[test]
fn the_limit_is_the_largest_frame_whatever_the_buffers() {
    each(16, true, |mut guest, pool| {
        for id in 0..8 {
            post(&mut guest, id);
        }
        let mut packets: Burst = [packet(&pool, 1, 9019)].into_iter().collect();
        assert_eq!((guest.transmit(&mut packets), guest.drops(Oversize)), (1, (1, 1)));
        assert_eq!(guest.used(1), None);
    });
}
