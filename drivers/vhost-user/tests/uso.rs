//! UDP datagrams that are to be cut (USO) between our front end and our back end, both ways: neither QEMU 7.2 nor DPDK
//! 22.11 has them.

mod support;
#[path = "support/user.rs"]
mod user;

use std::path::Path;
use std::time::Instant;

use netbuf::{Checksum, Gso, GsoKind, Netbuf, Pool, PoolConfig};
use netdev::{Burst, Config, Device, DropCause, Offloads, Port, RingFormat};
use support::{PATIENCE, frame, pool, socket_path};
use user::{FORMATS, shared};
use vhost_user::{VhostUserBackend, VirtioUser};

const ASKED: Checksum = Checksum::Partial { start: 34, offset: 6 };
const GSO: Gso = Gso { kind: GsoKind::UdpL4, size: 1400, header_len: 42 };

/// Both directions.
const BOTH: Offloads =
    Offloads::TX_USO.union(Offloads::RX_USO).union(Offloads::TX_CHAINS).union(Offloads::RX_CHAINS);

/// Our back end, and then our front end, with these offloads.
fn pair(path: &Path, format: RingFormat, back: Offloads, front: Offloads) -> [(Port, Pool); 2] {
    let config = |offloads, ring_format| Config { offloads, ring_format, ..Config::default() };
    let back_pool = pool(1024);
    let device = Box::new(VhostUserBackend::listen(path).unwrap());
    let mut back = device.start(&config(back, RingFormat::Any), &back_pool).unwrap();
    let (shared, rings, front_pool) = shared(PoolConfig { buffers: 1024, ..PoolConfig::default() });
    let device = Box::new(VirtioUser::connect(path, &[shared], vec![rings]).unwrap());
    let mut front = device.start(&config(front, format), &front_pool).unwrap();
    let (deadline, mut idle) = (Instant::now() + PATIENCE, Burst::new());
    while !(front.control.link().up && back.control.link().up) {
        assert!(Instant::now() < deadline, "no link");
        front.rx[0].rx_burst(&mut idle);
        back.rx[0].rx_burst(&mut idle);
    }
    [(back, back_pool), (front, front_pool)]
}

/// A packet of so many bytes that is to be cut.
fn large(pool: &Pool, len: usize) -> Netbuf {
    let bytes = frame(3, len);
    let mut pieces = bytes.chunks(2000).map(|piece| pool.copy_from(piece).unwrap());
    let mut packet = pieces.next().unwrap();
    pieces.for_each(|piece| packet.chain(piece));
    packet.set_checksum(ASKED);
    packet.set_gso(Some(GSO));
    packet
}

fn send(port: &mut Port, packet: Netbuf) {
    let mut burst: Burst = [packet].into_iter().collect();
    assert_eq!((port.tx[0].tx_burst(&mut burst), burst.len()), (1, 0));
}

fn receive(port: &mut Port) -> Netbuf {
    let (deadline, mut burst) = (Instant::now() + PATIENCE, Burst::new());
    while port.rx[0].rx_burst(&mut burst) == 0 {
        assert!(Instant::now() < deadline, "{:?}", port.rx[0].stats());
    }
    burst.pop().unwrap()
}

#[test]
fn datagrams_to_be_cut_go_both_ways() {
    for format in FORMATS {
        let path = socket_path(&format!("uso-{format}"));
        let [mut back, mut front] = pair(&path, format, BOTH, BOTH);
        assert!(front.0.info.offloads.contains(BOTH | Offloads::TX_CHECKSUM));
        for len in [1500, 9000, 60_000] {
            for _ in 0..2 {
                send(&mut front.0, large(&front.1, len));
                let packet = receive(&mut back.0);
                assert_eq!((packet.checksum(), packet.gso()), (ASKED, Some(GSO)));
                let mut bytes = vec![0; packet.len()];
                packet.copy_to(&mut bytes);
                assert_eq!(bytes, frame(3, len), "{format}");
                std::mem::swap(&mut front, &mut back);
            }
        }
    }
}

#[test]
fn packets_that_a_peer_would_have_to_cut_and_does_not_are_counted() {
    let path = socket_path("uso-none");
    let chains = Offloads::TX_CHAINS;
    for mut side in pair(&path, RingFormat::Any, chains, chains) {
        let packet = large(&side.1, 3000);
        send(&mut side.0, packet);
        assert_eq!(side.0.tx[0].stats().drops[DropCause::Unsupported], 1);
    }
}
