//! Back ends that break the rules towards our front end: the connection ends for a named reason, the link is
//! down, nothing is lost but frames, and a good back end is used as ever.

mod support;
#[path = "support/user.rs"]
mod user;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use netdev::{Burst, Config, Device};
use support::{PATIENCE, Peer, frame, pool, socket_path};
use user::{User, pass};
use vhost_user::message::{HEADER_BYTES, Header, Request, encode, flag};
use vhost_user::{VhostUserBackend, Violation};

const FEATURES: u64 = 1 << 32 | 1 << 30;

/// A back end by hand; the front end is polled while it waits.
struct Fake {
    listener: UnixListener,
    path: std::path::PathBuf,
    user: User,
    /// Protocol features that it offers.
    protocol: u64,
    /// The device's status that it tells.
    status: u64,
}

impl Fake {
    fn new(name: &str) -> Self {
        let path = socket_path(name);
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let user = User::connect(&path);
        Self { listener, path, user, protocol: 1 << 3, status: 15 }
    }

    fn until<T>(&mut self, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut burst = Burst::new();
        loop {
            assert!(Instant::now() < deadline, "{:?}", self.user.monitor.last_end());
            self.user.port.rx[0].rx_burst(&mut burst);
            burst.clear();
            if let Some(found) = found(self) {
                return found;
            }
        }
    }

    fn accept(&mut self) -> UnixStream {
        self.until(|fake| {
            let (stream, _) = fake.listener.accept().ok()?;
            stream.set_nonblocking(true).unwrap();
            Some(stream)
        })
    }

    /// The next request; what comes with it is closed.
    fn request(&mut self, stream: &mut UnixStream) -> (u32, u32) {
        let mut bytes = Vec::new();
        self.until(|_| {
            let mut byte = [0];
            loop {
                let wanted = match bytes.first_chunk::<HEADER_BYTES>() {
                    Some(header) => HEADER_BYTES + Header::parse(header).size as usize,
                    None => HEADER_BYTES,
                };
                if bytes.len() == wanted {
                    return Some(());
                }
                match stream.read(&mut byte) {
                    Ok(1) => bytes.push(byte[0]),
                    Ok(_) => panic!("closed"),
                    Err(_) => return None,
                }
            }
        });
        let header = Header::parse(bytes.first_chunk().unwrap());
        (header.request, header.flags)
    }

    /// Answers everything as a back end should, up to a request of this kind.
    fn answer_until(&mut self, stream: &mut UnixStream, stop: Request) {
        loop {
            let (request, flags) = self.request(stream);
            if request == stop as u32 {
                return;
            }
            let number = match Request::from_code(request) {
                Some(Request::GetFeatures) => FEATURES,
                Some(Request::GetProtocolFeatures) => self.protocol,
                Some(Request::GetStatus) => self.status,
                _ if flags & flag::NEED_REPLY != 0 => 0,
                _ => continue,
            };
            reply(stream, request, number);
        }
    }

    fn expect(&mut self, why: Violation) {
        let before = self.user.monitor.clone();
        self.until(|_| (before.last_end() == Some(why)).then_some(()));
        assert!(!self.user.port.control.link().up);
        assert_eq!(self.user.pool.available(), 2048);
    }

    /// A good back end takes the place.
    fn served_by_a_good_one(self) {
        let Self { listener, path, mut user, .. } = self;
        drop(listener);
        let pool = pool(1024);
        let device = Box::new(VhostUserBackend::listen(&path).unwrap());
        let mut back = device.start(&Config::default(), &pool).unwrap();
        let frames: Vec<_> = (0..100).map(|number| frame(number, 60 + number)).collect();
        pass(&mut user.port, &user.pool, &mut back, &frames);
        pass(&mut back, &pool, &mut user.port, &frames);
    }
}

fn reply(stream: &mut UnixStream, request: u32, number: u64) {
    stream.write_all(&encode(request, flag::REPLY, &number.to_le_bytes())).unwrap();
}

#[test]
fn wrong_replies() {
    let mut fake = Fake::new("wrong");
    let features = Request::GetFeatures as u32;
    let good = FEATURES.to_le_bytes();
    let cases: [(Vec<u8>, Violation); 7] = [
        (encode(features, 0, &good), Violation::Flags(1)),
        (encode(15, flag::REPLY, &good), Violation::BadReply(Request::GetFeatures)),
        (encode(features, flag::REPLY, &good[..4]), Violation::BadReply(Request::GetFeatures)),
        (encode(features, flag::REPLY, &[0; 16]), Violation::BadReply(Request::GetFeatures)),
        (encode(features, flag::REPLY, &[0xff; 4]), Violation::BadReply(Request::GetFeatures)),
        (encode(features, flag::REPLY, &[0; 8]), Violation::FeatureMissing(1 << 32)),
        (vec![1, 0, 0, 0, 5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], Violation::TooLarge(u32::MAX)),
    ];
    for (bytes, why) in cases {
        let mut stream = fake.accept();
        fake.answer_until(&mut stream, Request::GetFeatures);
        stream.write_all(&bytes).unwrap();
        fake.expect(why);
    }
    fake.served_by_a_good_one();
}

#[test]
fn replies_with_descriptors_and_replies_that_nobody_asked_for() {
    let mut fake = Fake::new("unasked");
    let mut stream = fake.accept();
    fake.answer_until(&mut stream, Request::GetFeatures);
    let mut peer = Peer { stream };
    let bytes = encode(Request::GetFeatures as u32, flag::REPLY, &FEATURES.to_le_bytes());
    let file = std::fs::File::open("/dev/null").unwrap();
    peer.send_raw(&bytes, &[std::os::fd::AsFd::as_fd(&file)]);
    fake.expect(Violation::BadReply(Request::GetFeatures));
    let mut stream = fake.accept();
    fake.answer_until(&mut stream, Request::SetVringEnable);
    reply(&mut stream, 7, 0);
    fake.expect(Violation::UnknownRequest(7));
    fake.served_by_a_good_one();
}

