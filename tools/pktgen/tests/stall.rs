//! Coordinated omission: a stall of 100 ms shows in the corrected latency and is hidden in the uncorrected one.
//!
//! Time is made up: the generator's own pacer and recorder run on a clock that the test moves, so nothing waits and
//! nothing depends on the machine.

use pktgen::Rate;
use pktgen::latency::{Arrival, Clocks, LatencyReport, Omission, Recorder, Sampling};
use pktgen::pacer::{Pacer, Unit};

/// A clock of nanoseconds.
const HZ: u64 = 1_000_000_000;
const RATE: u64 = 100_000;
const INTERVAL: u64 = HZ / RATE;
const STALL: std::ops::Range<u64> = 500_000_000..600_000_000;
const TRANSIT: u64 = 5_000;

/// One second of traffic into a port that takes nothing during the stall. What the pacer gives up is told to the
/// recorder if `told`.
fn second(sampling: Sampling, told: bool) -> LatencyReport {
    let mut recorder = Recorder::new(1, sampling, Clocks::One);
    let mut pacer = Pacer::new(Rate::Packets(RATE), Unit::Frame(64), HZ);
    pacer.start(0);
    // The number of the frame that is due next, sent or not, says when it is due.
    let mut due = 0;
    for now in (0..HZ).step_by(1_000) {
        if STALL.contains(&now) {
            continue;
        }
        let before = pacer.skipped();
        pacer.limit(now, 1);
        let count = pacer.skipped() - before;
        if count > 0 && told {
            let first = due * INTERVAL;
            recorder.omit(&Omission { stream: 0, first, interval: INTERVAL, count, resumed: now });
        }
        due += count;
        while pacer.is_due(now) {
            recorder.observe(&Arrival {
                stream: 0,
                sequence: due,
                intended: due * INTERVAL,
                departed: now,
                arrived: now + TRANSIT,
            });
            pacer.spend(1);
            due += 1;
        }
    }
    recorder.report()
}

#[test]
fn a_stall_shows_in_the_corrected_latency_and_is_hidden_in_the_uncorrected_one() {
    let report = second(Sampling::ALL, true);
    println!("{report}");
    let stream = &report.streams[0];
    // Every frame that left took 5 µs: nothing seems to have happened.
    assert!(stream.uncorrected.max_ns <= TRANSIT + TRANSIT / 500);
    // A tenth of all frames fell into the stall, the first of them for all of it.
    let corrected = &stream.corrected;
    assert!(corrected.max_ns.abs_diff(100_000_000) < 500_000, "{corrected}");
    assert_eq!(corrected.count, RATE, "every frame that was due is in it");
    assert_eq!(stream.omitted + stream.uncorrected.count, corrected.count);
    assert!(corrected.at(50.0).unwrap() < 2 * TRANSIT);
    // The stall is the slowest tenth: its middle is the 95th percentile, and nine tenths of it the 99th.
    assert!(corrected.at(99.0).unwrap().abs_diff(90_000_000) < 2_000_000, "{corrected}");
    assert!(corrected.at(99.9).unwrap().abs_diff(99_000_000) < 2_000_000, "{corrected}");
    assert!((corrected.mean_ns - 5_005_000.0).abs() < 100_000.0, "{corrected}");
}

#[test]
fn leaving_out_what_was_given_up_would_be_coordinated_omission() {
    // The frames that were sent late bear a millisecond at most: the pacer makes up for no more.
    let report = second(Sampling::ALL, false);
    assert!(report.streams[0].corrected.max_ns < 3_000_000, "{report}");
    assert_eq!(report.streams[0].omitted, 0);
}

#[test]
fn a_sample_shows_the_same_stall() {
    let report = second(Sampling::one_in(16), true);
    let corrected = &report.streams[0].corrected;
    assert!(corrected.count.abs_diff(RATE / 16) <= 2, "{corrected}");
    assert!(corrected.max_ns.abs_diff(100_000_000) < 1_000_000, "{corrected}");
    assert!(corrected.at(99.0).unwrap().abs_diff(90_000_000) < 3_000_000, "{corrected}");
}
