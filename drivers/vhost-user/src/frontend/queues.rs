//! What the caller of a started device holds: its queues and controls, around the shared [`Healer`].

use std::cell::RefCell;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;

use netdev::{
    Armed, Burst, Control, Device, Info, Link, MacAddress, Port, QueueCounters, QueueStats,
    RxQueue, TxQueue, WakeSource,
};

use super::healer::{Healer, State};
use super::user::VirtioUser;

/// The port of a started device.
pub(super) fn port(info: Info, healer: Healer) -> Port {
    let (rx, tx) = (Arc::clone(&healer.rx.counters), Arc::clone(&healer.tx.counters));
    let healer = Rc::new(RefCell::new(healer));
    Port {
        info,
        rx: vec![Box::new(Rx { healer: Rc::clone(&healer), counters: rx })],
        tx: vec![Box::new(Tx { healer: Rc::clone(&healer), counters: tx })],
        control: Box::new(Controls { healer, mac: info.mac }),
    }
}

struct Rx {
    healer: Rc<RefCell<Healer>>,
    counters: Arc<QueueCounters>,
}

impl RxQueue for Rx {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        self.healer.borrow_mut().receive(out)
    }

    fn arm(&mut self) -> Armed {
        self.healer.borrow_mut().arm()
    }

    fn wake_sources(&self, each: &mut dyn FnMut(WakeSource)) {
        let healer = self.healer.borrow();
        if let State::Up(port) = &healer.state {
            port.rx[0].wake_sources(each);
        }
        if let Some(fd) = healer.line.borrow().wake() {
            each(WakeSource::Fd(fd.as_raw_fd()));
        }
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }

    fn stats(&self) -> QueueStats {
        self.healer.borrow_mut().follow();
        self.counters.snapshot()
    }
}

struct Tx {
    healer: Rc<RefCell<Healer>>,
    counters: Arc<QueueCounters>,
}

impl TxQueue for Tx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        self.healer.borrow_mut().transmit(packets)
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }

    fn stats(&self) -> QueueStats {
        self.healer.borrow_mut().follow();
        self.counters.snapshot()
    }
}

struct Controls {
    healer: Rc<RefCell<Healer>>,
    mac: MacAddress,
}

impl Control for Controls {
    fn link(&mut self) -> Link {
        let healer = &mut *self.healer.borrow_mut();
        healer.check();
        match &mut healer.state {
            State::Up(port) => port.control.link(),
            _ => Link::default(),
        }
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        drop((rx, tx));
        let healer = &mut *self.healer.borrow_mut();
        let device = match std::mem::replace(&mut healer.state, State::Stopped) {
            State::Up(port) => healer.stop_driver(port),
            State::Down(device) => device,
            State::Stopped => {
                unreachable!("the device leaves with the controls, of which there is one")
            }
        };
        let line = Rc::clone(&healer.line);
        Box::new(VirtioUser::stopped(device, line, healer.ring_memory))
    }
}
