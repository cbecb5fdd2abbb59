//! The conformance suite can fail: devices that are wrong on purpose, each caught by the check that is there
//! for it.

mod rigs;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use netdev::conformance::CHECKS;
use netdev::{
    Armed, Burst, Config, Control, Device, DropCause, Info, Link, MacAddress, Pool, Port,
    QueueCounters, RingLimits, RxQueue, StartError, StartFailure, TxQueue,
};
use rigs::PairRig;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    InfoMac,
    InfoRing,
    InfoName,
    StartsTwoQueues,
    RingUnchecked,
    QueuesUnchecked,
    HeadroomUnchecked,
    FailureChangesTheDevice,
    FailureKeepsBuffers,
    FailureNamesAnother,
    RxReorders,
    RxCorrupts,
    RxShortens,
    RxClearsTheBurst,
    RxLosesBeyondRoom,
    RxInvents,
    RxCountsTwice,
    RxForgetsBytes,
    RxReturnsTooMany,
    RxLeaks,
    RxStaleMetadata,
    RxWrongPort,
    RxDiesOfExhaustion,
    RxHidesExhaustion,
    ArmNeverPending,
    ArmAlwaysPending,
    TxReorders,
    TxCorrupts,
    TxTakesFromTheBack,
    TxLosesTheRest,
    TxDuplicates,
    TxCountsRefused,
    TxCountsEmptyBursts,
    TxSwallowsOversize,
    TxMiscounts,
    TxLeaks,
    StopLeaks,
    StartsOnce,
    SplitUnchecked,
    SplitFallsShort,
}

/// Runs every check; the names of those that fail.
fn failing(wrong: Wrong) -> Vec<&'static str> {
    WRONG.set(Some(wrong));
    let mut rig = PairRig::new(|inner| {
        let wrong = WRONG.get().expect("set above");
        Box::new(Broken { inner, wrong, starts: 0, tampered: false })
    });
    let fails = |rig: &mut PairRig, run: fn(&mut dyn netdev::conformance::Rig) -> _| {
        catch_unwind(AssertUnwindSafe(|| run(rig))).is_err()
    };
    CHECKS.iter().filter(|check| fails(&mut rig, check.run)).map(|check| check.name).collect()
}

thread_local! {
    static WRONG: Cell<Option<Wrong>> = const { Cell::new(None) };
}

