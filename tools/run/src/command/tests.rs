//! Golden commands: one for each machine and kind of port.

use super::*;

fn guest(machine: Machine, ports: &[&str]) -> Guest {
    Guest {
        image: "target/l2fwd".into(),
        machine,
        accel: Accel::Tcg,
        memory: Memory(64),
        firmware: None,
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
        device: DeviceOptions::default(),
        reconnect: 1,
        monitor: None,
        gdb: false,
        append: String::new(),
    }
}

fn line(guest: &Guest) -> String {
    shell_quoted(&guest.command())
}

const START: &str = "qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot";
const MEMORY: &str = "-m 64M -object memory-backend-memfd,id=mem,size=64M,share=on";
const CONSOLE: &str = "-serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4";

#[test]
fn q35_with_two_vhost_user_ports() {
    let guest = guest(Machine::Q35, &["vhost-user:/run/a", "vhost-user:/run/b,server"]);
    let ports = "-chardev socket,id=chr0,path=/run/a,reconnect=1 -netdev vhost-user,id=net0,chardev=chr0 \
                 -device virtio-net-pci,disable-legacy=on,vectors=0,romfile=,netdev=net0,mac=52:54:00:12:34:56,\
                 rx_queue_size=1024,tx_queue_size=1024 \
                 -chardev socket,id=chr1,path=/run/b,server=on -netdev vhost-user,id=net1,chardev=chr1 \
                 -device virtio-net-pci,disable-legacy=on,vectors=0,romfile=,netdev=net1,mac=52:54:00:12:34:57,\
                 rx_queue_size=1024,tx_queue_size=1024";
    assert_eq!(
        line(&guest),
        format!(
            "{START} -machine q35,accel=tcg,memory-backend=mem,usb=off -cpu max {MEMORY} {CONSOLE} {ports} \
             -kernel target/l2fwd"
        )
    );
}

#[test]
fn microvm_with_the_user_network() {
    let mut guest = guest(Machine::Microvm, &["user,hostfwd=udp:127.0.0.1:5555-10.0.2.15:7"]);
    guest.append = "netdev.ip=10.0.2.15/24".into();
    assert_eq!(
        line(&guest),
        format!(
            "{START} -machine microvm,accel=tcg,memory-backend=mem,acpi=off,x-option-roms=off,isa-serial=on,\
             auto-kernel-cmdline=on -cpu max {MEMORY} {CONSOLE} -global virtio-mmio.force-legacy=false \
             -netdev user,id=net0,hostfwd=udp:127.0.0.1:5555-10.0.2.15:7 \
             -device virtio-net-device,netdev=net0,mac=52:54:00:12:34:56 \
             -kernel target/l2fwd -append netdev.ip=10.0.2.15/24"
        )
    );
}

#[test]
fn pc_with_a_tap_interface_kvm_gdb_and_qboot() {
    let mut guest = guest(Machine::Pc, &["tap:tap0"]);
    guest.accel = Accel::Kvm;
    guest.firmware = Some(Firmware::Qboot);
    guest.gdb = true;
    guest.monitor = Some("/run/a,b".into());
    guest.append = "a=\"b c\" d='e'".into();
    assert_eq!(
        line(&guest),
        format!(
            "{START} -machine pc,accel=kvm,memory-backend=mem,usb=off -cpu host {MEMORY} -bios qboot.rom {CONSOLE} \
             -netdev tap,id=net0,ifname=tap0,script=no,downscript=no,vhost=off \
             -device virtio-net-pci,disable-legacy=on,vectors=0,romfile=,netdev=net0,mac=52:54:00:12:34:56 \
             -qmp unix:/run/a,,b,server=on,wait=off -gdb tcp:127.0.0.1:1234 -S -kernel target/l2fwd -append 'a=\"b c\" d='\\''e'\\'''"
        )
    );
}

#[test]
fn firmware_and_reconnect_choices() {
    let mut guest = guest(Machine::Microvm, &["vhost-user:/run/a"]);
    guest.firmware = Some(Firmware::Seabios);
    guest.reconnect = 0;
    assert!(line(&guest).contains("-bios bios-microvm.bin "));
    assert!(line(&guest).contains("-chardev socket,id=chr0,path=/run/a -netdev"));
    guest.machine = Machine::Q35;
    assert!(line(&guest).contains("-bios bios-256k.bin "));
}

#[test]
fn commas_in_paths_are_doubled_where_qemu_reads_options() {
    let mut guest = guest(Machine::Q35, &[]);
    guest.ports = vec![Port::VhostUser { path: "/tmp/a,b".into(), server: true, queues: 1 }];
    guest.image = "/tmp/c,d".into();
    let line = line(&guest);
    assert!(line.contains("path=/tmp/a,,b,server=on"), "{line}");
    assert!(line.ends_with("-kernel /tmp/c,d"), "{line}");
}

#[test]
fn quoting_leaves_no_word_to_the_shell() {
    let words = ["", "a b", "$x", "it's", "plain-1.2/3"].map(OsString::from);
    assert_eq!(shell_quoted(&words), r"'' 'a b' '$x' 'it'\''s' plain-1.2/3");
}

#[test]
fn options_of_the_device_stand_behind_the_launchers_own() {
    let mut guest =
        guest(Machine::Q35, &["vhost-user:/run/a,queues=4", "tap:t,queues=2", "dgram:/a,/b"]);
    guest.device = "packed=on,rx_queue_size=256".parse().unwrap();
    let line = line(&guest);
    for part in [
        "-netdev vhost-user,id=net0,chardev=chr0,queues=4 ",
        ",mac=52:54:00:12:34:56,tx_queue_size=1024,mq=on,packed=on,rx_queue_size=256 ",
        "-netdev tap,id=net1,ifname=t,script=no,downscript=no,vhost=off,queues=2 ",
        ",mac=52:54:00:12:34:57,mq=on,packed=on,rx_queue_size=256 ",
        "-netdev dgram,id=net2,local.type=unix,local.path=/a,remote.type=unix,remote.path=/b ",
        ",mac=52:54:00:12:34:58,packed=on,rx_queue_size=256 ",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}
