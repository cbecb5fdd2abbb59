//! From options to what a run is made of: a source and a pacer for each direction, and the sink that judges.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use super::{Pair, Worker, run_number};
use crate::board::Seat;
use crate::departures::{Departures, Ring};
use crate::flow::Flow;
use crate::latency::Recorder;
use crate::observer::{LatencySink, SharedLatencySink};
use crate::pacer::{Pacer, Unit};
use crate::playback::{Played, Timing};
use crate::replay::Compared;
use crate::sink::{Counted, Expected, Observer, Sink, Stamped};
use crate::source::{ActiveStream, Cost, Streams, Times};
use crate::stamp::DATA_MAGIC;
use crate::stream::engine::Engine;
use crate::stream::size::Picker;
use crate::template::{Template, TemplateConfig, compile};
use crate::{Coverage, Error, Options, Rate, Replay, SizeSpec, StreamSpec};

/// The most streams of a run.
const MOST_STREAMS: usize = 4096;

/// What a run is made of.
pub(super) struct Traffic {
    pub(super) flows: Vec<Flow>,
    pub(super) sink: Box<dyn Sink>,
    /// Names of the streams, by number.
    pub(super) names: Vec<String>,
    /// Millions of frames per second that each direction is to send; `None`: as many as possible, or not constant.
    pub(super) offered: Vec<Option<f64>>,
    /// Bytes of each frame, if they all have the same number.
    pub(super) size: Option<u16>,
    pub(super) recorder: Option<Rc<RefCell<Recorder>>>,
}

/// The streams that the options name, or the one that they are.
pub(super) fn specs(options: &Options) -> Cow<'_, [StreamSpec]> {
    if options.streams.is_empty() {
        let size = SizeSpec::from(options.size);
        return Cow::Owned(vec![StreamSpec { size, ..StreamSpec::default() }]);
    }
    Cow::Borrowed(&options.streams)
}

/// A stream in its direction.
struct Placed<'a> {
    spec: &'a StreamSpec,
    direction: usize,
    template: Rc<Template>,
    engine: Engine,
}

/// Passes on what is heard.
struct Both(Rc<RefCell<Recorder>>, SharedLatencySink);

impl LatencySink for Both {
    fn arrived(&mut self, arrival: &crate::latency::Arrival) {
        self.0.borrow_mut().arrived(arrival);
        self.1.borrow_mut().arrived(arrival);
    }

    fn omitted(&mut self, omission: &crate::latency::Omission) {
        self.0.borrow_mut().omitted(omission);
        self.1.borrow_mut().omitted(omission);
    }
}

impl Worker {
    /// What the next run is made of.
    pub(super) fn traffic(&self, pairs: &[Pair], seat: &Seat) -> Result<Traffic, Error> {
        match &self.options.replay {
            Some(replay) => Ok(self.replayed(replay, pairs)),
            None => self.generated(pairs, seat).map_err(Error::Usage),
        }
    }

    fn replayed(&self, replay: &Replay, pairs: &[Pair]) -> Traffic {
        let Options { rate, timing, .. } = self.options;
        let flow = |pair: &Pair| {
            let source = Played::new(&replay.capture, &self.options, self.max_frame());
            let (rate, unit) = match timing {
                Timing::Original(speed) => (speed.nanoseconds(), Unit::Frame(0)),
                Timing::Rate => (rate, source.unit()),
            };
            let mut flow = Flow::new(
                pair.name,
                pair.path,
                Box::new(source),
                Pacer::new(rate, unit, self.clock.hz()),
            );
            flow.one_way = pair.one_way;
            flow
        };
        let into = |port| pairs.iter().position(|pair| pair.path.1 == port);
        let flow_into = (0..self.ports.len()).map(into).collect();
        let skip = if self.options.macs_may_change { 12 } else { 0 };
        let sink: Box<dyn Sink> = if replay.compare {
            Box::new(Compared::new(&replay.capture, flow_into, self.max_frame(), skip))
        } else {
            Box::new(Counted::new(flow_into))
        };
        let offered = match (timing, rate) {
            (Timing::Rate, Rate::Packets(_)) => rate.packets_per_second(1).map(|pps| pps / 1e6),
            _ => None,
        };
        Traffic {
            flows: pairs.iter().map(flow).collect(),
            sink,
            names: Vec::new(),
            offered: vec![offered; pairs.len()],
            size: None,
            recorder: None,
        }
    }

