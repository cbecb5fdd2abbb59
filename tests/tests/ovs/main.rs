//! Open vSwitch with DPDK as the peer of both roles: of our driver as client and as server of the socket, and of our back
//! end, which its `virtio_user` ports drive. Frames cross the switch both ways between two ports of ours; every byte is
//! compared and nothing may be lost. Killed and started again, the switch is served again.

#[path = "../dpdk_paths/ours.rs"]
#[expect(dead_code, reason = "there its other half is used")]
mod ours;
mod switch;

use std::time::{Duration, Instant};

use barewire::ports::{PortSpec, Preset, Role};
use bench::frames::frame;
use end_to_end::scratch::Scratch;
use end_to_end::{root, turn};
use netdev::{Config, RingFormat};
use ours::Ours;
use switch::{Switch, SwitchPort};

/// All that an MTU of 1500 lets through: with a VLAN tag's four bytes to spare.
const SIZES: [usize; 8] = [64, 65, 128, 256, 512, 1024, 1280, 1518];
/// Longer than anything here takes, even on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Frames that are on their way at most, each way: far from filling a ring.
const WINDOW: usize = 64;
/// Entries of the rings.
const RING: u16 = 256;
/// The number of the frame that asks whether the other port is there.
const PROBE: u32 = u32::MAX;
/// Where frames differ whose numbers do.
const NUMBER: std::ops::Range<usize> = 14..18;

/// How a port of the switch reaches ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `dpdkvhostuserclient`: connects to our driver.
    Client,
    /// `dpdkvhostuser`: our driver connects to it.
    Server,
    /// `dpdk` with a `virtio_user` device: drives our back end.
    Driver,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Client, Self::Server, Self::Driver];

    fn spec(self, path: String) -> PortSpec {
        let role = if self == Self::Driver { Role::BackEnd } else { Role::FrontEnd };
        let server = self != Self::Server;
        PortSpec { role, path: path.into(), server, preset: Preset::default() }
    }

    /// The switch's port for ours at `path`.
    fn port(self, name: String, path: &str, format: RingFormat) -> SwitchPort {
        let packed = u8::from(format == RingFormat::Packed);
        let words = match self {
            Self::Client => {
                vec!["type=dpdkvhostuserclient".into(), format!("options:vhost-server-path={path}")]
            }
            // It listens where the switch's sockets are, in a file of the port's name.
            Self::Server => vec!["type=dpdkvhostuser".into()],
            Self::Driver => vec![
                "type=dpdk".into(),
                format!(
                    "options:dpdk-devargs=\"net_virtio_user_{name},path={path},queues=1,queue_size={RING},packed_vq={packed}\""
                ),
                format!("options:n_rxq_desc={RING}"),
                format!("options:n_txq_desc={RING}"),
            ],
        };
        SwitchPort { name, words }
    }
}

/// The switch, and our ports: neighbours are joined.
struct Net<'a> {
    switch: Switch<'a>,
    ours: Vec<Ours>,
    /// Told apart by it, frames of one exchange are not taken for another's.
    case: u32,
}

