//! Offload headers and mergeable buffers between a front end and our back end: what was negotiated travels in the
//! header, and what was not is done by the back end, or refused.

mod support;

use netbuf::{Checksum, Gso, GsoKind, Netbuf};
use netdev::{Burst, DropCause, Offloads};
use support::{Bench, FEATURES, Guest, frame};

/// CSUM, GUEST_CSUM, GUEST_TSO4, HOST_TSO4, MRG_RXBUF, IN_ORDER.
const ACCEPTED: u64 = 1 << 0 | 1 << 1 | 1 << 7 | 1 << 11 | 1 << 15 | 1 << 35;

const PARTIAL: Checksum = Checksum::Partial { start: 34, offset: 16 };
const GSO: Gso = Gso { kind: GsoKind::Tcp4, size: 1448, header_len: 54 };

/// The header that asks for both.
const ASKS: [u8; 12] = [1, 1, 54, 0, 168, 5, 34, 0, 16, 0, 1, 0];
const PLAIN: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

fn asked() -> Offloads {
    Offloads::all() - Offloads::RSS_HASH - Offloads::RX_RSS - Offloads::RX_VLAN_FILTER
}

/// Sends a frame behind this header.
fn send(guest: &mut Guest, header: [u8; 12], bytes: &[u8]) {
    let slot = guest.avail[1] % support::RING;
    guest.transmit(bytes);
    // (The back end is polled by this thread, later.)
    guest.write(Guest::buffer(1, slot), &header);
}

fn receive(bench: &mut Bench, count: usize) -> Burst {
    let mut burst = Burst::new();
    for _ in 0..100_000 {
        bench.port.rx[0].rx_burst(&mut burst);
        if burst.len() >= count {
            break;
        }
    }
    assert_eq!(burst.len(), count);
    burst
}

fn packet(bench: &Bench, number: usize, len: usize) -> Netbuf {
    let bytes = frame(number, len);
    let mut pieces = bytes.chunks(2000).map(|piece| bench.pool.copy_from(piece).unwrap());
    let mut packet = pieces.next().unwrap();
    pieces.for_each(|piece| packet.chain(piece));
    packet
}

fn transmit(bench: &mut Bench, packet: Netbuf) {
    let mut burst: Burst = [packet].into_iter().collect();
    assert_eq!((bench.port.tx[0].tx_burst(&mut burst), burst.len()), (1, 0));
}

fn header(guest: &Guest, slot: u16) -> [u8; 12] {
    guest.bytes(Guest::buffer(0, slot), 12).try_into().unwrap()
}

#[test]
fn requests_travel_in_the_header_where_that_was_negotiated() {
    let mut bench = Bench::offloading("asks", asked());
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_accepting(&mut bench, &guest, FEATURES | ACCEPTED);
    send(&mut guest, PLAIN, &frame(1, 60));
    send(&mut guest, ASKS, &frame(2, 1400));
    let packets = receive(&mut bench, 2);
    assert_eq!((packets[0].checksum(), packets[0].gso()), (Checksum::Unknown, None));
    assert_eq!((packets[1].checksum(), packets[1].gso()), (PARTIAL, Some(GSO)));
    assert_eq!(packets[1].bytes(), frame(2, 1400));
    guest.post(16);
    for packet in packets {
        transmit(&mut bench, packet);
    }
    let mut valid = packet(&bench, 3, 100);
    valid.set_checksum(Checksum::Valid);
    transmit(&mut bench, valid);
    assert_eq!(guest.received(), [frame(1, 60), frame(2, 1400), frame(3, 100)]);
    assert_eq!([0, 1].map(|slot| header(&guest, slot)), [PLAIN, ASKS]);
    assert_eq!(header(&guest, 2)[..2], [2, 0]);
    // A jumbo frame over five buffers.
    let jumbo = packet(&bench, 4, 9000);
    transmit(&mut bench, jumbo);
    assert_eq!(header(&guest, 3), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0]);
    let bytes = frame(4, 9000);
    let start = Guest::buffer(0, 3);
    assert_eq!(guest.bytes(start + 12, 2036), bytes[..2036]);
    assert_eq!(guest.bytes(start + 2048, 9000 - 2036), bytes[2036..]);
    assert_eq!(bench.port.tx[0].stats().drops.total(), 0);
}

#[test]
fn what_was_not_negotiated_is_done_here_or_refused() {
    let mut bench = Bench::offloading("declined", asked());
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_accepting(&mut bench, &guest, FEATURES);
    send(&mut guest, ASKS, &frame(1, 1400));
    send(&mut guest, PLAIN, &frame(2, 60));
    assert_eq!(receive(&mut bench, 1)[0].bytes(), frame(2, 60));
    assert_eq!(bench.port.rx[0].stats().drops[DropCause::BadHeader], 1);
    guest.post(4);
    let (mut cut, mut partial) = (packet(&bench, 3, 1400), packet(&bench, 4, 100));
    cut.set_checksum(PARTIAL);
    cut.set_gso(Some(GSO));
    partial.set_checksum(PARTIAL);
    let jumbo = packet(&bench, 5, 9000);
    for packet in [cut, jumbo, partial] {
        transmit(&mut bench, packet);
    }
    let drops = bench.port.tx[0].stats().drops;
    assert_eq!(
        (drops[DropCause::Unsupported], drops[DropCause::Oversize], drops.total()),
        (1, 1, 2)
    );
    let mut expected = frame(4, 100);
    let sum = expected[34..]
        .chunks(2)
        .fold(0u32, |sum, word| sum + u32::from(word[0]) * 256 + u32::from(word[1]));
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    expected[50..52].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(guest.received(), [expected]);
    assert_eq!(header(&guest, 0), PLAIN);
}
