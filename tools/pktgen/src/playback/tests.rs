//! Playback on a clock that the test moves.

use std::time::Duration;

use netbuf::{DeviceMemory, PoolConfig};

use super::*;

fn pool() -> Pool {
    let config = PoolConfig { buffers: 64, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

/// Frames captured at these nanoseconds.
fn capture(times: &[u64]) -> Capture {
    let frames =
        times.iter().zip(0u8..).map(|(time, n)| (Duration::from_nanos(*time), vec![n; 60]));
    Capture::from_timed(frames).unwrap()
}

/// When each frame left, in nanoseconds, on a clock of 1 GHz that is looked at every `step` nanoseconds.
fn play(times: &[u64], speed: &str, count: u64, step: u64) -> Vec<u64> {
    let speed: Speed = speed.parse().unwrap();
    let timing = Timing::Original(speed);
    let options = Options { timing, count: Some(count), ..Options::default() };
    let mut played = Played::new(&capture(times), &options, 1518);
    let mut pacer = Pacer::new(speed.nanoseconds(), Unit::Frame(0), 1_000_000_000);
    let pool = pool();
    let (mut left, mut now) = (Vec::new(), 0);
    pacer.start(0);
    while !played.is_exhausted() {
        let mut out = Burst::new();
        played.fill(&mut out, &pool, &mut pacer, now, 0);
        left.extend(out.iter().map(|_| now));
        now += step;
    }
    assert_eq!(pacer.skipped(), 0);
    left
}

#[test]
fn gaps_are_those_of_the_capture() {
    assert_eq!(play(&[5000, 5000, 6000, 9000], "1", 4, 100), [0, 0, 1000, 4000]);
}

#[test]
fn speed_divides_the_gaps() {
    assert_eq!(play(&[0, 1000, 4000], "10x", 3, 100), [0, 100, 400]);
    assert_eq!(play(&[0, 1000, 4000], "0.5", 3, 100), [0, 2000, 8000]);
}

#[test]
fn the_next_round_begins_after_the_mean_gap() {
    assert_eq!(play(&[0, 1000, 4000], "1", 6, 100), [0, 1000, 4000, 6000, 7000, 10_000]);
}

#[test]
fn a_time_that_goes_backwards_is_no_gap() {
    assert_eq!(play(&[3000, 1000, 2000], "1", 3, 100), [0, 0, 1000]);
}

#[test]
fn gaps_longer_than_the_pacer_counts_at_once() {
    let hour = 3_600_000_000_000;
    assert_eq!(play(&[0, hour], "1000", 2, 1_000_000), [0, hour / 1000]);
    assert_eq!(play(&[0, hour], "1", 2, 1_000_000_000), [0, hour]);
}

#[test]
fn a_generator_that_was_held_up_sends_everything() {
    let left = play(&[0, 1000, 2000, 3000, 900_000_000], "1", 5, 500_000_000);
    assert_eq!(left, [0, 500_000_000, 500_000_000, 500_000_000, 1_000_000_000]);
}

#[test]
fn the_time_of_frames_that_do_not_fit_passes() {
    let frames = [(0, 60), (1000, 2000), (3000, 60)];
    let frames = frames.map(|(at, len)| (Duration::from_nanos(at), vec![0; len]));
    let options = Options { timing: Timing::Original(Speed::ONE), ..Options::default() };
    let mut played = Played::new(&Capture::from_timed(frames).unwrap(), &options, 1518);
    let mut pacer = Pacer::new(Speed::ONE.nanoseconds(), Unit::Frame(0), 1_000_000_000);
    let pool = pool();
    pacer.start(0);
    let mut left = Vec::new();
    for now in 0..5000 {
        let mut out = Burst::new();
        played.fill(&mut out, &pool, &mut pacer, now, 0);
        left.extend(out.iter().map(|_| now));
    }
    assert_eq!((left, played.oversize()), (vec![0, 3000], 1));
}

#[test]
fn bad_speeds_say_what_is_accepted() {
    for text in ["", "0", "-1", "NaN", "inf", "1e400", "0.0001", "1001", "x", "1xx", "fast"] {
        assert!(text.parse::<Speed>().expect_err(text).contains("0.001 to 1000"));
    }
    assert_eq!("1.5x".parse::<Speed>().unwrap().to_string(), "1.5");
}
