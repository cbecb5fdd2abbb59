//! The record of what is in flight, message by message (`GET_INFLIGHT_FD`, `SET_INFLIGHT_FD`), and back ends that take
//! over from others: some stopped in the middle of everything, one that had worked out of order.

mod support;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use netdev::{Burst, DropCause};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use support::{Bench, FEATURES, Guest, PATIENCE, Peer, RING, frame};
use vhost_user::message::{HEADER_BYTES, Header, Request, VringState, protocol};
use vhost_user::{InflightDescription, Violation};

/// `GET_INFLIGHT_FD` and its answer, with the descriptor that came with it.
fn get(
    peer: &mut Peer,
    bench: &mut Bench,
    queues: u16,
    size: u16,
) -> (InflightDescription, OwnedFd) {
    let asked =
        InflightDescription { mmap_size: 0, mmap_offset: 0, num_queues: queues, queue_size: size };
    peer.send(Request::GetInflightFd, &asked.to_bytes(), &[]);
    let mut bytes = [0; HEADER_BYTES + InflightDescription::BYTES];
    let mut got = None;
    let stream = peer.stream.try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    bench.poll_until(|_| {
        got = receive(&stream, &mut bytes);
        got.is_some()
    });
    stream.set_nonblocking(false).unwrap();
    let header = Header::parse(&bytes[..HEADER_BYTES].try_into().unwrap());
    assert_eq!(header.request, Request::GetInflightFd as u32);
    (InflightDescription::parse(&bytes[HEADER_BYTES..]).unwrap(), got.unwrap())
}

fn receive(stream: &UnixStream, bytes: &mut [u8]) -> Option<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [std::io::IoSliceMut::new(bytes)];
    let received = recvmsg(stream, &mut parts, &mut control, RecvFlags::empty()).ok()?;
    assert_eq!(received.bytes, HEADER_BYTES + InflightDescription::BYTES);
    let fds: Vec<OwnedFd> = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
            _ => Vec::new(),
        })
        .collect();
    assert_eq!(fds.len(), 1);
    fds.into_iter().next()
}

fn set(peer: &mut Peer, told: InflightDescription, file: &OwnedFd) {
    peer.send(Request::SetInflightFd, &told.to_bytes(), &[file.as_fd()]);
}

fn negotiate(peer: &mut Peer, bench: &mut Bench) {
    peer.send(Request::SetOwner, &[], &[]);
    let protocol = peer.ask(bench, Request::GetProtocolFeatures);
    assert_ne!(protocol & protocol::INFLIGHT_SHMFD, 0);
    peer.send_u64(Request::SetProtocolFeatures, protocol);
}

fn half(file: &OwnedFd, at: u64) -> u16 {
    let mut bytes = [0; 2];
    pread(file, &mut bytes, at).unwrap();
    u16::from_le_bytes(bytes)
}

/// Where a split queue's region starts, and one of its entries.
fn region(queue: u64) -> u64 {
    queue * 4160
}

fn entry(queue: u64, head: u64) -> u64 {
    region(queue) + 16 + 16 * head
}

fn inflight(file: &OwnedFd, queue: u64) -> usize {
    (0..u64::from(RING)).filter(|&head| half(file, entry(queue, head)) & 0xff != 0).count()
}

