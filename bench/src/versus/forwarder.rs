//! Our side of a pair: a process with one port, one thread that polls it, and a few kinds of work.
//!
//! It does what testpmd does in the mode of the same kind, over the same calls that any network function of ours
//! uses. Cycles are counted as testpmd counts them: of the turns that moved a packet. Of the frames it
//! receives, one in a few thousand is looked at while measuring; in a twin run ([`Work::Verify`]) every byte is.
//!
//! Lines of JSON ([`Command`]) come in on standard input, and [`Account`]s go out.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use barewire::ports::{PortMemory, PortSpec, Preset, Role as PortRole};
use netbuf::{BURST, Burst, Pool, PoolConfig, free_burst};
use netdev::{Config, DropCause, Port, QueueCounters, QueueStats, RingFormat};
use plat_linux::{Clock, Region};

use super::job::{Account, Command, Work};
use super::plan::{Path, Role};
use super::traffic::{Flows, looks_right, swap_addresses};
use super::verify::Verifier;

/// How a forwarder is started.
#[derive(Clone, Debug)]
pub struct Forwarder {
    /// Which half it is.
    pub role: Role,
    /// The socket: a back end listens on it, a driver connects to it.
    pub socket: PathBuf,
    /// The core that all of its threads stay on.
    pub core: usize,
    /// The ring's format.
    pub path: Path,
    /// Entries of each ring, if it is the driver.
    pub ring: u16,
    /// Packets lie in huge pages, or else in ordinary ones.
    pub huge_pages: bool,
}

/// One in so many bursts has a frame that is looked at.
const SAMPLE: u64 = 1024;
/// Nanoseconds within which counters and time are read, and how often that is tried.
const TOGETHER: u64 = 20_000;
const TRIES: u32 = 50;

/// What the polling thread shows to the other one.
#[derive(Default)]
struct Panel {
    stop: AtomicBool,
    cycles: AtomicU64,
    packets: AtomicU64,
    checked: AtomicU64,
    wrong: AtomicU64,
}

impl Forwarder {
    /// Runs until standard input ends.
    ///
    /// # Errors
    /// The core, the memory or the port cannot be had, or a line is not understood; in words.
    pub fn run(self) -> Result<(), String> {
        // Before there are other threads: they inherit it.
        plat_linux::pin_to_core(self.core).map_err(|error| error.to_string())?;
        let clock = Clock::new();
        let panel = Arc::new(Panel::default());
        let (jobs, received) = channel();
        let (counters, started) = channel();
        let worker = {
            let (panel, forwarder) = (Arc::clone(&panel), self.clone());
            std::thread::spawn(move || match forwarder.open() {
                Ok((port, pool)) => {
                    let both = [port.rx[0].counters(), port.tx[0].counters()].map(Arc::clone);
                    let _ = counters.send(Ok(both));
                    let mut worker =
                        Worker { port, pool, clock, panel, burst: Burst::new(), turns: 0, jobs: 0 };
                    worker.serve(&received);
                }
                Err(error) => {
                    let _ = counters.send(Err(error));
                }
            })
        };
        let counters = started.recv().map_err(|_| "the polling thread ended")??;
        let desk = Desk { panel, counters, clock, jobs };
        let outcome = desk.listen();
        // Without the channel's other end the worker ends as well.
        desk.panel.stop.store(true, Ordering::Relaxed);
        drop(desk);
        let _ = worker.join();
        outcome
    }

