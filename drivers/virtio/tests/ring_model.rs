//! Driver half against device half, both directions, against one oracle: two queues of numbered frames.
//!
//! The oracle says exactly how many frames each call moves, which ones, and when a notification must (or
//! must not) be asked for. Engines: every sequence of a few steps on rings of 1, 2 and 4 entries, and random
//! long sequences on rings up to 256.

mod ring_support;

use std::collections::VecDeque;

use netbuf::{Burst, Pool};
use netdev::{Armed, QueueCounters, RingFormat};
use proptest::prelude::*;
use ring_support::frame;
use ring_support::pair::{Machine, Pair};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The driver sends so many frames.
    DriverSend(usize),
    /// The device takes frames into a burst that has so much room.
    DeviceReceive(usize),
    /// The device sends so many frames.
    DeviceSend(usize),
    /// The driver takes frames, with so much room, and refills.
    DriverReceive(usize),
    /// The device wants to be notified of sent frames.
    DeviceArm,
    /// The driver wants to be interrupted at received frames.
    DriverArm,
}

struct Model<'a> {
    machine: &'a Machine,
    pair: Pair,
    entries: usize,
    event_idx: bool,
    /// Numbers of the frames in the driver's transmit ring, and in its receive ring.
    outward: VecDeque<u8>,
    inward: VecDeque<u8>,
    /// Buffers that the driver took and has not replaced.
    holes: usize,
    device_armed: bool,
    driver_armed: bool,
    number: u8,
    counters: [QueueCounters; 4],
}

