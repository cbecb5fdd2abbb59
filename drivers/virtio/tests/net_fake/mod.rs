//! A scripted virtio network device: a `Transport` whose registers are a struct, and rings that a test writes
//! word by word, so that it can break every rule.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use netbuf::{Burst, DeviceMemory, Netbuf, Pool, PoolConfig};
use netdev::{Config, Device, DropCause, Port, StartFailure};
use virtio::features::Features;
use virtio::net::VirtioNet;
use virtio::ring::split::{RingSize, SplitRing, UsedElem, flags};
use virtio::transport::{DeviceStatus, DeviceType, Doorbell, DoorbellTransport, Transport};
use virtio_drivers::transport::InterruptStatus;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of the header in front of each frame.
pub const HEADER: usize = 12;

/// Most queues of the device.
pub const QUEUES: usize = 16;

/// The device's registers, and how it misbehaves.
pub struct Registers {
    pub device_type: DeviceType,
    pub features: u64,
    /// Features that appear from the second reading on.
    pub features_later: Option<u64>,
    pub accepted: u64,
    pub status: DeviceStatus,
    pub queue_sizes: Vec<u32>,
    pub rings: Vec<Option<SplitRing>>,
    pub config: [u8; 24],
    pub config_len: usize,
    pub generation: u32,
    pub generation_runs: bool,
    pub refuses_features: bool,
    pub never_resets: bool,
    pub resets: u32,
    /// The control queue and how the device answers commands there.
    pub control: Option<(usize, Answer)>,
    /// Commands, and how many of the ring's entries were looked at.
    pub commands: Vec<Vec<u8>>,
    pub seen: u16,
    pub notified: Vec<u32>,
    /// What doorbells with data were rung with last.
    pub data: Vec<Option<u32>>,
    pub doorbell_fault: Option<&'static str>,
    /// What becomes of a request to reset one queue; `None`: there is no register for it.
    pub queue_reset: Option<QueueReset>,
}

/// What the device does when one queue is to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueReset {
    Does,
    /// The register means nothing to it.
    Ignores,
    NeverEnds,
}

/// What the device does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Does,
    Refuses,
    /// Writes no answer into the buffer.
    SaysNothing,
    /// Finishes nothing.
    Sleeps,
    /// Finishes an entry that it was not given.
    Lies,
}

/// A handle to the device, for the driver and for the test.
#[derive(Clone)]
pub struct Fake(pub Rc<RefCell<Registers>>);

pub const USUAL: Features =
    Features::VERSION_1.union(Features::MAC).union(Features::STATUS).union(Features::MTU);

impl Fake {
    pub fn new() -> Self {
        let mut config = [0; 24];
        config[..6].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
        config[6] = 1;
        config[10..12].copy_from_slice(&1500u16.to_le_bytes());
        Self(Rc::new(RefCell::new(Registers {
            device_type: DeviceType::Network,
            features: USUAL.bits(),
            features_later: None,
            accepted: 0,
            status: DeviceStatus::empty(),
            queue_sizes: vec![16; 2],
            rings: vec![None; QUEUES],
            config,
            config_len: 24,
            generation: 0,
            generation_runs: false,
            refuses_features: false,
            never_resets: false,
            resets: 0,
            control: None,
            commands: Vec::new(),
            seen: 0,
            notified: vec![0; QUEUES],
            data: vec![None; QUEUES],
            doorbell_fault: None,
            queue_reset: None,
        })))
    }

    /// With some registers changed.
    pub fn with(change: impl FnOnce(&mut Registers)) -> Self {
        let fake = Self::new();
        change(&mut fake.0.borrow_mut());
        fake
    }

    pub fn set_mtu(&self, mtu: u16) {
        self.0.borrow_mut().config[10..12].copy_from_slice(&mtu.to_le_bytes());
    }

    pub fn open(&self) -> Result<VirtioNet<Fake>, StartFailure> {
        let bytes = VirtioNet::<Fake>::ring_bytes(1024, 1024).unwrap();
        VirtioNet::new(self.clone(), DeviceMemory::from_heap(bytes)).map_err(|error| error.reason)
    }

