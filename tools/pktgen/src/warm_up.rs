//! The warm-up: no frame is counted before the path is known to be open.
//!
//! Links come up when peers are ready, and a forwarder starts some time after. So probes are sent, one at a
//! time, until one of each direction has come through. They are counted nowhere.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netdev::{Burst, MacAddress};
use plat_linux::{Clock, StopFlag};

use crate::board::Seat;
use crate::endpoint::Endpoint;
use crate::sink::contiguous;
use crate::stamp::PROBE_MAGIC;
use crate::stream::{Checksums, FrameSpec};
use crate::template::{Coverage, Template, TemplateConfig, compile};
use crate::{Error, FrameSize, Phase, Tick};

/// Time between two probes of a direction.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);
/// Time between two looks at the ports, so that the machine under test has the processor.
const POLL_INTERVAL: Duration = Duration::from_micros(100);

/// One direction: the ports that a probe goes into and out of.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) macs: (MacAddress, MacAddress),
}

struct Prober {
    path: Path,
    template: Template,
    sent: u64,
    /// Whether this thread sends it.
    own: bool,
}

/// Waits until every link is up and a probe of every thread has come through on every path, to any thread. How long it
/// took.
pub(crate) fn warm_up(
    ports: &mut [Endpoint],
    paths: &[Path],
    seat: &Seat,
    clock: &Clock,
    patience: Duration,
    stop: &StopFlag,
    each: &mut dyn FnMut(&Tick) -> ControlFlow<()>,
) -> Result<Duration, Error> {
    let of = |member: usize| {
        let number = move |place: usize| member * paths.len() + place;
        paths
            .iter()
            .enumerate()
            .map(move |(place, path)| Prober::new(number(place), *path, member == seat.member))
    };
    let mut probers: Vec<Prober> = (0..seat.members).flat_map(of).collect();
    let heard = seat.board.heard(probers.len());
    let start = clock.now();
    let (mut next_probe, mut next_tick) = (start, start.saturating_add(clock.hz()));
    let mut scratch = Vec::new();
    loop {
        for (number, port) in ports.iter_mut().enumerate() {
            hear(port, number, &probers, heard, &mut scratch);
        }
        if heard.iter().all(|heard| heard.load(Ordering::Relaxed)) {
            return Ok(clock.to_duration(clock.now() - start));
        }
        let now = clock.now();
        let elapsed = clock.to_duration(now - start);
        if elapsed > patience {
            return Err(timed_out(ports, &probers, heard, patience));
        }
        if now >= next_probe && ports.iter_mut().all(|port| port.port.control.link().up) {
            let unheard = probers.iter_mut().zip(heard).filter(|(_, h)| !h.load(Ordering::Relaxed));
            unheard.filter(|(prober, _)| prober.own).for_each(|(prober, _)| prober.send(ports));
            next_probe = now.saturating_add(clock.from_duration(PROBE_INTERVAL));
        }
        let mut stopped = stop.is_set() || seat.board.has_failed();
        if now >= next_tick {
            next_tick = next_tick.saturating_add(clock.hz());
            let tick = Tick::new(Phase::WarmUp, elapsed);
            stopped |= each(&tick).is_break();
        }
        if stopped {
            return Err(Error::Interrupted);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

impl Prober {
    fn new(number: usize, path: Path, own: bool) -> Self {
        let (frame, checksums) = (FrameSpec::udp(), Checksums::Correct);
        let compiled = compile(&TemplateConfig {
            frame: &frame,
            sizes: &[FrameSize::default().bytes()],
            fields: &[],
            checksums: &checksums,
            coverage: Coverage::Payload,
            stamped: true,
            source: path.macs.0,
            destination: path.macs.1,
            magic: PROBE_MAGIC,
            stream: u16::try_from(number).unwrap_or(u16::MAX),
            run: 0,
        });
        let (template, _) = compiled.expect("a probe is UDP over IPv4 in 64 bytes");
        Self { path, template, sent: 0, own }
    }

    fn send(&mut self, ports: &mut [Endpoint]) {
        let port = &mut ports[self.path.from];
        let Some(mut packet) = port.pool.alloc() else { return };
        let Some(bytes) = packet.append(self.template.size(0)) else { return };
        self.template.write(0, bytes, self.sent, 0, &[]);
        let mut burst = Burst::new();
        burst.push(packet);
        self.sent += port.send(&mut burst) as u64;
    }
}

fn hear(
    port: &mut Endpoint,
    number: usize,
    probers: &[Prober],
    heard: &[AtomicBool],
    scratch: &mut Vec<u8>,
) {
    let mut burst = Burst::new();
    port.receive(&mut burst);
    // Reclaims buffers of sent probes, and lets a port that is driven by polling do its work.
    port.send(&mut Burst::new());
    for packet in &burst {
        let frame = contiguous(packet, scratch);
        let ending_here = probers.iter().zip(heard).filter(|(prober, _)| prober.path.to == number);
        for (_, heard) in ending_here.filter(|(p, _)| p.template.verify(frame).is_some()) {
            heard.store(true, Ordering::Relaxed);
        }
    }
}

fn timed_out(
    ports: &mut [Endpoint],
    probers: &[Prober],
    heard: &[AtomicBool],
    waited: Duration,
) -> Error {
    if let Some(port) =
        ports.iter_mut().find_map(|p| (!p.port.control.link().up).then(|| p.name.clone()))
    {
        return Error::LinkDown { name: port, waited, refused: Vec::new() };
    }
    let silent = probers.iter().zip(heard).find(|(_, heard)| !heard.load(Ordering::Relaxed));
    let silent = silent.map_or((0, 0), |(prober, _)| (prober.path.from, prober.path.to));
    Error::NoForwarding {
        from: ports[silent.0].name.clone(),
        to: ports[silent.1].name.clone(),
        waited,
        refused: Vec::new(),
    }
}
