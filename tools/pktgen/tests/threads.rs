//! Runs by several threads: a thread per core, a queue of each port per thread, frames that come back through any of them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use netdev::{
    Burst, Config, Control, Device, Info, Link, MacAddress, Netbuf, Pool, Port, QueueCounters,
    RxQueue, StartError, TxQueue, loopback,
};
use pktgen::latency::{Clocks, Sampling};
use pktgen::{Error, Options, Profile, Rate, Report, Runner, StreamSpec, stamp};
use plat_linux::allowed_cores;

/// Two cores, if there are.
fn two_cores() -> Option<Vec<usize>> {
    let mut cores = allowed_cores().unwrap();
    if cores.len() < 2 {
        println!("skipped: two threads need two cores, and there is one");
        return None;
    }
    cores.truncate(2);
    Some(cores)
}

/// What a [`Crossing`] does to frames, besides sending them through queues in turn.
#[derive(Debug, Default)]
struct Wire {
    frames: AtomicU64,
    /// Loses one frame in so many; 0: none.
    lose: u64,
    /// Sends one in so many through two queues; 0: none.
    duplicate: u64,
    /// Flips a bit of one in so many; 0: none.
    corrupt: u64,
    lost: AtomicU64,
    duplicated: AtomicU64,
    corrupted: AtomicU64,
}

/// A device of two lanes that gives frames back through either, as one does that spreads by a hash.
struct Crossing(Arc<Wire>);

struct Lane {
    number: usize,
    wire: Arc<Wire>,
    to: Vec<Sender<Vec<u8>>>,
    from: Receiver<Vec<u8>>,
}

struct Rx(Receiver<Vec<u8>>, Pool, Arc<QueueCounters>);
struct Tx(usize, Arc<Wire>, Vec<Sender<Vec<u8>>>, Arc<QueueCounters>);
struct Up;

impl Device for Crossing {
    fn info(&self) -> Info {
        loopback::device().info()
    }

    fn start(self: Box<Self>, _: &Config, _: &Pool) -> Result<Port, StartError> {
        Err(StartError::indivisible(self, 1))
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        let (to, from): (Vec<_>, Vec<_>) = (0..pairs).map(|_| channel()).unzip();
        let lane = |(number, from)| {
            let (wire, to) = (self.0.clone(), to.clone());
            Box::new(Lane { number, wire, to, from }) as Box<dyn Device + Send>
        };
        Ok(from.into_iter().enumerate().map(lane).collect())
    }
}

impl Device for Lane {
    fn info(&self) -> Info {
        loopback::device().info()
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        assert_eq!((config.rx_queues, config.tx_queues), (1, 1), "a thread has one queue");
        let info = self.info();
        let rx = Box::new(Rx(self.from, *pool, Arc::default())) as Box<dyn RxQueue>;
        let tx = Box::new(Tx(self.number, self.wire, self.to, Arc::default())) as Box<dyn TxQueue>;
        Ok(Port { info, rx: vec![rx], tx: vec![tx], control: Box::new(Up) })
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        Err(StartError::indivisible(self, pairs))
    }
}

impl RxQueue for Rx {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        let before = out.len();
        while !out.is_full()
            && let Some(mut packet) = self.1.alloc()
            && let Ok(frame) = self.0.try_recv()
        {
            packet.append(frame.len()).unwrap().copy_from_slice(&frame);
            out.push(packet);
        }
        out.len() - before
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.2
    }
}

impl TxQueue for Tx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        let taken = packets.len();
        packets.iter().for_each(|packet| self.send(packet));
        packets.clear();
        taken
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.3
    }
}

impl Tx {
    fn send(&self, packet: &Netbuf) {
        let Self(own, wire, to, _) = self;
        let mut frame = packet.bytes().to_vec();
        if stamp::magic(&frame) == Some(stamp::PROBE_MAGIC) {
            // Through the other queue: whoever sent it does not hear it.
            to[(own + 1) % to.len()].send(frame).unwrap();
            return;
        }
        let number = wire.frames.fetch_add(1, Ordering::Relaxed);
        let falls = |one_in: u64| one_in > 0 && (number + 1).is_multiple_of(one_in);
        let turn = usize::from(!number.is_multiple_of(2)) % to.len();
        if falls(wire.lose) {
            wire.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if falls(wire.corrupt) {
            wire.corrupted.fetch_add(1, Ordering::Relaxed);
            *frame.last_mut().unwrap() ^= 1;
        } else if falls(wire.duplicate) {
            wire.duplicated.fetch_add(1, Ordering::Relaxed);
            to[(turn + 1) % to.len()].send(frame.clone()).unwrap();
        }
        to[turn].send(frame).unwrap();
    }
}

impl Control for Up {
    fn link(&mut self) -> Link {
        Link { up: true, speed: None, announce: false }
    }

    fn mac(&self) -> MacAddress {
        MacAddress::local(0xc)
    }