    pub fn ring(&self, queue: usize) -> SplitRing {
        self.0.borrow().rings[queue].expect("the queue is set up")
    }
}

impl Fake {
    /// Takes a command of the control queue.
    fn obey(&self, queue: usize, answer: Answer) {
        let ring = self.ring(queue);
        let seen = self.0.borrow().seen;
        assert_eq!(ring.load_avail_index(Ordering::Acquire), seen.wrapping_add(1), "one at a time");
        let head = ring.avail(seen);
        let read = ring.desc(head);
        assert_eq!(read.flags, flags::DESC_NEXT);
        let write = ring.desc(read.next);
        assert_eq!((write.flags, write.len), (flags::DESC_WRITE, 1));
        // SAFETY: the driver gave the command to the device.
        let command =
            unsafe { std::slice::from_raw_parts(read.addr as *const u8, read.len as usize) };
        let mut registers = self.0.borrow_mut();
        registers.commands.push(command.to_vec());
        registers.seen = seen.wrapping_add(1);
        let code = match answer {
            Answer::Sleeps => return,
            Answer::SaysNothing => None,
            Answer::Refuses => Some(1),
            Answer::Does | Answer::Lies => Some(0),
        };
        if let Some(code) = code {
            // SAFETY: the driver gave the byte to the device.
            unsafe { (write.addr as *mut u8).write(code) };
        }
        let id = if answer == Answer::Lies { 3 } else { head };
        ring.set_used(seen, UsedElem { id: id.into(), len: 1 });
        ring.store_used_index(seen.wrapping_add(1));
    }
}

impl Transport for Fake {
    fn device_type(&self) -> DeviceType {
        self.0.borrow().device_type
    }

    fn read_device_features(&mut self) -> u64 {
        let mut registers = self.0.borrow_mut();
        let now = registers.features;
        if let Some(later) = registers.features_later {
            registers.features = later;
        }
        now
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.0.borrow_mut().accepted = driver_features;
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.0.borrow().queue_sizes.get(usize::from(queue)).copied().unwrap_or(0)
    }

    fn notify(&mut self, queue: u16) {
        self.0.borrow_mut().notified[usize::from(queue)] += 1;
        let control = self.0.borrow().control;
        if let Some((_, answer)) = control.filter(|&(control, _)| control == usize::from(queue)) {
            self.obey(usize::from(queue), answer);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        self.0.borrow().status
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut registers = self.0.borrow_mut();
        if status.is_empty() {
            if !registers.never_resets {
                registers.status = status;
                registers.rings = vec![None; QUEUES];
                registers.resets += 1;
                registers.seen = 0;
            }
            return;
        }
        registers.status = status;
        if registers.refuses_features {
            registers.status.remove(DeviceStatus::FEATURES_OK);
        }
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, desc: u64, driver: u64, device: u64) {
        let part = |address: u64| NonNull::new(address as *mut u8).unwrap();
        let size = RingSize::new(size).expect("a power of two");
        // SAFETY: the driver's rings lie in heap memory that is never freed.
        let ring = unsafe { SplitRing::new(part(desc), part(driver), part(device), size) };
        self.0.borrow_mut().rings[usize::from(queue)] = Some(ring);
    }

    fn queue_unset(&mut self, queue: u16) {
        self.0.borrow_mut().rings[usize::from(queue)] = None;
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.0.borrow().rings[usize::from(queue)].is_some()
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        let mut registers = self.0.borrow_mut();
        if registers.generation_runs {
            registers.generation += 1;
        }
        registers.generation
    }

    fn read_config_space<T: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<T> {
        let registers = self.0.borrow();
        let bytes = registers.config[..registers.config_len].get(offset..offset + size_of::<T>());
        let bytes = bytes.ok_or(virtio_drivers::Error::ConfigSpaceTooSmall)?;
        Ok(T::read_from_bytes(bytes).expect("as many bytes"))
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::ConfigSpaceMissing)
    }
}

pub struct Bell(Fake, u16, bool);