#[test]
fn the_regions_are_laid_out_as_specified_and_cannot_be_cut_short() {
    let mut bench = Bench::new("inflight-layout");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    negotiate(&mut peer, &mut bench);
    peer.send_u64(Request::SetFeatures, FEATURES);
    let (told, file) = get(&mut peer, &mut bench, 2, RING);
    assert_eq!((told.mmap_size, told.mmap_offset), (2 * 4160, 0));
    assert_eq!((told.num_queues, told.queue_size), (2, RING));
    assert_eq!(fstat(&file).unwrap().st_size, 2 * 4160);
    assert!(fcntl_get_seals(&file).unwrap().contains(SealFlags::SHRINK));
    assert!(ftruncate(&file, 64).is_err());
    set(&mut peer, told, &file);
    peer.start_pairs(&[&guest], FEATURES);
    peer.expect_alive(&mut bench);
    for queue in 0..2 {
        assert_eq!([8, 10, 14].map(|at| half(&file, region(queue) + at)), [1, RING, 0]);
    }
    guest.exchange(&mut bench, 200);
    guest.exchange(&mut bench, 200);
    for queue in 0..2 {
        assert_eq!(half(&file, region(queue) + 14), 400, "used_idx");
        assert_eq!(inflight(&file, queue), 0);
    }
    // What is taken and waits is in flight, until the ring is stopped.
    guest.post(10);
    let mut one: Burst = std::iter::once(bench.pool.copy_from(&[1; 60]).unwrap()).collect();
    bench.port.tx[0].tx_burst(&mut one);
    assert_eq!(inflight(&file, 0), 9);
    assert_eq!(peer.stop_ring(&mut bench, 0), 401);
    assert_eq!(inflight(&file, 0), 0);
}

#[test]
fn descriptions_that_cannot_be() {
    let mut bench = Bench::new("inflight-hostile");
    let good =
        InflightDescription { mmap_size: 8320, mmap_offset: 0, num_queues: 2, queue_size: RING };
    let get = Violation::Value(Request::GetInflightFd);
    for (num_queues, queue_size) in
        [(0, 256), (3, 256), (u16::MAX, 256), (2, 0), (2, 3), (2, 0xffff)]
    {
        let asked = InflightDescription { num_queues, queue_size, ..good };
        bench.expect_quickly(get, |bench, peer| {
            negotiate(peer, bench);
            peer.send(Request::GetInflightFd, &asked.to_bytes(), &[]);
        });
    }
    let file = memfd_create("inflight", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, 16384).unwrap();
    let value = Violation::Value(Request::SetInflightFd);
    for (told, why) in [
        (InflightDescription { mmap_size: 8319, ..good }, value),
        (InflightDescription { mmap_size: 0, ..good }, value),
        (InflightDescription { num_queues: 0, ..good }, value),
        (InflightDescription { num_queues: u16::MAX, ..good }, value),
        (InflightDescription { queue_size: 0, ..good }, value),
        (InflightDescription { queue_size: 48, ..good }, value),
        (InflightDescription { mmap_offset: 4, ..good }, value),
        (InflightDescription { mmap_offset: 8072, ..good }, Violation::RegionBeyondFile),
        (InflightDescription { mmap_offset: u64::MAX - 7, ..good }, Violation::RegionShape),
        (InflightDescription { mmap_size: u64::MAX, ..good }, Violation::RegionBeyondFile),
    ] {
        bench.expect_quickly(why, |bench, peer| {
            negotiate(peer, bench);
            set(peer, told, &file);
        });
    }
    for count in [0, 2, 8] {
        let fds = vec![file.as_fd(); count];
        let why = Violation::Descriptors { request: Request::SetInflightFd, count };
        bench.expect_quickly(why, |bench, peer| {
            negotiate(peer, bench);
            peer.send(Request::SetInflightFd, &good.to_bytes(), &fds);
        });
    }
    let (pipe, _end) = rustix::pipe::pipe().unwrap();
    let kind = Violation::DescriptorKind(Request::SetInflightFd);
    bench.expect_quickly(kind, |bench, peer| {
        negotiate(peer, bench);
        set(peer, good, &pipe);
    });
    let request = Request::GetInflightFd;
    bench.expect_quickly(Violation::Size { request, size: 8 }, |bench, peer| {
        negotiate(peer, bench);
        peer.send_u64(request, 0);
    });
    bench.expect_quickly(Violation::NotNegotiated(request), |_, peer| {
        peer.send(request, &good.to_bytes(), &[]);
    });
    // Rings that do not fit their regions.
    bench.expect_quickly(Violation::RingSize(RING.into()), |bench, peer| {
        negotiate(peer, bench);
        set(peer, InflightDescription { queue_size: 128, ..good }, &file);
        peer.start_pairs(&[&Guest::new()], FEATURES);
    });
    bench.serve_a_good_one();
}

