//! Several pairs of queues: all on one thread, and taken apart into lanes on threads of their own, under a scripted
//! front end that has a memory for each pair.

mod support;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use netdev::{Armed, Burst, Config, Device, DropCause, Offloads, Port, RingFormat, StartFailure};
use support::{Bench, FEATURES, Guest, PATIENCE, Peer, frame, is_woken, pool, socket_path};
use vhost_user::message::Request;
use vhost_user::{Monitor, VhostUserBackend};

/// `VIRTIO_NET_F_MQ`.
const MQ: u64 = 1 << 22;

type Lane = Box<dyn Device + Send>;

fn lanes(path: &Path, pairs: u16) -> (Vec<Lane>, Monitor) {
    let device = VhostUserBackend::listen(path).unwrap();
    let monitor = device.monitor();
    (Box::new(device).split(pairs).unwrap(), monitor)
}

fn start(lane: Lane) -> Port {
    lane.start(&Config::default(), &pool(512)).unwrap()
}

/// Connects and says what needs no reply; the back end may be polled by others, or not at all.
fn connect(path: &Path, guests: &[&Guest]) -> Peer {
    let mut peer = Peer { stream: UnixStream::connect(path).unwrap() };
    peer.send(Request::SetOwner, &[], &[]);
    peer.start_pairs(guests, FEATURES | MQ);
    peer
}

/// Polls a port once; the frames that came are sent back.
fn echo(port: &mut Port, held: &mut Burst) -> usize {
    let got = port.rx[0].rx_burst(held);
    port.tx[0].tx_burst(held);
    got
}

fn receive(port: &mut Port, queue: usize) -> Vec<Vec<u8>> {
    let mut burst = Burst::new();
    port.rx[queue].rx_burst(&mut burst);
    burst.iter().map(|packet| packet.bytes().to_vec()).collect()
}

fn wait_for(port: &mut Port, mut done: impl FnMut(&mut Port) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(port) {
        assert!(Instant::now() < deadline, "nothing happens");
    }
}

#[test]
fn one_thread_serves_all_pairs_and_frames_stay_in_theirs() {
    let mut bench = Bench::of_pairs("pairs", 2);
    assert_eq!((bench.port.info.rx_queues, bench.port.rx.len(), bench.port.tx.len()), (2, 2, 2));
    let mut guests = [Guest::of_pair(0), Guest::of_pair(1)];
    let mut peer = bench.connect();
    assert_eq!(peer.ask(&mut bench, Request::GetFeatures) & MQ, MQ);
    peer.send_u64(Request::SetProtocolFeatures, 1);
    assert_eq!(peer.ask(&mut bench, Request::GetQueueNum), 2);
    peer.start_pairs(&[&guests[0], &guests[1]], FEATURES | MQ);
    peer.expect_alive(&mut bench);
    for (queue, guest) in guests.iter_mut().enumerate() {
        let sent: Vec<_> = (0..20).map(|n| frame(queue * 100 + n, 60 + n)).collect();
        sent.iter().for_each(|frame| guest.transmit(frame));
        assert_eq!(receive(&mut bench.port, 1 - queue), [[0u8; 0]; 0], "the other pair's");
        assert_eq!(receive(&mut bench.port, queue), sent);
        guest.post(20);
        let copies = sent.iter().map(|frame| bench.pool.copy_from(frame).unwrap());
        assert_eq!(bench.port.tx[queue].tx_burst(&mut copies.collect()), 20);
        assert_eq!(guest.received(), sent);
    }
    assert!(guests[0].received().is_empty(), "sent to the second pair");
}

#[test]
fn a_front_end_that_uses_one_pair_of_several_is_served_and_the_other_loses_what_is_sent() {
    let mut bench = Bench::of_pairs("one-of-two", 2);
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_accepting(&mut bench, &guest, FEATURES);
    assert!(bench.port.control.link().up);
    let mut lost: Burst = (0..3).map(|_| bench.pool.copy_from(&[1; 60]).unwrap()).collect();
    assert_eq!(bench.port.tx[1].tx_burst(&mut lost), 3);
    assert_eq!(bench.port.tx[1].stats().drops[DropCause::LinkDown], 3);
    guest.exchange(&mut bench, 30);
}

#[test]
fn queues_come_in_pairs_and_not_more_than_there_can_be() {
    let refused = |rx_queues, tx_queues| {
        let device = Box::new(VhostUserBackend::listen(socket_path("refused")).unwrap());
        let config = Config { rx_queues, tx_queues, ..Config::default() };
        device.start(&config, &pool(256)).map(drop).unwrap_err().reason
    };
    assert_eq!(refused(1, 2), StartFailure::QueuePairs { rx: 1, tx: 2 });
    assert_eq!(refused(129, 129), StartFailure::Queues { asked: 129, max: 128 });
    assert_eq!(refused(0, 1), StartFailure::Queues { asked: 0, max: 128 });
}

/// Sends `count` frames, not too many at a time, and compares what comes back, in order.
fn round_trips(guest: &mut Guest, seed: usize, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    let expected = |n: usize| frame(seed + n, 60 + n * 7 % 1400);
    let (mut sent, mut back) = (0, 0);
    while back < count {
        assert!(Instant::now() < deadline, "{back} of {sent} came back");
        while sent < count && sent - back < 64 {
            guest.transmit(&expected(sent));
            sent += 1;
        }
        for bytes in guest.received() {
            assert_eq!(bytes, expected(back), "frame {back}");
            back += 1;
            guest.post(1);
        }
    }
}

