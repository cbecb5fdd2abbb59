//! The model test: any sequence of operations on packets against an oracle of plain vectors.
//!
//! After every step: bytes, lengths, headroom and tailroom of every segment's arithmetic, that nothing moved
//! which must not move, that a refused operation changed nothing, and that the pool's accounting is exact.

use netbuf::{BURST, Burst, DeviceMemory, Netbuf, Pool, PoolConfig, free_burst};
use proptest::prelude::*;
use proptest::sample::Index;

/// One segment as the oracle sees it.
#[derive(Clone, Debug, PartialEq)]
struct Segment {
    headroom: usize,
    bytes: Vec<u8>,
}

/// A packet as the oracle sees it; never without a segment.
type Oracle = Vec<Segment>;

#[derive(Clone, Debug)]
enum Step {
    Alloc,
    CopyFrom(usize),
    AllocBurst(usize),
    Push(Index, usize),
    Trim(Index, usize),
    Append(Index, usize),
    Truncate(Index, usize),
    Chain(Index, Index),
    Unchain(Index),
    Linearize(Index),
    MakeHeadroom(Index, usize),
    CopyTo(Index, usize),
    Scribble(Index),
    SetReceived(Index, u16, u16),
    DetachAttach(Index),
    DetachDrop(Index),
    Drop(Index),
    ToBurst(Index),
    FromBurst(Index),
    FreeBurst,
    DropBurst,
}

fn step() -> impl Strategy<Value = Step> {
    let any_packet = any::<Index>;
    // Small counts hit, large ones overshoot every shape below.
    let count = || prop_oneof![4 => 0usize..40, 2 => 0usize..260, 1 => 0usize..70_000];
    prop_oneof![
        3 => Just(Step::Alloc),
        3 => (0usize..700).prop_map(Step::CopyFrom),
        1 => (0usize..40).prop_map(Step::AllocBurst),
        3 => (any_packet(), count()).prop_map(|(p, n)| Step::Push(p, n)),
        3 => (any_packet(), count()).prop_map(|(p, n)| Step::Trim(p, n)),
        3 => (any_packet(), count()).prop_map(|(p, n)| Step::Append(p, n)),
        3 => (any_packet(), count()).prop_map(|(p, n)| Step::Truncate(p, n)),
        3 => (any_packet(), any_packet()).prop_map(|(p, q)| Step::Chain(p, q)),
        2 => any_packet().prop_map(Step::Unchain),
        2 => any_packet().prop_map(Step::Linearize),
        2 => (any_packet(), count()).prop_map(|(p, n)| Step::MakeHeadroom(p, n)),
        1 => (any_packet(), count()).prop_map(|(p, n)| Step::CopyTo(p, n)),
        2 => any_packet().prop_map(Step::Scribble),
        1 => (any_packet(), 0u16..300, 0u16..300).prop_map(|(p, h, l)| Step::SetReceived(p, h, l)),
        1 => any_packet().prop_map(Step::DetachAttach),
        1 => any_packet().prop_map(Step::DetachDrop),
        2 => any_packet().prop_map(Step::Drop),
        2 => any_packet().prop_map(Step::ToBurst),
        2 => any_packet().prop_map(Step::FromBurst),
        1 => Just(Step::FreeBurst),
        1 => Just(Step::DropBurst),
    ]
}

/// The packets under test beside their oracles.
struct World {
    pool: Pool,
    config: PoolConfig,
    packets: Vec<Netbuf>,
    oracles: Vec<Oracle>,
    burst: Burst,
    burst_oracles: Vec<Oracle>,
    exhausted: u64,
    /// The next byte to write: every written byte differs from its neighbours.
    ink: u8,
}

impl World {
    fn new(config: PoolConfig) -> Self {
        let pool = Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap();
        Self {
            pool,
            config,
            packets: Vec::new(),
            oracles: Vec::new(),
            burst: Burst::new(),
            burst_oracles: Vec::new(),
            exhausted: 0,
            ink: 0,
        }
    }

    fn capacity(&self) -> usize {
        usize::from(self.config.headroom) + usize::from(self.config.room)
    }

