//! The warm-up: no frame is counted before the path is known to be open.
//!
//! Links come up when peers are ready, and a forwarder starts some time after. So probes are sent, one at a
//! time, until one of each direction has come through. They are counted nowhere.

use std::ops::ControlFlow;
use std::time::Duration;

use netdev::{Burst, MacAddress};
use plat_linux::{Clock, StopFlag};

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
pub(crate) struct Path {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) macs: (MacAddress, MacAddress),
}

struct Prober {
    path: Path,
    template: Template,
    sent: u64,
    heard: bool,
}

/// Waits until every link is up and a probe has come through on every path. How long it took.
pub(crate) fn warm_up(
    ports: &mut [Endpoint],
    paths: Vec<Path>,
    clock: &Clock,
    patience: Duration,
    stop: &StopFlag,
    each: &mut dyn FnMut(&Tick) -> ControlFlow<()>,
) -> Result<Duration, Error> {
    let mut probers: Vec<Prober> =
        paths.into_iter().enumerate().map(|(n, path)| Prober::new(n, path)).collect();
    let start = clock.now();
    let (mut next_probe, mut next_tick) = (start, start.saturating_add(clock.hz()));
    let mut scratch = Vec::new();
    loop {
        for (number, port) in ports.iter_mut().enumerate() {
            hear(port, number, &mut probers, &mut scratch);
        }
        if probers.iter().all(|prober| prober.heard) {
            return Ok(clock.to_duration(clock.now() - start));
        }
        let now = clock.now();
        let elapsed = clock.to_duration(now - start);
        if elapsed > patience {
            return Err(timed_out(ports, &probers, patience));
        }
        if now >= next_probe && ports.iter_mut().all(|port| port.port.control.link().up) {
            probers.iter_mut().for_each(|prober| prober.send(ports));
            next_probe = now.saturating_add(clock.from_duration(PROBE_INTERVAL));
        }
        let mut stopped = stop.is_set();
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
    fn new(number: usize, path: Path) -> Self {
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
        Self { path, template, sent: 0, heard: false }
    }

    fn send(&mut self, ports: &mut [Endpoint]) {
        let port = &mut ports[self.path.from];
        if self.heard {
            return;
        }
        let Some(mut packet) = port.pool.alloc() else { return };
        let Some(bytes) = packet.append(self.template.size(0)) else { return };
        self.template.write(0, bytes, self.sent, 0, &[]);
        let mut burst = Burst::new();
        burst.push(packet);
        self.sent += port.send(&mut burst) as u64;
    }
}

fn hear(port: &mut Endpoint, number: usize, probers: &mut [Prober], scratch: &mut Vec<u8>) {
    let mut burst = Burst::new();
    port.receive(&mut burst);
    // Reclaims buffers of sent probes, and lets a port that is driven by polling do its work.
    port.send(&mut Burst::new());
    for packet in &burst {
        let frame = contiguous(packet, scratch);
        for prober in probers.iter_mut().filter(|prober| prober.path.to == number) {
            prober.heard |= prober.template.verify(frame).is_some();
        }
    }
}

fn timed_out(ports: &mut [Endpoint], probers: &[Prober], waited: Duration) -> Error {
    if let Some(port) =
        ports.iter_mut().find_map(|p| (!p.port.control.link().up).then(|| p.name.clone()))
    {
        return Error::LinkDown { name: port, waited };
    }
    let silent =
        probers.iter().find(|prober| !prober.heard).map_or((0, 0), |p| (p.path.from, p.path.to));
    Error::NoForwarding {
        from: ports[silent.0].name.clone(),
        to: ports[silent.1].name.clone(),
        waited,
    }
}
