//! Streams through devices: several at once, faults counted exactly, misdirection, flows, latency, discarding.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::fault::{self, FaultPlan, FaultReport, Faults};
use netdev::{Burst, Device, Port, QueueCounters, StartError, TxQueue, loopback};
use pktgen::latency::Sampling;
use pktgen::{Direction, Options, Profile, Rate, Report, Runner, Scenario, StreamSpec, discard};

type Devices = Vec<(String, Box<dyn Device>)>;

fn pool() -> Pool {
    let config = PoolConfig { buffers: 8192, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

fn pair() -> Devices {
    let (a, b) = loopback::pair();
    vec![("a".into(), a), ("b".into(), b)]
}

fn options() -> Options {
    Options {
        rate: Rate::Packets(4_000_000),
        count: Some(30_000),
        direction: Direction::Forward,
        catch_up: Some(Duration::from_secs(60)),
        ..Options::default()
    }
}

fn run(devices: Devices, options: Options) -> Report {
    let mut runner = Runner::with_devices(devices, pool(), options).unwrap();
    runner.run(&mut |_| ControlFlow::Continue(())).unwrap()
}

fn faulty_pair(rx: Faults, seed: u64) -> (Devices, FaultReport) {
    let (a, b) = loopback::pair();
    let plan = FaultPlan { seed, rx, ..FaultPlan::default() };
    let (b, report) = fault::wrap(b, plan.check().unwrap(), None);
    (vec![("a".into(), a), ("b".into(), b)], report)
}

#[test]
fn streams_of_a_scenario_come_back_with_their_shares() {
    let scenario: Scenario = r#"
        [[stream]]
        name = "three"
        weight = 3
        frame = "ethernet/vlan(id=7)/ipv4/tcp"
        size = "imix-csit"
        [[stream]]
        name = "one"
        size = "uniform:80-300@3"
        frame = "ethernet/ipv6/udp"
        fields = ["ipv6.source=inc:2001:db8::1-2001:db8::99", "udp.source=random:1-65535"]
        [[stream]]
        name = "back"
        direction = "backward"
        count = 500
    "#
    .replace("imix-csit", "76,566x4,1514")
    .parse()
    .unwrap();
    for rate in
        [Rate::Max, Rate::Packets(4_000_000), Rate::Bits(8_000_000_000), Rate::Line(8_000_000_000)]
    {
        let mut options = Options { direction: Direction::Both, ..options() };
        scenario.apply(&mut options);
        options.rate = rate;
        let report = run(pair(), options);
        assert!(report.is_clean(), "{rate}: {report}");
        let [three, one, also_three, also_one, back] = &report.streams[..] else {
            panic!("{:?}", report.streams)
        };
        assert_eq!(
            (&*three.name, three.direction, &*back.name, back.direction),
            ("three", "forward", "back", "backward")
        );
        assert_eq!(also_three.name, also_one.name.replace("one", "three"));
        assert_eq!((three.sent + one.sent, back.sent), (30_000, 500));
        if matches!(rate, Rate::Max | Rate::Packets(_)) {
            assert!(three.sent.abs_diff(22_500) < 100, "{rate}: {} of 30000 frames", three.sent);
        }
        assert!(report.streams.iter().all(|s| s.received == s.sent && s.lost == 0));
    }
}

#[test]
fn offer_this_expect_that() {
    let stream = StreamSpec {
        frame: "ethernet/ipv4/udp(destination=53)".parse().unwrap(),
        fields: vec!["ipv4.source=inc:10.0.0.1-10.0.0.100".parse().unwrap()],
        ..StreamSpec::default()
    };
    let report = run(pair(), Options { streams: vec![stream], count: Some(1000), ..options() });
    assert!(report.is_clean() && report.streams[0].received == 1000, "{report}");
}

#[test]
fn seeded_faults_are_counted_exactly_over_all_streams() {
    let streams =
        ["ethernet/ipv4/udp", "ethernet/vlan/ipv6/tcp", "ethernet/arp"].map(|frame| StreamSpec {
            frame: frame.parse().unwrap(),
            size: "101".parse().unwrap(),
            ..StreamSpec::default()
        });
    for seed in 1..=4 {
        let rx = Faults { loss: 5_000, duplication: 4_000, corruption: 3_000, ..Faults::default() };
        let (devices, faults) = faulty_pair(rx, seed);
        let report = run(
            devices,
            Options { streams: streams.to_vec(), macs_may_change: false, ..options() },
        );
        let (direction, faults) = (&report.directions[0], faults.rx());
        assert_eq!(
            faults.packets,
            direction.sent + 1,
            "seed {seed}: one probe, which nothing happened to"
        );
        assert_eq!(
            (direction.lost, direction.duplicated, direction.corrupted),
            (faults.lost, faults.duplicated, faults.corrupted),
            "seed {seed}: {report}"
        );
        let sum =
            |which: fn(&pktgen::StreamReport) -> u64| report.streams.iter().map(which).sum::<u64>();
        assert_eq!(
            (sum(|s| s.sent), sum(|s| s.duplicated)),
            (direction.sent, direction.duplicated)
        );
        assert_eq!((sum(|s| s.corrupted), sum(|s| s.misdirected)), (direction.corrupted, 0));
        assert!(report.streams.iter().all(|s| s.lost > 0 && s.duplicated > 0 && s.corrupted > 0));
    }
}

#[test]
fn the_extent_of_reordering_is_the_distance_that_was_injected() {
    for distance in [1, 5, 40] {
        let rx = Faults { reordering: 3_000, reorder_distance: distance, ..Faults::default() };
        let (devices, faults) = faulty_pair(rx, 2);
        let report = run(devices, options());
        let stream = &report.streams[0];
        assert_eq!(stream.reordered, faults.rx().reordered);
        assert_eq!(stream.reordering_extent_max, u64::from(distance), "{stream:?}");
    }
}

#[test]
fn loss_is_told_by_flow() {
    let stream = StreamSpec { flows: Some(100), per_flow: true, ..StreamSpec::default() };
    let (devices, faults) = faulty_pair(Faults { loss: 500, ..Faults::default() }, 3);
    let report = run(devices, Options { streams: vec![stream], ..options() });
    let flows = report.streams[0].flows.as_ref().unwrap();
    assert_eq!(flows.flows, 100);
    assert!(flows.with_loss > 0 && flows.with_loss <= faults.rx().lost);
    assert_eq!((flows.with_duplicates, flows.with_reordering), (0, 0));
    let worst = &flows.worst[0];
    assert_eq!((worst.sent, worst.received), (300, 300 - worst.lost));
}

/// How many frames of each size went astray.
type Strays = Rc<RefCell<BTreeMap<usize, u64>>>;

/// A device between two others' wires: sends each `every`th frame out of the wrong side.
struct Astray {
    inner: Box<dyn Device>,
    /// Where the strays go: into the port that sends back to us.
    way_back: Rc<Cell<Option<Box<dyn TxQueue>>>>,
    strays: Strays,
    every: u64,
}

struct AstrayTx {
    right: Box<dyn TxQueue>,
    wrong: Rc<Cell<Option<Box<dyn TxQueue>>>>,
    strays: Strays,
    every: u64,
    seen: u64,
}

/// Gives its transmit queue away: what is sent through it comes out at the other end.
struct Lender(Box<dyn Device>, Rc<Cell<Option<Box<dyn TxQueue>>>>);

impl Device for Lender {
    fn info(&self) -> netdev::Info {
        self.0.info()
    }

    fn start(self: Box<Self>, config: &netdev::Config, pool: &Pool) -> Result<Port, StartError> {
        let mut port = self.0.start(config, pool)?;
        let lent = std::mem::replace(&mut port.tx[0], Box::new(Nowhere(Arc::default())));
        self.1.set(Some(lent));
        Ok(port)
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        Err(StartError::indivisible(self, pairs))
    }
}

struct Nowhere(Arc<QueueCounters>);

impl TxQueue for Nowhere {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        packets.drain(..).count()
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.0
    }
}

impl Device for Astray {
    fn info(&self) -> netdev::Info {
        self.inner.info()
    }

    fn start(self: Box<Self>, config: &netdev::Config, pool: &Pool) -> Result<Port, StartError> {
        let mut port = self.inner.start(config, pool)?;
        let right = port.tx.remove(0);
        let (wrong, strays, every) = (self.way_back, self.strays, self.every);
        port.tx.push(Box::new(AstrayTx { right, wrong, strays, every, seen: 0 }));
        Ok(port)
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        Err(StartError::indivisible(self, pairs))
    }
}

impl TxQueue for AstrayTx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        let mut taken = 0;
        while let Some(packet) = packets.pop_at(0) {
            let stray = self.seen % self.every == self.every - 1;
            let size = packet.len();
            let mut one = Burst::new();
            one.push(packet);
            let mut queue = if stray { self.wrong.take() } else { None };
            match &mut queue {
                Some(queue) => queue.tx_burst(&mut one),
                None => self.right.tx_burst(&mut one),
            };
            if queue.is_some() {
                self.wrong.set(queue);
            }
            if let Some(back) = one.pop() {
                packets.insert(0, back);
                break;
            }
            self.seen += 1;
            taken += 1;
            if stray {
                *self.strays.borrow_mut().entry(size).or_default() += 1;
            }
        }
        taken
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        self.right.counters()
    }
}