/// CVE-2021-3839's kind: the file and what stands in it are the front end's.
#[test]
fn contents_that_cannot_be_and_a_file_that_shrinks() {
    let mut bench = Bench::new("inflight-contents");
    let told =
        InflightDescription { mmap_size: 8320, mmap_offset: 0, num_queues: 2, queue_size: RING };
    let value = Violation::Value(Request::SetInflightFd);
    for (at, bytes) in [(8, [2, 0]), (10, [0, 0]), (10, [0, 2])] {
        let file = memfd_create("inflight", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 8320).unwrap();
        pwrite(&file, &[1, 0, 0, 1], 8).unwrap();
        pwrite(&file, &bytes, at).unwrap();
        bench.expect_quickly(value, |bench, peer| {
            negotiate(peer, bench);
            set(peer, told, &file);
            peer.start_pairs(&[&Guest::new()], FEATURES);
        });
    }
    let file = memfd_create("inflight", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, 8320).unwrap();
    let mut guest = Guest::new();
    let before = bench.monitor.violations();
    let mut peer = bench.connect();
    negotiate(&mut peer, &mut bench);
    set(&mut peer, told, &file);
    peer.start_pairs(&[&guest], FEATURES);
    peer.expect_alive(&mut bench);
    guest.exchange(&mut bench, 10);
    ftruncate(&file, 0).unwrap();
    guest.transmit(&[1; 60]);
    assert_eq!(bench.end(before), Violation::MemoryTruncated);
    bench.serve_a_good_one();
}

/// A back end that worked out of order has left: the avail ring no longer says what is in flight, its record does.
#[test]
fn what_another_back_end_left_out_of_order_is_submitted_again() {
    let mut bench = Bench::new("inflight-order");
    let mut guest = Guest::new();
    let sent: Vec<_> = (0..8).map(|seed| frame(seed, 100 + seed)).collect();
    sent.iter().for_each(|bytes| guest.transmit(bytes));
    let ring = guest.ring(1);
    // Of eight chains that it had taken 2, 5 and 0 are not back; five are, the last two of which it did not note.
    let file = memfd_create("inflight", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, 8320).unwrap();
    pwrite(&file, &[1, 0, 0, 1, 7, 0, 3, 0], region(1) + 8).unwrap();
    for (head, counter, next) in [(2u64, 9u8, 0u8), (5, 10, 0), (0, 11, 0), (7, 3, 6), (6, 4, 0)] {
        pwrite(&file, &[1, 0, 0, 0, 0, 0, next, 0, counter], entry(1, head)).unwrap();
    }
    ring.store_used_index(5);
    (0..8).for_each(|at| ring.set_avail(at, 7));
    let told =
        InflightDescription { mmap_size: 8320, mmap_offset: 0, num_queues: 2, queue_size: RING };
    let mut peer = bench.connect();
    negotiate(&mut peer, &mut bench);
    set(&mut peer, told, &file);
    peer.start_pairs(&[&guest], FEATURES);
    let again = bench.poll_until(|frames| frames.len() >= 3);
    assert_eq!(again, [sent[2].clone(), sent[5].clone(), sent[0].clone()]);
    assert_eq!([5, 6, 7].map(|at| ring.used(at).id), [2, 5, 0]);
    guest.transmit(&[3; 77]);
    assert_eq!(bench.poll_until(|frames| !frames.is_empty()), [[3; 77]]);
    assert_eq!((half(&file, region(1) + 14), inflight(&file, 1)), (9, 0));
    assert_eq!(bench.port.rx[0].stats().drops[DropCause::BadDescriptor], 0);
}