    fn generated(&self, pairs: &[Pair], seat: &Seat) -> Result<Traffic, String> {
        let specs = specs(&self.options);
        let each: usize =
            pairs.iter().map(|pair| specs.iter().filter(|spec| pair.has(spec)).count()).sum();
        let number = each.saturating_mul(seat.members);
        if number > MOST_STREAMS {
            return Err(format!("{number} streams are too many; accepted: up to {MOST_STREAMS}"));
        }
        // The streams of all threads, to know their frames by; each thread sends its own.
        let mut all = Vec::with_capacity(number);
        for _ in 0..seat.members {
            for (direction, pair) in pairs.iter().enumerate() {
                for spec in specs.iter().filter(|spec| pair.has(spec)) {
                    let stream = self.place(spec, direction, pair, all.len());
                    let name = if spec.name.is_empty() { "the stream" } else { &spec.name };
                    all.push(stream.map_err(|error| format!("{name}: {error}"))?);
                }
            }
        }
        let own = seat.member * each..(seat.member + 1) * each;
        let placed = &all[own.clone()];
        let recorder = self.options.latency.map(|sampling| {
            let clocks = self.clocks;
            Rc::new(RefCell::new(Recorder::new(placed.len(), sampling, clocks)))
        });
        let observer = self.observer_of(recorder.as_ref());
        let departures = self.options.latency.map(|sampling| {
            let rings = rings(seat, all.len());
            Rc::new(RefCell::new(Departures::new(sampling, rings, (own.start, each), pairs.len())))
        });
        let watch = departures.zip(observer);
        let flow = |(direction, pair): (usize, &Pair)| {
            let times = watch.as_ref().map(|(departures, sink)| Times {
                direction,
                departures: departures.clone(),
                sink: sink.clone(),
                nanos: self.nanos(),
            });
            let streams = self.active(placed, direction, seat);
            let count = self.options.count.map(|count| seat.part(count));
            let source = Streams::new(streams, count, times);
            let idle = Pacer::new(Rate::Max, Unit::Frame(0), self.clock.hz());
            let mut flow = Flow::new(pair.name, pair.path, Box::new(source), idle);
            flow.one_way = pair.one_way;
            flow
        };
        let flows = pairs.iter().enumerate().map(flow).collect();
        let expected = all.iter().map(|stream| Expected {
            template: stream.template.clone(),
            flow: stream.direction,
            port: pairs[stream.direction].path.1,
            flows: if stream.spec.per_flow { stream.spec.flows.unwrap_or(0) } else { 0 },
        });
        let expected = expected.collect();
        let observer =
            watch.map(|(departures, sink)| Observer { departures, sink, nanos: self.nanos() });
        let sink = Box::new(Stamped::new(expected, self.ports.len(), observer, seat));
        let members = f64::from(u32::try_from(seat.members).unwrap_or(u32::MAX));
        let offered = |direction| self.offered(placed, direction).map(|mpps| mpps / members);
        let offered = (0..pairs.len()).map(offered).collect();
        let sizes: Vec<u16> = placed.iter().flat_map(|stream| stream.spec.sizes()).collect();
        let size = sizes.first().copied().filter(|first| sizes.iter().all(|size| size == first));
        let names = placed.iter().enumerate().map(|(n, stream)| name(stream.spec, n)).collect();
        Ok(Traffic { flows, sink, names, offered, size, recorder })
    }

    fn observer_of(&self, recorder: Option<&Rc<RefCell<Recorder>>>) -> Option<SharedLatencySink> {
        let recorder = recorder?;
        match &self.observer {
            Some(observer) => Some(Rc::new(RefCell::new(Both(recorder.clone(), observer.clone())))),
            None => Some(recorder.clone()),
        }
    }

    fn nanos(&self) -> Box<dyn Fn(u64) -> u64> {
        let clock = self.clock;
        Box::new(move |cycles| clock.to_nanos(cycles))
    }

