//! What two cores can exchange at most: one writes packets into a ring of slots, the other reads them, and neither
//! does anything else.
//!
//! Per packet a 16-byte descriptor and a number of whole cache lines change owner, in bursts of 32 with one index
//! each way, as in a virtqueue; the reader prefetches a burst's lines before it looks at them. No software that
//! moves the same lines can be faster, so a forwarder's rate is a fraction of this one.
//!
//! Virtual cores move between physical ones: for seconds they share caches, then they do not, and everything that
//! is measured across them follows. The ceiling is what tells which ([`Mode`]).
//!
//! Each line holds the packet's number, and the reader compares every one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use netbuf::{BURST, CACHE_LINE, PoolConfig};
use plat_linux::CoreError;
use serde::{Deserialize, Serialize};

/// Packets that are on their way at most; a power of two.
const SLOTS: usize = 1024;
/// Words of a cache line.
const LINE: usize = CACHE_LINE / size_of::<u64>();
/// Data lines of a frame of 64 bytes and its virtio header: what [`Mode`] is told by.
pub const MODE_LINES: usize = 2;
/// More Mpps than this with [`MODE_LINES`]: the cores share caches. On the machine where this was found there are
/// two states, of 102 and of 27, and nothing in between.
pub const SHARED_ABOVE: f64 = 50.0;
/// Data lines of a packet at most.
pub const MOST_LINES: usize = 32;

/// How two cores are placed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They share caches.
    Shared,
    /// A line between them takes the long way.
    Separate,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Shared, Self::Separate];

    /// The mode in which [`MODE_LINES`] can be exchanged at `mpps`.
    pub fn of(mpps: f64) -> Self {
        if mpps > SHARED_ABOVE { Self::Shared } else { Self::Separate }
    }

    /// The name in reports and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Separate => "separate",
        }
    }
}

/// The data lines that a frame of `size` bytes moves: its own, and the one in front with its virtio header.
pub fn lines_of(size: u16) -> usize {
    usize::from(size).div_ceil(CACHE_LINE) + 1
}

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CeilingError {
    /// A thread could not be pinned.
    Core(CoreError),
    /// So many packets did not hold what was written into them: the machine, or this program, is broken.
    Contents(u64),
}

impl std::fmt::Display for CeilingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Core(error) => error.fmt(f),
            Self::Contents(wrong) => write!(f, "{wrong} lines were not what was written"),
        }
    }
}

impl std::error::Error for CeilingError {}

/// A word that has the cache lines around it to itself.
#[repr(align(128))]
#[derive(Default)]
struct Alone(AtomicU64);

struct Exchange {
    /// `SLOTS` descriptors: the data's first word, and its length.
    descriptors: Vec<[AtomicU64; 2]>,
    /// `SLOTS` packets, each on a line boundary, as far apart as in a pool.
    data: Vec<AtomicU64>,
    /// The first word of `data` on a line boundary.
    base: usize,
    written: Alone,
    read: Alone,
    wrong: Alone,
    stop: AtomicBool,
    lines: usize,
}