/// The port of a back end is dropped as it stands, with everything in flight; another one takes over, over and over.
#[test]
fn nothing_is_lost_nor_comes_twice_when_back_ends_fall_out() {
    let mut guest = Guest::new();
    let mut bench = Bench::new("inflight-first");
    let mut peer = bench.connect();
    negotiate(&mut peer, &mut bench);
    peer.send_u64(Request::SetFeatures, FEATURES);
    let (told, file) = get(&mut peer, &mut bench, 2, RING);
    peer.start_pairs(&[&guest], FEATURES);
    peer.expect_alive(&mut bench);
    let mut posted = 0;
    for round in 0..20usize {
        guest.post(11);
        posted += 11;
        let sent: Vec<_> = (0..4).map(|seed| frame(round + seed, 300)).collect();
        let mut burst: Burst =
            sent.iter().map(|bytes| bench.pool.copy_from(bytes).unwrap()).collect();
        bench.port.tx[0].tx_burst(&mut burst);
        assert_eq!(guest.received(), sent);
        (0..3).for_each(|seed| guest.transmit(&frame(seed, 200)));
        assert_eq!(inflight(&file, 0), posted - 4 * (round + 1));
        drop(peer);
        drop(bench);
        bench = Bench::new("inflight-next");
        peer = bench.connect();
        negotiate(&mut peer, &mut bench);
        set(&mut peer, told, &file);
        peer.start_pairs(&[&guest], FEATURES);
        assert_eq!(bench.poll_until(|frames| frames.len() >= 3).len(), 3);
        assert!(bench.poll().is_empty());
    }
    let base = peer.stop_ring(&mut bench, 0);
    assert_eq!(base, 80);
    assert_eq!(peer.stop_ring(&mut bench, 1), 60);
}

mod killed {
    //! Back ends that are processes, killed at any time.

    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::Ordering;
    use std::time::Instant;

    use vhost_user::VhostUserBackend;
    use virtio::ring::packed::{Desc, PackedRing, flags};
    use virtio::ring::split::RingSize;

    use super::*;
    use support::pool;

    const PACKED: u64 = 1 << 34;
    const ENVIRONMENT: &str = "BAREWIRE_INFLIGHT_BACK_END";
    const KILLS: usize = 12;
    /// Frames that the guest keeps on their way, and buffers that it keeps posted.
    const WINDOW: u16 = 100;

    /// Not a test of its own: what the tests below run as another process. Sends back what it gets.
    #[test]
    fn back_end() {
        let Ok(path) = std::env::var(ENVIRONMENT) else { return };
        let device = Box::new(VhostUserBackend::listen(path).unwrap());
        let pool = pool(512);
        let mut port = netdev::Device::start(device, &netdev::Config::default(), &pool).unwrap();
        let mut burst = Burst::new();
        loop {
            if port.rx[0].rx_burst(&mut burst) == 0 {
                std::thread::yield_now();
            }
            port.tx[0].tx_burst(&mut burst);
            burst.clear();
        }
    }

    /// Runs until it is dropped.
    struct Victim(Child);

