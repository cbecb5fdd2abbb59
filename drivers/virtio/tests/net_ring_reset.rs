//! One queue is reset while the others go on (`VIRTIO_F_RING_RESET`): with other sizes, after the device has broken it,
//! and by devices that do not do what they offer. No buffer is ever lost.
#![allow(clippy::cast_possible_truncation, reason = "test data")]

mod net_fake;

use net_fake::{Answer, BUFFERS, Bench, Fake, QueueReset, USUAL};
use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::{
    Burst, Config, Device, DropCause, Offloads, QueueMut, RingFeatures, StartFailure, call_counter,
    trace,
};
use virtio::features::Features;
use virtio::transport::DeviceStatus;

/// Entries of each ring of the device.
const ENTRIES: u16 = 16;

/// A device of two pairs, and the control queue behind them.
fn able(does: QueueReset) -> Fake {
    Fake::with(|registers| {
        let features = Features::CTRL_VQ | Features::MQ | Features::RING_RESET;
        registers.features = (USUAL | features | Features::MRG_RXBUF).bits();
        registers.queue_sizes = vec![ENTRIES.into(); 5];
        registers.config[8..10].copy_from_slice(&2u16.to_le_bytes());
        registers.control = Some((4, Answer::Does));
        registers.queue_reset = Some(does);
    })
}

fn bench(does: QueueReset) -> Bench {
    let config = Config {
        rx_queues: 2,
        tx_queues: 2,
        ring_features: RingFeatures::RING_RESET,
        ..Config::default()
    };
    Bench::with(able(does), &config)
}

/// Buffers of the pool when both receive rings are full.
const LEFT: usize = BUFFERS - 2 * ENTRIES as usize;

impl Bench {
    fn reset_rx(&mut self, queue: u16, entries: Option<u16>) -> Result<(), StartFailure> {
        let done = self.port.control.reset_queue(
            queue,
            QueueMut::Rx(&mut self.port.rx[usize::from(queue)]),
            entries,
        );
        if queue == 0 && done.is_ok() {
            self.forget(0);
        }
        done
    }

    fn reset_tx(&mut self, queue: u16, entries: Option<u16>) -> Result<(), StartFailure> {
        let done = self.port.control.reset_queue(
            queue,
            QueueMut::Tx(&mut self.port.tx[usize::from(queue)]),
            entries,
        );
        if queue == 0 && done.is_ok() {
            self.forget(1);
        }
        done
    }

    /// Buffers that neither a receive ring nor the test's device has. (Sent ones come back lazily.)
    fn left(&mut self) -> usize {
        self.port.tx[0].tx_burst(&mut Burst::new());
        self.pool.available()
    }

    fn entries(&self, queue: usize) -> u16 {
        self.fake.ring(queue).size().get()
    }
}

#[test]
fn every_size_in_turn_and_the_other_queues_go_on() {
    let mut bench = bench(QueueReset::Does);
    assert!(bench.port.info.ring_features.contains(RingFeatures::RING_RESET));
    bench.assert_flows();
    for entries in [8, 1, 16, 2, 4, 16] {
        // Something is under way in each queue that is reset, and is lost with it.
        bench.deliver(&[1; 60]);
        assert_eq!(bench.send_frame(&[2; 60]), 1);
        let at = bench.fake.ring(0).addresses();
        bench.reset_rx(0, Some(entries)).unwrap();
        assert_eq!((bench.entries(0), bench.entries(2)), (entries, ENTRIES));
        assert_eq!(bench.fake.ring(0).addresses()[0], at[0], "where it was");
        assert_eq!(
            bench.fake.ring(0).load_avail_index(std::sync::atomic::Ordering::Acquire),
            entries
        );
        bench.reset_tx(0, Some(entries)).unwrap();
        assert_eq!((bench.entries(1), bench.entries(3)), (entries, ENTRIES));
        assert_eq!(bench.pool.available(), LEFT + usize::from(ENTRIES - entries), "{entries}");
        bench.assert_flows();
        // As many as there are.
        bench.reset_rx(0, None).unwrap();
        bench.reset_tx(0, None).unwrap();
        assert_eq!((bench.entries(0), bench.entries(1)), (entries, entries));
        // The second pair's rings; the first one's go on.
        bench.reset_rx(1, Some(entries)).unwrap();
        bench.reset_tx(1, Some(entries)).unwrap();
        assert_eq!((bench.entries(2), bench.entries(3)), (entries, entries));
        bench.assert_flows();
        bench.reset_rx(1, Some(ENTRIES)).unwrap();
        bench.reset_tx(1, Some(ENTRIES)).unwrap();
    }
    // Counters go on: 13 times 40 frames, and 6 that were sent and lost.
    assert_eq!(bench.port.rx[0].stats().packets, 13 * 40);
    assert_eq!(bench.port.tx[0].stats().packets, 13 * 40 + 6);
    bench.assert_stops();
}

