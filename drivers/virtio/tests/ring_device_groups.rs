//! The device half checks descriptors in groups, on the OR of their fields. Whatever is wrong with one of a burst,
//! wherever it stands in its group, must have the consequences that it has alone.

mod ring_support;

use netbuf::Burst;
use netdev::DropCause::{self, BadDescriptor, BadHeader, Oversize, Undersize};
use ring_support::{END, Guest, LOW, OPTIONS, frame, packed, pool};
use virtio::ring::split::{Desc, DeviceOptions, flags};

const COUNT: u8 = 32;

/// A class of lengths by itself, at its ends, and lengths of several classes.
const LENGTHS: [[usize; 2]; 6] = [[64, 64], [33, 64], [65, 128], [129, 256], [60, 300], [14, 15]];

fn read_desc(guest: &Guest, id: u16) -> Desc {
    guest.ring.desc(id)
}

/// Sends a burst whose frame `at` is spoiled; the others arrive, and one drop is counted.
fn receive(
    at: u8,
    lengths: [usize; 2],
    cause: DropCause,
    spoil: &dyn Fn(Desc) -> Desc,
    header: u8,
) {
    let options = DeviceOptions { max_frame: 400, ..OPTIONS };
    let (mut guest, pool) = (Guest::new(64), pool(64));
    let mut device = guest.device(options);
    let len = |number: u8| lengths[usize::from(number % 2)];
    for number in 0..COUNT {
        guest.send(number.into(), &frame(number, len(number)));
    }
    let desc = read_desc(&guest, at.into());
    guest.write(desc.addr, &[header]);
    guest.ring.set_desc(at.into(), spoil(desc));
    let packets = guest.receive(&mut device, &pool);
    let expected: Vec<Vec<u8>> = (0..COUNT)
        .filter(|&number| number != at)
        .map(|number| frame(number, len(number)))
        .collect();
    let frames: Vec<&[u8]> = packets.iter().map(|packet| packet.bytes()).collect();
    assert_eq!(frames, expected, "{cause:?} at {at}, {lengths:?}");
    assert_eq!((guest.drops(cause), guest.all_drops()), (1, 1), "{cause:?} at {at}, {lengths:?}");
    for number in 0..COUNT {
        let elem = guest.used().unwrap();
        assert_eq!((elem.id, elem.len), (number.into(), 0));
    }
    drop(packets);
    assert_eq!(pool.available(), 64);
}

#[test]
fn one_bad_descriptor_or_header_in_a_received_burst() {
    for lengths in LENGTHS {
        for at in 0..COUNT {
            let bad = |spoil: &dyn Fn(Desc) -> Desc| receive(at, lengths, BadDescriptor, spoil, 0);
            bad(&|desc| Desc { addr: END, ..desc });
            bad(&|desc| Desc { addr: LOW - 1, ..desc });
            bad(&|desc| Desc { addr: u64::MAX, ..desc });
            bad(&|desc| Desc { flags: flags::DESC_WRITE, ..desc });
            bad(&|desc| Desc { flags: flags::DESC_INDIRECT, ..desc });
            bad(&|desc| Desc { flags: flags::DESC_NEXT, next: 64, ..desc });
            bad(&|desc| Desc { len: 0, ..desc });
            receive(at, lengths, Undersize, &|desc| Desc { len: 25, ..desc }, 0);
            receive(at, lengths, BadHeader, &|desc| Desc { len: 11, ..desc }, 0);
            receive(at, lengths, Oversize, &|desc| Desc { len: 413, ..desc }, 0);
            receive(at, lengths, BadHeader, &|desc| desc, 1);
        }
    }
}

