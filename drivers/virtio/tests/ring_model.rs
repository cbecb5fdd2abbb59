//! Driver half against device half, both directions, against one oracle: two queues of numbered frames.
//!
//! The oracle says exactly how many frames each call moves, which ones, what is said of them, and when a notification
//! must (or must not) be asked for. Engines: every sequence of a few steps on rings of 1, 2 and 4 entries, and random
//! long sequences on rings up to 256, over all that can be negotiated.

mod ring_support;

use std::collections::VecDeque;

use netbuf::{Burst, Checksum, Gso, GsoKind, Netbuf, Pool};
use netdev::{Armed, Offloads, QueueCounters, RingFormat};
use proptest::prelude::*;
use ring_support::frame;
use ring_support::pair::{MOST, Machine, Pair};
use virtio::ring::RingOptions;

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

/// A frame on its way, by its number: what is in it and what is asked for it follows from that.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u8,
    len: usize,
    checksum: Checksum,
    gso: Option<Gso>,
}

const PARTIAL: Checksum = Checksum::Partial { start: 34, offset: 16 };

impl Sent {
    /// Some frames are large, some ask for a checksum, some for more, where that was negotiated.
    fn new(number: u8, options: &RingOptions, large: bool) -> Self {
        let len = 60 + usize::from(number) * if large && number.is_multiple_of(4) { 34 } else { 5 };
        let cut = options.offloads.contains(Offloads::TX_TSO4) && number.is_multiple_of(6);
        let gso = cut.then_some(Gso { kind: GsoKind::Tcp4, size: 1448, header_len: 54 });
        let checksum = match number % 3 {
            0 => PARTIAL,
            1 if options.offloads.contains(Offloads::TX_CHECKSUM) => Checksum::Valid,
            _ => Checksum::Unknown,
        };
        Self { number, len, checksum, gso }
    }

    fn make(&self, pool: &Pool) -> Netbuf {
        let mut pieces = frame(self.number, self.len);
        let rest = pieces.split_off(pieces.len().min(2000));
        let mut packet = pool.copy_from(&pieces).expect("enough buffers");
        for piece in rest.chunks(2048) {
            packet.chain(pool.copy_from(piece).expect("enough buffers"));
        }
        packet.set_checksum(self.checksum);
        packet.set_gso(self.gso);
        packet
    }

    /// Whether `packet` is this frame. Who cannot be told that a checksum is partial finds it complete; that it was
    /// verified is what only a device may say.
    fn arrived_as(&self, packet: &Netbuf, told: bool, by_device: bool) {
        let mut bytes = vec![0; packet.len()];
        packet.copy_to(&mut bytes);
        let mut expected = frame(self.number, self.len);
        let completed = self.checksum == PARTIAL && !told;
        if completed {
            let sum = checksum(&expected[34..]);
            expected[50..52].copy_from_slice(&sum.to_be_bytes());
        }
        assert!(bytes == expected, "{self:?}");
        let checksum = match self.checksum {
            Checksum::Partial { .. } if told => PARTIAL,
            Checksum::Valid if by_device => Checksum::Valid,
            _ => Checksum::Unknown,
        };
        assert_eq!((packet.checksum(), packet.gso()), (checksum, self.gso), "{self:?}");
    }

    /// Of the driver's receive buffers, each of which holds a header and 2,048 bytes.
    fn buffers(&self) -> usize {
        (12 + self.len).div_ceil(12 + 2048)
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !u16::try_from(sum).unwrap() {
        0 => u16::MAX,
        sum => sum,
    }
}

struct Model<'a> {
    machine: &'a Machine,
    pair: Pair,
    entries: usize,
    options: RingOptions,
    /// The frames in the driver's transmit ring, and in its receive ring.
    outward: VecDeque<Sent>,
    inward: VecDeque<Sent>,
    /// Buffers that the driver took and has not replaced.
    holes: usize,
    device_armed: bool,
    driver_armed: bool,
    number: u8,
    counters: [QueueCounters; 4],
}

/// Notifications by index or by flag, nothing else.
fn notifying(event_idx: bool) -> RingOptions {
    RingOptions { event_idx, ..RingOptions::NONE }
}

/// Jumbo frames, where they may span buffers.
fn max_frame(options: &RingOptions) -> u16 {
    let spans = options.mergeable && options.offloads.contains(Offloads::RX_CHAINS);
    if spans { 9018 } else { 1518 }
}

