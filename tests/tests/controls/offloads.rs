//! Requests in headers against the kernel's own: what is merged on its way in is cut on its way out, by the device;
//! checksums that the device does not complete are completed by the driver.

use end_to_end::build::Program;
use end_to_end::turn;

use super::{Guest, asking, hex, ready};

/// TCP over IPv6 in pieces of so many bytes: its header, and the packet.
fn asking6(payload: usize, piece: u16) -> Vec<u8> {
    let [low, high] = piece.to_le_bytes();
    let asks = [1, 4, 74, 0, low, high, 54, 0, 16, 0];
    let length = u16::try_from(20 + payload).unwrap().to_be_bytes();
    let ip = [&[0x60, 0, 0, 0, length[0], length[1], 6, 64], &[1; 16][..], &[2; 16]].concat();
    let tcp = [4, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0, 0, 0, 0, 0];
    let ethernet = [2, 0, 0, 0, 0, 0xaa, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
    [&asks[..], &ethernet, &ip, &tcp, &vec![7; payload]].concat()
}

/// Bytes of a header as the kernel shows it.
const HEADER: usize = 10;

/// What a header asks for: all of it but the length of the headers, which is a hint.
fn asks(bytes: &[u8]) -> (&[u8], &[u8]) {
    (&bytes[..2], &bytes[4..HEADER])
}

fn bytes(line: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("two digits");
    (0..line.len() / 2).map(|at| digit(2 * at)).collect()
}

const MACHINES: [(&str, &str); 4] = [
    ("q35", "virtio-net-pci,vectors=0"),
    ("q35", "virtio-net-pci,vectors=0,packed=on"),
    ("microvm,acpi=off", "virtio-net-device"),
    ("microvm,acpi=off", "virtio-net-device,packed=on"),
];

fn ready_with(machine: &str, device: &str, append: &str) -> Option<Guest> {
    let guest = Guest::with(Program::Features, machine, device, append)?;
    guest.run.wait_for("features: port 0: rings", 1);
    Some(guest)
}

#[test]
fn large_tcp_over_both_protocols_and_partial_checksums_go_both_ways() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    let sent = [
        asking(17, 6, 20, 0),
        asking(6, 16, 3000, 1000),
        asking(6, 16, 60_000, 1448),
        asking6(3000, 1000),
        asking6(60_000, 1428),
    ];
    let offloads = "offloads=RX_LRO,TX_TSO4,TX_TSO6,TX_CHAINS";
    for (machine, device) in MACHINES {
        let Some(guest) = ready_with(machine, device, offloads) else { return };
        for sent in &sent {
            let back = bytes(guest.send(std::slice::from_ref(sent), 1, "20 headers").trim());
            assert_eq!(asks(&back), asks(sent), "{machine} {device} {}", sent.len());
            assert!(back[HEADER..] == sent[HEADER..], "another packet of {} bytes", sent.len());
        }
    }
}

#[test]
fn checksums_that_the_device_does_not_complete_are_completed_in_software() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    let sent = [asking(17, 6, 20, 0), asking(17, 6, 1001, 0)];
    for (machine, device) in MACHINES {
        let device = format!("{device},csum=off");
        let Some(guest) = ready_with(machine, &device, "offloads=RX_CHECKSUM") else { return };
        for sent in &sent {
            let back = bytes(guest.send(std::slice::from_ref(sent), 1, "20 headers").trim());
            assert_eq!(asks(&back).0, [0, 0], "nothing is left to do");
            let complete = completed(&sent[HEADER..]);
            assert_eq!(hex(&back[HEADER..]), hex(&complete), "{machine} {device}");
        }
    }
}

/// The frame with the sum of what stands from byte 34 on in bytes 40 and 41 (RFC 1071).
fn completed(frame: &[u8]) -> Vec<u8> {
    let words = frame[34..].chunks(2).map(|word| [word[0], word.get(1).copied().unwrap_or(0)]);
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = u16::try_from(0xffff - sum).unwrap();
    let mut frame = frame.to_vec();
    frame[40..42].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn segmentation_that_the_device_lacks_ends_the_start_with_words() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    for (lacks, asked, words) in [
        ("host_tso4=off", "TX_TSO4", "does not offer TX_TSO4"),
        ("host_tso6=off", "TX_TSO4,TX_TSO6", "does not offer TX_TSO6"),
        // Who cuts completes the checksums.
        ("csum=off", "TX_TSO4", "does not offer TX_TSO4"),
        ("guest_tso6=off", "RX_LRO", "does not offer RX_LRO"),
        ("mrg_rxbuf=off", "RX_LRO", "does not offer RX_LRO"),
        ("guest_csum=off", "RX_CHECKSUM,RX_LRO", "does not offer RX_CHECKSUM | RX_LRO"),
        // QEMU 7.2 cuts no UDP.
        ("csum=on", "TX_USO", "does not offer TX_USO"),
    ] {
        for (machine, device) in MACHINES.into_iter().step_by(3) {
            let (device, append) = (format!("{device},{lacks}"), format!("offloads={asked}"));
            let guest = Guest::with(Program::Features, machine, &device, &append);
            let Some(guest) = guest else { return };
            let line = guest.run.wait_for("barewire: error:", 1);
            assert!(line.contains(words), "{lacks}: {line}");
        }
    }
}
