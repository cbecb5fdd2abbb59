//! The device half's notifications, both ways, by flag and by index.

mod ring_support;

use netdev::Armed;
use ring_support::{Guest, OPTIONS, frame, pool};
use virtio::ring::RingOptions;
use virtio::ring::split::{DeviceOptions, flags};

const BY_INDEX: DeviceOptions = DeviceOptions { ring: RingOptions::EVENT_IDX, ..OPTIONS };

#[test]
fn by_flag_the_driver_is_notified_unless_it_says_no() {
    let (mut guest, pool) = (Guest::new(4), pool(8));
    let mut device = guest.device(OPTIONS);
    for wanted in [true, false, true] {
        guest.ring.set_avail_flags(if wanted { 0 } else { flags::AVAIL_NO_INTERRUPT });
        guest.send(0, &frame(1, 60));
        guest.receive(&mut device, &pool);
        assert_eq!(device.should_notify(), wanted);
        assert!(!device.should_notify(), "nothing was published since");
    }
}

#[test]
fn by_index_the_driver_is_notified_when_the_event_is_passed() {
    let (mut guest, pool) = (Guest::starting_at(8, 0xfffa), pool(16));
    let mut device = guest.device(BY_INDEX);
    assert!(device.should_notify(), "for a predecessor that died");
    let mut used = 0xfffau16;
    for (count, event, wanted) in [
        (3, 0xfffa, true),  // the first of the burst
        (3, 0xffff, true),  // the last of it, at the wrap
        (2, 0xffff, false), // passed already
        (4, 5, true),       // the last
        (1, 7, false),      // still ahead
        (1, 7, true),
        (8, 7, false), // far behind
    ] {
        guest.ring.set_used_event(event);
        for head in 0..count {
            guest.send(head, &frame(1, 60));
        }
        assert_eq!(guest.receive(&mut device, &pool).len(), usize::from(count));
        used = used.wrapping_add(count);
        assert_eq!(device.indexes().used, used);
        assert_eq!(device.should_notify(), wanted, "{count} up to {used}, event {event}");
    }
}

#[test]
fn polling_suppresses_and_arming_asks() {
    let (mut guest, pool) = (Guest::new(4), pool(8));
    let mut device = guest.device(OPTIONS);
    assert_eq!(guest.ring.used_flags(), flags::USED_NO_NOTIFY);
    assert_eq!(device.arm(), Armed::Armed);
    assert_eq!(guest.ring.used_flags(), 0);
    guest.send(0, &frame(1, 60));
    assert_eq!(guest.receive(&mut device, &pool).len(), 1);
    assert_eq!(guest.ring.used_flags(), flags::USED_NO_NOTIFY);
    guest.send(0, &frame(1, 60));
    assert_eq!(device.arm(), Armed::PacketsPending);
    assert_eq!(guest.ring.used_flags(), flags::USED_NO_NOTIFY);
}

#[test]
fn arming_by_index_names_the_next_entry_and_leaves_the_flags_zero() {
    let (mut guest, pool) = (Guest::starting_at(4, 0xffff), pool(8));
    let mut device = guest.device(BY_INDEX);
    assert_eq!((guest.ring.used_flags(), guest.ring.avail_event()), (0, 0xfffe));
    assert_eq!(device.arm(), Armed::Armed);
    assert_eq!(guest.ring.avail_event(), 0xffff);
    guest.send(0, &frame(1, 60));
    guest.receive(&mut device, &pool);
    assert_eq!(device.arm(), Armed::Armed);
    assert_eq!((guest.ring.used_flags(), guest.ring.avail_event()), (0, 0));
}
