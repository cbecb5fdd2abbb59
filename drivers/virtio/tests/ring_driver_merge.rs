//! Received headers and frames over several buffers: what a device may say, and its lies, over both formats.

mod ring_support;

use netbuf::{Burst, Checksum, Gso, GsoKind};
use netdev::DropCause::{self, BadDescriptor, BadHeader, Oversize, Undersize};
use netdev::{Offloads, QueueCounters, RingFormat};
use ring_support::frame;
use ring_support::pair::{Machine, Pair};
use ring_support::scripted::Scripted;
use virtio::ring::RingOptions;

const ENTRIES: u32 = 16;
const FORMATS: [RingFormat; 2] = [RingFormat::Split, RingFormat::Packed];
const ROOM: usize = 2048;

fn header(words: [u16; 4], buffers: u16, flags: [u8; 2]) -> Vec<u8> {
    let mut bytes = flags.to_vec();
    words.iter().chain([&buffers]).for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes
}

fn plain(buffers: u16) -> Vec<u8> {
    header([0; 4], buffers, [0; 2])
}

struct Rig {
    machine: Machine,
    pair: Pair,
    device: Scripted,
    counters: QueueCounters,
    format: RingFormat,
}

impl Rig {
    fn new(format: RingFormat, options: RingOptions, max_frame: u16) -> Self {
        let machine = Machine::new();
        let mut pair = Pair::with(format, &machine, ENTRIES, options, max_frame);
        let _ = pair.driver_rx.refill();
        let device = Scripted::new(format, &machine, &pair, true);
        Self { machine, pair, device, counters: QueueCounters::default(), format }
    }

    fn merging(format: RingFormat) -> Self {
        let options =
            RingOptions { mergeable: true, offloads: Offloads::RX_CHAINS, ..RingOptions::NONE };
        Self::new(format, options, 20_000)
    }

    /// Fills buffers with a header that says `buffers` and a frame cut behind each `room` bytes.
    fn send(&mut self, buffers: u16, bytes: &[u8], room: usize) {
        let first = bytes.len().min(room);
        self.device.fill(&[&plain(buffers), &bytes[..first]].concat());
        for piece in bytes[first..].chunks(room + 12) {
            self.device.fill(piece);
        }
    }

    fn receive(&mut self) -> Burst {
        let mut out = Burst::new();
        assert_eq!(self.pair.driver_rx.receive(&mut out, &self.counters), out.len());
        let _ = self.pair.driver_rx.refill();
        out
    }

    fn contents(&mut self) -> Vec<Vec<u8>> {
        self.receive()
            .iter()
            .map(|packet| {
                assert_eq!((packet.port(), packet.checksum()), (3, Checksum::Unknown));
                let mut bytes = vec![0; packet.len()];
                packet.copy_to(&mut bytes);
                bytes
            })
            .collect()
    }

    /// `count` drops for this cause and no other, and then good traffic.
    fn end(mut self, cause: DropCause, count: u64) {
        for round in 0..60u8 {
            let len = 60 + usize::from(round) * 20;
            self.send(1, &frame(round, len), ROOM);
            assert_eq!(self.contents(), [frame(round, len)], "{round}");
        }
        let drops = self.counters.snapshot().drops;
        assert_eq!((drops[cause], drops.total()), (count, count), "{:?}", self.format);
        let pool = self.machine.guest_pool;
        drop((self.pair, self.device));
        assert_eq!(pool.available(), pool.buffers());
    }
}

#[test]
fn frames_over_several_buffers_across_the_end_of_the_ring() {
    for format in FORMATS {
        let mut rig = Rig::merging(format);
        for round in 0..200u8 {
            let len = 60 + usize::from(round) * 95;
            let buffers = (len + 12).div_ceil(ROOM + 12);
            rig.send(u16::try_from(buffers).unwrap(), &frame(round, len), ROOM);
            rig.send(1, &frame(round, 64), ROOM);
            assert_eq!(rig.contents(), [frame(round, len), frame(round, 64)], "{format} {round}");
        }
        let stats = rig.counters.snapshot();
        assert_eq!(stats.packets, 400);
        rig.end(BadHeader, 0);
    }
}