impl Doorbell for Bell {
    fn ring(&mut self, data: u32) {
        self.0.notify(self.1);
        if self.2 {
            self.0.0.borrow_mut().data[usize::from(self.1)] = Some(data);
        }
    }
}

impl DoorbellTransport for Fake {
    type Doorbell = Bell;

    fn doorbell(&mut self, queue: u16, data: bool) -> Result<Bell, &'static str> {
        match self.0.borrow().doorbell_fault {
            Some(fault) => Err(fault),
            None => Ok(Bell(self.clone(), queue, data)),
        }
    }

    fn resets_queues(&self) -> bool {
        self.0.borrow().queue_reset.is_some()
    }

    fn reset_queue(&mut self, queue: u16) -> bool {
        let mut registers = self.0.borrow_mut();
        let does = registers.queue_reset.expect("it was not offered without");
        if does != QueueReset::Ignores {
            registers.rings[usize::from(queue)] = None;
        }
        does != QueueReset::NeverEnds
    }

    fn wake_source(&self, _: u16) -> Option<netdev::WakeSource> {
        Some(netdev::WakeSource::Vector(33))
    }
}

pub fn pool(buffers: usize) -> Pool {
    let config = PoolConfig { buffers, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

/// A started port, the device behind it, and the device's cursors.
pub struct Bench {
    pub fake: Fake,
    pub pool: Pool,
    pub port: Port,
    /// Avail entries taken and used elements written, of the receive and the transmit ring.
    pub taken: [u16; 2],
    pub done: [u16; 2],
    /// Heads of receive buffers that the device has taken.
    pub held: VecDeque<u16>,
}

pub const BUFFERS: usize = 64;

impl Bench {
    pub fn new(fake: Fake) -> Self {
        Self::with(fake, &Config { port: 3, ..Config::default() })
    }

    pub fn with(fake: Fake, config: &Config) -> Self {
        let pool = pool(BUFFERS);
        let device = Box::new(fake.open().unwrap());
        let port = device.start(config, &pool).unwrap();
        Self { fake, pool, port, taken: [0; 2], done: [0; 2], held: VecDeque::new() }
    }

    /// The device forgets its place in a ring that was reset.
    pub fn forget(&mut self, queue: usize) {
        (self.taken[queue], self.done[queue]) = (0, 0);
        if queue == 0 {
            self.held.clear();
        }
    }

    /// The next receive buffer that the device has been given.
    pub fn buffer(&mut self) -> Option<u16> {
        let ring = self.fake.ring(0);
        while self.taken[0] != ring.load_avail_index(Ordering::Acquire) {
            self.held.push_back(ring.avail(self.taken[0]));
            self.taken[0] = self.taken[0].wrapping_add(1);
        }
        self.held.pop_front()
    }

    /// Writes header and `frame` into buffer `head`.
    pub fn fill(&mut self, head: u16, frame: &[u8]) {
        self.fill_with(head, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], frame);
    }

    /// Writes `header` and `frame` into buffer `head`.
    pub fn fill_with(&mut self, head: u16, header: [u8; HEADER], frame: &[u8]) {
        let desc = self.fake.ring(0).desc(head);
        assert_eq!(desc.flags, flags::DESC_WRITE);
        assert!(HEADER + frame.len() <= desc.len as usize, "the frame fits the buffer");
        // SAFETY: the buffer was given to the device, and is as long as was compared.
        unsafe {
            let at = desc.addr as *mut u8;
            at.copy_from_nonoverlapping(header.as_ptr(), HEADER);
            at.add(HEADER).copy_from_nonoverlapping(frame.as_ptr(), frame.len());
        }
    }

    /// Says that an entry is finished, whatever that means.
    pub fn claim(&mut self, queue: usize, id: u32, len: u32) {
        let ring = self.fake.ring(queue);
        ring.set_used(self.done[queue], UsedElem { id, len });
        self.done[queue] = self.done[queue].wrapping_add(1);
        ring.store_used_index(self.done[queue]);
    }

    /// Delivers one frame, by the rules; whether there was a buffer.
    pub fn deliver(&mut self, frame: &[u8]) -> bool {
        let Some(head) = self.buffer() else { return false };
        self.fill(head, frame);
        self.claim(0, head.into(), (HEADER + frame.len()) as u32);
        true
    }

    /// Receives. (A queue may let up to 63 calls pass without a look where it found less than a burst many times in a
    /// row.)
    pub fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut burst = Burst::new();
        let queue = &mut self.port.rx[0];
        let received = (0..64).map(|_| queue.rx_burst(&mut burst)).find(|&received| received > 0);
        assert_eq!(received.unwrap_or(0), burst.len());
        burst.iter().map(|packet| packet.bytes().to_vec()).collect()
    }

    /// Takes a packet out of the transmit ring as the device reads it, header first, through a table if it has one.
    pub fn accept_any(&mut self) -> Option<(u16, Vec<u8>)> {
        let ring = self.fake.ring(1);
        if self.taken[1] == ring.load_avail_index(Ordering::Acquire) {
            return None;
        }
        let head = ring.avail(self.taken[1]);
        self.taken[1] = self.taken[1].wrapping_add(1);
        let desc = ring.desc(head);
        // SAFETY: the driver gave the packet, or the table, to the device.
        let read = |addr: u64, len: u32| unsafe {
            std::slice::from_raw_parts(addr as *const u8, len as usize).to_vec()
        };
        let bytes = read(desc.addr, desc.len);
        if desc.flags != flags::DESC_INDIRECT {
            assert_eq!(desc.flags, 0);
            return Some((head, bytes));
        }
        let (descs, []) = bytes.as_chunks::<16>() else { panic!("a table of whole descriptors") };
        let parts = descs.iter().flat_map(|desc| {
            let (addr, rest) = desc.split_at(8);
            let addr = u64::from_le_bytes(addr.try_into().unwrap());
            read(addr, u32::from_le_bytes(rest[..4].try_into().unwrap()))
        });
        Some((head, parts.collect()))
    }

    /// Takes a sent packet out of the transmit ring and does not finish it.
    pub fn accept(&mut self) -> Option<(u16, Vec<u8>)> {
        let ring = self.fake.ring(1);
        if self.taken[1] == ring.load_avail_index(Ordering::Acquire) {
            return None;
        }
        let head = ring.avail(self.taken[1]);
        self.taken[1] = self.taken[1].wrapping_add(1);
        let desc = ring.desc(head);
        assert_eq!(desc.flags, 0, "one descriptor per packet");
        // SAFETY: the driver gave the packet to the device.
        let bytes =
            unsafe { std::slice::from_raw_parts(desc.addr as *const u8, desc.len as usize) };
        assert_eq!(bytes[..10], [0; 10], "a header that asks for nothing");
        Some((head, bytes[HEADER..].to_vec()))
    }

    pub fn send(&mut self, packet: Netbuf) -> usize {
        let mut burst = Burst::new();
        burst.push(packet);
        self.port.tx[0].tx_burst(&mut burst)
    }

    pub fn send_frame(&mut self, frame: &[u8]) -> usize {
        let packet = self.pool.copy_from(frame).unwrap();
        self.send(packet)
    }

    pub fn rx_drops(&self, cause: DropCause) -> u64 {
        self.port.rx[0].stats().drops[cause]
    }

    pub fn tx_drops(&self, cause: DropCause) -> u64 {
        self.port.tx[0].stats().drops[cause]
    }

    /// Frames pass both ways, more of them than the rings have entries.
    pub fn assert_flows(&mut self) {
        for round in 0..40u8 {
            let frame = [round; 60];
            assert!(self.deliver(&frame), "a buffer is posted");
            assert_eq!(self.receive(), [frame]);
            assert_eq!(self.send_frame(&frame), 1);
            let (head, sent) = self.accept().expect("it was sent");
            assert_eq!(sent, frame);
            self.claim(1, head.into(), 0);
        }
    }

    /// Stops, and looks whether every buffer came home.
    pub fn assert_stops(self) -> Box<dyn Device> {
        let device = self.port.stop();
        assert_eq!(self.pool.available(), BUFFERS);
        assert!(self.fake.0.borrow().status.is_empty());
        device
    }
}
