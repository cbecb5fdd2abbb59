//! The loop on a clock of the test's own: nothing here depends on how fast the machine is.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eventloop::{Clock, EventLoop, Idle, Meter, Usage};
use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::{Armed, Burst, Config, DropCause, QueueCounters, RxQueue, WakeSource, loopback};

/// 1000 cycles per second; goes forward by one at each reading, and when a test says so.
#[derive(Default)]
struct FakeClock {
    now: Cell<u64>,
    readings: Cell<u64>,
}

impl FakeClock {
    fn pass(&self, cycles: u64) {
        self.now.set(self.now.get() + cycles);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> u64 {
        self.readings.set(self.readings.get() + 1);
        self.pass(1);
        self.now.get()
    }

    fn hz(&self) -> u64 {
        1000
    }
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn pool() -> Pool {
    let config = PoolConfig { buffers: 256, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

/// A queue that gives packets and answers to `arm` by a script.
struct Scripted {
    pool: Pool,
    bursts: VecDeque<usize>,
    arms: VecDeque<Armed>,
    log: Rc<RefCell<Vec<&'static str>>>,
    counters: Arc<QueueCounters>,
}

impl Scripted {
    fn new(bursts: &[usize], arms: &[Armed], log: &Rc<RefCell<Vec<&'static str>>>) -> Self {
        Self {
            pool: pool(),
            bursts: bursts.iter().copied().collect(),
            arms: arms.iter().copied().collect(),
            log: log.clone(),
            counters: Arc::default(),
        }
    }
}

impl RxQueue for Scripted {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        self.log.borrow_mut().push("poll");
        let count = self.bursts.pop_front().unwrap_or(0);
        out.extend((0..count).map(|_| self.pool.copy_from(&[0; 60]).unwrap()));
        count
    }

    fn arm(&mut self) -> Armed {
        self.log.borrow_mut().push("arm");
        self.arms.pop_front().unwrap_or(Armed::Armed)
    }

    fn wake_sources(&self, each: &mut dyn FnMut(WakeSource)) {
        each(WakeSource::Fd(9));
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }
}

#[test]
fn pollers_run_in_order_each_to_completion_and_the_body_last() {
    let (clock, order) = (FakeClock::default(), RefCell::new(Vec::new()));
    let mut event_loop = EventLoop::new(&clock);
    event_loop.add(|_| order.borrow_mut().push(1)).add(|_| order.borrow_mut().push(2));
    let mut turns = 0;
    event_loop.run(|turn| {
        order.borrow_mut().push(3);
        turns += 1;
        if turns == 3 {
            turn.stop();
        }
    });
    drop(event_loop);
    assert_eq!(order.into_inner(), [1, 2, 3, 1, 2, 3, 1, 2, 3]);
}

#[test]
fn a_burst_is_received_worked_on_and_sent_before_the_next_poller() {
    let (clock, log) = (FakeClock::default(), Rc::default());
    let mut queue = Scripted::new(&[3, 0, 32], &[], &log);
    let mut out = loopback::device()
        .start(&Config { rx_ring: Some(64), ..Config::default() }, &pool())
        .unwrap();
    let counters = out.tx[0].counters().clone();
    let mut turns = 0;
    let usage = EventLoop::new(&clock).run(|turn| {
        let mut burst = Burst::new();
        let received = turn.receive(&mut queue, &mut burst);
        assert_eq!(turn.send(&mut *out.tx[0], &mut burst), received);
        assert!(burst.is_empty());
        turns += 1;
        if turns == 3 {
            turn.stop();
        }
    });
    assert_eq!(counters.snapshot().packets, 35);
    assert_eq!((usage.packets, usage.polls, usage.empty_polls, usage.turns), (35, 3, 1, 3));
    assert_eq!(usage.burst_fill_tenths(), Some(175));
}

#[test]
fn what_the_ring_has_no_room_for_is_counted_and_freed() {
    let (clock, pool) = (FakeClock::default(), pool());
    let config = Config { rx_ring: Some(4), tx_ring: Some(4), ..Config::default() };
    let mut port = loopback::device().start(&config, &pool).unwrap();
    EventLoop::new(&clock).run(|turn| {
        let mut burst = Burst::new();
        pool.alloc_burst(&mut burst, 10);
        burst.iter_mut().for_each(|packet| packet.append(60).unwrap().fill(1));
        assert_eq!(turn.send(&mut *port.tx[0], &mut burst), 4);
        assert!(burst.is_empty());
        turn.stop();
    });
    assert_eq!(port.tx[0].stats().drops[DropCause::RingFull], 6);
    drop(port.stop());
    assert_eq!(pool.available(), 256);
}

#[test]
fn timers_fire_in_order_of_due_time_then_of_addition() {
    let (clock, fired) = (FakeClock::default(), RefCell::new(Vec::new()));
    let mut event_loop = EventLoop::new(&clock);
    let note = |name| {
        let fired = &fired;
        move |tick: &mut eventloop::Tick<'_>| {
            assert!(tick.now() >= tick.due(), "{name} fired early");
            fired.borrow_mut().push(name);
        }
    };
    // The clock moves by one per timer that is added: the last two are due together.
    event_loop.after(millis(50), note("fourth"));
    event_loop.after(millis(10), note("first"));
    event_loop.after(millis(31), note("second"));
    event_loop.after(millis(30), note("third"));
    event_loop.after(millis(200), |tick| tick.stop());
    event_loop.run(|_| clock.pass(100));
    drop(event_loop);
    assert_eq!(fired.into_inner(), ["first", "second", "third", "fourth"]);
}

#[test]
fn a_periodic_timer_fires_once_per_period_and_keeps_its_grid() {
    let (clock, ticks) = (FakeClock::default(), RefCell::new(Vec::new()));
    let mut event_loop = EventLoop::new(&clock);
    event_loop.every(millis(100), |tick| ticks.borrow_mut().push((tick.due(), tick.missed())));
    event_loop.after(millis(1000), |tick| tick.stop());
    let mut turns = 0;
    event_loop.run(|_| {
        turns += 1;
        // One long turn, over three due times; short ones otherwise.
        clock.pass(if turns == 20 { 310 } else { 7 });
    });
    drop(event_loop);
    let ticks = ticks.into_inner();
    let first = ticks[0].0;
    assert!(ticks.iter().all(|(due, _)| (due - first) % 100 == 0), "{ticks:?}");
    assert!(ticks.is_sorted_by_key(|tick| tick.0));
    // Each period is either fired for or missed, none twice.
    let accounted = ticks.len() as u64 + ticks.iter().map(|tick| tick.1).sum::<u64>();
    assert_eq!(accounted, 10);
    assert_eq!(ticks.iter().filter(|tick| tick.1 > 0).count(), 1);
}

#[test]
fn a_timer_can_set_itself_again_without_starving_the_loop() {
    let (clock, mut calls) = (FakeClock::default(), 0);
    let mut event_loop = EventLoop::new(&clock);
    event_loop.after(millis(5), |tick| {
        calls += 1;
        if calls < 4 { tick.again(Duration::ZERO) } else { tick.stop() }
    });
    let mut turns = 0;
    event_loop.run(|_| turns += 1);
    drop(event_loop);
    assert_eq!(calls, 4);
    assert!(turns >= 4, "a timer fires at most once per turn");
}

#[test]
fn every_cycle_is_accounted_once() {
    let (clock, log) = (FakeClock::default(), Rc::default());
    let mut queue = Scripted::new(&[4, 0, 0, 8, 0], &[], &log);
    let mut event_loop = EventLoop::new(&clock);
    event_loop.every(millis(40), |_| clock.pass(5));
    let begin = clock.now.get() + 1;
    let mut turns = 0;
    let usage = event_loop.run(|turn| {
        let received = turn.receive(&mut queue, &mut Burst::new());
        clock.pass(if received > 0 { 30 } else { 10 });
        turns += 1;
        if turns == 5 {
            turn.stop();
        }
    });
    assert_eq!(usage.elapsed(), clock.now.get() - begin);
    assert_eq!(usage.busy, 2 * 31, "two turns of 30, each with one reading");
    assert!(usage.timers >= 5 && usage.idle >= 3 * 11);
    assert_eq!(usage.cycles_per_packet(), Some(5), "62 cycles over 12 packets, rounded");
    assert_eq!(event_loop.usage(), usage);
    let delta = usage - Usage::default();
    assert_eq!(delta, usage);
}

#[test]
fn a_turn_reads_the_clock_once_busy_and_at_most_twice_idle() {
    for (policy, bursts, most) in
        [(Idle::Spin, 1, 1), (Idle::Spin, 0, 1), (Idle::Pause, 1, 1), (Idle::Pause, 0, 2)]
    {
        let clock = FakeClock::default();
        let mut event_loop = EventLoop::new(&clock);
        event_loop.idle(policy);
        let before = clock.readings.get();
        let mut turns = 0;
        event_loop.run(|turn| {
            turn.worked(bursts);
            turns += 1;
            if turns == 1000 {
                turn.stop();
            }
        });
        let readings = clock.readings.get() - before - 1;
        assert!(readings <= most * 1000, "{readings} readings, at most {most} per turn");
    }
}

/// What a sleeping loop did, from a script of arms. Stops at the `sleeps`-th sleep.
fn sleeping(
    bursts: &[usize],
    arms: &[Armed],
    sleeps: usize,
    timer: Option<u64>,
) -> (Vec<&'static str>, Vec<Option<u64>>, u64) {
    let (clock, log) = (FakeClock::default(), Rc::new(RefCell::new(Vec::new())));
    let mut queue = Scripted::new(bursts, arms, &log);
    let (untils, stop) = (RefCell::new(Vec::new()), AtomicBool::new(false));
    let mut event_loop = EventLoop::new(&clock);
    if let Some(cycles) = timer {
        event_loop.after(millis(cycles), |_| ());
    }
    let sleeper = |until: Option<u64>, sources: &[WakeSource]| {
        log.borrow_mut().push("sleep");
        assert_eq!(sources, [WakeSource::Fd(9)]);
        untils.borrow_mut().push(until);
        stop.store(untils.borrow().len() == sleeps, Ordering::Relaxed);
        clock.pass(100);
    };
    event_loop.stop_when(&stop).idle(Idle::Sleep { after: 2, nap: 50, sleeper: Box::new(sleeper) });
    let usage = event_loop.run(|turn| {
        turn.receive(&mut queue, &mut Burst::new());
    });
    drop(event_loop);
    assert_eq!(usage.sleeps, sleeps as u64);
    assert!(usage.idle >= 100 * usage.sleeps, "sleep is idle time");
    (log.take(), untils.into_inner(), clock.now.get())
}

#[test]
fn the_loop_polls_then_pauses_then_arms_then_sleeps() {
    let (log, untils, _) = sleeping(&[1], &[Armed::Armed], 1, None);
    assert_eq!(log, ["poll", "poll", "poll", "poll", "arm", "sleep"]);
    assert_eq!(untils, [None], "all queues wake us and no timer runs");
}

#[test]
fn packets_pending_are_never_slept_over() {
    let arms = [Armed::PacketsPending, Armed::PacketsPending, Armed::Armed];
    let (log, ..) = sleeping(&[0, 0, 0, 5, 0, 0, 0], &arms, 1, None);
    let mut previous = "";
    for (at, step) in log.iter().enumerate() {
        if *step == "sleep" {
            assert_eq!((previous, at), ("arm", log.len() - 1));
        }
        previous = step;
    }
    assert_eq!(log.iter().filter(|step| **step == "arm").count(), 3);
    assert_eq!(log[..5], ["poll", "poll", "poll", "arm", "poll"]);
}

#[test]
fn one_pending_queue_keeps_the_loop_awake_whatever_the_others_say() {
    let (clock, log) = (FakeClock::default(), Rc::new(RefCell::new(Vec::new())));
    let mut one = Scripted::new(&[], &[Armed::PacketsPending; 5], &log);
    let mut two = Scripted::new(&[], &[Armed::Armed; 5], &log);
    let mut event_loop = EventLoop::new(&clock);
    event_loop.idle(Idle::Sleep {
        after: 0,
        nap: 50,
        sleeper: Box::new(|_: Option<u64>, _: &[WakeSource]| panic!("slept over a packet")),
    });
    let mut turns = 0;
    event_loop.run(|turn| {
        turn.receive(&mut one, &mut Burst::new());
        turn.receive(&mut two, &mut Burst::new());
        turns += 1;
        if turns == 8 {
            turn.stop();
        }
    });
}

#[test]
fn a_sleep_ends_at_the_next_timer_or_after_a_nap_where_nothing_can_wake_us() {
    let (_, untils, now) = sleeping(&[], &[Armed::Armed], 1, Some(1000));
    assert_eq!(untils, [Some(1001)]);
    assert!(now < 1000);
    let (_, untils, _) = sleeping(&[], &[Armed::Unsupported], 1, None);
    assert!(untils[0].is_some_and(|until| until < 100), "{untils:?}");
    let (_, untils, _) = sleeping(&[], &[Armed::Unsupported], 1, Some(20));
    assert_eq!(untils, [Some(21)], "the timer comes before the nap ends");
}

#[test]
fn a_loop_that_was_told_to_stop_does_not_run_or_sleep() {
    let (clock, flag) = (FakeClock::default(), AtomicBool::new(true));
    let mut event_loop = EventLoop::new(&clock);
    event_loop.stop_when(&flag);
    let usage = event_loop.run(|_| panic!("ran"));
    assert_eq!(usage, Usage::default());
}

#[test]
fn the_meter_prints_rates_cycles_fill_and_drops() {
    let (clock, pool) = (FakeClock::default(), pool());
    let config = Config { rx_ring: Some(8), ..Config::default() };
    let mut port = loopback::device().start(&config, &pool).unwrap();
    // Sent before the meter looked: not its business.
    port.tx[0].tx_burst(&mut Burst::from_iter([pool.copy_from(&[0; 60]).unwrap()]));
    port.rx[0].rx_burst(&mut Burst::new());
    let mut meter = Meter::new(&clock);
    meter.watch(&port);
    let line = RefCell::new(String::new());
    let mut event_loop = EventLoop::new(&clock);
    event_loop.after(millis(1), |tick| {
        *line.borrow_mut() = meter.read(tick).to_string();
        tick.stop();
    });
    event_loop.run(|turn| {
        let mut burst: Burst = (0..10).map(|_| pool.copy_from(&[0; 125]).unwrap()).collect();
        turn.send(&mut *port.tx[0], &mut burst);
        turn.receive(&mut *port.rx[0], &mut burst);
        // Half a second in all, readings included: 8 packets of 1000 bits.
        clock.now.set(clock.now.get() + 496);
    });
    drop(event_loop);
    assert_eq!(
        line.into_inner(),
        "port 0: rx 0.000 Mpps 0.0 Mbit/s, tx 0.000 Mpps 0.0 Mbit/s | 62 cycles/packet, \
         bursts of 8.0, busy 100.0 % | dropped: 0.tx ring_full 2"
    );
    let report = meter.read_at(clock.now.get(), 1000, Usage::default());
    assert_eq!(report.ports().next().unwrap().rx.packets_per_second, 0, "a reading starts anew");
}

#[test]
fn rates_are_per_second() {
    let (clock, pool) = (FakeClock::default(), pool());
    let mut port = loopback::device()
        .start(&Config { rx_ring: Some(64), ..Config::default() }, &pool)
        .unwrap();
    let mut meter = Meter::new(&clock);
    meter.watch(&port);
    let start = clock.now.get();
    for _ in 0..4 {
        let mut burst: Burst = (0..25).map(|_| pool.copy_from(&[0; 125]).unwrap()).collect();
        port.tx[0].tx_burst(&mut burst);
        port.rx[0].rx_burst(&mut Burst::new());
    }
    // 100 packets in 10 microseconds of a 1 GHz clock: 10 Mpps of 1000 bits.
    let report = meter.read_at(start + 10_000, 1_000_000_000, Usage::default());
    let rates = report.ports().next().unwrap().rx;
    assert_eq!((rates.packets_per_second, rates.bits_per_second), (10_000_000, 10_000_000_000));
    assert_eq!(rates.to_string(), "10.000 Mpps 10000.0 Mbit/s");
}