#[test]
fn a_merge_that_completes_halfway_and_the_rest_later() {
    for format in FORMATS {
        let mut rig = Rig::merging(format);
        for round in 0..40u8 {
            let bytes = frame(round, 5000);
            rig.device.fill(&[&plain(3), &bytes[..2000]].concat());
            assert!(rig.contents().is_empty());
            rig.device.fill(&bytes[2000..4060]);
            assert!(rig.contents().is_empty());
            assert!(rig.pair.driver_rx.arm());
            rig.device.fill(&bytes[4060..]);
            for number in 0..8 {
                rig.send(1, &frame(number, 80), ROOM);
            }
            assert!(!rig.pair.driver_rx.arm());
            let expected: Vec<_> =
                [bytes].into_iter().chain((0..8).map(|number| frame(number, 80))).collect();
            assert_eq!(rig.contents(), expected, "{format} {round}");
        }
        // One that stays incomplete goes home with the ring.
        rig.device.fill(&[&plain(3), &frame(1, 900)[..]].concat());
        assert!(rig.contents().is_empty());
        let pool = rig.machine.guest_pool;
        drop(rig);
        assert_eq!(pool.available(), pool.buffers());
    }
}

#[test]
fn num_buffers_zero_or_more_than_outstanding() {
    for format in FORMATS {
        for buffers in [0, 17, 0x8000, 0xffff] {
            let mut rig = Rig::merging(format);
            rig.send(buffers, &frame(1, 70), ROOM);
            rig.send(1, &frame(2, 70), ROOM);
            assert_eq!(rig.contents(), [frame(2, 70)], "{format} {buffers}");
            rig.end(BadHeader, 1);
        }
        // Exactly as many as are outstanding, across the end of the ring; and one more than that.
        for (buffers, cause, count) in [(16, Oversize, 0), (17, BadHeader, 1)] {
            let mut rig = Rig::merging(format);
            for number in 0..10 {
                rig.send(1, &frame(number, 70), ROOM);
            }
            assert_eq!(rig.contents().len(), 10);
            rig.device.fill(&[&plain(buffers), &frame(7, 100)[..]].concat());
            if buffers == 16 {
                (0..15).for_each(|_| rig.device.fill(&[7; 100]));
                assert_eq!(rig.contents()[0].len(), 1600);
            } else {
                assert!(rig.contents().is_empty());
            }
            rig.end(cause, count);
        }
    }
}

#[test]
fn a_merged_frame_with_a_bad_piece_is_dropped_whole_and_once() {
    for format in FORMATS {
        for (len, cause) in
            [(0u32, BadDescriptor), (2061, BadDescriptor), (u32::MAX, BadDescriptor)]
        {
            let mut rig = Rig::merging(format);
            rig.device.fill(&[&plain(4), &frame(1, 2000)[..]].concat());
            let id = rig.device.available(1).id;
            rig.device.complete(id, len, 1);
            rig.device.fill(&[3; 2060]);
            rig.device.fill(&[3; 9]);
            rig.send(1, &frame(9, 61), ROOM);
            assert_eq!(rig.contents(), [frame(9, 61)], "{format} {len}");
            rig.end(cause, 1);
        }
        // Larger than the largest frame; of too few bytes in all.
        let mut rig = Rig::merging(format);
        rig.send(11, &frame(1, 21_000), ROOM);
        assert!(rig.contents().is_empty());
        rig.end(Oversize, 1);
        let mut rig = Rig::merging(format);
        rig.device.fill(&[&plain(2), &[1; 5][..]].concat());
        rig.device.fill(&[1; 8]);
        assert!(rig.contents().is_empty());
        rig.end(Undersize, 1);
    }
}

#[test]
fn a_merged_frame_where_chains_were_not_asked_for() {
    for format in FORMATS {
        let options = RingOptions { mergeable: true, ..RingOptions::NONE };
        let mut rig = Rig::new(format, options, 2048);
        for round in 0..20 {
            rig.send(2, &frame(round, 3000), ROOM);
            rig.send(1, &frame(round, 60), ROOM);
            assert_eq!(rig.contents(), [frame(round, 60)]);
        }
        rig.end(Oversize, 20);
    }
}