/// The rates, in Mpps, of `windows` windows of `window` each, after one that is discarded; `lines` data lines (at most
/// [`MOST_LINES`]) per packet, written by the first core and read by the second.
///
/// # Errors
/// See [`CeilingError`].
pub fn measure(
    cores: (usize, usize),
    lines: usize,
    windows: usize,
    window: Duration,
) -> Result<Vec<f64>, CeilingError> {
    let exchange = Exchange::new(lines.clamp(1, MOST_LINES));
    let rates = std::thread::scope(|scope| {
        let writer = scope.spawn(|| pinned(cores.0, &exchange, Exchange::write));
        let reader = scope.spawn(|| pinned(cores.1, &exchange, Exchange::read));
        let mut rates: Vec<f64> = (0..=windows).map(|_| exchange.rate(window)).collect();
        exchange.stop.store(true, Ordering::Relaxed);
        for thread in [writer, reader] {
            match thread.join() {
                Ok(outcome) => outcome.map_err(CeilingError::Core)?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        rates.remove(0);
        Ok(rates)
    })?;
    match exchange.wrong.0.load(Ordering::Relaxed) {
        0 => Ok(rates),
        wrong => Err(CeilingError::Contents(wrong)),
    }
}

/// The best of a few short windows: a tenth of a second.
///
/// # Errors
/// See [`CeilingError`].
pub fn quick(cores: (usize, usize), lines: usize) -> Result<f64, CeilingError> {
    let rates = measure(cores, lines, 4, Duration::from_millis(20))?;
    Ok(rates.into_iter().fold(0.0, f64::max))
}

fn pinned(core: usize, exchange: &Exchange, work: fn(&Exchange)) -> Result<(), CoreError> {
    let pinned = plat_linux::pin_to_core(core);
    if pinned.is_ok() {
        work(exchange);
    }
    pinned
}

impl Exchange {
    fn new(lines: usize) -> Self {
        let stride = PoolConfig::default().stride() / size_of::<u64>();
        let data: Vec<AtomicU64> = (0..SLOTS * stride + LINE).map(|_| AtomicU64::new(0)).collect();
        let base = (data.as_ptr().addr().wrapping_neg() % CACHE_LINE) / size_of::<u64>();
        let slot = |slot: usize| [AtomicU64::new((base + slot * stride) as u64), AtomicU64::new(0)];
        Self {
            descriptors: (0..SLOTS).map(slot).collect(),
            data,
            base,
            written: Alone::default(),
            read: Alone::default(),
            wrong: Alone::default(),
            stop: AtomicBool::new(false),
            lines,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn rate(&self, window: Duration) -> f64 {
        let (before, start) = (self.read.0.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(window);
        let packets = self.read.0.load(Ordering::Relaxed) - before;
        packets as f64 / start.elapsed().as_secs_f64() / 1e6
    }

    fn stride(&self) -> usize {
        (self.data.len() - LINE) / SLOTS
    }

    fn write(&self) {
        let (mut number, mut read) = (0u64, 0u64);
        while !self.stop.load(Ordering::Relaxed) {
            if number - read > (SLOTS - BURST) as u64 {
                read = self.read.0.load(Ordering::Acquire);
                if number - read > (SLOTS - BURST) as u64 {
                    std::hint::spin_loop();
                    continue;
                }
            }
            for number in number..number + BURST as u64 {
                let slot = slot_of(number);
                let first = self.base + slot * self.stride();
                for line in 0..self.lines {
                    self.data[first + line * LINE].store(number, Ordering::Relaxed);
                }
                let [address, len] = &self.descriptors[slot];
                address.store(first as u64, Ordering::Relaxed);
                len.store((self.lines * CACHE_LINE) as u64, Ordering::Relaxed);
            }
            number += BURST as u64;
            self.written.0.store(number, Ordering::Release);
        }
    }

    fn read(&self) {
        let (mut number, mut wrong) = (0u64, 0u64);
        while !self.stop.load(Ordering::Relaxed) {
            let written = self.written.0.load(Ordering::Acquire);
            let end = written.min(number + BURST as u64);
            if end == number {
                std::hint::spin_loop();
                continue;
            }
            for number in number..end {
                let first = self.base + slot_of(number) * self.stride();
                (0..self.lines).for_each(|line| prefetch(&self.data[first + line * LINE]));
            }
            for number in number..end {
                let [address, _] = &self.descriptors[slot_of(number)];
                let first = usize::try_from(address.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
                for line in 0..self.lines {
                    let word = self.data.get(first.saturating_add(line * LINE));
                    let same = word.is_some_and(|word| word.load(Ordering::Relaxed) == number);
                    wrong += u64::from(!same);
                }
            }
            number = end;
            self.read.0.store(number, Ordering::Release);
        }
        self.wrong.0.store(wrong, Ordering::Relaxed);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the number wraps at the ring's size")]
fn slot_of(number: u64) -> usize {
    number as usize % SLOTS
}

#[inline(always)]
fn prefetch(word: &AtomicU64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction; it reads nothing and never faults.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(word.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_frame() {
        let lines = [60, 64, 65, 128, 1518].map(lines_of);
        assert_eq!(lines, [2, 2, 3, 3, 25]);
        assert_eq!(lines_of(64), MODE_LINES);
    }

    #[test]
    fn the_rate_tells_the_mode() {
        assert_eq!(
            [102.0, 50.1, 27.0, 0.0].map(Mode::of).map(Mode::name),
            ["shared", "shared", "separate", "separate"]
        );
    }

    #[test]
    fn packets_are_exchanged_and_compared() {
        // (On a single core the two threads take turns.)
        let cores = plat_linux::allowed_cores().unwrap();
        let (first, last) = (cores[0], cores[cores.len() - 1]);
        let rates = measure((first, last), 25, 3, Duration::from_millis(100)).unwrap();
        assert_eq!(rates.len(), 3);
        assert!(rates.iter().all(|rate| rate.is_finite()));
        let error = measure((first, usize::MAX), 2, 1, Duration::from_millis(1));
        assert!(matches!(error, Err(CeilingError::Core(_))), "{error:?}");
    }

    #[test]
    fn a_wrong_line_is_seen() {
        let exchange = Exchange::new(2);
        exchange.written.0.store(3, Ordering::Relaxed);
        let stride = exchange.stride();
        for number in [0, 1, 2] {
            exchange.data[exchange.base + number * stride].store(number as u64, Ordering::Relaxed);
        }
        exchange.data[exchange.base + LINE + 2 * stride].store(2, Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| exchange.read());
            while exchange.read.0.load(Ordering::Relaxed) < 3 {
                std::thread::yield_now();
            }
            exchange.stop.store(true, Ordering::Relaxed);
        });
        // Packet 0's second line holds 0, which is right by chance; packet 1's does not hold 1.
        assert_eq!(exchange.wrong.0.load(Ordering::Relaxed), 1);
    }
}