    fn place<'a>(
        &self,
        spec: &'a StreamSpec,
        direction: usize,
        pair: &Pair,
        number: usize,
    ) -> Result<Placed<'a>, String> {
        spec.check()?;
        let (source, destination) = self.macs(pair.path);
        let by_run =
            if self.options.macs_may_change { Coverage::WithoutMacs } else { Coverage::Whole };
        let (template, motions) = compile(&TemplateConfig {
            frame: &spec.frame,
            sizes: &spec.sizes(),
            fields: &spec.fields,
            checksums: &spec.checksums,
            coverage: spec.coverage.unwrap_or(by_run),
            stamped: spec.stamp,
            source,
            destination,
            magic: DATA_MAGIC,
            stream: u16::try_from(number).unwrap_or(u16::MAX),
            run: run_number(self.runs),
        })?;
        let engine = Engine::new(motions, spec.flows);
        Ok(Placed { spec, direction, template: Rc::new(template), engine })
    }

    /// The streams of a direction, ready to be sent.
    fn active(&self, placed: &[Placed<'_>], direction: usize, seat: &Seat) -> Vec<ActiveStream> {
        let total = shares(placed, direction);
        let members = u32::try_from(seat.members).unwrap_or(u32::MAX);
        let catch_up = self.options.catch_up.map(|time| self.clock.from_duration(time));
        let active = |(number, stream): (usize, &Placed<'_>)| {
            let spec = stream.spec;
            let rate = spec.rate.unwrap_or(self.options.rate);
            let (share, parts) = if spec.rate.is_some() { (1, 1) } else { (spec.weight, total) };
            let share = (share, parts.saturating_mul(members));
            let cost = Cost::of(rate);
            // Sizes may differ, so bits are counted by the byte.
            let unit = if cost == Cost::Frame { Unit::Frame(0) } else { Unit::Byte };
            let pacer = Pacer::with_profile(
                rate,
                share,
                unit,
                self.clock.hz(),
                &profile(spec, seat),
                catch_up,
            );
            let limits = [spec.count.map(|count| seat.part(count)), spec.profile.frames()];
            ActiveStream {
                number,
                template: stream.template.clone(),
                engine: stream.engine.clone(),
                picker: Picker::new(&spec.size_spec()),
                pacer,
                cost,
                weight: spec.weight,
                limit: limits.into_iter().flatten().min().unwrap_or(u64::MAX),
                made: 0,
                given_up: 0,
            }
        };
        let own = placed.iter().enumerate().filter(|(_, stream)| stream.direction == direction);
        own.map(active).collect()
    }

    /// Millions of frames per second that a direction is to send, where that is one number.
    fn offered(&self, placed: &[Placed<'_>], direction: usize) -> Option<f64> {
        let total = f64::from(shares(placed, direction));
        let mpps = |stream: &Placed<'_>| {
            let spec = stream.spec;
            let even =
                matches!(spec.profile, crate::Profile::Constant | crate::Profile::Poisson { .. });
            let (rate, share) = match spec.rate {
                Some(rate) => (rate, 1.0),
                None => (self.options.rate, f64::from(spec.weight) / total),
            };
            let limited = spec.count.is_some();
            let mean = rate.packets_per_second_of(spec.size_spec().mean());
            mean.filter(|_| even && !limited).map(|pps| pps * share / 1e6)
        };
        placed.iter().filter(|stream| stream.direction == direction).map(mpps).sum()
    }
}

/// The sum of the weights of a direction's streams that have no rate of their own.
fn shares(placed: &[Placed<'_>], direction: usize) -> u32 {
    let own = placed.iter().filter(|s| s.direction == direction && s.spec.rate.is_none());
    own.fold(0, |sum: u32, stream| sum.saturating_add(stream.spec.weight)).max(1)
}

/// Where departures of the `count` streams of all threads are kept.
fn rings(seat: &Seat, count: usize) -> Vec<Arc<OnceLock<Ring>>> {
    if seat.is_alone() {
        return (0..count).map(|_| Arc::default()).collect();
    }
    seat.board.streams(count).iter().map(|stream| stream.departures.clone()).collect()
}

/// A stream's profile at one of several threads: random gaps are other ones at each.
fn profile(spec: &StreamSpec, seat: &Seat) -> crate::Profile {
    match spec.profile {
        crate::Profile::Poisson { seed } => {
            let member = seat.member as u64;
            crate::Profile::Poisson { seed: seed.wrapping_add(member << 48) }
        }
        other => other,
    }
}

fn name(spec: &StreamSpec, number: usize) -> String {
    if spec.name.is_empty() { format!("stream {number}") } else { spec.name.clone() }
}