/// Sends into a burst of buffers of which one is spoiled: its packet is lost, the others arrive.
fn transmit(at: u8, lengths: [usize; 2], spoil: &dyn Fn(Desc) -> Desc) {
    let (mut guest, pool) = (Guest::new(64), pool(64));
    let mut device = guest.device(OPTIONS);
    let len = |number: u8| lengths[usize::from(number % 2)];
    let address = |id: u8| LOW + 512 * u64::from(id);
    let mut packets = Burst::new();
    for number in 0..COUNT {
        let desc = Desc { addr: address(number), len: 500, flags: flags::DESC_WRITE, next: 7 };
        let desc = if number == at { spoil(desc) } else { desc };
        guest.ring.set_desc(number.into(), desc);
        guest.publish(number.into());
        packets.push(pool.copy_from(&frame(number, len(number))).unwrap());
    }
    let taken = device.transmit(&guest.map, &mut packets, &guest.counters);
    assert_eq!((taken, packets.len()), (COUNT.into(), 0));
    assert_eq!((guest.drops(BadDescriptor), guest.all_drops()), (1, 1), "at {at}, {lengths:?}");
    for number in 0..COUNT {
        let elem = guest.used().unwrap();
        let written = if number == at { 0 } else { 12 + len(number) };
        assert_eq!((elem.id, elem.len as usize), (number.into(), written));
        if number != at {
            let bytes = guest.read(address(number) + 12, len(number));
            assert_eq!(bytes, frame(number, len(number)));
        }
    }
    assert_eq!(pool.available(), 64);
}

#[test]
fn one_bad_buffer_in_a_transmitted_burst() {
    for lengths in LENGTHS {
        for at in 0..COUNT {
            transmit(at, lengths, &|desc| Desc { addr: END, ..desc });
            transmit(at, lengths, &|desc| Desc { addr: u64::MAX - 3, ..desc });
            transmit(at, lengths, &|desc| Desc { flags: 0, ..desc });
            transmit(at, lengths, &|desc| Desc { flags: 3, next: 64, len: 1, ..desc });
            transmit(at, lengths, &|desc| Desc { len: 0, ..desc });
            transmit(at, lengths, &|desc| Desc { len: u32::MAX, ..desc });
        }
    }
}

/// Address, length and flags of a packed descriptor.
type Packed = (u64, u32, u16);

/// As [`receive`], in a packed ring that starts at any place, so that groups end where it does.
fn receive_packed(
    at: u8,
    lengths: [usize; 2],
    cause: DropCause,
    spoil: &dyn Fn(Packed) -> Packed,
    header: u8,
) {
    let options = DeviceOptions { max_frame: 400, ..OPTIONS };
    let (mut guest, pool) = (packed::Guest::new(64), pool(64));
    let mut device = guest.device(options);
    for _ in 0..at {
        guest.send(1, &frame(1, 60));
    }
    assert_eq!(guest.receive(&mut device, &pool).len(), usize::from(at));
    for _ in 0..at {
        assert_eq!(guest.used(1), Some((1, 0)));
    }
    let len = |number: u8| lengths[usize::from(number % 2)];
    for number in 0..COUNT {
        let (address, bad) = (LOW + 512 * u64::from(number), number == at);
        guest.memory.write(address, &[if bad { header } else { 0 }]);
        guest.memory.write(address + 1, &[0; 11]);
        guest.memory.write(address + 12, &frame(number, len(number)));
        let desc = (address, 12 + u32::try_from(len(number)).unwrap(), 0);
        guest.publish(number.into(), &[if bad { spoil(desc) } else { desc }]);
    }
    let packets = guest.receive(&mut device, &pool);
    let expected: Vec<Vec<u8>> = (0..COUNT)
        .filter(|&number| number != at)
        .map(|number| frame(number, len(number)))
        .collect();
    let frames: Vec<&[u8]> = packets.iter().map(|packet| packet.bytes()).collect();
    assert_eq!(frames, expected, "{cause:?} at {at}, {lengths:?}");
    assert_eq!(guest.drops(cause), (1, 1), "{cause:?} at {at}, {lengths:?}");
    for number in 0..COUNT {
        assert_eq!(guest.used(1), Some((number.into(), 0)));
    }
    drop(packets);
    assert_eq!(pool.available(), 64);
}