#[test]
fn frames_that_come_out_of_the_wrong_port_are_misdirected_and_lost() {
    let (a, b) = loopback::pair();
    let (strays, way_back) = (Strays::default(), Rc::new(Cell::new(None)));
    let astray = Astray { inner: a, way_back: way_back.clone(), strays: strays.clone(), every: 50 };
    let devices: Devices =
        vec![("a".into(), Box::new(astray)), ("b".into(), Box::new(Lender(b, way_back)))];
    let spec = |(name, weight): (&str, u32)| StreamSpec {
        name: name.into(),
        size: name.parse().unwrap(),
        weight,
        ..StreamSpec::default()
    };
    let streams = [("100", 1), ("110", 2), ("120", 3)].map(spec).into();
    let report = run(devices, Options { streams, ..options() });
    let direction = &report.directions[0];
    let strays = strays.borrow();
    assert_eq!(
        strays.values().sum::<u64>(),
        600,
        "one in fifty of the frames (the probe was the first)"
    );
    for stream in &report.streams {
        let astray = strays[&stream.name.parse().unwrap()];
        assert_eq!((stream.misdirected, stream.lost), (astray, astray), "{stream:?}");
        assert_eq!(stream.received, stream.sent - astray, "{stream:?}");
    }
    assert_eq!((direction.misdirected, direction.lost), (600, 600), "{report}");
    assert_eq!((direction.received, direction.corrupted), (29_400, 0));
    assert_eq!(report.ports.iter().map(|port| port.foreign).sum::<u64>(), 0);
    assert!(!report.is_clean());
}