    fn free(&self) -> usize {
        let live = self.oracles.iter().chain(&self.burst_oracles).map(Vec::len).sum::<usize>();
        self.config.buffers - live
    }

    fn empty(&self) -> Segment {
        Segment { headroom: usize::from(self.config.headroom), bytes: Vec::new() }
    }

    fn tailroom(&self, segment: &Segment) -> usize {
        self.capacity() - segment.headroom - segment.bytes.len()
    }

    fn paint(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.ink = self.ink.wrapping_add(1);
            *byte = self.ink;
        }
    }

    fn ink(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.paint(&mut bytes);
        bytes
    }

    fn take(&mut self, index: &Index) -> Option<(Netbuf, Oracle)> {
        if self.packets.is_empty() {
            return None;
        }
        let at = index.index(self.packets.len());
        Some((self.packets.swap_remove(at), self.oracles.swap_remove(at)))
    }

    fn put(&mut self, packet: Netbuf, oracle: Oracle) {
        self.packets.push(packet);
        self.oracles.push(oracle);
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Alloc => self.alloc(),
            Step::CopyFrom(count) => self.copy_from(*count),
            Step::AllocBurst(count) => self.alloc_burst(*count),
            Step::Chain(head, tail) => self.chain(head, tail),
            Step::FreeBurst => {
                free_burst(&mut self.burst);
                self.burst_oracles.clear();
            }
            Step::DropBurst => {
                self.burst = Burst::new();
                self.burst_oracles.clear();
            }
            Step::FromBurst(index) => self.take_from_burst(index),
            Step::Push(index, _)
            | Step::Trim(index, _)
            | Step::Append(index, _)
            | Step::Truncate(index, _)
            | Step::Unchain(index)
            | Step::Linearize(index)
            | Step::MakeHeadroom(index, _)
            | Step::CopyTo(index, _)
            | Step::Scribble(index)
            | Step::SetReceived(index, ..)
            | Step::DetachAttach(index)
            | Step::DetachDrop(index)
            | Step::Drop(index)
            | Step::ToBurst(index) => {
                if let Some((packet, oracle)) = self.take(index) {
                    self.change(step, packet, oracle);
                }
            }
        }
    }

    fn alloc(&mut self) {
        let expected = self.free() > 0;
        let packet = self.pool.alloc();
        assert_eq!(packet.is_some(), expected);
        match packet {
            Some(packet) => self.put(packet, vec![self.empty()]),
            None => self.exhausted += 1,
        }
    }

    fn copy_from(&mut self, count: usize) {
        let bytes = self.ink(count);
        let room = usize::from(self.config.room);
        let needed = count.div_ceil(room).max(1);
        let expected = needed <= self.free();
        let packet = self.pool.copy_from(&bytes);
        assert_eq!(packet.is_some(), expected);
        let Some(packet) = packet else {
            self.exhausted += 1;
            return;
        };
        let headroom = usize::from(self.config.headroom);
        let mut oracle: Oracle =
            bytes.chunks(room).map(|c| Segment { headroom, bytes: c.to_vec() }).collect();
        if oracle.is_empty() {
            oracle.push(self.empty());
        }
        self.put(packet, oracle);
    }

    fn alloc_burst(&mut self, count: usize) {
        let wanted = count.min(BURST - self.burst.len());
        let expected = wanted.min(self.free());
        assert_eq!(self.pool.alloc_burst(&mut self.burst, count), expected);
        self.exhausted += (wanted - expected) as u64;
        for _ in 0..expected {
            self.burst_oracles.push(vec![self.empty()]);
        }
    }

    fn chain(&mut self, head: &Index, tail: &Index) {
        let Some((mut packet, mut oracle)) = self.take(head) else { return };
        if let Some((tail, rest)) = self.take(tail) {
            packet.chain(tail);
            oracle.extend(rest);
        }
        self.put(packet, oracle);
    }

    fn take_from_burst(&mut self, index: &Index) {
        if !self.burst.is_empty() {
            let at = index.index(self.burst.len());
            let (packet, oracle) = (self.burst.remove(at), self.burst_oracles.remove(at));
            self.put(packet, oracle);
        }
    }

    /// One packet's steps. `data` before and after shows whether bytes moved.
    fn change(&mut self, step: &Step, mut packet: Netbuf, mut oracle: Oracle) {
        let before = packet.data().as_ptr().addr();
        let first = oracle[0].clone();
        match *step {
            Step::Push(_, count) => {
                let got = packet.push(count);
                assert_eq!(got.is_some(), count <= first.headroom);
                if let Some(room) = got {
                    assert_eq!(room.len(), count);
                    self.paint(room);
                    let pushed = room.to_vec();
                    oracle[0].bytes.splice(0..0, pushed);
                    oracle[0].headroom -= count;
                    assert_eq!(packet.data().as_ptr().addr(), before - count);
                }
            }
            Step::Trim(_, count) => {
                let expected = count <= first.bytes.len();
                assert_eq!(packet.trim(count).is_some(), expected);
                if expected {
                    oracle[0].bytes.drain(..count);
                    oracle[0].headroom += count;
                    assert_eq!(packet.data().as_ptr().addr(), before + count);
                }
            }
            Step::Append(_, count) => {
                let tailroom = self.tailroom(&oracle[oracle.len() - 1]);
                let end = last_end(&packet);
                let got = packet.append(count);
                assert_eq!(got.is_some(), count <= tailroom);
                if let Some(room) = got {
                    assert_eq!((room.as_ptr().addr(), room.len()), (end, count));
                    self.paint(room);
                    let appended = room.to_vec();
                    oracle.last_mut().unwrap().bytes.extend(appended);
                }
                assert_eq!(packet.data().as_ptr().addr(), before);
            }
            Step::Truncate(_, len) => {
                let expected = len <= total(&oracle);
                assert_eq!(packet.truncate(len).is_some(), expected);
                if expected {
                    truncate(&mut oracle, len);
                }
                assert_eq!(packet.data().as_ptr().addr(), before);
            }
            Step::Unchain(_) => {
                let rest = packet.unchain();
                assert_eq!(rest.is_some(), oracle.len() > 1);
                if let Some(rest) = rest {
                    let tail = oracle.split_off(1);
                    self.put(rest, tail);
                }
                assert_eq!(packet.data().as_ptr().addr(), before);
            }
            Step::Linearize(_) => {
                let rest = total(&oracle) - first.bytes.len();
                let expected = rest <= self.tailroom(&first);
                assert_eq!(packet.linearize().is_some(), expected);
                if expected {
                    let bytes = oracle.iter().flat_map(|s| s.bytes.clone()).collect();
                    oracle = vec![Segment { headroom: first.headroom, bytes }];
                }
                assert_eq!(packet.data().as_ptr().addr(), before);
            }
            Step::MakeHeadroom(_, count) => {
                let expected = count <= first.headroom + self.tailroom(&first);
                assert_eq!(packet.make_headroom(count).is_some(), expected);
                if expected {
                    oracle[0].headroom = first.headroom.max(count);
                }
            }
            Step::CopyTo(_, count) => {
                let bytes = oracle.iter().flat_map(|s| s.bytes.clone()).collect::<Vec<_>>();
                let fits = bytes.len().min(count);
                let mut out = vec![0xA5; count];
                assert_eq!(packet.copy_to(&mut out), fits);
                assert_eq!(out[..fits], bytes[..fits]);
                assert!(
                    out[fits..].iter().all(|&byte| byte == 0xA5),
                    "bytes past the frame written"
                );
            }
            Step::Scribble(_) => {
                for (segment, copy) in packet.segments_mut().zip(&mut oracle) {
                    self.paint(segment);
                    copy.bytes = segment.to_vec();
                }
            }
            Step::SetReceived(_, headroom, len) if oracle.len() == 1 => {
                let (headroom, len) = (usize::from(headroom), usize::from(len));
                let expected = headroom + len <= self.capacity();
                let Step::SetReceived(_, headroom16, len16) = *step else { unreachable!() };
                assert_eq!(packet.set_received(headroom16, len16, 7).is_some(), expected);
                if expected {
                    assert_eq!(packet.port(), 7);
                    assert!(!packet.wants_offload());
                    self.paint(packet.bytes_mut());
                    oracle[0] = Segment { headroom, bytes: packet.bytes().to_vec() };
                }
            }
            Step::DetachAttach(_) => {
                // The thread is real: the bytes must be there on the other side.
                let parcel = packet.detach();
                let parcel = std::thread::spawn(move || {
                    let packet = parcel.attach();
                    (packet.len(), packet.detach())
                });
                let (len, parcel) = parcel.join().unwrap();
                assert_eq!(len, total(&oracle));
                packet = parcel.attach();
            }
            Step::DetachDrop(_) => {
                let parcel = packet.detach();
                std::thread::spawn(move || drop(parcel)).join().unwrap();
                return;
            }
            Step::Drop(_) => return,
            Step::ToBurst(_) if !self.burst.is_full() => {
                self.burst.push(packet);
                self.burst_oracles.push(oracle);
                return;
            }
            _ => {}
        }
        self.put(packet, oracle);
    }

    fn check(&self) {
        for (packet, oracle) in self.packets.iter().zip(&self.oracles) {
            self.check_packet(packet, oracle);
        }
        assert_eq!(self.burst.len(), self.burst_oracles.len());
        for (packet, oracle) in self.burst.iter().zip(&self.burst_oracles) {
            self.check_packet(packet, oracle);
        }
        assert_eq!(self.pool.available(), self.free(), "the pool's account is wrong");
        assert_eq!(self.pool.stats().exhausted, self.exhausted);
        assert_eq!(self.pool.buffers(), self.config.buffers);
    }

    fn check_packet(&self, packet: &Netbuf, oracle: &Oracle) {
        assert_eq!(packet.segments().count(), oracle.len());
        for (segment, expected) in packet.segments().zip(oracle) {
            assert_eq!(segment, expected.bytes);
        }
        let first = &oracle[0];
        assert_eq!(packet.len(), total(oracle));
        assert_eq!(packet.is_empty(), total(oracle) == 0);
        assert_eq!(packet.is_chained(), oracle.len() > 1);
        assert_eq!(packet.bytes(), first.bytes);
        assert_eq!(packet.headroom(), first.headroom);
        assert_eq!(packet.tailroom(), self.tailroom(first));
        assert_eq!(packet.capacity(), self.capacity());
        assert_eq!(packet.data().as_ptr().addr(), packet.room().as_ptr().addr() + first.headroom);
    }
}

