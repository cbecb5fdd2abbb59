//! `netdev`'s conformance suite for both halves, each with the other as its peer.

mod support;
#[path = "support/user.rs"]
mod user;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use netbuf::PoolConfig;
use netdev::conformance::{Outcome, Rig, run_all};
use netdev::{Burst, Config, Device, Info, Pool, Port, RingFormat, StartError};
use support::{PATIENCE, pool, socket_path};
use user::{FORMATS, User, in_format, shared};
use vhost_user::{VhostUserBackend, VirtioUser};

/// The suite sends as soon as a device is started; on a socket the link comes up a little later. The check
/// waits for it here, polling the peer where that is needed.
struct WithLink {
    device: Box<dyn Device>,
    turn: Rc<dyn Fn()>,
}

impl Device for WithLink {
    fn info(&self) -> Info {
        self.device.info()
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        let mut port = self.device.start(config, pool)?;
        let deadline = Instant::now() + PATIENCE;
        while !port.control.link().up {
            assert!(Instant::now() < deadline, "no link");
            (self.turn)();
        }
        let inner = std::mem::replace(&mut port.control, Box::new(Gone));
        port.control = Box::new(Rewrap { inner, turn: self.turn });
        Ok(port)
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        self.device.split(pairs)
    }
}

/// Hands the waiting on when a device is stopped and started again.
struct Rewrap {
    inner: Box<dyn netdev::Control>,
    turn: Rc<dyn Fn()>,
}

impl netdev::Control for Rewrap {
    fn link(&mut self) -> netdev::Link {
        self.inner.link()
    }

    fn mac(&self) -> netdev::MacAddress {
        self.inner.mac()
    }

    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn netdev::RxQueue>>,
        tx: Vec<Box<dyn netdev::TxQueue>>,
    ) -> Box<dyn Device> {
        Box::new(WithLink { device: self.inner.stop(rx, tx), turn: self.turn })
    }
}

struct Gone;

impl netdev::Control for Gone {
    fn link(&mut self) -> netdev::Link {
        netdev::Link::default()
    }

    fn mac(&self) -> netdev::MacAddress {
        netdev::MacAddress::default()
    }

    fn stop(
        self: Box<Self>,
        _: Vec<Box<dyn netdev::RxQueue>>,
        _: Vec<Box<dyn netdev::TxQueue>>,
    ) -> Box<dyn Device> {
        unreachable!("a placeholder for a moment")
    }
}

fn bytes(packet: &netdev::Netbuf) -> Vec<u8> {
    let mut bytes = vec![0; packet.len()];
    packet.copy_to(&mut bytes);
    bytes
}

/// Polls a port's control messages without taking a packet.
fn poll_control(port: &mut Port, pool: &Pool) {
    let mut full = Burst::new();
    while !full.is_full()
        && let Some(packet) = pool.alloc()
    {
        full.push(packet);
    }
    port.rx[0].rx_burst(&mut full);
}

/// The back end, its peer a front end in the same thread.
struct BackEndRig {
    peer: Option<Rc<RefCell<User>>>,
    /// What the peer asks for.
    format: RingFormat,
}

impl Rig for BackEndRig {
    fn device(&mut self) -> Box<dyn Device> {
        self.peer = None;
        let path = socket_path("rig");
        let device = Box::new(VhostUserBackend::listen(&path).unwrap());
        let peer = Rc::new(RefCell::new(User::connect_with(&path, self.format)));
        self.peer = Some(Rc::clone(&peer));
        let turn = move || {
            peer.borrow_mut().port.control.link();
        };
        Box::new(WithLink { device, turn: Rc::new(turn) })
    }

    fn inject(&mut self, frame: &[u8]) -> bool {
        let peer = &mut *self.peer.as_ref().unwrap().borrow_mut();
        if !peer.port.control.link().up {
            return false;
        }
        let mut burst: Burst = peer.pool.copy_from(frame).into_iter().collect();
        peer.port.tx[0].tx_burst(&mut burst) == 1
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let peer = &mut *self.peer.as_ref().unwrap().borrow_mut();
        let mut burst = Burst::new();
        // All but one place taken, so that frames come one by one.
        while burst.len() < burst.capacity() - 1 {
            burst.push(peer.pool.alloc().unwrap());
        }
        let got = peer.port.rx[0].rx_burst(&mut burst);
        (got == 1).then(|| bytes(&burst[burst.len() - 1]))
    }

    fn turn(&mut self) {
        let peer = &mut *self.peer.as_ref().unwrap().borrow_mut();
        peer.port.control.link();
    }

    fn pool(&mut self, config: PoolConfig) -> Pool {
        support_pool(config)
    }
}

fn support_pool(config: PoolConfig) -> Pool {
    let memory = netbuf::DeviceMemory::from_heap(config.device_bytes());
    Pool::new(memory, config).unwrap()
}