    fn open(&self) -> Result<(Port, Pool), String> {
        let back_end = self.role == Role::BackEnd;
        // A driver's packets wait in its rings, and as many again are in between; a back end copies.
        let buffers = if back_end { 1024 } else { 4 * usize::from(self.ring) };
        let shape = PoolConfig { buffers, ..PoolConfig::default() };
        let spec = PortSpec {
            role: if back_end { PortRole::BackEnd } else { PortRole::FrontEnd },
            path: self.socket.clone(),
            server: back_end,
            preset: Preset::default(),
        };
        let bytes = shape.device_bytes() + spec.ring_bytes();
        let make =
            if self.huge_pages { Region::with_huge_pages } else { Region::with_ordinary_pages };
        let mut memory = PortMemory::new(make(bytes).map_err(|error| error.to_string())?);
        let (device, _) = spec.open(&mut memory)?;
        let packets = memory.take(shape.device_bytes()).map_err(|error| error.to_string())?;
        let pool = Pool::new(packets, shape).map_err(|error| error.to_string())?;
        let port = device.start(&self.config(), &pool).map_err(|error| error.to_string())?;
        Ok((port, pool))
    }

    /// What the port is started with. (A back end's rings are as large as the driver makes them.)
    fn config(&self) -> Config {
        let ring_format = match self.path {
            Path::Split => RingFormat::Split,
            Path::Packed => RingFormat::Packed,
        };
        let ring = (self.role == Role::Driver).then_some(self.ring);
        Config { rx_ring: ring, tx_ring: ring, ring_format, ..Config::default() }
    }
}

/// The thread that answers.
struct Desk {
    panel: Arc<Panel>,
    counters: [Arc<QueueCounters>; 2],
    clock: Clock,
    jobs: Sender<Job>,
}

/// What the polling thread is given: work, and where it says that it is over.
struct Job {
    work: Work,
    size: u16,
    over: Sender<()>,
}

impl Desk {
    fn listen(&self) -> Result<(), String> {
        let mut running: Option<Receiver<()>> = None;
        let mut out = std::io::stdout().lock();
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|error| error.to_string())?;
            match serde_json::from_str(&line).map_err(|error| format!("{line:?}: {error}"))? {
                Command::Start { work, size } => {
                    let (over, is_over) = channel();
                    self.panel.stop.store(false, Ordering::Relaxed);
                    running = Some(is_over);
                    let job = Job { work, size, over };
                    self.jobs.send(job).map_err(|_| "the polling thread ended")?;
                    continue;
                }
                Command::Account => {}
                Command::Stop => {
                    self.panel.stop.store(true, Ordering::Relaxed);
                    // The other end is dropped when the work is over.
                    if let Some(over) = running.take() {
                        let _ = over.recv();
                    }
                }
            }
            let account =
                serde_json::to_string(&self.account()).map_err(|error| error.to_string())?;
            writeln!(out, "{account}")
                .and_then(|()| out.flush())
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The counters and the time belong together: read again if something came in between, for this thread shares
    /// its core with the one that polls.
    fn account(&self) -> Account {
        let mut account = self.read();
        for _ in 0..TRIES {
            if self.clock.to_nanos(self.clock.now()).saturating_sub(account.nanos) < TOGETHER {
                break;
            }
            account = self.read();
        }
        account
    }

    fn read(&self) -> Account {
        let nanos = self.clock.to_nanos(self.clock.now());
        let [rx, tx] = [0, 1].map(|queue: usize| self.counters[queue].snapshot());
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let unexpected = |stats: &QueueStats| {
            let full = stats.drops[DropCause::RingFull] + stats.drops[DropCause::LinkDown];
            stats.drops.total() - full
        };
        Account {
            nanos,
            received: rx.packets,
            received_bytes: rx.bytes,
            sent: tx.packets,
            cycles: load(&self.panel.cycles),
            packets: load(&self.panel.packets),
            checked: load(&self.panel.checked),
            wrong: load(&self.panel.wrong),
            dropped: unexpected(&rx) + unexpected(&tx),
        }
    }
}

/// The thread that polls.
struct Worker {
    port: Port,
    pool: Pool,
    clock: Clock,
    panel: Arc<Panel>,
    burst: Burst,
    turns: u64,
    jobs: u8,
}