impl<'a> Model<'a> {
    fn new(format: RingFormat, machine: &'a Machine, entries: u32, options: RingOptions) -> Self {
        let mut pair = Pair::with(format, machine, entries, options, max_frame(&options));
        let _ = pair.driver_rx.refill();
        // The first check stands for what a dead predecessor may have kept to itself.
        let _ = pair.device_tx.should_notify();
        Self {
            machine,
            pair,
            entries: entries as usize,
            options,
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

    fn fresh(&mut self, pool: &Pool, count: usize, large: bool) -> (Burst, VecDeque<Sent>) {
        let (mut burst, mut frames) = (Burst::new(), VecDeque::new());
        for _ in 0..count {
            self.number = self.number.wrapping_add(1);
            let sent = Sent::new(self.number, &self.options, large);
            burst.push(sent.make(pool));
            frames.push_back(sent);
        }
        (burst, frames)
    }

    fn has(&self, offload: Offloads) -> bool {
        self.options.offloads.contains(offload)
    }

    fn driver_send(&mut self, count: usize) {
        // (Frames of several segments take a table of descriptors.)
        let large = max_frame(&self.options) > 2048 && self.options.indirect;
        let (mut burst, mut frames) = self.fresh(&self.machine.guest_pool.clone(), count, large);
        let done = self.pair.driver_tx.transmit(&mut burst, &self.counters[0]);
        assert_eq!(done.taken, count.min(self.entries - self.outward.len()));
        assert_eq!(burst.len(), count - done.taken);
        let left = burst.iter().zip(frames.range(done.taken..));
        assert!(left.into_iter().all(|(packet, sent)| packet.len() == sent.len));
        self.outward.extend(frames.drain(..done.taken));
        self.notified(done.notify, done.taken, self.device_armed);
        // An event index asks once, a flag until it is taken back.
        self.device_armed &= done.taken == 0 || !self.options.event_idx;
    }

    fn device_receive(&mut self, room: usize) {
        let mut out = self.filled_up_to(room);
        let before = out.len();
        let Pair { device_rx, map, .. } = &mut self.pair;
        let got = device_rx.receive(map, &self.machine.host_pool, &mut out, &self.counters[1], 4);
        self.device_armed = false;
        assert_eq!(got, room.min(self.outward.len()));
        for packet in &out[before..] {
            let told = self.has(Offloads::TX_CHECKSUM);
            self.outward.pop_front().unwrap().arrived_as(packet, told, false);
            assert_eq!(packet.port(), 4);
        }
        // The driver asks for no completions: it looks for them itself.
        let _ = self.pair.device_rx.should_notify();
    }

    fn device_send(&mut self, count: usize) {
        let large = max_frame(&self.options) > 2048 && self.entries >= 8;
        let (mut burst, mut frames) = self.fresh(&self.machine.host_pool.clone(), count, large);
        let Pair { device_tx, map, .. } = &mut self.pair;
        let taken = device_tx.transmit(map, &mut burst, &self.counters[2]);
        let notify = device_tx.should_notify();
        assert_eq!(taken, self.fitting(&frames));
        let left = burst.iter().zip(frames.range(taken..));
        assert!(left.into_iter().all(|(packet, sent)| packet.len() == sent.len));
        self.inward.extend(frames.drain(..taken));
        self.notified(notify, taken, self.driver_armed);
        self.driver_armed &= taken == 0 || !self.options.event_idx;
    }

    /// How many of these find all their buffers.
    fn fitting(&self, frames: &VecDeque<Sent>) -> usize {
        let taken: usize = self.inward.iter().map(Sent::buffers).sum();
        let mut left = self.entries - self.holes - taken;
        let fits = |sent: &&Sent| match left.checked_sub(sent.buffers()) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        };
        frames.iter().take_while(fits).count()
    }

    fn driver_receive(&mut self, room: usize) {
        let mut out = self.filled_up_to(room);
        let before = out.len();
        let got = self.pair.driver_rx.receive(&mut out, &self.counters[3]);
        self.driver_armed = false;
        assert_eq!(got, room.min(self.inward.len()));
        for packet in &out[before..] {
            let told = self.has(Offloads::RX_CHECKSUM);
            let sent = self.inward.pop_front().unwrap();
            sent.arrived_as(packet, told, told);
            assert_eq!(packet.port(), 3);
            self.holes += sent.buffers();
        }
        drop(out);
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
        } else if !self.options.event_idx {
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
            let mut model = Model::new(format, &machine, entries, notifying(sequence % 2 == 0));
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

/// All offloads of a driver that has any, and what each alone brings.
const OFFLOADS: [Offloads; 4] = [
    Offloads::empty(),
    Offloads::TX_CHECKSUM.union(Offloads::RX_CHECKSUM),
    Offloads::TX_CHAINS.union(Offloads::RX_CHAINS),
    Offloads::TX_CHECKSUM
        .union(Offloads::RX_CHECKSUM)
        .union(Offloads::TX_TSO4)
        .union(Offloads::RX_LRO)
        .union(Offloads::TX_CHAINS)
        .union(Offloads::RX_CHAINS),
];

fn options(bits: usize) -> RingOptions {
    RingOptions {
        event_idx: bits & 1 != 0,
        indirect: bits & 2 != 0,
        in_order: bits & 4 != 0,
        mergeable: bits & 8 != 0,
        offloads: OFFLOADS[bits >> 4],
    }
}

fn any_options() -> impl Strategy<Value = RingOptions> {
    (0..64usize).prop_map(options)
}

/// The same walk over each combination of what can be negotiated, in both formats: bursts of all sizes, frames of all
/// lengths, and rings that run full and dry.
#[test]
fn every_combination_of_features() {
    let machine = Machine::new();
    for (format, bits) in (0..64).flat_map(|bits| FORMATS.map(|format| (format, bits))) {
        for entries in [8, 64] {
            let mut model = Model::new(format, &machine, entries, options(bits));
            for round in 0..100usize {
                if round % 5 == 0 {
                    model.step(Step::DeviceArm);
                    model.step(Step::DriverArm);
                }
                for step in [
                    Step::DriverSend(1 + round * 7 % 32),
                    Step::DeviceReceive(1 + round * 11 % 32),
                    Step::DeviceSend(1 + round * 5 % 32),
                    Step::DriverReceive(1 + round * 13 % 32),
                ] {
                    model.step(step);
                }
            }
            model.end();
        }
    }
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
        any_options(),
        sequences,
    );
    runner
        .run(&strategy, |(format, entries, options, steps)| {
            let mut model = Model::new(format, &machine, entries, options);
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
        let mut model = Model::new(format, &machine, MOST, notifying(event_idx));
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
