//! `VIRTIO_F_IN_ORDER`: one completion for a whole batch, and completions out of order, over both formats.

mod ring_support;

use netbuf::Burst;
use netdev::DropCause::{BadDescriptor, Oversize};
use netdev::{Offloads, QueueCounters, RingFormat};
use ring_support::frame;
use ring_support::pair::{Machine, Pair};
use ring_support::scripted::Scripted;
use virtio::ring::RingOptions;

const ENTRIES: u32 = 16;
const FORMATS: [RingFormat; 2] = [RingFormat::Split, RingFormat::Packed];

fn options() -> RingOptions {
    RingOptions { in_order: true, ..RingOptions::NONE }
}

fn whole(machine: &Machine, pair: Pair) {
    drop(pair);
    let pool = &machine.guest_pool;
    assert_eq!(pool.available(), pool.buffers());
}

#[test]
fn a_batch_of_sent_packets_is_freed_by_its_last_id() {
    for format in FORMATS {
        let machine = Machine::new();
        let mut pair = Pair::with(format, &machine, ENTRIES, options(), 1518);
        let mut device = Scripted::new(format, &machine, &pair, false);
        let counters = QueueCounters::default();
        let mut position = 0;
        for round in 0..100 {
            let count = 1 + round % 16;
            let mut burst: Burst = (0..count)
                .map(|number| machine.guest_pool.copy_from(&frame(number, 60)).unwrap())
                .collect();
            assert_eq!(pair.driver_tx.transmit(&mut burst, &counters).taken, count.into());
            // All in one, or in two batches, or one by one.
            let pieces = match round % 3 {
                0 => vec![u32::from(count)],
                1 => vec![u32::from(count / 2), u32::from(count - count / 2)],
                _ => vec![1; count.into()],
            };
            let free = machine.guest_pool.available();
            let ids: Vec<_> =
                (0..count).map(|at| device.available(position + u32::from(at)).id).collect();
            let mut done = 0;
            for piece in pieces.into_iter().filter(|&piece| piece > 0) {
                done += piece;
                device.complete(ids[done as usize - 1], 0, piece);
            }
            position += done;
            let _ = pair.driver_tx.transmit(&mut burst, &counters);
            assert_eq!(
                machine.guest_pool.available(),
                free + usize::from(count),
                "{format} {round}"
            );
        }
        assert_eq!(counters.snapshot().drops.total(), 0);
        whole(&machine, pair);
    }
}

/// Buffers that were skipped count as full (virtio 1.2, 2.7.9).
#[test]
fn a_batch_of_received_buffers() {
    for format in FORMATS {
        let machine = Machine::new();
        let mut pair = Pair::with(format, &machine, ENTRIES, options(), 2048);
        let _ = pair.driver_rx.refill();
        let mut device = Scripted::new(format, &machine, &pair, true);
        let counters = QueueCounters::default();
        let mut out = Burst::new();
        for round in 0..60u8 {
            let count = 1 + u32::from(round % 9);
            for step in 0..count {
                let addr = device.available(device.at + step).addr;
                let len = if step + 1 < count { 2048 } else { 100 };
                device.write(addr + 12, &frame(round, len));
            }
            let last = device.available(device.at + count - 1).id;
            device.complete(last, 112, count);
            // Room for some of the batch only: the rest comes next time.
            let mut got = Vec::new();
            for room in [3, 32] {
                let mut burst = Burst::new();
                machine.host_pool.alloc_burst(&mut burst, 32 - room.min(32));
                let before = burst.len();
                let _ = pair.driver_rx.receive(&mut burst, &counters);
                got.extend(burst.drain(before..).map(|packet| packet.bytes().to_vec()));
            }
            assert_eq!(got.len(), count as usize, "{format} {round}");
            let (last, full) = got.split_last().unwrap();
            assert!(full.iter().all(|bytes| *bytes == frame(round, 2048)));
            assert_eq!(*last, frame(round, 100));
            let _ = pair.driver_rx.refill();
            // And one by one.
            for number in 0..5 {
                device.fill(&[&[0; 12][..], &frame(number, 64)].concat());
            }
            assert_eq!(pair.driver_rx.receive(&mut out, &counters), 5);
            out.clear();
            let _ = pair.driver_rx.refill();
        }
        assert_eq!(counters.snapshot().drops.total(), 0);
        drop(out);
        whole(&machine, pair);
    }
}

