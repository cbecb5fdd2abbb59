//! A device that asks for a reset in the middle of traffic (`DEVICE_NEEDS_RESET`), again and again: QEMU does when it
//! finds nonsense in a ring, which is written there from outside while the guest runs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use end_to_end::turn;
use serde_json::json;

use super::{Guest, MACHINES, ready, udp};

/// With each round the buffers of a whole ring would be lost, of which the pool has five.
const ROUNDS: usize = 12;

/// QEMU's door to the guest's memory, made for tests of devices.
struct Memory {
    socket: UnixStream,
    answers: std::io::Lines<BufReader<UnixStream>>,
}

impl Memory {
    fn of(guest: &Guest) -> Self {
        let socket = UnixStream::connect(guest.scratch.file("qtest")).expect("QEMU listens");
        let answers = BufReader::new(socket.try_clone().unwrap()).lines();
        Self { socket, answers }
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.socket, "{command}").unwrap();
        let answer = self.answers.next().unwrap().unwrap();
        assert!(answer.starts_with("OK"), "{command}: {answer}");
        answer
    }

    fn fill(&mut self, address: u64, bytes: usize, value: u8) {
        self.ask(&format!("memset {address:#x} {bytes:#x} {value:#x}"));
    }

    fn write32(&mut self, address: u64, value: u32) {
        self.ask(&format!("writel {address:#x} {value:#x}"));
    }
}

/// Writes into a ring what no driver would: descriptors that do not exist, or in a packed ring buffers without room.
fn break_ring(guest: &Guest, queue: usize, packed: bool) {
    let mut monitor = guest.monitor();
    let path = monitor.network_devices().remove(0).path;
    let ring = monitor.ask("x-query-virtio-queue-status", json!({"path": path, "queue": queue}));
    let number = |key: &str| ring[key].as_u64().expect("a number");
    let mut memory = Memory::of(guest);
    if packed {
        for entry in 0..number("vring-num") {
            memory.write32(number("vring-desc") + 16 * entry + 8, 0);
        }
    } else {
        let entries = usize::try_from(number("vring-num")).unwrap();
        memory.fill(number("vring-avail") + 4, 2 * entries, 0xff);
    }
}

#[test]
fn a_device_that_asks_for_a_reset_in_mid_traffic_is_restarted_and_no_buffer_is_lost() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    for (machine, device) in MACHINES {
        let Some(guest) = Guest::start(machine, device, "queues=2") else { return };
        let line = guest.run.wait_for("controls: pool, ", 1);
        let left = line.split_once("pool, ").expect("a line of `controls`").1.to_owned();
        let (packets, _): (Vec<_>, Vec<_>) = (1000..1010).map(udp).unzip();
        let passes = || (0..20).any(|_| guest.pass(&packets) == packets.len());
        assert!(passes(), "{}", guest.run.lines().join("\n"));
        for round in 1..=ROUNDS {
            // One receive queue and then the other: a driver does not touch those entries before something comes.
            let queue = 2 * (round % 2);
            break_ring(&guest, queue, device.contains("packed=on"));
            let recovered = format!("controls: recovered: {round}");
            let back = |line: &String| line.contains(&recovered);
            // What hits the broken ring makes the device ask.
            let asked = (0..50).any(|_| {
                guest.pass(&packets);
                guest.run.lines().iter().any(back)
            });
            assert!(asked, "round {round}:\n{}", guest.run.lines().join("\n"));
            guest.run.wait_for(&format!("controls: recovered, {left}"), round);
            assert!(passes(), "round {round}:\n{}", guest.run.lines().join("\n"));
        }
        let device = guest.monitor().network_devices().remove(0);
        assert!(!device.needs_reset(), "{device:?}");
        assert!(!guest.run.lines().iter().any(|line| line.contains("controls: change ")));
    }
}
