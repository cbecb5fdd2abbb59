//! Capture files that break the rules (and some that only look so).

use super::*;

/// A classic pcap file: header fields may be replaced by tests.
fn pcap(magic: u32, link: u32, packets: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(magic.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(65_535u32.to_le_bytes());
    file.extend(link.to_le_bytes());
    for (included, original, data) in packets {
        file.extend([0; 8]);
        file.extend(included.to_le_bytes());
        file.extend(original.to_le_bytes());
        file.extend(*data);
    }
    file
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &len, body, &len].concat()
}

fn section() -> Vec<u8> {
    block(
        0x0a0d_0d0a,
        &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
    )
}

fn interface(link: u8, options: &[u8]) -> Vec<u8> {
    block(1, &[&[link, 0, 0, 0, 0, 0, 0, 0][..], options].concat())
}

fn packet(interface: u32, len: u32, data: &[u8]) -> Vec<u8> {
    let fields = [interface, 0, 0, len, len].map(u32::to_le_bytes);
    block(6, &[fields.as_flattened(), data].concat())
}

#[track_caller]
fn refused(bytes: &[u8], because: &str) {
    let error = Capture::parse(bytes).expect_err("accepted").to_string();
    println!("{error}");
    assert!(error.contains(because) && error.contains("accepted: pcap"), "{error}");
}

const MICRO: u32 = 0xa1b2_c3d4;
const FRAME: [u8; 60] = [7; 60];

#[test]
fn an_empty_file_and_every_cut_of_a_header() {
    refused(&[], "empty");
    let file = pcap(MICRO, 1, &[(60, 60, &FRAME)]);
    for len in 1..24 {
        refused(&file[..len], "the file header has 24 bytes");
    }
    refused(&file[..24], "no frame");
    for len in 25..file.len() {
        refused(&file[..len], "packet 1 (byte 24): needs");
    }
}

#[test]
fn magics() {
    for magic in [MICRO, MICRO.swap_bytes(), 0xa1b2_3c4d, 0x4d3c_b2a1] {
        let mut file = pcap(magic, 1, &[(60, 60, &FRAME)]);
        if magic & 0xff == 0xa1 {
            // Written in the other order: so are the fields.
            file[4..24].as_chunks_mut::<4>().0.iter_mut().for_each(|field| field.reverse());
            file[4..8].rotate_left(2);
            file[24..40].as_chunks_mut::<4>().0.iter_mut().for_each(|field| field.reverse());
        }
        assert_eq!(Capture::parse(&file).unwrap().frames()[0][..], FRAME, "{magic:x}");
    }
    for magic in [0, 0xa1b2_cd34, 0xa1e2_cb12, u32::MAX] {
        refused(&pcap(magic, 1, &[]), "file header");
    }
}

#[test]
fn lengths_that_lie() {
    refused(&pcap(MICRO, 1, &[(61, 61, &FRAME)]), "packet 1 (byte 24): needs");
    refused(&pcap(MICRO, 1, &[(u32::MAX, u32::MAX, &FRAME)]), "packet 1 (byte 24): needs");
    refused(&pcap(MICRO, 1, &[(60, 59, &FRAME)]), "packet 1 (byte 24)");
    refused(&pcap(MICRO, 1, &[(70_000, 70_000, &[0; 70_000])]), "packet 1 (byte 24)");
    let mut file = pcap(MICRO, 1, &[(60, 60, &FRAME), (60, 60, &FRAME)]);
    file[100 + 8..100 + 12].copy_from_slice(&61u32.to_le_bytes());
    refused(&file, "packet 2 (byte 100)");
}

#[test]
fn short_frames_are_counted_and_cut_ones_played() {
    let capture =
        Capture::parse(&pcap(MICRO, 1, &[(0, 0, &[]), (13, 13, &[1; 13]), (60, 1514, &FRAME)]))
            .unwrap();
    assert_eq!((capture.frames().len(), capture.undersize, capture.cut), (1, 2, 1));
}

#[test]
fn not_ethernet() {
    refused(&pcap(MICRO, 113, &[(60, 60, &FRAME)]), "not Ethernet");
    refused(&[section(), interface(113, &[]), packet(0, 60, &FRAME)].concat(), "not Ethernet");
}

