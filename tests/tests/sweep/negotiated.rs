//! What an image is to ask of a device with a run's options, and what both sides then say was agreed.

use std::collections::BTreeSet;

use end_to_end::process::Process;
use end_to_end::qmp::Monitor;

use super::Run;

/// `VIRTIO_F_RING_RESET`, of which QEMU 7.2 has no name.
const RING_RESET: u64 = 1 << 40;

impl Run {
    /// Rings' features that the image `features` asks for: all that are offered.
    fn rings(&self) -> Vec<&'static str> {
        let options = [
            ("mrg_rxbuf", "MERGEABLE"),
            ("indirect_desc", "INDIRECT"),
            ("event_idx", "EVENT_IDX"),
            ("iommu_platform", "ACCESS_PLATFORM"),
        ];
        let on = options.into_iter().filter(|(option, _)| self.is(option, "on"));
        let mut rings: Vec<_> = on.map(|(_, name)| name).collect();
        if self.resets() {
            rings.push("RING_RESET");
        }
        rings
    }

    /// QEMU's own devices offer it (those over MMIO do not do it: see the tests of controls), and vhost-user has no message.
    fn resets(&self) -> bool {
        self.is("wire", "dgram")
    }

    /// What `features` is told to ask for.
    pub(super) fn asked(&self) -> Vec<String> {
        let mut offloads = Vec::new();
        if self.is("wire", "vhost-user") {
            offloads.push("RX_CHECKSUM");
        }
        if self.partial() {
            offloads.push("TX_CHECKSUM");
        }
        if self.chains() {
            offloads.extend(["RX_CHAINS", "TX_CHAINS"]);
        }
        let format = if self.is("packed", "on") { "packed" } else { "split" };
        let lists = [("rings", self.rings()), ("offloads", offloads)];
        let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
        let mut asked: Vec<_> =
            lists.map(|(name, list)| format!("{name}={}", list.join(","))).collect();
        asked.push(format!("format={format}"));
        asked
    }

    /// Features by QEMU's names and their bits, and whether they are to be in force.
    fn expected(&self) -> [(&'static str, u32, bool); 10] {
        let everything = self.is("asks", "everything");
        let (on, chained) = (|option| self.is(option, "on"), everything || self.jumbo());
        [
            ("VIRTIO_F_VERSION_1", 32, true),
            ("VIRTIO_F_RING_PACKED", 34, on("packed")),
            ("VIRTIO_NET_F_MRG_RXBUF", 15, on("mrg_rxbuf") && chained),
            ("VIRTIO_RING_F_INDIRECT_DESC", 28, on("indirect_desc") && chained),
            ("VIRTIO_RING_F_EVENT_IDX", 29, on("event_idx")),
            ("VIRTIO_NET_F_CSUM", 0, self.partial()),
            ("VIRTIO_NET_F_GUEST_CSUM", 1, self.is("wire", "vhost-user") && everything),
            // (Without buffers for such frames it is not accepted.)
            ("VIRTIO_NET_F_MTU", 3, self.jumbo()),
            ("VIRTIO_NET_F_MQ", 22, self.is("queues", "4")),
            ("VIRTIO_F_IOMMU_PLATFORM", 33, on("iommu_platform")),
        ]
    }

    /// Whether QEMU and the image say the same, and what is expected, of both ports.
    pub(super) fn check_negotiated(&self, image: &Process, monitor: &mut Monitor) {
        let devices = monitor.network_devices();
        assert_eq!(devices.len(), 2);
        for device in &devices {
            for (name, _, expected) in self.expected() {
                assert_eq!(device.has(name), expected, "{name}: {device:?}");
            }
            let resets = device.nameless & RING_RESET != 0;
            assert_eq!(resets, self.resets(), "{device:?}");
        }
        if self.is("asks", "everything") {
            for port in [0, 1] {
                self.check_info(&image.wait_for(&format!("features: port {port}: rings "), 1));
            }
        }
    }

    /// The same in the image's own words: `rings A | B, bits 0x...`.
    fn check_info(&self, line: &str) {
        let words = line.split_once("rings ").and_then(|(_, words)| words.split_once(", bits 0x"));
        let (rings, bits) = words.expect("a line of `features`");
        let rings: BTreeSet<_> = rings.split(" | ").filter(|name| *name != "none").collect();
        assert_eq!(rings, self.rings().into_iter().collect(), "{line}");
        let bits = u64::from_str_radix(bits.trim(), 16).expect("a number");
        for (name, bit, expected) in self.expected() {
            assert_eq!(bits >> bit & 1 == 1, expected, "{name}: {line}");
        }
    }
}