#[test]
fn a_frame_in_the_making_and_packets_that_were_not_sent() {
    let mut bench = bench(QueueReset::Does);
    for round in 0..ENTRIES as u8 {
        assert_eq!(bench.send_frame(&[round; 60]), 1);
    }
    assert_eq!(bench.send_frame(&[0; 60]), 0, "the ring is full");
    assert_eq!(bench.pool.available(), LEFT - 16);
    bench.reset_tx(0, Some(4)).unwrap();
    assert_eq!(bench.pool.available(), LEFT);
    for round in 0..4 {
        assert_eq!(bench.send_frame(&[round; 60]), 1);
    }
    assert_eq!(bench.send_frame(&[0; 60]), 0);
    bench.assert_stops();
}

#[test]
fn a_broken_queue_is_healed_alone() {
    let mut bench = bench(QueueReset::Does);
    bench.assert_flows();
    assert_eq!(bench.port.heal().unwrap(), 0);
    let others: Vec<_> = [1, 2, 3].map(|queue| bench.fake.ring(queue).addresses()).into();
    // More than was ever posted, in both directions: nothing of it can be told.
    for queue in [0, 1] {
        let ring = bench.fake.ring(queue);
        ring.store_used_index(bench.done[queue].wrapping_add(1000));
    }
    assert_eq!(bench.receive().len(), 0);
    let mut nothing = Burst::new();
    bench.port.tx[0].tx_burst(&mut nothing);
    assert!(bench.port.rx[0].is_broken() && bench.port.tx[0].is_broken());
    assert!(!bench.port.rx[1].is_broken() && !bench.port.tx[1].is_broken());
    assert_eq!(bench.rx_drops(DropCause::RingBroken), 1);
    assert_eq!(bench.tx_drops(DropCause::RingBroken), 1);
    let resets = bench.fake.0.borrow().resets;
    assert_eq!(bench.port.heal().unwrap(), 2);
    bench.forget(0);
    bench.forget(1);
    assert_eq!(bench.fake.0.borrow().resets, resets, "the device runs on");
    assert_eq!(others, [1, 2, 3].map(|queue| bench.fake.ring(queue).addresses()));
    assert_eq!(bench.pool.available(), LEFT);
    assert!(!bench.port.rx[0].is_broken() && !bench.port.tx[0].is_broken());
    bench.assert_flows();
    assert_eq!(bench.port.heal().unwrap(), 0);
    bench.assert_stops();
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut bench = bench(QueueReset::Does);
    let rings: Vec<_> = (0..4).map(|queue| bench.fake.ring(queue).addresses()).collect();
    for asked in [0, 3, 32, u16::MAX] {
        let failure = StartFailure::RingSize { asked, min: 1, max: ENTRIES };
        assert_eq!(bench.reset_rx(0, Some(asked)), Err(failure));
        assert_eq!(bench.reset_tx(0, Some(asked)), Err(failure));
    }
    for (queue, asked) in [(2, 3), (u16::MAX, u16::MAX)] {
        let failure = Err(StartFailure::Queues { asked, max: 2 });
        let (rx, tx) = (&mut bench.port.rx[0], &mut bench.port.tx[0]);
        assert_eq!(bench.port.control.reset_queue(queue, QueueMut::Rx(rx), None), failure);
        assert_eq!(bench.port.control.reset_queue(queue, QueueMut::Tx(tx), None), failure);
    }
    // A device that is to be reset as a whole.
    bench.fake.0.borrow_mut().status |= DeviceStatus::DEVICE_NEEDS_RESET;
    let Err(StartFailure::Device(text)) = bench.reset_rx(0, None) else { panic!() };
    assert!(text.contains("as a whole"), "{text}");
    bench.fake.0.borrow_mut().status -= DeviceStatus::DEVICE_NEEDS_RESET;
    for (queue, ring) in rings.iter().enumerate() {
        assert_eq!(bench.fake.ring(queue).addresses(), *ring);
    }
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn no_register_and_no_feature() {
    let asks = Config { ring_features: RingFeatures::RING_RESET, ..Config::default() };
    let cannot = StartFailure::RingFeatures(RingFeatures::RING_RESET);
    let without = [
        |fake: &Fake| fake.0.borrow_mut().queue_reset = None,
        |fake: &Fake| fake.0.borrow_mut().features &= !Features::RING_RESET.bits(),
    ];
    for without in without {
        let fake = able(QueueReset::Does);
        without(&fake);
        let device = Box::new(fake.open().unwrap());
        assert!(!device.info().ring_features.contains(RingFeatures::RING_RESET));
        let pool = net_fake::pool(BUFFERS);
        let error = device.start(&asks, &pool).unwrap_err();
        assert_eq!(error.reason, cannot);
        assert!(error.reason.to_string().contains("RING_RESET"));
        let mut bench = Bench::with(fake, &Config::default());
        assert_eq!(bench.reset_rx(0, None), Err(cannot));
        assert_eq!(bench.reset_tx(0, None), Err(cannot));
        bench.assert_flows();
        bench.assert_stops();
    }
    // Ruled out.
    let off = Config { ring_features_off: RingFeatures::RING_RESET, ..Config::default() };
    let mut bench = Bench::with(able(QueueReset::Does), &off);
    assert_eq!(bench.fake.0.borrow().accepted & Features::RING_RESET.bits(), 0);
    assert_eq!(bench.reset_rx(0, None), Err(cannot));
    bench.assert_stops();
}

#[test]
fn a_device_that_offers_it_and_does_not() {
    let mut bench = bench(QueueReset::Ignores);
    for _ in 0..3 {
        let Err(StartFailure::Device(text)) = bench.reset_rx(0, Some(8)) else { panic!() };
        assert!(text.contains("does not"), "{text}");
        assert!(bench.reset_tx(1, None).is_err());
        assert_eq!(bench.entries(0), ENTRIES);
        bench.assert_flows();
    }
    bench.assert_stops();
}

#[test]
fn a_reset_that_never_ends_leaves_the_queue_standing_until_the_port_stops() {
    let mut bench = bench(QueueReset::NeverEnds);
    bench.assert_flows();
    bench.deliver(&[1; 60]);
    for _ in 0..2 {
        let Err(StartFailure::Device(text)) = bench.reset_rx(0, None) else { panic!() };
        assert!(text.contains("finish"), "{text}");
        assert_eq!(bench.receive().len(), 0, "it may still be written to");
        assert_eq!(bench.left(), LEFT);
    }
    // The device thinks better of it: the queue can be reset now.
    bench.fake.0.borrow_mut().queue_reset = Some(QueueReset::Does);
    bench.reset_rx(0, None).unwrap();
    assert_eq!(bench.left(), LEFT);
    bench.assert_flows();
    // Or it does not, and the port is restarted.
    bench.fake.0.borrow_mut().queue_reset = Some(QueueReset::NeverEnds);
    bench.reset_rx(1, None).unwrap_err();
    bench.reset_tx(0, None).unwrap_err();
    bench.assert_stops();
}

#[test]
fn a_doorbell_that_is_lost_on_the_way() {
    let mut bench = bench(QueueReset::Does);
    bench.fake.0.borrow_mut().doorbell_fault = Some("outside");
    assert_eq!(bench.reset_rx(0, None), Err(StartFailure::Device("outside")));
    assert_eq!(bench.receive().len(), 0);
    bench.fake.0.borrow_mut().doorbell_fault = None;
    bench.reset_rx(0, None).unwrap();
    assert_eq!(bench.left(), LEFT);
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn a_queue_that_was_replaced_does_nothing_and_keeps_nothing() {
    let mut bench = bench(QueueReset::Does);
    bench.assert_flows();
    // The caller takes one queue for the other: the one that is named is replaced.
    bench.port.rx.swap(0, 1);
    bench.reset_rx(0, None).unwrap();
    let mut stale = bench.port.rx.pop().unwrap();
    let mut burst = Burst::new();
    for _ in 0..64 {
        assert_eq!(stale.rx_burst(&mut burst), 0);
    }
    drop(stale);
    // (What was dropped in its stead ran: its buffers stay with the device until that is reset.)
    assert_eq!(bench.left(), LEFT);
    bench.assert_flows();
    drop(bench.port.stop());
    assert_eq!(bench.pool.available(), BUFFERS - usize::from(ENTRIES));
}

#[test]
fn a_ring_too_small_for_the_largest_frame() {
    let shape = PoolConfig { buffers: BUFFERS, headroom: 128, room: 512 };
    let pool = Pool::new(DeviceMemory::from_heap(shape.device_bytes()), shape).unwrap();
    let fake = able(QueueReset::Does);
    let config = Config { offloads: Offloads::RX_CHAINS, ..Config::default() };
    let mut port = Box::new(fake.open().unwrap()).start(&config, &pool).unwrap();
    assert_eq!(port.info.max_frame, 1514);
    let failure = StartFailure::MaxFrame { asked: 1514, max: 1024 };
    assert_eq!(port.control.reset_queue(0, QueueMut::Rx(&mut port.rx[0]), Some(2)), Err(failure));
    port.control.reset_queue(0, QueueMut::Rx(&mut port.rx[0]), Some(4)).unwrap();
    drop(port.stop());
    assert_eq!(pool.available(), BUFFERS);
}

#[test]
fn under_wrappers_and_with_hashes() {
    for offloads in [Offloads::empty(), Offloads::RSS_HASH] {
        let fake = able(QueueReset::Does);
        fake.0.borrow_mut().features |= Features::HASH_REPORT.bits();
        let device = Box::new(fake.open().unwrap());
        let log = trace::BurstLog::new(16);
        let device = trace::wrap(device, log, call_counter());
        let config = Config { offloads, ..Config::default() };
        let pool = net_fake::pool(BUFFERS);
        let port = device.start(&config, &pool).unwrap();
        let (taken, done) = ([0; 2], [0; 2]);
        let mut bench = Bench { fake, pool, port, taken, done, held: Default::default() };
        let hash: &[u8] = if offloads.is_empty() { &[] } else { &[0; 8] };
        let bytes = [hash, &[7; 60]].concat();
        for round in 1..=3 {
            assert!(bench.deliver(&bytes));
            assert_eq!(bench.receive(), [[7; 60]]);
            assert_eq!(bench.port.rx[0].stats().packets, round);
            assert_eq!(bench.port.rx[0].stats().bytes, 60 * round);
            assert_eq!(bench.send_frame(&[7; 60]), 1);
            assert_eq!(bench.accept().unwrap().1, bytes);
            assert_eq!(bench.port.tx[0].stats().packets, round);
            bench.reset_rx(0, Some(8)).unwrap();
            bench.reset_tx(0, Some(8)).unwrap();
            assert_eq!(bench.entries(0), 8);
        }
        bench.assert_stops();
    }
}
