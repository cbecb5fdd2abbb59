//! A real QEMU as the front end: its network boot ROM drives the card and asks for an address, and that frame
//! must arrive here. Then QEMU is killed, and a second one is served. And an image of ours with packed rings,
//! which sends back what it gets. Skipped, loudly, where QEMU or its ROM is missing.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use netdev::{Burst, Device, RingFormat};
use support::{Bench, PATIENCE, frame, pool, socket_path};
use vhost_user::VhostUserBackend;

/// A virtual machine that boots from the network; killed when dropped.
struct Qemu(Child);

impl Qemu {
    fn start(socket: &Path, server: bool, card: &str, more: &[&str]) -> std::io::Result<Self> {
        let memory = "memory-backend-memfd,id=mem,size=64M,share=on";
        let wait = if server { ",server=on" } else { "" };
        let socket = format!("socket,id=c,path={}{wait}", socket.display());
        Command::new("qemu-system-x86_64")
            .args(["-machine", "q35,accel=tcg,memory-backend=mem", "-m", "64M", "-object", memory])
            .args(["-nodefaults", "-display", "none", "-chardev", &socket])
            .args(["-netdev", "vhost-user,id=n,chardev=c"])
            // With interrupt vectors QEMU 7.2 crashes under TCG when a vhost-user card goes live.
            .args(["-device", &format!("virtio-net-pci,netdev=n,vectors=0,{card}")])
            .args(more)
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
        let qemu = match Qemu::start(&bench.path, server, "mac=02:00:00:00:00:77", &["-boot", "n"])
        {
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

/// The l2fwd example as an image, built by a nested cargo into this build's own target directory.
fn image() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.ancestors().nth(3).expect("tests lie in TARGET/PROFILE/deps");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "-q", "--release", "-p", "barewire", "--example", "l2fwd", "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .status();
    assert!(status.expect("cargo runs").success(), "the image does not build");
    target.join("release/examples/l2fwd")
}

/// Boots l2fwd, which reflects each frame, on a card that is `packed=on`, over a back end that takes nothing else.
fn an_image_reflects(card: &str) {
    if Command::new("qemu-system-x86_64").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: qemu-system-x86_64 is not installed");
        return;
    }
    let (path, pool, image) = (socket_path("qemu-packed"), pool(1024), image());
    let config = netdev::Config { ring_format: RingFormat::Packed, ..netdev::Config::default() };
    let device = Box::new(VhostUserBackend::listen(&path).unwrap());
    let monitor = device.monitor();
    let mut port = device.start(&config, &pool).unwrap();
    let kernel = image.to_str().expect("a path of this build");
    let more = ["-kernel", kernel, "-append", "mac-updating=off"];
    let qemu = Qemu::start(&path, false, card, &more).unwrap();
    let deadline = std::time::Instant::now() + 6 * PATIENCE;
    let (mut out, mut arrived) = (Burst::new(), Burst::new());
    let (mut sent, mut back) = (0, 0);
    while back < 2000 {
        assert!(
            std::time::Instant::now() < deadline,
            "{back} of {sent} came back: {:?}",
            monitor.last_end()
        );
        while port.control.link().up && !out.is_full() && sent < 2000 && sent - back < 64 {
            out.push(pool.copy_from(&frame(sent, 60 + sent % 1400)).unwrap());
            sent += 1;
        }
        port.tx[0].tx_burst(&mut out);
        port.rx[0].rx_burst(&mut arrived);
        for packet in arrived.drain(..) {
            assert_eq!(packet.bytes(), frame(back, 60 + back % 1400), "frame {back}");
            back += 1;
        }
    }
    assert_eq!((monitor.connections(), monitor.violations()), (1, 0));
    assert_eq!(port.rx[0].stats().drops.total() + port.tx[0].stats().drops.total(), 0);
    drop(qemu);
}

#[test]
fn our_image_with_packed_rings() {
    an_image_reflects("packed=on");
    an_image_reflects("packed=on,event_idx=off");
}
