//! What the caller of a started device holds: its queues and controls, around one [`Healer`] for each pair.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;

use netdev::{
    Armed, Burst, Control, Device, Info, Link, MacAddress, Port, QueueCounters, QueueStats,
    RxQueue, TxQueue, Unsupported, WakeSource,
};

use super::SharedLine;
use super::healer::{Healer, State};
use super::lane::Lane;
use super::user::VirtioUser;

/// `None` once the port has been stopped.
type Shared = Rc<RefCell<Option<Healer>>>;

/// What a port becomes again once it is stopped.
pub(super) enum Afterwards {
    /// The device, with pairs that the port did not use.
    Whole { line: SharedLine, idle: Vec<Lane> },
    /// The lane that it was.
    Lane,
}

/// The port of a started device.
pub(super) fn port(info: Info, healers: Vec<Healer>, afterwards: Afterwards) -> Port {
    let (mut rx, mut tx) = (Vec::new(), Vec::new());
    let mut pairs = Vec::new();
    for healer in healers {
        let counters = (Arc::clone(&healer.rx.counters), Arc::clone(&healer.tx.counters));
        let pair: Shared = Rc::new(RefCell::new(Some(healer)));
        rx.push(Box::new(Rx { pair: Rc::clone(&pair), counters: counters.0 }) as Box<dyn RxQueue>);
        tx.push(Box::new(Tx { pair: Rc::clone(&pair), counters: counters.1 }) as Box<dyn TxQueue>);
        pairs.push(pair);
    }
    Port { info, rx, tx, control: Box::new(Controls { pairs, mac: info.mac, afterwards }) }
}

struct Rx {
    pair: Shared,
    counters: Arc<QueueCounters>,
}

impl RxQueue for Rx {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        self.pair.borrow_mut().as_mut().map_or(0, |healer| healer.receive(out))
    }

    fn arm(&mut self) -> Armed {
        self.pair.borrow_mut().as_mut().map_or(Armed::Unsupported, Healer::arm)
    }

    fn wake_sources(&self, each: &mut dyn FnMut(WakeSource)) {
        let pair = self.pair.borrow();
        let Some(healer) = &*pair else { return };
        if let State::Up(port) = &healer.state {
            port.rx[0].wake_sources(each);
        }
        each(WakeSource::Fd(healer.nudge.as_fd().as_raw_fd()));
        if let Some(fd) = healer.place.line.lock().wake() {
            each(WakeSource::Fd(fd.as_raw_fd()));
        }
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }

    fn stats(&self) -> QueueStats {
        follow(&self.pair);
        self.counters.snapshot()
    }
}

struct Tx {
    pair: Shared,
    counters: Arc<QueueCounters>,
}

impl TxQueue for Tx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        self.pair.borrow_mut().as_mut().map_or(0, |healer| healer.transmit(packets))
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }

    fn stats(&self) -> QueueStats {
        follow(&self.pair);
        self.counters.snapshot()
    }
}

fn follow(pair: &Shared) {
    if let Some(healer) = &mut *pair.borrow_mut() {
        healer.follow();
    }
}

struct Controls {
    pairs: Vec<Shared>,
    mac: MacAddress,
    afterwards: Afterwards,
}

impl Control for Controls {
    /// Up where the drivers of all pairs run.
    fn link(&mut self) -> Link {
        let mut all = Link { up: true, ..Link::default() };
        for pair in &self.pairs {
            let link = pair.borrow_mut().as_mut().map(Healer::link).unwrap_or_default();
            all.up &= link.up;
        }
        all
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    /// What the driver of the first pair and the back end agreed on.
    fn feature_bits(&self) -> Option<u64> {
        self.pairs.first()?.borrow().as_ref()?.feature_bits()
    }

    /// By `SEND_RARP`.
    fn announce(&mut self) -> Result<(), Unsupported> {
        let refused = Unsupported("announcements: there is no peer that takes SEND_RARP");
        let first = self.pairs[0].borrow();
        let line = first.as_ref().map(|healer| &healer.place.line);
        line.filter(|line| line.lock().announce()).map(drop).ok_or(refused)
    }

    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        drop((rx, tx));
        let stopped = self.pairs.iter().filter_map(|pair| pair.take().map(Healer::into_lane));
        match self.afterwards {
            Afterwards::Whole { line, idle } => {
                Box::new(VirtioUser::stopped(line, stopped.chain(idle).collect()))
            }
            Afterwards::Lane => {
                let mut stopped = stopped;
                let Some(lane) = stopped.next() else {
                    unreachable!("the driver leaves with the controls, of which there is one")
                };
                Box::new(lane)
            }
        }
    }
}
