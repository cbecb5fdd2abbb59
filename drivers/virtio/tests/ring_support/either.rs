//! A hand-written driver of either format, and the device half under test: what the tests of both formats say once.

use netbuf::{Burst, Pool};
use netdev::{DropCause, RingFormat};
use virtio::ring::DeviceHalf;
use virtio::ring::packed::flags as packed_flags;
use virtio::ring::split::{Desc, DeviceOptions, flags};

use super::{Guest, packed};

/// Both formats.
pub const FORMATS: [RingFormat; 2] = [RingFormat::Split, RingFormat::Packed];

pub struct Either {
    pub split: Guest,
    pub packed: packed::Guest,
    pub device: DeviceHalf,
    pub format: RingFormat,
}

impl Either {
    pub fn new(format: RingFormat, entries: u16, options: DeviceOptions) -> Self {
        let (split, packed) = (Guest::new(entries), packed::Guest::new(entries));
        let device = match format {
            RingFormat::Packed => packed.device(options).into(),
            _ => split.device(options).into(),
        };
        Self { split, packed, device, format }
    }

    fn is_packed(&self) -> bool {
        self.format == RingFormat::Packed
    }

    pub fn write(&self, address: u64, bytes: &[u8]) {
        let memory = if self.is_packed() { &self.packed.memory } else { &self.split };
        memory.write(address, bytes);
    }

    pub fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let memory = if self.is_packed() { &self.packed.memory } else { &self.split };
        memory.read(address, len)
    }

    /// Makes a chain available that is called `id`: of a split ring, the descriptors from `id` on.
    pub fn publish(&mut self, id: u16, pieces: &[(u64, u32)], writable: bool) {
        if self.is_packed() {
            let write = if writable { packed_flags::DESC_WRITE } else { 0 };
            let pieces: Vec<_> = pieces.iter().map(|&(addr, len)| (addr, len, write)).collect();
            return self.packed.publish(id, &pieces);
        }
        self.split.chain(id, pieces, if writable { flags::DESC_WRITE } else { 0 });
        self.split.publish(id);
    }

    /// The same through an indirect table at `table`.
    pub fn publish_indirect(&mut self, id: u16, table: u64, pieces: &[(u64, u32)], writable: bool) {
        let write = if writable { flags::DESC_WRITE } else { 0 };
        let descs: Vec<Desc> = (1..)
            .zip(pieces)
            .map(|(next, &(addr, len))| {
                let more = if usize::from(next) < pieces.len() { flags::DESC_NEXT } else { 0 };
                Desc { addr, len, flags: write | more, next }
            })
            .collect();
        let bytes = 16 * u32::try_from(descs.len()).unwrap();
        if self.is_packed() {
            for (at, desc) in (table..).step_by(16).zip(&descs) {
                self.write(at, &desc.addr.to_le_bytes());
                self.write(at + 8, &desc.len.to_le_bytes());
                self.write(at + 14, &desc.flags.to_le_bytes());
            }
            return self.packed.publish(id, &[(table, bytes, packed_flags::DESC_INDIRECT)]);
        }
        self.split.table(table, &descs);
        let flags = flags::DESC_INDIRECT;
        self.split.ring.set_desc(id, Desc { addr: table, len: bytes, flags, next: 0 });
        self.split.publish(id);
    }

    /// The next used chain's name and length, where it has `descs` descriptors.
    pub fn used(&mut self, descs: u16) -> Option<(u16, u32)> {
        if self.is_packed() {
            return self.packed.used(descs);
        }
        self.split.used().map(|elem| (u16::try_from(elem.id).unwrap(), elem.len))
    }

    pub fn receive(&mut self, pool: &Pool) -> Burst {
        let mut out = Burst::new();
        let (map, counters) = if self.is_packed() {
            (&self.packed.memory.map, &self.packed.counters)
        } else {
            (&self.split.map, &self.split.counters)
        };
        assert_eq!(self.device.receive(map, pool, &mut out, counters, 7), out.len());
        out
    }

    pub fn transmit(&mut self, packets: &mut Burst) -> usize {
        let (map, counters) = if self.is_packed() {
            (&self.packed.memory.map, &self.packed.counters)
        } else {
            (&self.split.map, &self.split.counters)
        };
        self.device.transmit(map, packets, counters)
    }

    /// Packets sent or received.
    pub fn packets(&self) -> u64 {
        let counters = if self.is_packed() { &self.packed.counters } else { &self.split.counters };
        counters.snapshot().packets
    }

    /// Drops for `cause`, and all.
    pub fn drops(&self, cause: DropCause) -> (u64, u64) {
        let counters = if self.is_packed() { &self.packed.counters } else { &self.split.counters };
        let drops = counters.snapshot().drops;
        (drops[cause], drops.total())
    }
}