/// Asserts that each fault is caught by, among others, the check that is there for it.
fn caught(cases: &[(Wrong, &str)]) {
    std::panic::set_hook(Box::new(|_| ()));
    let missed: Vec<String> = cases
        .iter()
        .filter_map(|&(wrong, check)| {
            let failed = failing(wrong);
            let found = failed.contains(&check);
            (!found).then(|| format!("{wrong:?} passes {check}; it fails {failed:?}"))
        })
        .collect();
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// One test, because the silenced panic hook is the process's.
#[test]
fn every_broken_device_is_caught_by_its_check() {
    use Wrong::*;
    let cases = [
        (InfoMac, "info_is_sane"),
        (InfoRing, "info_is_sane"),
        (InfoName, "info_is_sane"),
        (StartsTwoQueues, "started_port_matches_its_configuration"),
        (RingUnchecked, "ring_size_that_is_no_power_of_two_is_refused"),
        (RingUnchecked, "ring_size_beyond_the_limits_is_refused"),
        (QueuesUnchecked, "no_queue_is_refused"),
        (QueuesUnchecked, "too_many_queues_are_refused"),
        (HeadroomUnchecked, "headroom_too_small_is_refused"),
        (FailureChangesTheDevice, "frame_beyond_the_limits_is_refused"),
        (FailureKeepsBuffers, "offloads_that_are_not_offered_are_refused"),
        (FailureNamesAnother, "pool_too_small_is_refused"),
        (RxReorders, "order_survives_receiving"),
        (RxCorrupts, "contents_survive_receiving"),
        (RxShortens, "contents_survive_receiving"),
        (RxClearsTheBurst, "receiving_appends"),
        (RxLosesBeyondRoom, "receiving_respects_the_room_left"),
        (RxInvents, "nothing_is_received_from_silence"),
        (RxCountsTwice, "receive_statistics_are_exact"),
        (RxForgetsBytes, "receive_statistics_are_exact"),
        (RxReturnsTooMany, "receiving_appends"),
        (RxLeaks, "stopping_under_load_leaks_nothing"),
        (RxStaleMetadata, "received_packets_are_fresh"),
        (RxWrongPort, "received_packets_are_fresh"),
        (RxDiesOfExhaustion, "exhausted_pool_is_counted_and_recovers"),
        (RxHidesExhaustion, "exhausted_pool_is_counted_and_recovers"),
        (ArmNeverPending, "arming_reports_pending_packets"),
        (ArmAlwaysPending, "arming_reports_pending_packets"),
        (TxReorders, "order_survives_sending"),
        (TxCorrupts, "contents_survive_sending"),
        (TxTakesFromTheBack, "full_ring_takes_nothing_and_loses_nothing"),
        (TxLosesTheRest, "full_ring_takes_nothing_and_loses_nothing"),
        (TxDuplicates, "order_survives_sending"),
        (TxCountsRefused, "send_statistics_are_exact"),
        (TxCountsEmptyBursts, "empty_burst_is_no_operation"),
        (TxSwallowsOversize, "oversize_is_taken_and_counted"),
        (TxMiscounts, "oversize_is_taken_and_counted"),
        (TxLeaks, "stopping_under_load_leaks_nothing"),
        (StopLeaks, "stopping_an_idle_port_leaks_nothing"),
        (StartsOnce, "stopped_device_starts_again"),
        (SplitUnchecked, "impossible_lanes_are_refused"),
        (SplitFallsShort, "lanes_are_as_many_as_asked_for"),
    ];
    for check in CHECKS {
        assert!(cases.iter().any(|case| case.1 == check.name), "nothing breaks {}", check.name);
    }
    caught(&cases);
}

fn lane() -> Box<dyn Device + Send> {
    netdev::loopback::device().split(1).unwrap().remove(0)
}

struct Broken {
    inner: Box<dyn Device>,
    wrong: Wrong,
    starts: usize,
    tampered: bool,
}

impl Device for Broken {
    fn info(&self) -> Info {
        let mut info = self.inner.info();
        match self.wrong {
            Wrong::InfoMac => info.mac = MacAddress::BROADCAST,
            Wrong::InfoRing => info.rx_ring = RingLimits { min: 3, max: 64 },
            Wrong::InfoName => info.driver = "",
            Wrong::HeadroomUnchecked => info.headroom = 12,
            Wrong::FailureChangesTheDevice if self.tampered => info.max_frame = 60,
            _ => {}
        }
        info
    }

    fn start(mut self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        let (wrong, mut config) = (self.wrong, *config);
        if wrong == Wrong::RingUnchecked {
            (config.rx_ring, config.tx_ring) = (Some(64), Some(64));
        }
        if wrong == Wrong::StartsTwoQueues {
            config.tx_queues = 2;
        }
        if wrong == Wrong::QueuesUnchecked {
            (config.rx_queues, config.tx_queues) = (1, 1);
        }
        if wrong == Wrong::StartsOnce && self.starts == 1 {
            return Err(StartError { device: self, reason: StartFailure::NoMemory });
        }
        match self.inner.start(&config, pool) {
            Ok(mut port) => {
                let stale = wrong == Wrong::StopLeaks;
                std::mem::forget(stale.then(|| pool.alloc()));
                let rx = port.rx.drain(..).map(|inner| -> Box<dyn RxQueue> {
                    Box::new(BrokenRx {
                        inner,
                        wrong,
                        pool: *pool,
                        port: config.port,
                        dead: false,
                        own: Arc::default(),
                    })
                });
                let tx = port.tx.drain(..).map(|inner| -> Box<dyn TxQueue> {
                    Box::new(BrokenTx { inner, wrong, pool: *pool, own: Arc::default() })
                });
                let control = BrokenControl { inner: port.control, wrong, starts: self.starts + 1 };
                Ok(Port {
                    info: port.info,
                    rx: rx.collect(),
                    tx: tx.collect(),
                    control: Box::new(control),
                })
            }
            Err(StartError { device, reason }) => {
                self.inner = device;
                self.tampered = true;
                if wrong == Wrong::FailureKeepsBuffers {
                    std::mem::forget(pool.alloc());
                }
                let another = wrong == Wrong::FailureNamesAnother;
                let reason = if another { StartFailure::Device("no idea") } else { reason };
                Err(StartError { device: self, reason })
            }
        }
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        let lanes = |count| Ok((0..count).map(|_| lane()).collect());
        match self.wrong {
            Wrong::SplitUnchecked => lanes(pairs),
            Wrong::SplitFallsShort if pairs > 1 && pairs < 4 => lanes(1),
            Wrong::SplitFallsShort => Err(StartError {
                device: self,
                reason: StartFailure::Lanes { asked: pairs, max: 4 },
            }),
            _ => Err(StartError::indivisible(self, pairs)),
        }
    }
}

struct BrokenControl {
    inner: Box<dyn Control>,
    wrong: Wrong,
    starts: usize,
}

impl Control for BrokenControl {
    fn link(&mut self) -> Link {
        self.inner.link()
    }

    fn mac(&self) -> MacAddress {
        self.inner.mac()
    }

    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        let inner = self.inner.stop(rx, tx);
        Box::new(Broken { inner, wrong: self.wrong, starts: self.starts, tampered: false })
    }
}

struct BrokenRx {
    inner: Box<dyn RxQueue>,
    wrong: Wrong,
    pool: Pool,
    port: u16,
    dead: bool,
    own: Arc<QueueCounters>,
}