impl<'a> Net<'a> {
    /// Two ports of each kind: the first has split rings, the second packed ones.
    fn start(scratch: &'a Scratch, core: usize) -> Self {
        let (mut ours, mut ports) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            for format in [RingFormat::Split, RingFormat::Packed] {
                let name = format!("p{}", ports.len() + 1);
                let path = scratch.file(&name);
                let ring = (kind != Kind::Driver).then_some(RING);
                let config = Config {
                    ring_format: format,
                    rx_ring: ring,
                    tx_ring: ring,
                    ..Config::default()
                };
                ports.push(kind.port(name, &path, format));
                ours.push(Ours::start(&kind.spec(path), |_| config));
            }
        }
        let switch = poll_during(&mut ours, || Switch::start(scratch, core, &ports));
        let mut net = Self { switch, ours, case: 0 };
        net.switch.assert_ports();
        net.await_links(true);
        net
    }

    /// Frames of all sizes between the ports of each pair, both ways at once.
    fn exchanges(&mut self, count: impl Fn(usize) -> usize) {
        for first in (0..self.ours.len()).step_by(2) {
            let pair = [first, first + 1];
            self.find(pair);
            for size in SIZES {
                self.exchange(pair, size, count(size));
            }
        }
        let until = Instant::now() + Duration::from_millis(50);
        while Instant::now() < until {
            for port in 0..self.ours.len() {
                assert_eq!(self.take(port), [[0; 0]; 0], "a frame that nobody sent, port {port}");
            }
        }
    }

    fn exchange(&mut self, pair: [usize; 2], size: usize, count: usize) {
        self.case += 2;
        let first = [self.case << 20, (self.case + 1) << 20];
        let frames = first.map(|first| {
            (first..).take(count).map(|number| frame(number, size)).collect::<Vec<_>>()
        });
        // Of each way, counted where the frames are from.
        let (mut sent, mut arrived) = ([0; 2], [0; 2]);
        self.wait(&format!("{count} frames of {size} B between {pair:?}"), |net| {
            for (way, &from) in pair.iter().enumerate() {
                let more = (count - sent[way]).min(WINDOW - (sent[way] - arrived[way]));
                let next = &frames[way][sent[way]..sent[way] + more];
                sent[way] += net.ours[from].send(next);
                for got in net.take(pair[1 - way]) {
                    let place = arrived[way];
                    assert!(place < count, "{size} B, from {from}: one more than was sent");
                    assert_eq!(got, frames[way][place], "{size} B, from {from}, frame {place}");
                    arrived[way] += 1;
                }
            }
            (arrived == [count; 2]).then_some(()).ok_or_else(|| format!("{arrived:?} arrived"))
        });
    }

    /// Sends probes both ways until they arrive: rings start one after the other, and frames into the first are lost.
    fn find(&mut self, pair: [usize; 2]) {
        let probe = frame(PROBE, SIZES[0]);
        let mut seen = [false; 2];
        self.wait(&format!("a way between {pair:?}"), |net| {
            for (way, &from) in pair.iter().enumerate() {
                net.ours[from].send(std::slice::from_ref(&probe));
                let to = &mut net.ours[pair[1 - way]];
                std::thread::sleep(Duration::from_millis(2));
                to.poll();
                seen[way] |= to.arrived.iter().any(|frame| *frame == probe);
                to.arrived.clear();
            }
            (seen == [true; 2]).then_some(()).ok_or_else(|| format!("{seen:?}"))
        });
    }

    /// What has come to a port, but probes.
    fn take(&mut self, port: usize) -> Vec<Vec<u8>> {
        let port = &mut self.ours[port];
        port.poll();
        port.arrived.drain(..).filter(|frame| frame[NUMBER] != PROBE.to_be_bytes()).collect()
    }

    fn await_links(&mut self, up: bool) {
        self.wait(&format!("links to be up: {up}"), |net| {
            let links: Vec<_> = net.ours.iter_mut().map(poll).collect();
            links.iter().all(|link| *link == up).then_some(()).ok_or_else(|| format!("{links:?}"))
        });
    }

    fn wait(&mut self, what: &str, mut step: impl FnMut(&mut Self) -> Result<(), String>) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(progress) = step(self) {
            let said = || self.switch.said();
            assert!(Instant::now() < deadline, "waited for {what}: {progress}\n{}", said());
        }
    }
}

/// Handles what a port's peer says; whether its link is up.
fn poll(port: &mut Ours) -> bool {
    port.poll();
    port.is_up()
}

/// Polls while the switch is busy, for it may wait for our answers.
fn poll_during<T: Send>(ours: &mut [Ours], busy: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let busy = scope.spawn(busy);
        while !busy.is_finished() {
            for port in &mut *ours {
                poll(port);
            }
        }
        busy.join().unwrap_or_else(|why| std::panic::resume_unwind(why))
    })
}

#[test]
fn frames_cross_the_switch_and_do_so_again_after_it_was_killed() {
    if !switch::installed() || !root() {
        return;
    }
    let _turn = turn::take();
    let cores = plat_linux::allowed_cores().expect("there are cores");
    let scratch = Scratch::new();
    let mut net = Net::start(&scratch, cores[cores.len() - 1]);
    // With the shortest ones an index of 16 bits wraps.
    net.exchanges(|size| if size == SIZES[0] { 70_000 } else { 2_000 });

    net.switch.kill_daemon();
    net.await_links(false);
    for port in 1..=net.ours.len() {
        if Kind::ALL[(port - 1) / 2] == Kind::Server {
            // DPDK does not listen on a socket file that it has left behind.
            std::fs::remove_file(scratch.file(&format!("p{port}"))).expect("it was left behind");
        }
    }
    let Net { switch, ours, .. } = &mut net;
    poll_during(ours, || switch.start_daemon());
    net.switch.assert_ports();
    net.await_links(true);
    net.exchanges(|_| 2_000);

    // Our own ports come back, too: those of them that a switch connects to by itself.
    for port in &mut net.ours[..2] {
        port.restart();
    }
    net.await_links(true);
    net.exchanges(|_| 500);
    for mut port in net.ours {
        drop(port.stop());
    }
}