#[test]
fn one_bad_descriptor_or_header_in_a_received_burst_of_a_packed_ring() {
    for lengths in LENGTHS {
        for at in 0..COUNT {
            let bad = |spoil: &dyn Fn(Packed) -> Packed| {
                receive_packed(at, lengths, BadDescriptor, spoil, 0)
            };
            bad(&|(_, len, flags)| (END, len, flags));
            bad(&|(_, len, flags)| (LOW - 1, len, flags));
            bad(&|(_, len, flags)| (u64::MAX, len, flags));
            bad(&|(addr, len, _)| (addr, len, flags::DESC_WRITE));
            bad(&|(addr, len, _)| (addr, len, flags::DESC_INDIRECT));
            bad(&|(addr, _, flags)| (addr, 0, flags));
            receive_packed(at, lengths, Undersize, &|(addr, _, flags)| (addr, 25, flags), 0);
            receive_packed(at, lengths, BadHeader, &|(addr, _, flags)| (addr, 11, flags), 0);
            receive_packed(at, lengths, Oversize, &|(addr, _, flags)| (addr, 413, flags), 0);
            receive_packed(at, lengths, BadHeader, &|desc| desc, 1);
        }
    }
}

/// As [`transmit`], in a packed ring.
fn transmit_packed(at: u8, lengths: [usize; 2], spoil: &dyn Fn(Packed) -> Packed) {
    let (mut guest, pool) = (packed::Guest::new(64), pool(64));
    let mut device = guest.device(OPTIONS);
    let len = |number: u8| lengths[usize::from(number % 2)];
    let address = |id: u8| LOW + 512 * u64::from(id);
    let mut packets = Burst::new();
    for number in 0..COUNT {
        let desc = (address(number), 500, flags::DESC_WRITE);
        guest.publish(number.into(), &[if number == at { spoil(desc) } else { desc }]);
        packets.push(pool.copy_from(&frame(number, len(number))).unwrap());
    }
    let taken = guest.transmit(&mut device, &mut packets);
    assert_eq!((taken, packets.len()), (COUNT.into(), 0));
    assert_eq!(guest.drops(BadDescriptor), (1, 1), "at {at}, {lengths:?}");
    for number in 0..COUNT {
        let written = if number == at { 0 } else { 12 + len(number) };
        assert_eq!(guest.used(1), Some((number.into(), u32::try_from(written).unwrap())));
        if number != at {
            let bytes = guest.memory.read(address(number), 12 + len(number));
            assert_eq!(bytes[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
            assert_eq!(bytes[12..], frame(number, len(number)));
        }
    }
    assert_eq!((guest.used(1), pool.available()), (None, 64));
}

#[test]
fn one_bad_buffer_in_a_transmitted_burst_of_a_packed_ring() {
    for lengths in LENGTHS {
        for at in 0..COUNT {
            transmit_packed(at, lengths, &|(_, len, flags)| (END, len, flags));
            transmit_packed(at, lengths, &|(_, len, flags)| (u64::MAX - 3, len, flags));
            transmit_packed(at, lengths, &|(addr, len, _)| (addr, len, 0));
            transmit_packed(at, lengths, &|(addr, len, _)| {
                (addr, len, flags::DESC_WRITE | flags::DESC_INDIRECT)
            });
            transmit_packed(at, lengths, &|(addr, _, flags)| (addr, 0, flags));
            transmit_packed(at, lengths, &|(addr, _, flags)| (addr, u32::MAX, flags));
        }
    }
}

/// Descriptors of a group that become available one by one are taken one by one, and none before its turn.
#[test]
fn a_group_that_is_available_in_part() {
    let (mut guest, pool) = (packed::Guest::new(32), pool(64));
    let mut device = guest.device(OPTIONS);
    for round in 0..200u8 {
        let count = round % 13;
        for number in 0..count {
            guest.send(number.into(), &frame(number, 64));
        }
        let packets = guest.receive(&mut device, &pool);
        assert_eq!(packets.len(), usize::from(count), "{round}");
        for (number, packet) in (0..).zip(&packets) {
            assert_eq!(packet.bytes(), frame(number, 64));
            assert_eq!(guest.used(1), Some((number.into(), 0)));
        }
        assert_eq!(guest.used(1), None);
    }
}