/// Both lanes carry traffic on threads of their own, while the memory of both is mapped anew again and again under them.
#[test]
fn lanes_on_threads_carry_traffic_while_tables_are_replaced() {
    let path = socket_path("lanes");
    let (lanes, monitor) = lanes(&path, 2);
    let mut guests = [Guest::of_pair(0), Guest::of_pair(1)];
    guests.iter_mut().for_each(|guest| guest.post(128));
    let done = AtomicBool::new(false);
    let carried: u64 = std::thread::scope(|scope| {
        let done = &done;
        let run = move |lane| {
            let mut port = start(lane);
            let mut held = Burst::new();
            while !done.load(Ordering::Relaxed) {
                echo(&mut port, &mut held);
            }
            assert_eq!(port.rx[0].stats().drops.total() + port.tx[0].stats().drops.total(), 0);
            port.rx[0].stats().packets
        };
        let threads: Vec<_> =
            lanes.into_iter().map(|lane| scope.spawn(move || run(lane))).collect();
        let mut peer = connect(&path, &[&guests[0], &guests[1]]);
        for round in 0..20 {
            let [first, second] = &mut guests;
            std::thread::scope(|scope| {
                scope.spawn(|| round_trips(first, round, 500));
                scope.spawn(|| round_trips(second, 10_000 + round, 500));
            });
            // (Frames are still on their way in the tables' eyes: rings are taken up where they stand.)
            (0..5).for_each(|_| peer.share(&[&guests[0], &guests[1]]));
        }
        done.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(carried, 20_000);
    assert_eq!((monitor.connections(), monitor.violations()), (1, 0));
}

#[test]
fn lanes_must_agree_on_what_the_front_end_is_told() {
    let path = socket_path("disagree");
    let mut lanes = lanes(&path, 2).0;
    let (mut second, first) = (lanes.pop().unwrap() as Box<dyn Device>, lanes.pop().unwrap());
    let first = start(first);
    let memory = pool(512);
    for other in [
        Config { ring_format: RingFormat::Packed, ..Config::default() },
        Config { max_frame: Some(200), ..Config::default() },
        Config { offloads: Offloads::RX_CHECKSUM, ..Config::default() },
    ] {
        let refused = second.start(&other, &memory).map(drop).unwrap_err();
        assert!(matches!(refused.reason, StartFailure::Device(_)), "{}", refused.reason);
        second = refused.device;
    }
    // As the other it starts, and once that has stopped as it likes.
    let second = second.start(&Config::default(), &memory).unwrap();
    let (first, second) = (first.stop(), second.stop());
    let packed = Config { ring_format: RingFormat::Packed, ..Config::default() };
    let _second = second.start(&packed, &memory).unwrap();
    let refused = first.start(&Config::default(), &memory).map(drop).unwrap_err().reason;
    assert!(matches!(refused, StartFailure::Device(_)), "{refused}");
}

#[test]
fn a_lane_stops_and_starts_by_itself_and_the_last_one_ends_the_session() {
    let path = socket_path("by-itself");
    let (mut lanes, monitor) = lanes(&path, 2);
    let (second, first) = (lanes.pop().unwrap(), lanes.pop().unwrap());
    let (mut first, mut second) = (start(first), start(second));
    let mut guests = [Guest::of_pair(0), Guest::of_pair(1)];
    guests.iter_mut().for_each(|guest| guest.post(32));
    let mut peer = connect(&path, &[&guests[0], &guests[1]]);
    wait_for(&mut second, |port| port.control.link().up);
    let pass = |guest: &mut Guest, port: &mut Port, seed| {
        let mut held = Burst::new();
        guest.transmit(&frame(seed, 80));
        wait_for(port, |port| echo(port, &mut held) == 1);
        assert_eq!(guest.received(), [frame(seed, 80)]);
    };
    pass(&mut guests[0], &mut first, 1);
    pass(&mut guests[1], &mut second, 2);
    let stopped = first.stop();
    pass(&mut guests[1], &mut second, 3);
    let mut first = stopped.start(&Config::default(), &pool(512)).unwrap();
    pass(&mut guests[0], &mut first, 4);
    assert_eq!((monitor.connections(), monitor.violations()), (1, 0));
    drop((first, second));
    assert_eq!(peer.stream.read(&mut [0]).unwrap_or(0), 0, "closed");
}

#[test]
fn a_lane_that_sleeps_is_woken_when_another_has_handled_messages() {
    let path = socket_path("asleep");
    let mut lanes = lanes(&path, 2).0;
    let (second, first) = (lanes.pop().unwrap(), lanes.pop().unwrap());
    let (mut first, mut second) = (start(first), start(second));
    let guests = [Guest::of_pair(0), Guest::of_pair(1)];
    let mut peer = connect(&path, &[&guests[0], &guests[1]]);
    wait_for(&mut first, |port| port.control.link().up);
    wait_for(&mut second, |port| port.rx[0].arm() == Armed::Armed);
    assert!(!is_woken(&second));
    // The message is read by the first lane; the second one must look again all the same: what it sleeps on may be gone.
    peer.share(&[&guests[0], &guests[1]]);
    wait_for(&mut first, |port| {
        port.control.link();
        true
    });
    assert!(is_woken(&second));
    wait_for(&mut second, |port| port.rx[0].arm() == Armed::Armed);
    assert!(!is_woken(&second));
    rustix::io::write(&guests[1].kicks[1], &1u64.to_ne_bytes()).unwrap();
    assert!(is_woken(&second), "by its kick");
    assert!(!is_woken(&first) || first.rx[0].arm() == Armed::Armed);
}
