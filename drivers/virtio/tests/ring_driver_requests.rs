//! What a packet may ask a transmit ring for: chains, checksums, segmentation; what stands in the header that the
//! device reads, and what is done in software or refused where it was not negotiated. Over both formats.

mod ring_support;

use netbuf::{Burst, Checksum, Gso, GsoKind, Netbuf};
use netdev::DropCause::{self, Oversize, Undersize, Unsupported};
use netdev::{Offloads, QueueCounters, RingFormat};
use ring_support::frame;
use ring_support::pair::{Machine, Pair};
use ring_support::scripted::{Available, Scripted};
use virtio::ring::RingOptions;
use virtio::ring::split::flags;

const ENTRIES: u32 = 16;
const FORMATS: [RingFormat; 2] = [RingFormat::Split, RingFormat::Packed];

struct Rig {
    machine: Machine,
    pair: Pair,
    device: Scripted,
    counters: QueueCounters,
    format: RingFormat,
    /// Packets that were made available.
    posted: u32,
}

impl Rig {
    fn new(format: RingFormat, indirect: bool, offloads: Offloads) -> Self {
        let machine = Machine::new();
        // (The receive ring takes frames of that size in several buffers.)
        let offloads = offloads | Offloads::RX_CHAINS;
        let options = RingOptions { indirect, offloads, mergeable: true, ..RingOptions::NONE };
        let pair = Pair::with(format, &machine, ENTRIES, options, 9014);
        let device = Scripted::new(format, &machine, &pair, false);
        Self { machine, pair, device, counters: QueueCounters::default(), format, posted: 0 }
    }

    fn packet(&self, number: u8, len: usize) -> Netbuf {
        self.machine.guest_pool.copy_from(&frame(number, len)).unwrap()
    }

    fn send(&mut self, packet: Netbuf) -> bool {
        let before = self.counters.snapshot().packets;
        let mut burst: Burst = [packet].into_iter().collect();
        assert_eq!(self.pair.driver_tx.transmit(&mut burst, &self.counters).taken, 1);
        self.counters.snapshot().packets > before
    }

    /// Header and frame of the next packet, as the device reads them, which then completes it.
    fn take(&mut self) -> (Vec<u8>, Vec<u8>) {
        let Available { id, addr, len, flags } = self.device.available(self.posted);
        self.posted += 1;
        let mut bytes = Vec::new();
        if flags == flags::DESC_INDIRECT {
            assert_eq!(len % 16, 0);
            let table = self.device.read(addr, len as usize);
            let (descs, _) = table.as_chunks::<16>();
            for (at, desc) in descs.iter().enumerate() {
                let word = |from: usize| u64::from_le_bytes(desc[from..][..8].try_into().unwrap());
                let (part, rest) = (word(0), word(8));
                let last = at + 1 == descs.len();
                let link = match self.format {
                    RingFormat::Split if !last => 1 | (at as u64 + 1) << 16,
                    _ => 0,
                };
                assert_eq!(rest >> 32, link);
                bytes.extend(self.device.read(part, (rest & 0xffff_ffff) as usize));
            }
        } else {
            assert_eq!(flags, 0);
            bytes = self.device.read(addr, len as usize);
        }
        self.device.complete(id, 0, 1);
        let frame = bytes.split_off(12);
        (bytes, frame)
    }

    fn end(mut self, cause: DropCause, count: u64) {
        for number in 0..40 {
            let packet = self.packet(number, 70);
            assert!(self.send(packet));
            let (header, bytes) = self.take();
            assert_eq!((&header[..10], bytes), (&[0; 10][..], frame(number, 70)));
        }
        let drops = self.counters.snapshot().drops;
        assert_eq!((drops[cause], drops.total()), (count, count), "{}", self.format);
        let pool = self.machine.guest_pool;
        drop(self.pair);
        assert_eq!(pool.available(), pool.buffers());
    }
}