enum Order {
    Inject(Vec<u8>),
    Take,
}

enum Reply {
    Injected(bool),
    Taken(Option<Vec<u8>>),
}

/// A back end that does what it is told, in a thread of its own: a front end that stops waits for it.
struct PeerThread {
    orders: Option<Sender<Order>>,
    replies: Receiver<Reply>,
    thread: Option<JoinHandle<()>>,
}

impl PeerThread {
    fn new(path: PathBuf, format: RingFormat) -> Self {
        let (orders, inbox) = channel();
        let (outbox, replies) = channel();
        let thread = std::thread::spawn(move || {
            let pool = pool(512);
            let device = Box::new(VhostUserBackend::listen(&path).unwrap());
            let mut port = device.start(&in_format(format), &pool).unwrap();
            loop {
                poll_control(&mut port, &pool);
                let reply = match inbox.try_recv() {
                    Ok(Order::Inject(frame)) => {
                        let up = port.control.link().up;
                        let mut burst: Burst = pool.copy_from(&frame).into_iter().collect();
                        Reply::Injected(up && port.tx[0].tx_burst(&mut burst) == 1)
                    }
                    Ok(Order::Take) => {
                        let mut burst = Burst::new();
                        while burst.len() < burst.capacity() - 1 {
                            burst.push(pool.alloc().unwrap());
                        }
                        let got = port.rx[0].rx_burst(&mut burst);
                        Reply::Taken((got == 1).then(|| bytes(&burst[burst.len() - 1])))
                    }
                    Err(std::sync::mpsc::TryRecvError::Empty) => continue,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                };
                outbox.send(reply).unwrap();
            }
        });
        Self { orders: Some(orders), replies, thread: Some(thread) }
    }

    fn order(&self, order: Order) -> Reply {
        self.orders.as_ref().unwrap().send(order).unwrap();
        self.replies.recv().unwrap()
    }
}

impl Drop for PeerThread {
    fn drop(&mut self) {
        self.orders = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The virtio-net driver over the front end; its pool must be shared, so it is made with the device.
struct FrontEndRig {
    peer: Option<PeerThread>,
    /// A device may be started with several pools: each has a region, and all are shared.
    pools: Vec<(PoolConfig, Pool)>,
    /// What the peer offers.
    format: RingFormat,
}

const SHAPES: [PoolConfig; 5] = [
    PoolConfig { buffers: 64 + 256, headroom: 128, room: 2048 },
    PoolConfig { buffers: 64 + 256, headroom: 128, room: 2048 },
    PoolConfig { buffers: 63, headroom: 128, room: 2048 },
    PoolConfig { buffers: 64 + 256, headroom: 0, room: 2048 },
    PoolConfig { buffers: 64 + 256, headroom: 128, room: 256 },
];

impl Rig for FrontEndRig {
    fn device(&mut self) -> Box<dyn Device> {
        self.peer = None;
        let path = socket_path("rig-user");
        self.peer = Some(PeerThread::new(path.clone(), self.format));
        let mut memory = Vec::new();
        let mut first_rings = None;
        self.pools.clear();
        for shape in SHAPES {
            let (shared, rings, pool) = shared(shape);
            memory.push(shared);
            first_rings.get_or_insert(rings);
            self.pools.push((shape, pool));
        }
        let device = VirtioUser::connect(&path, &memory, vec![first_rings.unwrap()]).unwrap();
        Box::new(WithLink { device: Box::new(device), turn: Rc::new(std::thread::yield_now) })
    }

    fn inject(&mut self, frame: &[u8]) -> bool {
        let order = Order::Inject(frame.to_vec());
        matches!(self.peer.as_ref().unwrap().order(order), Reply::Injected(true))
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        match self.peer.as_ref().unwrap().order(Order::Take) {
            Reply::Taken(frame) => frame,
            Reply::Injected(_) => panic!("the answer to another order"),
        }
    }

    fn turn(&mut self) {
        std::thread::yield_now();
    }

    fn patience(&self) -> usize {
        200_000
    }

    fn pool(&mut self, config: PoolConfig) -> Pool {
        let at = self.pools.iter().position(|(shape, _)| *shape == config);
        let at = at.unwrap_or_else(|| panic!("no pool of the shape {config:?} was prepared"));
        self.pools.remove(at).1
    }
}

fn report(outcomes: Vec<(&'static str, Outcome)>) {
    for (name, outcome) in outcomes {
        if let Outcome::Skipped(why) = outcome {
            println!("skipped: {name}: {why}");
        }
    }
}

#[test]
fn back_end() {
    for format in FORMATS {
        report(run_all(&mut BackEndRig { peer: None, format }));
    }
}

#[test]
fn front_end() {
    for format in FORMATS {
        report(run_all(&mut FrontEndRig { peer: None, pools: Vec::new(), format }));
    }
}