impl<'a> Model<'a> {
    fn new(format: RingFormat, machine: &'a Machine, entries: u32, event_idx: bool) -> Self {
        let mut pair = Pair::of(format, machine, entries, event_idx);
        let _ = pair.driver_rx.refill();
        // The first check stands for what a dead predecessor may have kept to itself.
        let _ = pair.device_tx.should_notify();
        Self {
            machine,
            pair,
            entries: entries as usize,
            event_idx,
            outward: VecDeque::new(),
            inward: VecDeque::new(),
            holes: 0,
            device_armed: false,
            driver_armed: false,
            number: 0,
            counters: Default::default(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::DriverSend(count) => self.driver_send(count),
            Step::DeviceReceive(room) => self.device_receive(room),
            Step::DeviceSend(count) => self.device_send(count),
            Step::DriverReceive(room) => self.driver_receive(room),
            Step::DeviceArm => self.device_arm(),
            Step::DriverArm => self.driver_arm(),
        }
    }

    fn fresh(&mut self, pool: &Pool, count: usize) -> (Burst, VecDeque<u8>) {
        let (mut burst, mut numbers) = (Burst::new(), VecDeque::new());
        for _ in 0..count {
            self.number = self.number.wrapping_add(1);
            let len = 60 + usize::from(self.number) * 5;
            burst.push(pool.copy_from(&frame(self.number, len)).expect("enough buffers"));
            numbers.push_back(self.number);
        }
        (burst, numbers)
    }

    fn driver_send(&mut self, count: usize) {
        let (mut burst, mut numbers) = self.fresh(&self.machine.guest_pool.clone(), count);
        let done = self.pair.driver_tx.transmit(&mut burst, &self.counters[0]);
        assert_eq!(done.taken, count.min(self.entries - self.outward.len()));
        assert_eq!(burst.len(), count - done.taken);
        assert!(
            burst.iter().zip(numbers.range(done.taken..)).all(|(p, &n)| is_frame(p.bytes(), n))
        );
        self.outward.extend(numbers.drain(..done.taken));
        self.notified(done.notify, done.taken, self.device_armed);
        // An event index asks once, a flag until it is taken back.
        self.device_armed &= done.taken == 0 || !self.event_idx;
    }

    fn device_receive(&mut self, room: usize) {
        let mut out = self.filled_up_to(room);
        let before = out.len();
        let Pair { device_rx, map, .. } = &mut self.pair;
        let got = device_rx.receive(map, &self.machine.host_pool, &mut out, &self.counters[1], 4);
        self.device_armed = false;
        assert_eq!(got, room.min(self.outward.len()));
        for packet in &out[before..] {
            assert!(is_frame(packet.bytes(), self.outward.pop_front().unwrap()));
        }
        // The driver asks for no completions: it looks for them itself.
        let _ = device_rx.should_notify();
    }

    fn device_send(&mut self, count: usize) {
        let (mut burst, mut numbers) = self.fresh(&self.machine.host_pool.clone(), count);
        let Pair { device_tx, map, .. } = &mut self.pair;
        let taken = device_tx.transmit(map, &mut burst, &self.counters[2]);
        let notify = device_tx.should_notify();
        assert_eq!(taken, count.min(self.entries - self.holes - self.inward.len()));
        self.inward.extend(numbers.drain(..taken));
        self.notified(notify, taken, self.driver_armed);
        self.driver_armed &= taken == 0 || !self.event_idx;
    }

    fn driver_receive(&mut self, room: usize) {
        let mut out = self.filled_up_to(room);
        let before = out.len();
        let got = self.pair.driver_rx.receive(&mut out, &self.counters[3]);
        self.driver_armed = false;
        assert_eq!(got, room.min(self.inward.len()));
        for packet in &out[before..] {
            assert!(is_frame(packet.bytes(), self.inward.pop_front().unwrap()));
            assert_eq!(packet.port(), 3);
        }
        drop(out);
        self.holes += got;
        let _ = self.pair.driver_rx.refill();
        if self.holes >= (self.entries / 8).clamp(1, 32) {
            self.holes = 0;
        }
    }

    fn device_arm(&mut self) {
        let armed = self.pair.device_rx.arm();
        let expected = if self.outward.is_empty() { Armed::Armed } else { Armed::PacketsPending };
        assert_eq!(armed, expected);
        self.device_armed = armed == Armed::Armed;
    }

    fn driver_arm(&mut self) {
        let armed = self.pair.driver_rx.arm();
        assert_eq!(armed, self.inward.is_empty());
        self.driver_armed = armed;
    }

    /// Who sleeps is woken; without EVENT_IDX, who is awake is left alone.
    fn notified(&self, notify: bool, published: usize, armed: bool) {
        if published == 0 {
            assert!(!notify, "nothing was published");
        } else if armed {
            assert!(notify, "a sleeper was not woken");
        } else if !self.event_idx {
            assert!(!notify, "nobody asked for a notification");
        }
    }

    /// A burst with only `room` left.
    fn filled_up_to(&self, room: usize) -> Burst {
        let mut burst = Burst::new();
        self.machine.host_pool.alloc_burst(&mut burst, netbuf::BURST - room);
        burst
    }

    fn end(self) {
        for counters in &self.counters {
            assert_eq!(counters.snapshot().drops.total(), 0, "{counters:?}");
        }
        let (guest, host) = (&self.machine.guest_pool, &self.machine.host_pool);
        drop(self.pair);
        assert_eq!((guest.available(), host.available()), (guest.buffers(), host.buffers()));
    }
}

/// Both formats keep the same rules.
const FORMATS: [RingFormat; 2] = [RingFormat::Split, RingFormat::Packed];

fn is_frame(bytes: &[u8], number: u8) -> bool {
    bytes == frame(number, 60 + usize::from(number) * 5)
}

#[test]
fn every_short_sequence_on_the_smallest_rings() {
    let machine = Machine::new();
    const DEPTH: u32 = 5;
    for (format, entries) in [1, 2, 4].into_iter().flat_map(|entries| FORMATS.map(|f| (f, entries)))
    {
        let steps = [
            Step::DriverSend(1),
            Step::DriverSend(3),
            Step::DeviceReceive(2),
            Step::DeviceSend(1),
            Step::DeviceSend(3),
            Step::DriverReceive(2),
            Step::DeviceArm,
            Step::DriverArm,
        ];
        for sequence in 0..steps.len().pow(DEPTH) {
            let mut model = Model::new(format, &machine, entries, sequence % 2 == 0);
            for at in 0..DEPTH {
                model.step(steps[sequence / steps.len().pow(at) % steps.len()]);
            }
            model.end();
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..=32usize).prop_map(Step::DriverSend),
        (0..=32usize).prop_map(Step::DeviceReceive),
        (0..=32usize).prop_map(Step::DeviceSend),
        (0..=32usize).prop_map(Step::DriverReceive),
        Just(Step::DeviceArm),
        Just(Step::DriverArm),
    ]
}

#[test]
fn random_long_sequences() {
    let machine = Machine::new();
    let sequences = prop::collection::vec(any_step(), 1..200);
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let strategy = (
        prop::sample::select(&FORMATS[..]),
        (0..=8u32).prop_map(|power| 1 << power),
        any::<bool>(),
        sequences,
    );
    runner
        .run(&strategy, |(format, entries, event_idx, steps)| {
            let mut model = Model::new(format, &machine, entries, event_idx);
            for step in steps {
                model.step(step);
            }
            model.end();
            Ok(())
        })
        .unwrap();
}

/// More entries than an index has values, so that both indexes and the event indexes wrap.
#[test]
fn indexes_wrap() {
    let machine = Machine::new();
    for (format, event_idx) in [false, true].into_iter().flat_map(|by| FORMATS.map(|f| (f, by))) {
        let mut model = Model::new(format, &machine, 256, event_idx);
        for round in 0..6000usize {
            let count = 1 + round % 32;
            if round % 7 == 0 {
                model.step(Step::DeviceArm);
                model.step(Step::DriverArm);
            }
            for step in [
                Step::DriverSend(count),
                Step::DeviceReceive(32),
                Step::DeviceSend(count),
                Step::DriverReceive(32),
            ] {
                model.step(step);
            }
        }
        model.end();
    }
}