#[test]
fn chains_by_indirect_tables() {
    for format in FORMATS {
        let mut rig = Rig::new(format, true, Offloads::TX_CHAINS);
        for round in 0..60u8 {
            let len = 60 + usize::from(round) * 150;
            let packet = rig.packet(round, len);
            assert!(rig.send(packet), "{format} {len}");
            let plain = rig.packet(round, 64);
            assert!(rig.send(plain));
            assert_eq!(rig.take().1, frame(round, len), "{format} {len}");
            assert_eq!(rig.take().1, frame(round, 64));
        }
        // As many segments as a table holds, some of them empty; and more, which fit one buffer.
        for (pieces, len) in [(32, 40), (33, 1), (60, 20)] {
            let mut packet = rig.packet(0, 60);
            let mut expected = frame(0, 60);
            for number in 1..pieces {
                let empty = rig.machine.guest_pool.alloc().unwrap();
                let bytes = frame(number, 14.max(len));
                packet.chain(if number % 7 == 0 {
                    empty
                } else {
                    expected.extend(&bytes);
                    rig.machine.guest_pool.copy_from(&bytes).unwrap()
                });
            }
            assert!(rig.send(packet), "{format} {pieces}");
            assert_eq!(rig.take().1, expected);
        }
        rig.end(Unsupported, 0);
    }
}

/// The device half reads what the driver half has written, of both formats.
#[test]
fn jumbo_frames_from_half_to_half() {
    for format in FORMATS {
        let machine = Machine::new();
        let offloads = Offloads::TX_CHAINS | Offloads::RX_CHAINS;
        let options = RingOptions { offloads, mergeable: true, ..RingOptions::INDIRECT };
        let mut pair = Pair::with(format, &machine, ENTRIES, options, 9014);
        let counters = QueueCounters::default();
        let mut out = Burst::new();
        for round in 0..100u8 {
            let lens = [9014, 60, 4097, 2048, 2049].map(|len| len - usize::from(round % 5));
            let mut burst: Burst = lens
                .iter()
                .map(|&len| machine.guest_pool.copy_from(&frame(round, len)).unwrap())
                .collect();
            assert_eq!(pair.driver_tx.transmit(&mut burst, &counters).taken, 5);
            let got = pair.device_rx.receive(&pair.map, &machine.host_pool, &mut out, &counters, 1);
            assert_eq!(got, 5, "{format} {round}");
            for (packet, len) in out.drain(..).zip(lens) {
                let mut bytes = vec![0; packet.len()];
                packet.copy_to(&mut bytes);
                assert!(bytes == frame(round, len), "{format} {round} {len}");
            }
        }
        assert_eq!(counters.snapshot().drops.total(), 0);
        let (guest, host) = (machine.guest_pool, machine.host_pool);
        drop(pair);
        assert_eq!((guest.available(), host.available()), (guest.buffers(), host.buffers()));
    }
}

#[test]
fn chains_that_were_not_negotiated_or_do_not_fit() {
    for format in FORMATS {
        let mut rig = Rig::new(format, true, Offloads::empty());
        let packet = rig.packet(1, 3000);
        assert!(!rig.send(packet));
        rig.end(Unsupported, 1);
        // Without tables: in one buffer, or not at all.
        let mut rig = Rig::new(format, false, Offloads::TX_CHAINS);
        let mut packet = rig.packet(1, 60);
        packet.chain(rig.packet(2, 90));
        assert!(rig.send(packet));
        assert_eq!(rig.take().1, [frame(1, 60), frame(2, 90)].concat());
        let packet = rig.packet(1, 3000);
        assert!(!rig.send(packet));
        rig.end(Unsupported, 1);
        for (len, cause) in [(9015, Oversize), (13, Undersize)] {
            let mut rig = Rig::new(format, true, Offloads::TX_CHAINS);
            let packet = rig.machine.guest_pool.copy_from(&vec![1; len]).unwrap();
            assert!(!rig.send(packet));
            rig.end(cause, 1);
        }
    }
}

const PARTIAL: Checksum = Checksum::Partial { start: 34, offset: 16 };