#[test]
fn a_merged_frame_as_one_batch() {
    for format in FORMATS {
        let machine = Machine::new();
        let merging = RingOptions { mergeable: true, offloads: Offloads::RX_CHAINS, ..options() };
        let mut pair = Pair::with(format, &machine, ENTRIES, merging, 9014);
        let _ = pair.driver_rx.refill();
        let mut device = Scripted::new(format, &machine, &pair, true);
        let counters = QueueCounters::default();
        let mut out = Burst::new();
        for round in 0..40 {
            let bytes = [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0][..], &frame(round, 5000)].concat();
            for (at, piece) in (0..).zip(bytes.chunks(2060)) {
                device.write(device.available(device.at + at).addr, piece);
            }
            let last = device.available(device.at + 2).id;
            device.complete(last, 5012 - 2 * 2060, 3);
            assert_eq!(pair.driver_rx.receive(&mut out, &counters), 1, "{format} {round}");
            let packet = out.pop().unwrap();
            let mut got = vec![0; packet.len()];
            packet.copy_to(&mut got);
            assert!(got == frame(round, 5000), "{format} {round}");
            let _ = pair.driver_rx.refill();
        }
        assert_eq!(counters.snapshot().drops.total(), 0);
        whole(&machine, pair);
    }
}

/// What a device that promised order finishes out of it is a lie: counted, nothing freed that it still has.
#[test]
fn in_order_completing_out_of_order() {
    for format in FORMATS {
        // Of four sent packets the device names one that is not outstanding, or one that is finished. (Two that are
        // exchanged look like a batch, and are all the same.)
        for lie in [[7, 0], [15, 1], [0, 0], [0xffff, 0], [16, 0]] {
            let machine = Machine::new();
            let mut pair = Pair::with(format, &machine, ENTRIES, options(), 1518);
            let mut device = Scripted::new(format, &machine, &pair, false);
            let counters = QueueCounters::default();
            let mut burst: Burst = (0..4)
                .map(|number| machine.guest_pool.copy_from(&frame(number, 60)).unwrap())
                .collect();
            assert_eq!(pair.driver_tx.transmit(&mut burst, &counters).taken, 4);
            let free = machine.guest_pool.available();
            lie.into_iter().for_each(|id| device.complete(id, 0, 1));
            let _ = pair.driver_tx.transmit(&mut burst, &counters);
            let drops = counters.snapshot().drops;
            assert!(drops[BadDescriptor] >= 1, "{format} {lie:?}");
            assert_eq!(drops.total(), drops[BadDescriptor]);
            assert!(machine.guest_pool.available() - free <= 2, "{format} {lie:?}");
            whole(&machine, pair);
        }
        for ids in [[5, 4, 3], [9, 0, 1], [0, 0, 1], [2, 1, 0]] {
            let machine = Machine::new();
            let mut pair = Pair::with(format, &machine, ENTRIES, options(), 1518);
            let _ = pair.driver_rx.refill();
            let mut device = Scripted::new(format, &machine, &pair, true);
            let counters = QueueCounters::default();
            ids.into_iter().for_each(|id| device.complete(id, 72, 1));
            let mut out = Burst::new();
            for _ in 0..5 {
                let _ = pair.driver_rx.receive(&mut out, &counters);
                let _ = pair.driver_rx.refill();
            }
            let drops = counters.snapshot().drops;
            // Skipped buffers count as full, and are larger than the largest frame.
            assert!(drops[BadDescriptor] + drops[Oversize] >= 1, "{format} {ids:?}");
            assert_eq!(drops.total(), drops[BadDescriptor] + drops[Oversize]);
            drop(out);
            whole(&machine, pair);
        }
    }
}
