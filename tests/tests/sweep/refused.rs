//! What a device of QEMU's lacks and an image asks for ends the start with words that name it.

use end_to_end::build::Program;
use end_to_end::process::launch;
use end_to_end::{have, turn};

/// Options of the device, what is asked of it, and the words.
const CASES: [(&str, &str, &str); 13] = [
    ("packed=off", "format=packed", "the device has no packed rings"),
    ("mrg_rxbuf=off", "rings=MERGEABLE", "the device's rings do not have MERGEABLE"),
    ("mrg_rxbuf=off", "offloads=RX_CHAINS", "the device does not offer RX_CHAINS"),
    ("indirect_desc=off", "rings=INDIRECT", "the device's rings do not have INDIRECT"),
    ("indirect_desc=off", "offloads=TX_CHAINS", "the device does not offer TX_CHAINS"),
    ("event_idx=off", "rings=EVENT_IDX", "the device's rings do not have EVENT_IDX"),
    (
        "iommu_platform=off",
        "rings=ACCESS_PLATFORM",
        "the device's rings do not have ACCESS_PLATFORM",
    ),
    // QEMU 7.2 has neither of these.
    (
        "packed=on",
        "rings=IN_ORDER,NOTIFICATION_DATA",
        "the device's rings do not have IN_ORDER | NOTIFICATION_DATA",
    ),
    // Its user network completes no checksums and cuts nothing.
    (
        "csum=on",
        "offloads=TX_CHECKSUM,TX_TSO4,TX_TSO6,TX_USO,RX_LRO",
        "the device does not offer TX_CHECKSUM | TX_TSO4 | TX_TSO6 | TX_USO | RX_LRO",
    ),
    (
        "host_mtu=1500",
        "max-frame=9014",
        "frames of 9014 bytes were asked for; at most 1514 are possible",
    ),
    // (Over MMIO QEMU allows 1024 whatever its option says.)
    (
        "rx_queue_size=256",
        "rxd=2048",
        "a ring of 2048 entries was asked for; a power of two from 1 to ",
    ),
    ("packed=on", "queues=2", "2 queues were asked for; the device has 1 to 1"),
    // Asked for and forbidden at once.
    ("packed=on", "rings=EVENT_IDX off=EVENT_IDX", "the device's rings do not have EVENT_IDX"),
];

#[test]
fn what_a_device_lacks_is_named_at_start() {
    if !have("qemu-system-x86_64") {
        return;
    }
    let _turn = turn::take();
    for machine in ["q35", "microvm"] {
        for (device, asked, words) in CASES {
            let mut arguments =
                vec!["--machine", machine, "--device", device, "--port", "user", "--"];
            arguments.extend(asked.split(' '));
            let failed = format!("port 0 did not start: {words}");
            launch(Program::Features, &arguments).expect(1, &[&failed]);
        }
    }
}
