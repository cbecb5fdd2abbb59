//! udp-echo against real clients: a UDP socket through QEMU's user network, and the Linux kernel over a TAP device.

use end_to_end::build::Program;
use end_to_end::network::{Network, succeed};
use end_to_end::process::{Process, launcher};
use end_to_end::{have, root, turn};
use std::net::UdpSocket;
use std::time::Duration;

const QEMU: &str = "qemu-system-x86_64";

/// Sends until an answer comes: UDP may lose, and the first datagram may meet a guest that is not ready.
#[track_caller]
fn ask(socket: &UdpSocket, question: &[u8]) {
    let mut answer = vec![0; 2048];
    for _ in 0..60 {
        socket.send(question).expect("loopback takes datagrams");
        while let Ok(length) = socket.recv(&mut answer) {
            if &answer[..length] == question {
                return;
            }
        }
    }
    panic!("no answer to a datagram of {} bytes", question.len());
}

#[test]
fn a_datagram_comes_back_through_the_forwarded_port() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    for machine in ["q35", "microvm"] {
        let run = Process::start(&mut launcher(Program::UdpEcho, &["--machine", machine]));
        let hint = run.wait_for("nc -u -w1 127.0.0.1", 1);
        let port: u16 =
            hint.rsplit(' ').next().unwrap().parse().expect("the hint ends with the port");
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        for length in [1, 2, 17, 18, 255, 1400, 1472] {
            let question: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0] ^ 0x5a).collect();
            ask(&socket, &question);
        }
    }
}

const HOST: &str = "10.9.0.1";
const GUEST: &str = "10.9.0.2";

/// A counter of the kernel in a namespace, such as `Udp` `InCsumErrors`.
fn counter(network: &Network, protocol: &str, name: &str) -> u64 {
    let output = network.command("cat").arg("/proc/net/snmp").output().expect("cat can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let index =
        names.split(' ').position(|word| word == name).expect("the kernel has this counter");
    values.split(' ').nth(index).unwrap().parse().unwrap()
}

#[test]
fn ping_and_nc_are_answered_over_a_tap_device() {
    if !root() || ![QEMU, "ip", "ping", "nc", "sh"].into_iter().all(have) {
        return;
    }
    let _turn = turn::take();
    let Some(network) = Network::new(Some(&format!("{HOST}/24")), &[]) else { return };
    let image = Program::UdpEcho.path();
    let mut command = network.command(Program::Launcher.path().to_str().unwrap());
    command.arg(image).args(["--port", "tap:tap0", "--", &format!("netdev.ip={GUEST}/24")]);
    let run = Process::start(&mut command);
    run.wait_for("first poll", 1);

    for size in ["0", "1", "56", "57", "1472"] {
        let output = network
            .command("ping")
            .args(["-c", "5", "-i", "0.05", "-W", "10", "-s", size, GUEST])
            .output();
        let text = succeed(output.unwrap());
        assert!(text.contains("5 received") && !text.contains("wrong"), "{text}");
    }
    let ask = format!("printf 'hello, kernel\\n' | nc -u -w2 {GUEST} 7");
    let answer = succeed(network.command("sh").args(["-c", &ask]).output().unwrap());
    assert_eq!(answer, "hello, kernel\n");
    // The kernel verified every answer's checksums.
    for (protocol, name) in
        [("Udp", "InCsumErrors"), ("Icmp", "InCsumErrors"), ("Ip", "InHdrErrors")]
    {
        assert_eq!(counter(&network, protocol, name), 0, "{protocol} {name}");
    }
    assert_eq!(counter(&network, "Icmp", "InEchoReps"), 25);
    assert_eq!(counter(&network, "Udp", "InDatagrams"), 1);
}

#[test]
fn another_address_and_another_port_are_not_answered() {
    if !root() || ![QEMU, "ip", "ping", "nc", "sh"].into_iter().all(have) {
        return;
    }
    let _turn = turn::take();
    let Some(network) = Network::new(Some(&format!("{HOST}/24")), &[]) else { return };
    let mut command = network.command(Program::Launcher.path().to_str().unwrap());
    let address = format!("netdev.ip={GUEST}/24");
    command.arg(Program::UdpEcho.path()).args([
        "--machine",
        "microvm",
        "--port",
        "tap:tap0",
        "--",
        &address,
    ]);
    let run = Process::start(&mut command);
    run.wait_for("first poll", 1);
    let stranger =
        network.command("ping").args(["-c", "1", "-W", "2", "10.9.0.3"]).output().unwrap();
    assert_eq!(
        stranger.status.code(),
        Some(1),
        "10.9.0.3 answered: {}",
        String::from_utf8_lossy(&stranger.stdout)
    );
    let ask = format!("printf x | nc -u -w1 {GUEST} 9");
    let answer = network.command("sh").args(["-c", &ask]).output().unwrap();
    assert!(answer.stdout.is_empty(), "port 9 answered");
    // ... and the guest is well.
    succeed(network.command("ping").args(["-c", "1", "-W", "10", GUEST]).output().unwrap());
}
