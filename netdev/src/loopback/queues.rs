//! The queues of a loopback: the receiver copies out of the ring that the sender filled.

use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;

use netbuf::{BURST, Burst, Netbuf, Pool};

use super::{Ring, Side};
use crate::{Armed, DropCause, QueueCounters, RxQueue, TxQueue};

const ETHERNET_HEADER: usize = 14;

pub(super) struct LoopbackRx {
    pub(super) side: Rc<Side>,
    pub(super) number: usize,
    pub(super) port: u16,
    pub(super) max_frame: u32,
    pub(super) pool: Pool,
    /// Buffers to receive into; as many as the ring has entries, unless the pool ran short.
    pub(super) posted: Vec<Netbuf>,
    pub(super) entries: usize,
    pub(super) counters: Arc<QueueCounters>,
}

impl LoopbackRx {
    /// Posts buffers until the ring is full or the pool empty.
    pub(super) fn refill(&mut self) {
        loop {
            let missing = self.entries - self.posted.len();
            let mut fresh = Burst::new();
            if missing == 0 || self.pool.alloc_burst(&mut fresh, missing.min(BURST)) == 0 {
                return;
            }
            self.posted.extend(fresh);
        }
    }

    /// The frame, copied into a posted buffer; `None` (counted) where none is posted or it cannot hold it.
    fn receive(&mut self, frame: &Netbuf) -> Option<Netbuf> {
        let (headroom, len) = (self.pool.headroom(), u16::try_from(frame.len()).ok());
        let Some(len) = len.filter(|&len| u32::from(len) <= self.max_frame) else {
            self.counters.dropped(DropCause::Oversize, 1);
            return None;
        };
        let Some(mut buffer) = self.posted.pop() else {
            self.counters.dropped(DropCause::NoBuffer, 1);
            return None;
        };
        buffer.set_received(headroom, len, self.port)?;
        frame.copy_to(buffer.bytes_mut());
        Some(buffer)
    }
}

impl RxQueue for LoopbackRx {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        self.refill();
        let (mut packets, mut bytes) = (0, 0);
        let side = self.side.clone();
        let mut rings = side.rings.borrow_mut();
        let Some(ring) = rings.get_mut(self.number) else { return 0 };
        while !out.is_full() {
            let Some(frame) = ring.frames.pop_front() else { break };
            let Some(packet) = self.receive(&frame) else { continue };
            packets += 1;
            bytes += packet.len() as u64;
            out.push(packet);
        }
        if packets > 0 {
            self.counters.burst(packets, bytes);
        }
        packets
    }

    fn arm(&mut self) -> Armed {
        let pending =
            self.side.rings.borrow().get(self.number).is_some_and(|r| !r.frames.is_empty());
        if pending { Armed::PacketsPending } else { Armed::Unsupported }
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }
}

pub(super) struct LoopbackTx {
    pub(super) peer: Rc<Side>,
    pub(super) number: usize,
    pub(super) entries: usize,
    pub(super) max_frame: u32,
    pub(super) chains: bool,
    pub(super) counters: Arc<QueueCounters>,
}

impl LoopbackTx {
    /// Why the frame can never be sent.
    fn refusal(&self, packet: &Netbuf) -> Option<DropCause> {
        if packet.wants_offload() || (packet.is_chained() && !self.chains) {
            Some(DropCause::Unsupported)
        } else if packet.len() as u64 > u64::from(self.max_frame) {
            Some(DropCause::Oversize)
        } else if packet.len() < ETHERNET_HEADER {
            Some(DropCause::Undersize)
        } else {
            None
        }
    }
}

impl TxQueue for LoopbackTx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        let mut rings = self.peer.rings.borrow_mut();
        if rings.is_empty() {
            let lost = packets.len();
            packets.clear();
            if lost > 0 {
                self.counters.dropped(DropCause::LinkDown, lost as u64);
            }
            return lost;
        }
        let number = self.number % rings.len();
        let Ring { frames, entries } = &mut rings[number];
        let room = self.entries.min(*entries).saturating_sub(frames.len());
        let (mut taken, mut sent, mut bytes) = (0, 0, 0);
        for packet in packets.iter() {
            if self.refusal(packet).is_none() {
                if sent == room {
                    break;
                }
                sent += 1;
                bytes += packet.len() as u64;
            }
            taken += 1;
        }
        for packet in packets.drain(..taken) {
            match self.refusal(&packet) {
                Some(cause) => self.counters.dropped(cause, 1),
                None => frames.push_back(packet),
            }
        }
        if sent > 0 {
            self.counters.burst(sent, bytes);
        }
        taken
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }
}
