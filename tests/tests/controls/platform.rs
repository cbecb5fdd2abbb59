//! Four queues of a device whose addresses are the platform's to limit or translate (`VIRTIO_F_ACCESS_PLATFORM`): the two
//! options that the sweep's wires cannot have together.

use end_to_end::build::Program;
use end_to_end::turn;

use super::{Guest, ready, udp};

#[test]
fn four_queues_behind_the_platforms_addresses() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    for (machine, device) in [
        ("q35", "virtio-net-pci,vectors=0,disable-legacy=on"),
        ("microvm,acpi=off", "virtio-net-device"),
    ] {
        for format in ["split", "packed"] {
            let packed = if format == "packed" { "on" } else { "off" };
            let device = format!("{device},mq=on,iommu_platform=on,packed={packed}");
            let append = format!("queues=4 rings=ACCESS_PLATFORM format={format}");
            let guest = Guest::with(Program::Features, machine, &device, &append);
            let Some(guest) = guest else { return };
            let line = guest.run.wait_for("features: port 0: rings", 1);
            assert!(line.contains("ACCESS_PLATFORM"), "{line}");
            let device = guest.monitor().network_devices().remove(0);
            for feature in ["VIRTIO_F_IOMMU_PLATFORM", "VIRTIO_NET_F_MQ"] {
                assert!(device.has(feature), "{feature}: {device:?}");
            }
            assert_eq!(device.has("VIRTIO_F_RING_PACKED"), format == "packed");
            // (The kernel spreads flows over the queues.)
            let (packets, _): (Vec<_>, Vec<_>) = (1000..1200).map(udp).unzip();
            guest.exchange(&packets, &packets);
        }
    }
}