fn total(oracle: &Oracle) -> usize {
    oracle.iter().map(|segment| segment.bytes.len()).sum()
}

/// The address behind the last byte of the last segment.
fn last_end(packet: &Netbuf) -> usize {
    packet.segments().last().map(|s| s.as_ptr_range().end.addr()).unwrap()
}

/// The first segment that can hold what is left is the last that stays.
fn truncate(oracle: &mut Oracle, len: usize) {
    let mut left = len;
    for at in 0..oracle.len() {
        let here = oracle[at].bytes.len();
        if left <= here {
            oracle[at].bytes.truncate(left);
            oracle.truncate(at + 1);
            return;
        }
        left -= here;
    }
}

fn shapes() -> impl Strategy<Value = PoolConfig> {
    prop::sample::select(vec![
        PoolConfig { buffers: 12, headroom: 128, room: 2048 },
        PoolConfig { buffers: 40, headroom: 64, room: 64 },
        PoolConfig { buffers: 3, headroom: 0, room: 100 },
        PoolConfig { buffers: 1, headroom: 128, room: 1 },
        PoolConfig { buffers: 5, headroom: 64, room: 65_471 },
    ])
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    })]

    #[test]
    fn packets_behave_as_vectors(config in shapes(), steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(config);
        for step in &steps {
            world.apply(step);
            world.check();
        }
        let pool = world.pool;
        drop(world);
        prop_assert_eq!(pool.available(), config.buffers, "a buffer leaked");
    }
}