#[test]
fn frames_without_stamps_are_counted() {
    let stream = StreamSpec {
        stamp: false,
        fields: vec!["udp.source=random:1-65535".parse().unwrap()],
        ..StreamSpec::default()
    };
    let (devices, faults) = faulty_pair(Faults { loss: 5_000, ..Faults::default() }, 1);
    let report =
        run(devices, Options { streams: vec![stream, StreamSpec::default()], ..options() });
    assert_eq!(report.directions[0].lost, faults.rx().lost, "{report}");
    assert!(report.streams[0].received > 14_000 && report.streams[0].lost > 0);
}

#[test]
fn latency_is_measured_of_every_sampled_frame() {
    for (sampling, expected) in [(Sampling::ALL, 30_000), (Sampling::one_in(10), 3_000)] {
        let report = run(pair(), Options { latency: Some(sampling), ..options() });
        let latency = report.latency.as_ref().unwrap();
        assert_eq!(latency.streams.len(), 1);
        assert_eq!(latency.streams[0].uncorrected.count, expected, "{latency:?}");
        assert!(latency.streams[0].corrected.max_ns >= latency.streams[0].uncorrected.min_ns);
    }
}

#[test]
fn a_discarding_port_takes_everything_and_is_not_judged() {
    let report =
        run(vec![("discard".into(), discard::device())], Options { rate: Rate::Max, ..options() });
    let direction = &report.directions[0];
    assert_eq!((direction.direction, direction.sent, direction.lost), ("discarded", 30_000, 0));
    assert!(report.cycles_per_packet.is_some());
}

#[test]
fn bursts_end_by_themselves() {
    let profile: Profile = "burst:20/10usx7".parse().unwrap();
    let stream = StreamSpec { profile, ..StreamSpec::default() };
    let report =
        run(pair(), Options { streams: vec![stream], rate: Rate::Max, count: None, ..options() });
    assert!(report.is_clean() && report.directions[0].sent == 140, "{report}");
}