    fn stop(
        self: Box<Self>,
        _: Vec<Box<dyn RxQueue>>,
        _: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        loopback::device()
    }
}

fn options(cores: Vec<usize>) -> Options {
    Options { rate: Rate::Packets(200_000), count: Some(20_001), cores, ..Options::default() }
}

fn run(device: Box<dyn Device>, options: Options) -> Result<Report, Error> {
    let mut runner = Runner::with_lanes(vec![("one".into(), device)], options)?;
    runner.run(&mut |_| ControlFlow::Continue(()))
}

#[test]
fn each_thread_sends_its_share_through_a_queue_of_its_own() {
    let Some(cores) = two_cores() else { return };
    let report = run(loopback::device(), options(cores)).unwrap();
    let direction = &report.directions[0];
    assert!(report.is_clean(), "{report}");
    assert_eq!((direction.sent, direction.received), (20_001, 20_001));
    assert_eq!(direction.offered_mpps, Some(0.2), "the rate is of both together");
    assert_eq!(report.streams[0].sent, 20_001);
}

#[test]
fn what_comes_back_through_another_threads_queue_is_counted_exactly() {
    let Some(cores) = two_cores() else { return };
    let wire = Arc::new(Wire { lose: 1_000, duplicate: 777, corrupt: 611, ..Wire::default() });
    let streams =
        ["a", "b", "c"].map(|name| StreamSpec { name: name.into(), ..StreamSpec::default() });
    let options = Options { streams: streams.into(), ..options(cores) };
    let report = run(Box::new(Crossing(wire.clone())), options).unwrap();
    let direction = &report.directions[0];
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    assert_eq!(direction.sent, count(&wire.frames));
    assert_eq!(
        (direction.lost, direction.duplicated, direction.corrupted),
        (count(&wire.lost), count(&wire.duplicated), count(&wire.corrupted)),
        "{report}"
    );
    assert!(direction.lost >= 19 && direction.duplicated > 20 && direction.corrupted > 30);
    assert_eq!((direction.late, direction.misdirected, report.ports[0].foreign), (0, 0, 0));
    let lost: u64 = report.streams.iter().map(|stream| stream.lost).sum();
    assert_eq!((report.streams.len(), lost), (3, direction.lost));
}

#[test]
fn frames_without_stamps_are_counted_by_whoever_hears_of_them() {
    let Some(cores) = two_cores() else { return };
    let wire = Arc::new(Wire { lose: 100, ..Wire::default() });
    let streams = vec![StreamSpec { stamp: false, ..StreamSpec::default() }];
    let options = Options { streams, ..options(cores) };
    let report = run(Box::new(Crossing(wire.clone())), options).unwrap();
    assert_eq!(report.directions[0].lost, 200, "{report}");
}

#[test]
fn latency_is_measured_across_threads_and_their_skew_is_told() {
    let Some(cores) = two_cores() else { return };
    let options = Options { latency: Some(Sampling::ALL), ..options(cores.clone()) };
    let report = run(Box::new(Crossing(Arc::default())), options).unwrap();
    let latency = report.latency.as_ref().unwrap();
    let Clocks::Two(skew) = latency.clocks else { panic!("{:?}", latency.clocks) };
    assert_eq!((skew.from, skew.to), (cores[0], cores[1]));
    let count: u64 = latency.streams.iter().map(|stream| stream.uncorrected.count).sum();
    // A frame whose place among the departures was taken meanwhile has none.
    assert!(report.lost() == 0 && count == 20_001, "{count}: {report}");
}

#[test]
fn a_crew_runs_again_with_other_options_and_is_stopped_by_its_caller() {
    let Some(cores) = two_cores() else { return };
    let ports = vec![("one".into(), loopback::device())];
    let mut runner = Runner::with_lanes(ports, options(cores.clone())).unwrap();
    for count in [10, 3_000, 1] {
        runner.set_options(Options { count: Some(count), ..options(cores.clone()) }).unwrap();
        let report = runner.run(&mut |_| ControlFlow::Continue(())).unwrap();
        assert!(report.is_clean() && report.directions[0].sent == count, "{report}");
    }
    runner.set_options(Options { count: None, ..options(cores.clone()) }).unwrap();
    let mut told = Vec::new();
    let report = runner
        .run(&mut |tick| {
            told.extend(tick.directions.first().map(|direction| direction.sent));
            if told.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert!(report.interrupted && report.is_clean(), "{report}");
    assert!(told.is_sorted() && told[1] <= report.directions[0].sent, "{told:?}");
}

#[test]
fn what_cannot_be_shared_out_is_refused() {
    let Some(cores) = two_cores() else { return };
    let refused = |options: Options| {
        let ports = vec![("one".into(), loopback::device())];
        Runner::with_lanes(ports, options).err().expect("refused").to_string()
    };
    let profile =
        Profile::Burst { frames: 10, pause: std::time::Duration::from_millis(1), count: Some(3) };
    let per_flow = StreamSpec { flows: Some(4), per_flow: true, ..StreamSpec::default() };
    for stream in [StreamSpec { profile, ..StreamSpec::default() }, per_flow] {
        let error = refused(Options { streams: vec![stream], ..options(cores.clone()) });
        assert!(error.contains("accepted: one core"), "{error}");
    }
    let error = refused(Options { cores: vec![cores[0], 100_000], ..options(cores.clone()) });
    assert!(error.contains("core 100000"), "{error}");
    let (a, _b) = loopback::pair();
    let error = Runner::with_lanes(vec![("a".into(), a)], options(cores)).err().expect("one core");
    assert!(error.to_string().contains("cannot be driven from 2 cores"), "{error}");
}