impl Worker {
    /// Does one job after the other. Until the first it looks after the connection, because the peer waits for
    /// answers; between two it sleeps.
    fn serve(&mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(Duration::from_millis(1)) {
                Ok(job) => {
                    self.work(job);
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.port.control.link();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        while let Ok(job) = jobs.recv() {
            self.work(job);
        }
    }

    fn work(&mut self, Job { work, size, over }: Job) {
        self.jobs = self.jobs.wrapping_add(1);
        match work {
            Work::Swap => self.swap(size),
            Work::Generate => self.generate(size),
            Work::Send => self.send(size),
            Work::Receive => self.receive(size),
            Work::Verify => self.verify(size),
        }
        free_burst(&mut self.burst);
        drop(over);
    }

    fn swap(&mut self, size: u16) {
        self.turns(|worker| {
            let received = worker.port.rx[0].rx_burst(&mut worker.burst);
            if received == 0 {
                return 0;
            }
            worker.sample(size);
            for packet in &mut worker.burst {
                swap_addresses(packet.bytes_mut());
            }
            worker.port.tx[0].tx_burst(&mut worker.burst);
            free_burst(&mut worker.burst);
            received
        });
    }

    fn receive(&mut self, size: u16) {
        self.turns(|worker| {
            let received = worker.port.rx[0].rx_burst(&mut worker.burst);
            if received > 0 {
                worker.sample(size);
                free_burst(&mut worker.burst);
            }
            received
        });
    }

    fn send(&mut self, size: u16) {
        let mut flows = Flows::new(size);
        self.turns(|worker| {
            fill(&worker.pool, &mut worker.burst, &mut flows);
            worker.port.tx[0].tx_burst(&mut worker.burst)
        });
    }

    fn generate(&mut self, size: u16) {
        let mut flows = Flows::new(size);
        let mut out = Burst::new();
        self.turns(|worker| {
            let received = worker.port.rx[0].rx_burst(&mut worker.burst);
            worker.sample(size);
            free_burst(&mut worker.burst);
            fill(&worker.pool, &mut out, &mut flows);
            let sent = worker.port.tx[0].tx_burst(&mut out);
            received.max(sent)
        });
        free_burst(&mut out);
    }

    fn verify(&mut self, size: u16) {
        let mut verifier = Verifier::new(size, self.jobs);
        while !self.panel.stop.load(Ordering::Relaxed) {
            verifier.turn(&mut self.port, &self.pool);
            self.panel.checked.store(verifier.checked(), Ordering::Relaxed);
            self.panel.wrong.store(verifier.wrong(), Ordering::Relaxed);
        }
    }

    /// Turns, until it is to stop; accounts for those that moved packets.
    #[inline]
    fn turns(&mut self, mut turn: impl FnMut(&mut Self) -> usize) {
        let mut last = self.clock.now();
        while !self.panel.stop.load(Ordering::Relaxed) {
            let packets = turn(self);
            let now = self.clock.now();
            if packets > 0 {
                add(&self.panel.cycles, now.saturating_sub(last));
                add(&self.panel.packets, packets as u64);
            }
            last = now;
        }
    }

    /// Now and then looks at the first frame of the burst.
    #[inline]
    fn sample(&mut self, size: u16) {
        self.turns = self.turns.wrapping_add(u64::from(!self.burst.is_empty()));
        if self.turns.is_multiple_of(SAMPLE) {
            self.look(size);
        }
    }

    #[cold]
    fn look(&mut self, size: u16) {
        if let Some(packet) = self.burst.first() {
            add(&self.panel.checked, 1);
            add(&self.panel.wrong, u64::from(!looks_right(packet.bytes(), size)));
        }
    }
}

/// Fills the burst up with new frames.
#[inline]
fn fill(pool: &Pool, burst: &mut Burst, flows: &mut Flows) {
    let kept = burst.len();
    pool.alloc_burst_to_fill(burst, BURST - kept);
    for packet in &mut burst[kept..] {
        let written = flows.write(packet);
        debug_assert!(written.is_some(), "every size fits a buffer");
    }
}

/// A plain add: there is one writer.
#[inline]
fn add(word: &AtomicU64, amount: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}