#[test]
fn time_may_go_backwards() {
    let mut file = pcap(MICRO, 1, &[(60, 60, &FRAME), (60, 60, &FRAME)]);
    file[24] = 200;
    assert_eq!(Capture::parse(&file).unwrap().frames().len(), 2);
}

#[test]
fn a_good_pcapng() {
    let file = [
        section(),
        interface(1, &[]),
        packet(0, 60, &FRAME),
        block(0x77, &[1; 8]),
        section(),
        interface(1, &[]),
        packet(0, 60, &FRAME),
    ]
    .concat();
    assert_eq!(Capture::parse(&file).unwrap().frames().len(), 2);
}

#[test]
fn a_pcapng_section_in_the_other_byte_order() {
    let mut other = section();
    for field in [4..8, 8..12, 24..28] {
        other[field].reverse();
    }
    other[12..14].reverse();
    let mut other_interface = interface(1, &[]);
    for field in [0..4, 4..8, 8..10, 16..20] {
        other_interface[field].reverse();
    }
    let mut other_packet = packet(0, 60, &FRAME);
    let end = other_packet.len();
    for field in [0..4, 4..8, 20..24, 24..28, end - 4..end] {
        other_packet[field].reverse();
    }
    let file =
        [section(), interface(1, &[]), packet(0, 60, &FRAME), other, other_interface, other_packet]
            .concat();
    assert_eq!(Capture::parse(&file).unwrap().frames().len(), 2);
}

#[test]
fn broken_pcapng() {
    let good = [section(), interface(1, &[]), packet(0, 60, &FRAME)].concat();
    for len in 4..good.len() {
        if len != section().len() && len != section().len() + interface(1, &[]).len() {
            refused(&good[..len], "packet 1 (byte");
        }
    }
    refused(&section(), "no frame");
    let at = section().len();
    for bad in [0u32, 4, 8, 11, 21, u32::MAX] {
        let mut file = good.clone();
        file[at + 4..at + 8].copy_from_slice(&bad.to_le_bytes());
        refused(&file, &format!("packet 1 (byte {at})"));
    }
    let mut file = good.clone();
    *file.last_mut().unwrap() ^= 1;
    refused(&file, "packet 1 (byte");
    refused(&[section(), interface(1, &[]), packet(1, 60, &FRAME)].concat(), "packet 1 (byte");
    refused(&[section(), packet(0, 60, &FRAME)].concat(), "packet 1 (byte");
    refused(&[section(), interface(1, &[]), packet(0, 4000, &FRAME)].concat(), "packet 1 (byte");
    refused(&[section(), interface(1, &[1, 0, 200, 0])].concat(), "packet 1 (byte");
}

#[test]
fn an_impossible_time_resolution_does_not_stop_a_replay_or_is_refused() {
    for resolution in [0xff, 0x7f, 0x80, 20] {
        let options = [9, 0, 1, 0, resolution, 0, 0, 0, 0, 0, 0, 0];
        match Capture::parse(&[section(), interface(1, &options), packet(0, 60, &FRAME)].concat()) {
            Ok(capture) => assert_eq!(capture.frames().len(), 1),
            Err(error) => assert!(error.to_string().contains("packet 1 (byte"), "{error}"),
        }
    }
}

#[test]
fn files_that_are_none() {
    for path in ["/", "/dev/zero", "/nonexistent/capture.pcap"] {
        let error = Capture::open(Path::new(path)).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains("accepted: pcap"), "{error}");
    }
}

mod any_bytes {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_damage_makes_the_reader_panic(ng in any::<bool>(), place in any::<prop::sample::Index>(),
                                            bytes in prop::collection::vec(any::<u8>(), 1..8)) {
            let mut file = if ng {
                [section(), interface(1, &[9, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0]), packet(0, 60, &FRAME)].concat()
            } else {
                pcap(MICRO, 1, &[(60, 60, &FRAME), (60, 60, &FRAME)])
            };
            let start = place.index(file.len());
            for (old, new) in file[start..].iter_mut().zip(bytes) {
                *old = new;
            }
            if let Err(error) = Capture::parse(&file) {
                prop_assert!(error.to_string().contains("accepted: pcap"));
            }
        }
    }
}
