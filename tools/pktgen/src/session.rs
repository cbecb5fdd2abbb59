//! One run from its first counted frame to its report: offer, receive, tick, drain.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use netdev::Burst;
use plat_linux::{Clock, StopFlag};

use crate::board::Seat;
use crate::endpoint::Endpoint;
use crate::flow::Flow;
use crate::latency::Recorder;
use crate::sink::Sink;
use crate::stream_ticks::StreamTicks;
use crate::{DirectionReport, Phase, StreamReport, Tick, TickDirection, TickLatency};

/// What a run needs.
pub(crate) struct Session<'a> {
    pub(crate) ports: &'a mut [Endpoint],
    pub(crate) flows: Vec<Flow>,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) clock: Clock,
    pub(crate) seat: Seat,
    pub(crate) stop: StopFlag,
    pub(crate) each: &'a mut dyn FnMut(&Tick) -> ControlFlow<()>,
    pub(crate) last: Vec<(u64, u64)>,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Whether the times of departure and arrival are wanted as exactly as can be had.
    pub(crate) exact: bool,
    /// Cycles of turns that moved a frame.
    pub(crate) busy: u64,
    /// The same at the last tick, and what went since then.
    pub(crate) gauge: Gauge,
    pub(crate) latency: Option<Rc<RefCell<Recorder>>>,
    pub(crate) stream_ticks: StreamTicks,
}

/// What a tick tells of the time since the one before.
#[derive(Default)]
pub(crate) struct Gauge {
    busy: u64,
    bursts: u64,
    taken: u64,
}

