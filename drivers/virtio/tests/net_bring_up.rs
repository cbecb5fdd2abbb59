//! Starting and stopping: what a device may say of itself, and what the driver answers (catalogue A).
#![allow(clippy::cast_possible_truncation, reason = "test data")]

mod net_fake;

use net_fake::{BUFFERS, Bench, Fake, USUAL, pool};
use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::{Config, Device, DropCause, MacAddress, Offloads, StartFailure};
use virtio::features::Features;
use virtio::net::VirtioNet;
use virtio::transport::{DeviceStatus, DeviceType};

fn start(fake: &Fake, config: &Config, pool: &Pool) -> StartFailure {
    let device = Box::new(fake.open().unwrap());
    let error = device.start(config, pool).unwrap_err();
    assert!(fake.0.borrow().status.is_empty(), "the device is left reset");
    let info = error.device.info();
    assert_eq!(info.driver, "virtio-net");
    error.reason
}

fn device_says(failure: StartFailure, what: &str) {
    assert!(matches!(failure, StartFailure::Device(text) if text.contains(what)), "{failure}");
}

#[test]
fn a_usual_device_starts_stops_and_starts_again() {
    let mut bench = Bench::new(Fake::new());
    let info = bench.port.info;
    assert_eq!(info.mac, MacAddress([2, 0, 0, 0, 0, 7]));
    assert_eq!((info.max_frame, info.headroom), (1514, 12));
    assert_eq!((info.rx_ring.max, info.tx_ring.max), (16, 16));
    assert_eq!(bench.fake.0.borrow().accepted, USUAL.bits());
    assert!(bench.fake.0.borrow().status.contains(DeviceStatus::DRIVER_OK));
    assert!(bench.fake.0.borrow().notified[0] >= 1, "told of its receive buffers");
    bench.assert_flows();
    let (fake, pool) = (bench.fake.clone(), bench.pool);
    let device = bench.assert_stops();
    let port = device.start(&Config::default(), &pool).unwrap();
    let mut bench =
        Bench { fake, pool, port, taken: [0; 2], done: [0; 2], held: Default::default() };
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn what_is_no_network_device_is_refused() {
    let block = Fake::with(|registers| registers.device_type = DeviceType::Block);
    device_says(block.open().err().unwrap(), "not a network device");
    let legacy = Fake::with(|registers| registers.features &= !Features::VERSION_1.bits());
    device_says(start(&legacy, &Config::default(), &pool(64)), "VERSION_1");
}

#[test]
fn features_ok_cleared() {
    let fake = Fake::with(|registers| registers.refuses_features = true);
    device_says(start(&fake, &Config::default(), &pool(64)), "FEATURES_OK");
}

#[test]
fn features_changing_between_open_and_start() {
    let fake = Fake::with(|registers| registers.features_later = Some(1 << 32));
    let mut bench = Bench::new(fake);
    assert_eq!(bench.fake.0.borrow().accepted, 1 << 32);
    assert!(bench.port.control.link().up, "without STATUS the link counts as up");
    assert_eq!(bench.port.info.max_frame, 2048);
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn config_generation_never_stable() {
    let fake = Fake::with(|registers| registers.generation_runs = true);
    device_says(fake.open().err().unwrap(), "never stops changing");
    let fake = Fake::new();
    let device = Box::new(fake.open().unwrap());
    fake.0.borrow_mut().generation_runs = true;
    device_says(device.start(&Config::default(), &pool(64)).unwrap_err().reason, "never stops");
}

#[test]
fn configuration_shorter_than_its_features() {
    let fake = Fake::with(|registers| registers.config_len = 8);
    device_says(fake.open().err().unwrap(), "shorter");
}

#[test]
fn queue_size_0_1_3_32769() {
    for (size, what) in
        [(0, "size is 0"), (3, "power of two"), (32769, "power of two"), (65536, "power")]
    {
        for queue in [0, 1] {
            let fake = Fake::with(|registers| registers.queue_sizes[queue] = size);
            device_says(fake.open().err().unwrap(), what);
        }
    }
    let mut bench = Bench::new(Fake::with(|registers| registers.queue_sizes = vec![1, 1]));
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn mtu_0_67_65535() {
    for mtu in [0, 1, 67] {
        let fake = Fake::new();
        fake.set_mtu(mtu);
        device_says(fake.open().err().unwrap(), "MTU");
    }
    let fake = Fake::new();
    fake.set_mtu(65535);
    let mut bench = Bench::new(fake);
    assert_eq!(bench.port.info.max_frame, 2048, "what a buffer holds");
    assert_eq!(bench.fake.0.borrow().accepted & Features::MTU.bits(), 0, "no promise of buffers");
    assert!(bench.deliver(&[9; 2048]));
    assert_eq!(bench.receive(), [[9; 2048]]);
    bench.assert_flows();
    bench.assert_stops();
    let fake = Fake::new();
    fake.set_mtu(68);
    assert_eq!(Bench::new(fake).port.info.max_frame, 82);
}

#[test]
fn mac_multicast_or_zero_falls_back_to_a_local_one() {
    for bytes in [[0; 6], [1, 0, 0, 0, 0, 1], [0xff; 6]] {
        let fake = Fake::with(|registers| registers.config[..6].copy_from_slice(&bytes));
        let (one, two) = (fake.open().unwrap().info().mac, fake.open().unwrap().info().mac);
        assert!(one.is_valid_unicast() && one.0[0] & 2 != 0, "{one}");
        assert_ne!(one, two);
    }
}

#[test]
fn a_device_that_does_not_reset() {
    let fake = Fake::with(|registers| {
        registers.never_resets = true;
        registers.status = DeviceStatus::ACKNOWLEDGE;
    });
    device_says(fake.open().err().unwrap(), "does not reset");

    // At stop: it may still write to its buffers, so they stay away from the pool.
    let bench = Bench::new(Fake::new());
    bench.fake.0.borrow_mut().never_resets = true;
    let device = bench.port.stop();
    assert_eq!(bench.pool.available(), BUFFERS - 16);
    let error = device.start(&Config::default(), &bench.pool).unwrap_err();
    device_says(error.reason, "does not reset");
    // Once it does, it can be started again.
    bench.fake.0.borrow_mut().never_resets = false;
    let port = error.device.start(&Config::default(), &bench.pool).unwrap();
    drop(port.stop());
    assert_eq!(bench.pool.available(), BUFFERS - 16);
}

#[test]
fn needs_reset_or_a_reset_by_itself_takes_the_link_down() {
    let mut bench = Bench::new(Fake::new());
    assert!(bench.port.control.link().up);
    bench.fake.0.borrow_mut().config[6] = 0;
    assert!(!bench.port.control.link().up, "the device says so");
    bench.fake.0.borrow_mut().config[6] = 1;
    bench.fake.0.borrow_mut().status |= DeviceStatus::DEVICE_NEEDS_RESET;
    assert!(!bench.port.control.link().up);
    bench.fake.0.borrow_mut().status = DeviceStatus::empty();
    assert!(!bench.port.control.link().up);
    assert_eq!(bench.receive().len(), 0);
    bench.assert_stops();
}

#[test]
fn a_doorbell_outside_its_region() {
    let fake = Fake::with(|registers| registers.doorbell_fault = Some("outside"));
    let pool = pool(64);
    device_says(start(&fake, &Config::default(), &pool), "outside");
    assert_eq!(pool.available(), 64);
}

#[test]
fn what_pool_and_memory_lack_is_named() {
    let fake = Fake::new();
    assert_eq!(
        start(&fake, &Config::default(), &pool(15)),
        StartFailure::PoolTooSmall { needed: 16, available: 15 }
    );
    let small = PoolConfig { buffers: 64, headroom: 0, room: 2048 };
    let small = Pool::new(DeviceMemory::from_heap(small.device_bytes()), small).unwrap();
    assert_eq!(
        start(&fake, &Config::default(), &small),
        StartFailure::Headroom { needed: 12, given: 0 }
    );
    let config = Config { max_frame: Some(1515), ..Config::default() };
    assert_eq!(start(&fake, &config, &pool(64)), StartFailure::MaxFrame { asked: 1515, max: 1514 });
    let config = Config { offloads: Offloads::TX_TSO4, ..Config::default() };
    assert_eq!(start(&fake, &config, &pool(64)), StartFailure::Offloads(Offloads::TX_TSO4));
    let device = VirtioNet::new(fake.clone(), DeviceMemory::from_heap(1024)).unwrap();
    let failure = Box::new(device).start(&Config::default(), &pool(64)).unwrap_err();
    assert_eq!(failure.reason, StartFailure::NoMemory);
}

#[test]
fn a_port_dropped_without_stop_keeps_its_buffers_from_the_pool() {
    let bench = Bench::new(Fake::new());
    let pool = bench.pool;
    drop(bench);
    assert_eq!(pool.available(), BUFFERS - 16);
}

#[test]
fn a_queue_that_outlives_its_port_does_nothing() {
    let mut bench = Bench::new(Fake::new());
    bench.deliver(&[1; 60]);
    let mut stale = bench.port.rx.remove(0);
    drop(bench.port.stop());
    let mut burst = netdev::Burst::new();
    assert_eq!(stale.rx_burst(&mut burst), 0);
    assert_eq!(stale.arm(), netdev::Armed::Unsupported);
    drop(stale);
    assert_eq!(bench.pool.available(), BUFFERS);
}

#[test]
fn packets_that_cannot_be_sent_are_taken_and_counted() {
    let mut bench = Bench::new(Fake::new());
    let other = pool(8);
    let mut burst = netdev::Burst::new();
    burst.push(bench.pool.copy_from(&[1; 60]).unwrap());
    burst.push(bench.pool.copy_from(&[2; 1515]).unwrap());
    let mut chained = bench.pool.copy_from(&[3; 60]).unwrap();
    chained.chain(bench.pool.copy_from(&[3; 60]).unwrap());
    burst.push(chained);
    burst.push(bench.pool.copy_from(&[4; 13]).unwrap());
    let mut partial = bench.pool.copy_from(&[5; 60]).unwrap();
    partial.set_checksum(netbuf::Checksum::Partial { start: 34, offset: 6 });
    burst.push(partial);
    // These can be sent, as the one before, whose checksum is completed here: of another pool, without headroom, detached.
    burst.push(other.copy_from(&[6; 60]).unwrap());
    let mut pushed = bench.pool.copy_from(&[7; 20]).unwrap();
    pushed.push(120).unwrap().fill(7);
    burst.push(pushed);
    burst.push(bench.pool.copy_from(&[8; 60]).unwrap().detach().attach());
    burst.push(bench.pool.copy_from(&[9; 1514]).unwrap());
    assert_eq!(bench.port.tx[0].tx_burst(&mut burst), 9);
    let sent: Vec<_> = std::iter::from_fn(|| bench.accept()).collect();
    let frames: Vec<_> = sent.iter().map(|(_, frame)| (frame[0], frame.len())).collect();
    assert_eq!(frames, [(1, 60), (5, 60), (6, 60), (7, 140), (8, 60), (9, 1514)]);
    // The 26 bytes from 34 on are 13 words of 0x0505: their sum is 0x4141, and the field holds its complement.
    let mut completed = [5; 60];
    completed[40..42].copy_from_slice(&(!0x4141u16).to_be_bytes());
    assert_eq!(sent[1].1, completed);
    let stats = bench.port.tx[0].stats();
    assert_eq!((stats.packets, stats.bytes), (6, 60 * 4 + 140 + 1514));
    assert_eq!(stats.drops[DropCause::Oversize], 1);
    assert_eq!(stats.drops[DropCause::Undersize], 1);
    assert_eq!(stats.drops[DropCause::Unsupported], 1);
    for (head, _) in sent {
        bench.claim(1, head.into(), 0);
    }
    bench.port.tx[0].tx_burst(&mut burst);
    assert_eq!(other.available(), 8);
    assert_eq!(bench.pool.available(), BUFFERS - 16);
    bench.assert_flows();
    bench.assert_stops();
}
