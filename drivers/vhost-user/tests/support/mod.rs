//! A front end made by hand: each message as a test wants it, and a guest with two split rings. It shares no
//! code with the crate's own front end, so that the two cannot agree on a mistake.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use netdev::{Burst, Config, Device, Offloads, Pool, Port, WakeSource};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use vhost_user::message::{
    HEADER_BYTES, Header, MemRegion, Request, VRING_NO_FD, VringAddr, VringState, encode, flag,
};
use vhost_user::{Monitor, VhostUserBackend, Violation};
use virtio::ring::split::{Desc, RingSize, SplitRing, flags};

/// How long anything may take before the test fails; nothing is asserted about times otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `VIRTIO_F_VERSION_1` and `VHOST_USER_F_PROTOCOL_FEATURES`: what every front end here accepts.
pub const FEATURES: u64 = 1 << 32 | 1 << 30;

/// A socket path that no other test has.
pub fn socket_path(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("bw-vu-{}-{number}-{name}", std::process::id()))
}

/// A pool of `buffers` on the heap.
pub fn pool(buffers: usize) -> Pool {
    let config = netbuf::PoolConfig { buffers, ..netbuf::PoolConfig::default() };
    Pool::new(netbuf::DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

/// A frame of `len` bytes whose contents depend on `seed`.
pub fn frame(seed: usize, len: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from((seed * 31 + at * 7) % 251).unwrap();
    (0..len).map(byte).collect()
}

/// Whether one of the port's wake sources would end a sleep now.
pub fn is_woken(port: &Port) -> bool {
    let mut fds = Vec::new();
    port.rx[0].wake_sources(&mut |source| {
        if let WakeSource::Fd(fd) = source {
            // SAFETY: the port keeps it open, and is borrowed until the descriptor was looked at.
            fds.push(unsafe { BorrowedFd::borrow_raw(fd) });
        }
    });
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
}

/// A running back end, and its polling.
pub struct Bench {
    pub port: Port,
    pub pool: Pool,
    pub path: PathBuf,
    pub monitor: Monitor,
}

impl Bench {
    pub fn new(name: &str) -> Self {
        let path = socket_path(name);
        Self::with(VhostUserBackend::listen(&path).unwrap(), path, &Config::default())
    }

    /// The same with offloads.
    pub fn offloading(name: &str, offloads: Offloads) -> Self {
        let path = socket_path(name);
        let config = Config { offloads, max_frame: Some(9018), ..Config::default() };
        Self::with(VhostUserBackend::listen(&path).unwrap(), path, &config)
    }

    /// The same of so many pairs of queues.
    pub fn of_pairs(name: &str, pairs: u16) -> Self {
        let path = socket_path(name);
        let config = Config { rx_queues: pairs, tx_queues: pairs, ..Config::default() };
        Self::with(VhostUserBackend::listen(&path).unwrap(), path, &config)
    }

    /// A back end that connects to its front end.
    pub fn connecting(name: &str) -> Self {
        let path = socket_path(name);
        Self::with(VhostUserBackend::connect(&path).unwrap(), path, &Config::default())
    }

    fn with(device: VhostUserBackend, path: PathBuf, config: &Config) -> Self {
        let monitor = device.monitor();
        let pool = pool(1024);
        let port = Box::new(device).start(config, &pool).unwrap();
        Self { port, pool, path, monitor }
    }

    /// Polls until `done` says so; the frames that were received meanwhile.
    pub fn poll_until(&mut self, mut done: impl FnMut(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut frames = Vec::new();
        let mut burst = Burst::new();
        while !done(&frames) {
            assert!(Instant::now() < deadline, "nothing happens; {:?}", self.monitor.last_end());
            for rx in &mut self.port.rx {
                rx.rx_burst(&mut burst);
                for packet in burst.drain(..) {
                    let mut bytes = vec![0; packet.len()];
                    packet.copy_to(&mut bytes);
                    frames.push(bytes);
                }
            }
        }
        frames
    }

    /// Polls a little, whatever happens.
    pub fn poll(&mut self) -> Vec<Vec<u8>> {
        let mut left = 200;
        self.poll_until(|_| {
            left -= 1;
            left == 0
        })
    }

    pub fn connect(&mut self) -> Peer {
        let before = self.monitor.connections();
        let peer = Peer { stream: UnixStream::connect(&self.path).unwrap() };
        let monitor = self.monitor.clone();
        self.poll_until(|_| monitor.connections() > before);
        peer
    }

    /// Polls until the connection has ended; why it did.
    pub fn end(&mut self, violations_before: u64) -> Violation {
        let monitor = self.monitor.clone();
        self.poll_until(|_| monitor.violations() > violations_before);
        monitor.last_end().unwrap()
    }

    /// Lets `script` talk to a fresh connection and expects the connection to end for this reason; then a good
    /// front end must be served as ever.
    pub fn expect(&mut self, why: Violation, script: impl FnOnce(&mut Self, &mut Peer)) {
        self.expect_quickly(why, script);
        self.serve_a_good_one();
    }

    /// As `expect`, without the good front end.
    pub fn expect_quickly(&mut self, why: Violation, script: impl FnOnce(&mut Self, &mut Peer)) {
        let before = self.monitor.violations();
        let mut peer = self.connect();
        script(self, &mut peer);
        assert_eq!(self.end(before), why);
    }

    /// A front end in QEMU's order sends and receives.
    pub fn serve_a_good_one(&mut self) {
        let mut guest = Guest::new();
        let mut peer = self.connect();
        peer.start_like_qemu(self, &guest);
        guest.exchange(self, 40);
        drop(peer);
    }
}

/// The other end of the socket.
pub struct Peer {
    pub stream: UnixStream,
}

impl Peer {
    /// Writes a message, whatever it is.
    pub fn send(&mut self, request: Request, payload: &[u8], fds: &[BorrowedFd<'_>]) {
        self.send_raw(&encode(request as u32, 0, payload), fds);
    }

    pub fn send_raw(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let sent = sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(bytes.len()));
    }

    pub fn send_u64(&mut self, request: Request, value: u64) {
        self.send(request, &value.to_le_bytes(), &[]);
    }

    pub fn send_state(&mut self, request: Request, index: u32, num: u32) {
        self.send(request, &VringState { index, num }.to_bytes(), &[]);
    }

    pub fn send_event(&mut self, request: Request, index: u64, event: &OwnedFd) {
        self.send(request, &index.to_le_bytes(), &[event.as_fd()]);
    }

    /// A reply's payload; the back end is polled meanwhile.
    pub fn reply(&mut self, bench: &mut Bench, request: Request) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.set_nonblocking(true).unwrap();
        let stream = &mut self.stream;
        let mut read = |bytes: &mut Vec<u8>, wanted: usize| {
            bench.poll_until(|_| {
                let mut byte = [0];
                while bytes.len() < wanted {
                    match stream.read(&mut byte) {
                        Ok(1) => bytes.push(byte[0]),
                        Ok(_) => panic!("closed instead of a reply to {request:?}"),
                        Err(_) => return false,
                    }
                }
                true
            });
        };
        read(&mut bytes, HEADER_BYTES);
        let header = Header::parse(&bytes[..HEADER_BYTES].try_into().unwrap());
        assert_eq!(header.request, request as u32);
        assert_eq!(header.flags, flag::VERSION | flag::REPLY);
        read(&mut bytes, HEADER_BYTES + usize::try_from(header.size).unwrap());
        self.stream.set_nonblocking(false).unwrap();
        bytes.split_off(HEADER_BYTES)
    }

    pub fn ask(&mut self, bench: &mut Bench, request: Request) -> u64 {
        self.send(request, &[], &[]);
        u64::from_le_bytes(self.reply(bench, request).try_into().unwrap())
    }

    /// Sends a message that asks for an acknowledgement; what it says.
    pub fn acknowledged(
        &mut self,
        bench: &mut Bench,
        request: Request,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> u64 {
        self.send_raw(&encode(request as u32, flag::NEED_REPLY, payload), fds);
        u64::from_le_bytes(self.reply(bench, request).try_into().unwrap())
    }

    pub fn stop_ring(&mut self, bench: &mut Bench, index: u32) -> u32 {
        self.send_state(Request::GetVringBase, index, 0);
        let state = VringState::parse(&self.reply(bench, Request::GetVringBase)).unwrap();
        assert_eq!(state.index, index);
        state.num
    }

    /// Asks for something and gets it: the connection lives.
    pub fn expect_alive(&mut self, bench: &mut Bench) {
        assert_ne!(self.ask(bench, Request::GetFeatures), 0);
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        // The other side may have closed already.
        let _ = self.stream.write_all(bytes);
    }

    /// The messages of QEMU 7.2 in its order: enabled first, features later, and no call descriptor.
    pub fn start_like_qemu(&mut self, bench: &mut Bench, guest: &Guest) {
        let offered = self.ask(bench, Request::GetFeatures);
        assert_eq!(offered & FEATURES, FEATURES);
        let protocol = self.ask(bench, Request::GetProtocolFeatures);
        assert_eq!(protocol & 0b1001, 0b1001, "MQ and REPLY_ACK");
        self.send_u64(Request::SetProtocolFeatures, protocol & 0b1_1001);
        assert_eq!(self.ask(bench, Request::GetQueueNum), 1);
        self.send(Request::SetOwner, &[], &[]);
        self.ask(bench, Request::GetFeatures);
        for ring in 0..2u8 {
            self.send_event(Request::SetVringCall, ring.into(), &guest.calls[usize::from(ring)]);
            self.send_event(Request::SetVringErr, ring.into(), &guest.errors[usize::from(ring)]);
        }
        for _ in 0..3 {
            self.send_state(Request::SetVringEnable, 0, 1);
            self.send_state(Request::SetVringEnable, 1, 1);
        }
        self.send_u64(Request::SetFeatures, FEATURES);
        let table = MemRegion::table_bytes(&[guest.region()]);
        let done = self.acknowledged(bench, Request::SetMemTable, &table, &[guest.file.as_fd()]);
        assert_eq!(done, 0);
        for ring in 0..2u8 {
            self.start_ring(guest, ring);
            self.send_u64(Request::SetVringCall, u64::from(ring) | VRING_NO_FD);
        }
    }

    /// The messages of DPDK 22.11's virtio-user in its order: enabled last.
    pub fn start_like_dpdk(&mut self, bench: &mut Bench, guest: &Guest) {
        self.start_accepting(bench, guest, FEATURES);
    }

    /// The same with these features.
    pub fn start_accepting(&mut self, bench: &mut Bench, guest: &Guest, features: u64) {
        self.send(Request::SetOwner, &[], &[]);
        let offered = self.ask(bench, Request::GetFeatures);
        assert_eq!(offered & features, features);
        let protocol = self.ask(bench, Request::GetProtocolFeatures);
        self.send_u64(Request::SetProtocolFeatures, protocol);
        self.start_pairs(&[guest], features);
        self.expect_alive(bench);
    }

    /// The same from where protocol features are agreed on, with a pair of rings in each guest's memory.
    pub fn start_pairs(&mut self, guests: &[&Guest], features: u64) {
        for guest in guests {
            for (index, call) in (guest.ring_number(0)..).zip(&guest.calls) {
                self.send_event(Request::SetVringCall, index.into(), call);
            }
        }
        self.send_u64(Request::SetFeatures, features);
        self.share(guests);
        for guest in guests {
            self.start_ring(guest, 0);
            self.start_ring(guest, 1);
        }
        for guest in guests {
            self.send_state(Request::SetVringEnable, guest.ring_number(0), 1);
            self.send_state(Request::SetVringEnable, guest.ring_number(1), 1);
        }
    }

    /// The memory table, with a region for each guest.
    pub fn share(&mut self, guests: &[&Guest]) {
        let regions: Vec<_> = guests.iter().map(|guest| guest.region()).collect();
        let files: Vec<_> = guests.iter().map(|guest| guest.file.as_fd()).collect();
        self.send(Request::SetMemTable, &MemRegion::table_bytes(&regions), &files);
    }

    /// Size, base, addresses and kick of one ring.
    pub fn start_ring(&mut self, guest: &Guest, ring: u8) {
        let index = guest.ring_number(ring);
        self.send_state(Request::SetVringNum, index, RING.into());
        self.send_state(Request::SetVringBase, index, guest.base[usize::from(ring)]);
        self.send(Request::SetVringAddr, &guest.addresses(ring).to_bytes(), &[]);
        self.send_event(Request::SetVringKick, index.into(), &guest.kicks[usize::from(ring)]);
    }
}

/// Entries of each ring.
pub const RING: u16 = 256;
/// Where the guest sees its memory, and where the front end's process says that it does.
pub const GUEST: u64 = 0x10_0000;
pub const USER: u64 = 0x5555_0000_0000;
const MEMORY: usize = 2 << 20;
const BUFFERS: usize = 0x1_0000;
const BUFFER: usize = 2048;

/// A guest's memory with a receive and a transmit ring in it, driven by hand.
pub struct Guest {
    /// Which pair of the device's rings these two are. The memories of several pairs lie one after the other.
    pair: u8,
    pub file: OwnedFd,
    pub memory: NonNull<u8>,
    pub kicks: [OwnedFd; 2],
    pub calls: [OwnedFd; 2],
    pub errors: [OwnedFd; 2],
    /// Where the back end is to start, per ring.
    pub base: [u32; 2],
    /// Next avail entry and next used entry, per ring.
    pub avail: [u16; 2],
    pub used: [u16; 2],
}

// SAFETY: the mapping belongs to the process and is used through this value only, on whatever thread it is.
unsafe impl Send for Guest {}

impl Guest {
    pub fn new() -> Self {
        Self::of_pair(0)
    }

    pub fn of_pair(pair: u8) -> Self {
        let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, MEMORY as u64).unwrap();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at a place that the kernel chooses.
        let memory =
            unsafe { mmap(null_mut(), MEMORY, protection, MapFlags::SHARED, &file, 0) }.unwrap();
        let event = |_| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        Self {
            pair,
            file,
            memory: NonNull::new(memory.cast()).unwrap(),
            kicks: [0, 1].map(event),
            calls: [0, 1].map(event),
            errors: [0, 1].map(event),
            base: [0; 2],
            avail: [0; 2],
            used: [0; 2],
        }
    }

    pub fn region(&self) -> MemRegion {
        let size = MEMORY as u64;
        let skip = u64::from(self.pair) * size;
        MemRegion { guest_address: GUEST + skip, size, user_address: USER + skip, mmap_offset: 0 }
    }

    /// The device's number of the receive (0) or transmit (1) ring.
    pub fn ring_number(&self, ring: u8) -> u32 {
        u32::from(2 * self.pair + ring)
    }

    pub fn addresses(&self, ring: u8) -> VringAddr {
        let at = self.region().user_address + u64::from(ring) * 0x4000;
        VringAddr {
            index: self.ring_number(ring),
            flags: 0,
            desc: at,
            avail: at + 0x1000,
            used: at + 0x2000,
            log: 0,
        }
    }

    pub fn ring(&self, ring: u8) -> SplitRing {
        let at = |offset: usize| {
            // SAFETY: both rings lie in the first 32 KiB of the memory.
            unsafe { self.memory.add(usize::from(ring) * 0x4000 + offset) }
        };
        // SAFETY: three page-aligned parts inside the mapping, which lives as long as `self`.
        unsafe {
            SplitRing::new(at(0), at(0x1000), at(0x2000), RingSize::new(RING.into()).unwrap())
        }
    }

    /// Offset of the buffer of a descriptor.
    pub fn buffer(ring: u8, slot: u16) -> usize {
        BUFFERS + (usize::from(ring) * usize::from(RING) + usize::from(slot)) * BUFFER
    }

    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut copy = vec![0; len];
        // SAFETY: callers stay inside the memory; a raw copy, because the back end may write it.
        unsafe { self.memory.add(offset).copy_to_nonoverlapping(NonNull::from(&mut copy[0]), len) };
        copy
    }

    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let from = NonNull::from(&bytes[0]);
        // SAFETY: as in `bytes`.
        unsafe { self.memory.add(offset).copy_from_nonoverlapping(from, bytes.len()) };
    }

    /// Gives the back end `count` more buffers to send into.
    pub fn post(&mut self, count: u16) {
        let ring = self.ring(0);
        for _ in 0..count {
            let slot = self.avail[0] % RING;
            let addr = self.region().guest_address + Self::buffer(0, slot) as u64;
            let len = u32::try_from(BUFFER).unwrap();
            ring.set_desc(slot, Desc { addr, len, flags: flags::DESC_WRITE, next: 0 });
            ring.set_avail(self.avail[0], slot);
            self.avail[0] = self.avail[0].wrapping_add(1);
        }
        ring.store_avail_index(self.avail[0]);
    }

    /// Sends a frame to the back end.
    pub fn transmit(&mut self, frame: &[u8]) {
        let slot = self.avail[1] % RING;
        let offset = Self::buffer(1, slot);
        self.write(offset, &[0; 12]);
        self.write(offset + 12, frame);
        let len = u32::try_from(12 + frame.len()).unwrap();
        let addr = self.region().guest_address + offset as u64;
        self.transmit_raw(Desc { addr, len, flags: 0, next: 0 });
    }

    /// Publishes one descriptor in the transmit ring.
    pub fn transmit_raw(&mut self, desc: Desc) {
        let ring = self.ring(1);
        let slot = self.avail[1] % RING;
        ring.set_desc(slot, desc);
        ring.set_avail(self.avail[1], slot);
        self.avail[1] = self.avail[1].wrapping_add(1);
        ring.store_avail_index(self.avail[1]);
    }

    /// What the back end has sent since the last call.
    pub fn received(&mut self) -> Vec<Vec<u8>> {
        let ring = self.ring(0);
        let mut frames = Vec::new();
        while ring.load_used_index(Ordering::Acquire) != self.used[0] {
            let done = ring.used(self.used[0]);
            let len = usize::try_from(done.len).unwrap();
            assert!((12..=BUFFER).contains(&len), "{done:?}");
            let slot = u16::try_from(done.id).unwrap();
            frames.push(self.bytes(Self::buffer(0, slot) + 12, len - 12));
            self.used[0] = self.used[0].wrapping_add(1);
        }
        frames
    }

    /// Frames in both directions, as they were.
    pub fn exchange(&mut self, bench: &mut Bench, count: usize) {
        let sent: Vec<_> = (0..count).map(|n| frame(n, 60 + n * 13 % 1400)).collect();
        for bytes in &sent {
            self.transmit(bytes);
        }
        assert_eq!(bench.poll_until(|frames| frames.len() >= count), sent);
        self.post(u16::try_from(count).unwrap());
        let mut back = Vec::new();
        for chunk in sent.chunks(32) {
            let copies = chunk.iter().map(|bytes| bench.pool.copy_from(bytes).unwrap());
            let mut burst: Burst = copies.collect();
            bench.port.tx[0].tx_burst(&mut burst);
            assert_eq!(burst.len(), 0, "the guest posted enough");
            back.extend(self.received());
        }
        assert_eq!(back, sent);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`; `SplitRing` values are not kept.
        unsafe { munmap(self.memory.as_ptr().cast(), MEMORY) }.unwrap();
    }
}