    impl Victim {
        fn start(path: &std::path::Path) -> (Self, Peer) {
            let _ = std::fs::remove_file(path);
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "killed::back_end"])
                .env(ENVIRONMENT, path)
                .stdout(Stdio::null())
                .spawn();
            let victim = Self(child.unwrap());
            let deadline = Instant::now() + PATIENCE;
            loop {
                if let Ok(stream) = UnixStream::connect(path) {
                    return (victim, Peer { stream });
                }
                assert!(Instant::now() < deadline, "the back end does not come up");
                std::thread::yield_now();
            }
        }
    }

    impl Drop for Victim {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn read(peer: &Peer, bytes: &mut [u8]) {
        use std::io::Read;
        peer.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        (&peer.stream).read_exact(bytes).unwrap();
    }

    fn number(peer: &mut Peer, request: Request) -> u64 {
        peer.send(request, &[], &[]);
        let mut bytes = [0; HEADER_BYTES + 8];
        read(peer, &mut bytes);
        u64::from_le_bytes(bytes[HEADER_BYTES..].try_into().unwrap())
    }

    fn stop(peer: &mut Peer, index: u32) -> u32 {
        peer.send_state(Request::GetVringBase, index, 0);
        let mut bytes = [0; HEADER_BYTES + 8];
        read(peer, &mut bytes);
        VringState::parse(&bytes[HEADER_BYTES..]).unwrap().num
    }

    /// One of the guest's rings, of either format, of which it notes what is outstanding.
    struct Queue {
        split: virtio::ring::split::SplitRing,
        packed: Option<PackedRing>,
        ring: u8,
        made: u16,
        used: u16,
        outstanding: Vec<bool>,
        completed: usize,
    }

    impl Queue {
        fn new(guest: &Guest, ring: u8, packed: bool) -> Self {
            // SAFETY: the parts of the split ring of the same place and size, which are larger.
            let view = || unsafe {
                let at = |skip: usize| guest.memory.add(usize::from(ring) * 0x4000 + skip);
                PackedRing::new(at(0), at(0x1000), at(0x2000), RingSize::new(RING.into()).unwrap())
            };
            Self {
                split: guest.ring(ring),
                packed: packed.then(view),
                ring,
                made: 0,
                used: 0,
                outstanding: vec![false; RING.into()],
                completed: 0,
            }
        }

        fn wrap(position: u16) -> bool {
            (position / RING).is_multiple_of(2)
        }

        fn make_available(&mut self, guest: &Guest, len: u32) {
            let slot = self.made % RING;
            assert!(!std::mem::replace(&mut self.outstanding[usize::from(slot)], true));
            let addr = guest.region().guest_address + Guest::buffer(self.ring, slot) as u64;
            let direction = if self.ring == 0 { flags::DESC_WRITE } else { 0 };
            match &self.packed {
                Some(ring) => {
                    let turn = if Self::wrap(self.made) { flags::AVAIL } else { flags::USED };
                    ring.set_desc(slot, Desc { addr, len, id: slot, flags: direction | turn });
                }
                None => {
                    let desc = virtio::ring::split::Desc { addr, len, flags: direction, next: 0 };
                    self.split.set_desc(slot, desc);
                    self.split.set_avail(self.made, slot);
                    self.split.store_avail_index(self.made.wrapping_add(1));
                }
            }
            self.made = self.made.wrapping_add(1);
        }

        /// The next chain that is back: each is outstanding, once.
        fn take_used(&mut self) -> Option<(u16, usize)> {
            let (id, len) = match &self.packed {
                Some(ring) => {
                    let desc = ring.desc(self.used % RING);
                    let both = flags::AVAIL | flags::USED;
                    let turn = if Self::wrap(self.used) { both } else { 0 };
                    (desc.flags & both == turn).then_some((desc.id, desc.len))?
                }
                None => {
                    let more = self.split.load_used_index(Ordering::Acquire) != self.used;
                    let elem = more.then(|| self.split.used(self.used))?;
                    (u16::try_from(elem.id).unwrap(), elem.len)
                }
            };
            let slot = self.outstanding.get_mut(usize::from(id)).expect("a slot of the ring");
            assert!(std::mem::take(slot), "slot {id} is back twice");
            self.used = self.used.wrapping_add(1);
            self.completed += 1;
            Some((id, usize::try_from(len).unwrap()))
        }

        fn on_the_way(&self) -> u16 {
            self.made.wrapping_sub(self.used)
        }
    }

    /// A handshake; the record of before, if there is one.
    fn start(
        peer: &mut Peer,
        guest: &Guest,
        features: u64,
        record: &mut Option<(InflightDescription, OwnedFd)>,
    ) {
        peer.send(Request::SetOwner, &[], &[]);
        assert_eq!(number(peer, Request::GetFeatures) & features, features);
        let protocol = number(peer, Request::GetProtocolFeatures);
        peer.send_u64(Request::SetProtocolFeatures, protocol);
        peer.send_u64(Request::SetFeatures, features);
        let (told, file) = record.get_or_insert_with(|| {
            let asked = InflightDescription {
                mmap_size: 0,
                mmap_offset: 0,
                num_queues: 2,
                queue_size: RING,
            };
            peer.send(Request::GetInflightFd, &asked.to_bytes(), &[]);
            let mut bytes = [0; HEADER_BYTES + InflightDescription::BYTES];
            let file = receive(&peer.stream, &mut bytes).unwrap();
            (InflightDescription::parse(&bytes[HEADER_BYTES..]).unwrap(), file)
        });
        set(peer, *told, file);
        peer.start_pairs(&[guest], features);
    }

    fn kill_and_go_on(name: &str, packed: bool) {
        let features = FEATURES | if packed { PACKED } else { 0 };
        let path = support::socket_path(name);
        let mut guest = Guest::new();
        // (A packed ring's base; of no matter once there is a record.)
        guest.base = if packed { [0x8000_8000; 2] } else { [0; 2] };
        let mut queues = [0, 1].map(|ring| Queue::new(&guest, ring, packed));
        let mut record = None;
        let (mut victim, mut peer) = Victim::start(&path);
        start(&mut peer, &guest, features, &mut record);
        let mut sent = 0usize;
        let mut round = |queues: &mut [Queue; 2], send: bool| {
            let [receive, transmit] = queues;
            while send && transmit.on_the_way() < WINDOW {
                let offset = Guest::buffer(1, transmit.made % RING);
                guest.write(offset, &[0; 12]);
                guest.write(offset + 12, &frame(sent, 64 + sent % 300));
                transmit.make_available(&guest, u32::try_from(76 + sent % 300).unwrap());
                sent += 1;
            }
            while send && receive.on_the_way() < WINDOW {
                receive.make_available(&guest, 2048);
            }
            while transmit.take_used().is_some() {}
            while let Some((id, len)) = receive.take_used() {
                assert!((76..76 + 300).contains(&len), "{len}");
                let bytes = guest.bytes(Guest::buffer(0, id) + 12, len - 12);
                let follows = |pair: &[u8]| (u16::from(pair[0]) + 7) % 251 == u16::from(pair[1]);
                assert!(bytes.windows(2).all(follows), "not a frame of ours");
            }
        };
        for kill in 0..KILLS {
            // (Until some hundred frames have gone through this one, and then at once.)
            let enough = queues[1].completed + 200 + 37 * kill;
            let deadline = Instant::now() + PATIENCE;
            while queues[1].completed < enough {
                assert!(Instant::now() < deadline, "it stands still after {kill} kills");
                round(&mut queues, true);
            }
            drop(victim);
            (victim, peer) = Victim::start(&path);
            start(&mut peer, &guest, features, &mut record);
        }
        // Everything that was sent comes back, and of the posted buffers all are either back or still in the ring.
        let deadline = Instant::now() + PATIENCE;
        while queues[1].on_the_way() > 0 {
            assert!(Instant::now() < deadline, "{} are lost", queues[1].on_the_way());
            round(&mut queues, false);
        }
        let at = |position: u16| match packed {
            true => {
                u32::from((position % RING) | (u16::from(Queue::wrap(position)) << 15)) * 0x1_0001
            }
            false => position.into(),
        };
        let bases = [0, 1].map(|index| stop(&mut peer, index));
        round(&mut queues, false);
        assert_eq!(bases, [at(queues[0].used), at(queues[1].used)]);
        assert_eq!(queues[1].outstanding.iter().filter(|&&out| out).count(), 0);
        drop(victim);
        let _ = std::fs::remove_file(path);
        println!("{name}: {} frames, {} came back", queues[1].completed, queues[0].completed);
        assert!(queues[0].completed > 0);
    }

    #[test]
    fn a_back_end_is_killed_in_mid_traffic_and_no_buffer_of_a_split_ring_is_lost_or_back_twice() {
        kill_and_go_on("inflight-killed-split", false);
    }

    #[test]
    fn a_back_end_is_killed_in_mid_traffic_and_no_buffer_of_a_packed_ring_is_lost_or_back_twice() {
        kill_and_go_on("inflight-killed-packed", true);
    }
}