#[test]
fn the_memory_table_is_refused() {
    let mut fake = Fake::new("refused");
    let mut stream = fake.accept();
    fake.answer_until(&mut stream, Request::SetMemTable);
    reply(&mut stream, Request::SetMemTable as u32, 1);
    fake.expect(Violation::Refused(Request::SetMemTable));
    fake.served_by_a_good_one();
}

/// The status that a back end tells: FEATURES_OK taken back, a number that is none.
#[test]
fn features_are_not_ok() {
    let mut fake = Fake::new("features-refused");
    fake.protocol |= 1 << 16;
    for (status, why) in [
        (3, Violation::FeaturesRefused(1 << 32)),
        (0, Violation::FeaturesRefused(1 << 32)),
        (0x10b, Violation::BadReply(Request::GetStatus)),
    ] {
        let mut stream = fake.accept();
        fake.answer_until(&mut stream, Request::GetStatus);
        reply(&mut stream, Request::GetStatus as u32, status);
        fake.expect(why);
    }
    fake.served_by_a_good_one();
}

/// Answers like a good back end of one ring pair that says that it needs a reset until it gets one; whether it did.
fn needs_a_reset(mut stream: UnixStream) -> bool {
    let (mut status, mut resets) = (0, 0);
    loop {
        let mut header = [0; HEADER_BYTES];
        if stream.read_exact(&mut header).is_err() {
            return resets == 1;
        }
        let Header { request, flags, size } = Header::parse(&header);
        let mut payload = vec![0; size as usize];
        stream.read_exact(&mut payload).unwrap();
        let number = match Request::from_code(request).unwrap() {
            Request::GetFeatures => FEATURES,
            Request::GetProtocolFeatures => 1 << 3 | 1 << 16,
            Request::GetStatus if status == 15 && resets == 0 => status | 64,
            Request::GetStatus => status,
            Request::GetVringBase => 0,
            Request::SetStatus => {
                status = u64::from_le_bytes(payload.try_into().unwrap());
                resets += u64::from(status == 0);
                continue;
            }
            _ if flags & flag::NEED_REPLY != 0 => 0,
            _ => continue,
        };
        reply(&mut stream, request, number);
    }
}

/// A back end that needs a reset gets one, on the same connection, and works on.
#[test]
fn a_back_end_that_needs_a_reset() {
    let mut fake = Fake::new("needs-reset");
    let stream = fake.accept();
    stream.set_nonblocking(false).unwrap();
    let ours = stream.try_clone().unwrap();
    let back_end = std::thread::spawn(|| needs_a_reset(stream));
    let mut downs = 0;
    let mut was_up = false;
    fake.until(|fake| {
        let up = fake.user.port.control.link().up;
        downs += u32::from(was_up && !up);
        was_up = up;
        (downs > 0 && up).then_some(())
    });
    // Once was enough.
    for _ in 0..100_000 {
        fake.user.port.rx[0].rx_burst(&mut Burst::new());
    }
    assert!(fake.user.port.control.link().up);
    assert_eq!((fake.user.monitor.connections(), fake.user.monitor.violations()), (1, 0));
    ours.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(back_end.join().unwrap());
    fake.until(|fake| fake.user.monitor.last_end());
    fake.served_by_a_good_one();
}

#[test]
fn a_back_end_that_never_answers() {
    let mut fake = Fake::new("silent");
    let stream = fake.accept();
    for _ in 0..10_000 {
        fake.user.port.rx[0].rx_burst(&mut Burst::new());
    }
    assert!(!fake.user.port.control.link().up);
    drop(stream);
    fake.served_by_a_good_one();
}

#[test]
fn a_back_end_that_does_not_say_that_it_stopped() {
    let mut fake = Fake::new("stop");
    let mut stream = fake.accept();
    fake.answer_until(&mut stream, Request::SetVringEnable);
    assert!(fake.user.port.control.link().up);
    let Fake { user, .. } = fake;
    // Takes about a second, not for ever; the buffers are back.
    let _device = user.port.stop();
    assert_eq!(user.pool.available(), 2048);
    assert_eq!(user.monitor.last_end(), Some(Violation::NoReply(Request::GetVringBase)));
}

#[test]
fn used_rings_full_of_lies() {
    let mut fake = Fake::new("lies");
    let mut stream = fake.accept();
    fake.answer_until(&mut stream, Request::SetVringEnable);
    assert!(fake.user.port.control.link().up);
    // The back end maps all of the memory and may write what it likes into the rings.
    let rings = fake.user.shared.base;
    for round in 0..1000usize {
        for at in (0..user::ring_bytes()).step_by(8) {
            let word = (round * 0x9e37_79b9 + at).wrapping_mul(0x2545_f491_4f6c_dd1d);
            // SAFETY: the rings lie at the start of the shared memory, which stays for ever; nothing but volatile
            // and atomic accesses touches them.
            unsafe { rings.add(at).cast::<usize>().write_volatile(word) };
        }
        let mut burst: Burst = (0..4).filter_map(|_| fake.user.pool.copy_from(&[1; 60])).collect();
        fake.user.port.tx[0].tx_burst(&mut burst);
        burst.clear();
        fake.user.port.rx[0].rx_burst(&mut burst);
    }
    fake.expect(Violation::RingBroken);
    drop(stream);
    fake.served_by_a_good_one();
}