#[test]
fn a_partial_checksum_is_asked_for_or_completed_in_software() {
    for format in FORMATS {
        for offloads in [Offloads::TX_CHECKSUM, Offloads::empty()] {
            let mut rig = Rig::new(format, true, offloads | Offloads::TX_CHAINS);
            for len in [100, 3001] {
                let mut packet = rig.packet(5, len);
                packet.set_checksum(PARTIAL);
                assert!(rig.send(packet));
                let (header, bytes) = rig.take();
                if offloads.is_empty() {
                    let mut expected = rig.packet(5, len);
                    expected.set_checksum(PARTIAL);
                    expected.complete_checksum().unwrap();
                    let mut complete = vec![0; len];
                    expected.copy_to(&mut complete);
                    assert_ne!(complete, frame(5, len));
                    assert_eq!((&header[..10], bytes), (&[0; 10][..], complete));
                } else {
                    assert_eq!(header[..10], [1, 0, 0, 0, 0, 0, 34, 0, 16, 0]);
                    assert_eq!(bytes, frame(5, len));
                }
            }
            // Verified is no request.
            let mut packet = rig.packet(6, 100);
            packet.set_checksum(Checksum::Valid);
            assert!(rig.send(packet));
            assert_eq!(rig.take().0[..10], [0; 10]);
            // Past the packet.
            for (start, offset) in [(34, 65), (u16::MAX, u16::MAX), (99, 0)] {
                let mut packet = rig.packet(7, 100);
                packet.set_checksum(Checksum::Partial { start, offset });
                assert!(!rig.send(packet));
            }
            rig.end(Unsupported, 3);
        }
    }
}

#[test]
fn segmentation_is_asked_for_where_it_was_negotiated() {
    let all = Offloads::TX_CHECKSUM
        | Offloads::TX_TSO4
        | Offloads::TX_TSO6
        | Offloads::TX_USO
        | Offloads::TX_CHAINS;
    for format in FORMATS {
        for (kind, needed, bits) in [
            (GsoKind::Tcp4, Offloads::TX_TSO4, 1),
            (GsoKind::Tcp6, Offloads::TX_TSO6, 4),
            (GsoKind::UdpL4, Offloads::TX_USO, 5),
        ] {
            let gso = Gso { kind, size: 1460, header_len: 54 };
            let ask = |rig: &Rig, gso, checksum| {
                let mut packet = rig.packet(3, 40_000);
                packet.set_gso(Some(gso));
                packet.set_checksum(checksum);
                packet
            };
            let mut rig = Rig::new(format, true, all);
            let packet = ask(&rig, gso, PARTIAL);
            assert!(rig.send(packet));
            let (header, bytes) = rig.take();
            assert_eq!(header[..10], [1, bits, 54, 0, 0xb4, 5, 34, 0, 16, 0]);
            assert_eq!(bytes, frame(3, 40_000));
            for (gso, checksum) in [
                (Gso { size: 0, ..gso }, PARTIAL),
                (Gso { header_len: 40_001, ..gso }, PARTIAL),
                (Gso { kind: GsoKind::Udp, ..gso }, PARTIAL),
                (gso, Checksum::Valid),
            ] {
                let packet = ask(&rig, gso, checksum);
                assert!(!rig.send(packet));
            }
            rig.end(Unsupported, 4);
            let mut rig = Rig::new(format, true, all - needed);
            let packet = ask(&rig, gso, PARTIAL);
            assert!(!rig.send(packet));
            rig.end(Unsupported, 1);
        }
    }
}

#[test]
fn what_a_doorbell_tells() {
    for format in FORMATS {
        let mut rig = Rig::new(format, true, Offloads::empty());
        for round in 0..40u32 {
            let tail = match format {
                RingFormat::Packed => {
                    (round % ENTRIES) | if round & ENTRIES == 0 { 1 << 15 } else { 0 }
                }
                _ => round,
            };
            assert_eq!(rig.pair.driver_tx.notification(7), 7 | tail << 16, "{format} {round}");
            let packet = rig.packet(1, 60);
            assert!(rig.send(packet));
            rig.take();
        }
        let _ = rig.pair.driver_rx.refill();
        let posted = if format == RingFormat::Packed { 0 } else { ENTRIES };
        assert_eq!(rig.pair.driver_rx.notification(6), 6 | posted << 16);
    }
}