impl Session<'_> {
    /// Offers traffic until everything is sent, `duration` is over, or somebody stops it; then waits for
    /// stragglers. Whether it was stopped.
    pub(crate) fn run(&mut self, duration: Option<Duration>, drain: Duration) -> bool {
        for port in self.ports.iter_mut() {
            port.mark();
        }
        self.last = vec![(0, 0); self.flows.len()];
        self.start = self.clock.now();
        for flow in &mut self.flows {
            flow.pacer.start(self.start);
            flow.source.start(self.start);
        }
        let interrupted = self.offer(duration);
        self.end = self.clock.now();
        self.seat.board.stop_offering();
        self.drain(drain);
        interrupted
    }

    /// The loop that a run spends its time in. Not inlined: the instruction gates in `bench` count what it executes.
    #[inline(never)]
    fn offer(&mut self, duration: Option<Duration>) -> bool {
        let second = self.clock.hz();
        let mut next_tick = self.start.saturating_add(second);
        let deadline =
            duration.map_or(u64::MAX, |d| self.start.saturating_add(self.clock.from_duration(d)));
        let mut now = self.clock.now();
        loop {
            let (moved, done) = self.turn(now);
            let before = std::mem::replace(&mut now, self.clock.now());
            if moved > 0 {
                self.busy += now.saturating_sub(before);
            }
            if done || now >= deadline {
                return false;
            }
            if now >= next_tick {
                next_tick = next_tick.saturating_add(second);
                if self.tick(Phase::Running, now, self.start, 1.0).is_break() {
                    return true;
                }
            }
            if self.stop.is_set() {
                return true;
            }
        }
    }

    /// Offers what is due in every direction, and receives a burst from every port. How many frames were moved, and
    /// whether all is sent.
    #[inline]
    fn turn(&mut self, now: u64) -> (usize, bool) {
        let stamp = low_nanos(&self.clock, now);
        let (mut done, mut moved) = (true, 0);
        for (number, flow) in self.flows.iter_mut().enumerate() {
            let taken = flow.offer(&mut self.ports[flow.from], now, stamp);
            if self.exact && taken > 0 {
                flow.source.departed(taken, self.clock.now());
            }
            moved += taken;
            self.gauge.bursts += u64::from(taken > 0);
            self.gauge.taken += taken as u64;
            self.sink.offered(number, flow.source.made());
            done &= flow.is_done();
        }
        (moved + self.receive(now), done)
    }

    /// Receives a burst from every port; how many frames.
    #[inline]
    fn receive(&mut self, now: u64) -> usize {
        let mut total = 0;
        for (number, port) in self.ports.iter_mut().enumerate() {
            let mut burst = Burst::new();
            if port.receive(&mut burst) > 0 {
                total += burst.len();
                let now = if self.exact { self.clock.now() } else { now };
                self.sink.receive(number, &burst, now);
            }
        }
        total
    }

    /// Receives until nothing came for `patience`, or a tenth of it once everything is back: a duplicate may
    /// still follow. With several threads, until that holds for each of them.
    fn drain(&mut self, patience: Duration) {
        // Frames that no port took were never sent.
        self.flows.iter_mut().for_each(Flow::give_up_waiting);
        let patience = self.clock.from_duration(patience);
        let mut last_frame = self.clock.now();
        let mut finished = false;
        loop {
            let now = self.clock.now();
            if self.receive(now) > 0 || self.seat.board.is_offering() {
                last_frame = now;
            }
            let quiet = now.saturating_sub(last_frame);
            if !finished && (quiet > patience || quiet > patience / 10 && self.is_complete()) {
                finished = true;
                self.seat.board.finish();
            }
            if self.seat.board.is_finished() {
                break;
            }
            for flow in &self.flows {
                self.ports[flow.from].send(&mut Burst::new());
            }
        }
        // All have stopped receiving before the first looks at what all have counted.
        self.seat.board.meet(2);
        let now = self.clock.now();
        let _ = self.tick(Phase::Draining, now, self.end, 0.0);
    }

    fn is_complete(&self) -> bool {
        let whole = |n: usize| self.flows[n].one_way || self.sink.counts(n).lost(self.sent(n)) == 0;
        (0..self.flows.len()).all(whole)
    }

    /// Frames of a direction that left its port.
    pub(crate) fn sent(&self, flow: usize) -> u64 {
        let flow = &self.flows[flow];
        flow.taken().saturating_sub(self.ports[flow.from].unsent_total())
    }

    fn tick(&mut self, phase: Phase, now: u64, since: u64, seconds: f64) -> ControlFlow<()> {
        let mut directions = Vec::with_capacity(self.flows.len());
        let mut frames = 0;
        for number in 0..self.flows.len() {
            let (sent, counts) = (self.sent(number), self.sink.counts(number));
            let (sent_before, received_before) = self.last[number];
            self.last[number] = (sent, counts.received());
            frames += sent.saturating_sub(sent_before)
                + counts.received().saturating_sub(received_before);
            directions.push(TickDirection {
                direction: self.flows[number].name,
                sent,
                received: counts.received(),
                missing: counts.missing(),
                troubles: counts.duplicated + counts.reordered + counts.corrupted,
                sent_mpps: mega(sent.saturating_sub(sent_before), seconds),
                received_mpps: mega(counts.received().saturating_sub(received_before), seconds),
            });
        }
        let latencies = self.latency.as_ref().map_or_else(Vec::new, |r| r.borrow().so_far());
        let streams = self.stream_ticks.take(&self.flows, &*self.sink, &latencies, seconds);
        let elapsed = self.clock.to_duration(now.saturating_sub(since));
        let Gauge { busy, bursts, taken } = std::mem::take(&mut self.gauge);
        self.gauge.busy = self.busy;
        let per = |what: u64, each: u64| (each > 0).then(|| as_float(what) / as_float(each));
        (self.each)(&Tick {
            phase,
            elapsed,
            directions,
            streams,
            cycles_per_packet: per(self.busy.saturating_sub(busy), frames),
            burst_fill: per(taken, bursts),
            latency: latencies.into_iter().map(|(_, latency)| latency).reduce(TickLatency::worse),
        })
    }

    /// The figures of direction `number`.
    pub(crate) fn report(&self, number: usize, offered_mpps: Option<f64>) -> DirectionReport {
        let flow = &self.flows[number];
        let (sent, counts) = (self.sent(number), self.sink.counts(number));
        let mut not_sent = self.ports[flow.from].unsent();
        if flow.source.oversize() > 0 {
            *not_sent.entry("oversize".into()).or_default() += flow.source.oversize();
        }
        let seconds =
            |from: u64, to: u64| self.clock.to_duration(to.saturating_sub(from)).as_secs_f64();
        let first = flow.first_taken.unwrap_or(self.start);
        let duration_s =
            seconds(self.start, if flow.is_done() { flow.last_taken } else { self.end });
        // From the first frame to the last there is one interval less than there are frames.
        let achieved_mpps = mega(sent, duration_s.max(self.interval(offered_mpps, sent)));
        DirectionReport {
            direction: flow.name,
            from: self.ports[flow.from].name.clone(),
            to: self.ports[flow.to].name.clone(),
            sent,
            received: counts.received(),
            lost: if flow.one_way { 0 } else { counts.lost(sent) },
            duplicated: counts.duplicated,
            reordered: counts.reordered,
            corrupted: counts.corrupted,
            misdirected: counts.misdirected,
            late: counts.late,
            not_sent,
            mpps: mega(counts.received(), seconds(first, counts.last_arrival)),
            duration_s,
            offered_mpps,
            achieved_mpps,
            rate_error: offered_mpps.map(|offered| achieved_mpps / offered - 1.0),
            skipped: flow.skipped(),
            ring_full: flow.ring_full,
            ring_full_s: self.clock.to_duration(flow.blocked).as_secs_f64(),
        }
    }

    /// Cycles per frame sent or received, of the time that something was moved; `None` without frames.
    pub(crate) fn cycles_per_packet(&self) -> Option<f64> {
        let numbers = 0..self.flows.len();
        let frames: u64 = numbers.map(|n| self.sent(n) + self.sink.counts(n).received()).sum();
        (frames > 0).then(|| as_float(self.busy) / as_float(frames))
    }

    /// The figures of every stream; `names` are theirs, by number.
    pub(crate) fn streams(&self, names: &[String]) -> Vec<StreamReport> {
        let mut reports = Vec::new();
        for (direction, flow) in self.flows.iter().enumerate() {
            for (number, made, skipped) in flow.source.streams() {
                let Some(figures) = self.sink.stream(number) else { continue };
                // What the port dropped cannot be told by stream, unless there is one.
                let sent =
                    if flow.source.streams().len() == 1 { self.sent(direction) } else { made };
                let name = names.get(number).cloned().unwrap_or_default();
                let mut report = StreamReport::new(name, flow.name, sent, &figures);
                report.skipped = skipped;
                if flow.one_way {
                    report.lost = 0;
                    report.flows = None;
                }
                reports.push(report);
            }
        }
        reports
    }

    /// The time that `sent` frames stand for at the offered rate, if they were all that was asked for.
    fn interval(&self, offered_mpps: Option<f64>, sent: u64) -> f64 {
        match offered_mpps {
            Some(mpps) if self.flows.iter().all(Flow::is_done) => as_float(sent) / (mpps * 1e6),
            _ => 0.0,
        }
    }
}

/// Millions per second; 0 where no time passed.
pub(crate) fn mega(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { as_float(count) / seconds / 1e6 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "rates need fewer digits than a float has")]
fn as_float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a stamp's time is modulo 2^32")]
#[inline]
fn low_nanos(clock: &Clock, now: u64) -> u32 {
    clock.to_nanos(now) as u32
}