impl BrokenRx {
    /// Counters that follow the inner queue's, but for what is wrong.
    fn follow(&self, packets: usize, bytes: u64) {
        let times = if self.wrong == Wrong::RxCountsTwice { 2 } else { 1 };
        for _ in 0..times {
            if packets > 0 {
                let bytes = if self.wrong == Wrong::RxForgetsBytes { bytes / 2 } else { bytes };
                self.own.burst(packets, bytes);
            }
        }
    }
}

impl RxQueue for BrokenRx {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        match self.wrong {
            Wrong::RxClearsTheBurst => out.clear(),
            Wrong::RxInvents if !out.is_full() => out.push(self.pool.copy_from(&[0; 60]).unwrap()),
            Wrong::RxDiesOfExhaustion if self.pool.available() == 0 => self.dead = true,
            // Buffers are taken only where there are any: nobody counts the shortage.
            Wrong::RxHidesExhaustion if self.pool.available() == 0 => return 0,
            _ => {}
        }
        if self.dead {
            return 0;
        }
        let before = out.len();
        let mut fresh = Burst::new();
        if self.wrong == Wrong::RxLosesBeyondRoom {
            self.inner.rx_burst(&mut fresh);
            fresh.truncate(out.remaining_capacity());
            out.extend(fresh);
        } else {
            self.inner.rx_burst(out);
        }
        let received = out.len() - before;
        let new = &mut out[before..];
        self.follow(received, new.iter().map(|packet| packet.len() as u64).sum());
        match self.wrong {
            Wrong::RxReorders if received > 1 => new.swap(0, 1),
            Wrong::RxCorrupts => {
                for packet in new.iter_mut().filter(|packet| packet.len() == 1514) {
                    packet.bytes_mut()[1513] ^= 1;
                }
            }
            Wrong::RxShortens => {
                for packet in new.iter_mut().filter(|packet| packet.len() == 65) {
                    let _ = packet.truncate(64);
                }
            }
            Wrong::RxStaleMetadata => new.iter_mut().for_each(|packet| packet.set_vlan(Some(9))),
            Wrong::RxWrongPort => {
                new.iter_mut().for_each(|packet| packet.set_port(self.port + 1));
            }
            Wrong::RxLeaks if received > 0 => std::mem::forget(self.pool.alloc()),
            Wrong::RxReturnsTooMany if received > 0 => return received + 1,
            _ => {}
        }
        received
    }

    fn arm(&mut self) -> Armed {
        match self.wrong {
            Wrong::ArmNeverPending => Armed::Armed,
            Wrong::ArmAlwaysPending => Armed::PacketsPending,
            _ => self.inner.arm(),
        }
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        match self.wrong {
            Wrong::RxCountsTwice | Wrong::RxForgetsBytes | Wrong::RxHidesExhaustion => &self.own,
            _ => self.inner.counters(),
        }
    }
}

struct BrokenTx {
    inner: Box<dyn TxQueue>,
    wrong: Wrong,
    pool: Pool,
    own: Arc<QueueCounters>,
}

impl TxQueue for BrokenTx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        let offered = packets.len();
        let too_large = |packet: &netdev::Netbuf| packet.len() > 1518;
        match self.wrong {
            Wrong::TxReorders if offered > 1 => packets.swap(0, 1),
            Wrong::TxTakesFromTheBack => packets.reverse(),
            Wrong::TxDuplicates if offered > 1 && !packets.is_full() => {
                let copy = self.pool.copy_from(packets[0].bytes()).unwrap();
                packets.insert(1, copy);
            }
            Wrong::TxCorrupts => {
                for packet in packets.iter_mut().filter(|packet| packet.len() == 14) {
                    packet.bytes_mut()[13] ^= 0x80;
                }
            }
            Wrong::TxCountsRefused => {
                let bytes = packets.iter().map(|packet| packet.len() as u64).sum();
                self.own.burst(offered + 1, bytes);
            }
            Wrong::TxCountsEmptyBursts if offered == 0 => self.own.burst(0, 0),
            Wrong::TxSwallowsOversize => packets.retain(|packet| !too_large(packet)),
            Wrong::TxMiscounts => {
                let lost = packets.iter().filter(|packet| too_large(packet)).count() as u64;
                packets.retain(|packet| !too_large(packet));
                if lost > 0 {
                    self.inner.counters().dropped(DropCause::Filtered, lost);
                }
            }
            _ => {}
        }
        let taken = self.inner.tx_burst(packets);
        match self.wrong {
            Wrong::TxTakesFromTheBack => packets.reverse(),
            Wrong::TxLosesTheRest => packets.clear(),
            Wrong::TxLeaks if taken > 0 => std::mem::forget(self.pool.alloc()),
            _ => {}
        }
        // What was dropped here was taken, too.
        if matches!(self.wrong, Wrong::TxDuplicates) { taken } else { offered - packets.len() }
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        match self.wrong {
            Wrong::TxCountsRefused | Wrong::TxCountsEmptyBursts => &self.own,
            _ => self.inner.counters(),
        }
    }
}
