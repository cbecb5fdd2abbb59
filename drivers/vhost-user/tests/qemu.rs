//! A real QEMU as the front end: its network boot ROM drives the card and asks for an address, and that frame
//! must arrive here. Then QEMU is killed, and a second one is served. Skipped, loudly, where QEMU or its ROM
//! is missing.

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{Bench, PATIENCE};

/// A virtual machine that boots from the network; killed when dropped.
struct Qemu(Child);

impl Qemu {
    fn start(socket: &Path, server: bool) -> std::io::Result<Self> {
        let memory = "memory-backend-memfd,id=mem,size=64M,share=on";
        let wait = if server { ",server=on" } else { "" };
        let socket = format!("socket,id=c,path={}{wait}", socket.display());
        Command::new("qemu-system-x86_64")
            .args(["-machine", "q35,accel=tcg,memory-backend=mem", "-m", "64M", "-object", memory])
            .args(["-nodefaults", "-display", "none", "-boot", "n", "-chardev", &socket])
            .args(["-netdev", "vhost-user,id=n,chardev=c"])
            // With interrupt vectors QEMU 7.2 crashes under TCG when a vhost-user card goes live.
            .args(["-device", "virtio-net-pci,netdev=n,vectors=0,mac=02:00:00:00:00:77"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A DHCP request from the guest's address: Ethernet, IPv4, UDP from port 68 to port 67.
fn asks_for_an_address(frame: &[u8]) -> bool {
    frame.len() > 42
        && frame[6..12] == [2, 0, 0, 0, 0, 0x77]
        && frame[12..14] == [8, 0]
        && frame[23] == 17
        && frame[34..38] == [0, 68, 0, 67]
}

fn boots_from_the_network(bench: &mut Bench, server: bool) {
    let rom = ["/usr/share/qemu", "/usr/lib/ipxe/qemu"]
        .iter()
        .any(|folder| Path::new(folder).join("efi-virtio.rom").exists());
    if !rom {
        println!("skipped: QEMU's network boot ROM (efi-virtio.rom) is not installed");
        return;
    }
    for round in 1..=2 {
        let qemu = match Qemu::start(&bench.path, server) {
            Ok(qemu) => qemu,
            Err(error) => {
                println!("skipped: qemu-system-x86_64: {error}");
                return;
            }
        };
        let deadline = std::time::Instant::now() + 6 * PATIENCE;
        let mut found = false;
        while !found {
            assert!(
                std::time::Instant::now() < deadline,
                "nothing from QEMU: {:?}",
                bench.monitor.last_end()
            );
            found = bench.poll().iter().any(|frame| asks_for_an_address(frame));
        }
        assert_eq!((bench.monitor.connections(), bench.monitor.violations()), (round, 0));
        drop(qemu);
    }
}

#[test]
fn qemu_connects_to_our_back_end() {
    boots_from_the_network(&mut Bench::new("qemu-client"), false);
}

#[test]
fn our_back_end_connects_to_qemu() {
    boots_from_the_network(&mut Bench::connecting("qemu-server"), true);
}