#[test]
fn what_a_header_says_stands_on_the_packet() {
    let offloads = Offloads::RX_CHECKSUM | Offloads::RX_LRO | Offloads::RX_USO;
    let options = RingOptions { offloads, ..RingOptions::NONE };
    let tso = |kind| Some(Gso { kind, size: 500, header_len: 54 });
    let uso = Some(Gso { kind: GsoKind::UdpL4, size: 500, header_len: 42 });
    let partial = Checksum::Partial { start: 34, offset: 16 };
    for format in FORMATS {
        for (flags, words, checksum, gso) in [
            ([0, 0], [9, 9, 9, 9], Checksum::Unknown, None),
            ([2, 0], [0; 4], Checksum::Valid, None),
            ([1, 0], [0, 0, 34, 16], partial, None),
            ([3, 0], [0, 0, 34, 16], partial, None),
            ([1, 1], [54, 500, 34, 16], partial, tso(GsoKind::Tcp4)),
            ([2, 4], [54, 500, 0, 0], Checksum::Valid, tso(GsoKind::Tcp6)),
            ([1, 5], [42, 500, 34, 16], partial, uso),
            ([0x44, 0], [0; 4], Checksum::Unknown, None),
        ] {
            let mut rig = Rig::new(format, options, 1518);
            // A whole group of plain ones before, and behind.
            for number in 0..8 {
                rig.send(1, &frame(number, 70), ROOM);
            }
            let bytes = frame(1, if gso.is_some() { 2000 } else { 100 });
            rig.device.fill(&[&header(words, 1, flags), &bytes[..]].concat());
            for number in 0..7 {
                rig.send(1, &frame(number, 70), ROOM);
            }
            let out = rig.receive();
            assert_eq!(out.len(), 16);
            for (at, packet) in out.iter().enumerate() {
                let expected = if at == 8 { (checksum, gso) } else { (Checksum::Unknown, None) };
                assert_eq!((packet.checksum(), packet.gso()), expected, "{format} {at} {flags:?}");
            }
            assert_eq!(out[8].bytes(), bytes);
            drop(out);
            rig.end(BadHeader, 0);
        }
    }
}

#[test]
fn a_header_that_contradicts_the_frame_or_the_negotiation() {
    let checksum = Offloads::RX_CHECKSUM;
    let all = checksum | Offloads::RX_LRO;
    for format in FORMATS {
        for (offloads, flags, words) in [
            // The checksum's place past the packet.
            (all, [1, 0], [0, 0, 99, 0]),
            (all, [1, 0], [0, 0, 34, 65]),
            (all, [1, 0], [0, 0, u16::MAX, u16::MAX]),
            // An unknown kind, one that was not negotiated, one with the congestion bit.
            (all, [1, 2], [54, 500, 34, 16]),
            (all, [1, 3], [54, 500, 34, 16]),
            (all, [1, 5], [54, 500, 34, 16]),
            (all, [1, 0x81], [54, 500, 34, 16]),
            (checksum, [1, 1], [54, 500, 34, 16]),
            (checksum | Offloads::RX_USO, [1, 4], [54, 500, 34, 16]),
            // Nothing per packet; headers longer than the packet.
            (all, [1, 1], [54, 0, 34, 16]),
            (all, [1, 4], [101, 500, 34, 16]),
            (Offloads::empty(), [1, 0], [0, 0, 34, 16]),
        ] {
            let options = RingOptions { offloads, mergeable: true, ..RingOptions::NONE };
            let mut rig = Rig::new(format, options, 1518);
            rig.send(1, &frame(5, 60), ROOM);
            rig.device.fill(&[&header(words, 1, flags), &frame(1, 100)[..]].concat());
            rig.send(1, &frame(6, 60), ROOM);
            assert_eq!(
                rig.contents(),
                [frame(5, 60), frame(6, 60)],
                "{format} {flags:?} {words:?}"
            );
            rig.end(BadHeader, 1);
        }
    }
}
