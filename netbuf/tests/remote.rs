//! Two cores and one pool: what a core frees of another's packets must never touch that core's free list.
//!
//! A stress test: the interleaving that fails is a matter of luck, a correct pool never fails it.

use std::sync::mpsc::sync_channel;

use netbuf::{BURST, Burst, Detached, DeviceMemory, Pool, PoolConfig, free_burst};

const ROUNDS: usize = 20_000;

fn pool(buffers: usize) -> Pool {
    let config = PoolConfig { buffers, room: 64, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

/// The other core frees whole bursts of attached packets while the owner allocates and frees its own. Were
/// the owner's free list touched from there, a slot would be handed out twice or be lost.
#[test]
fn a_burst_of_foreign_packets_is_freed_without_touching_the_owners_list() {
    let pool = pool(8 * BURST);
    let (send, receive) = sync_channel::<Vec<Detached>>(2);
    let other = std::thread::spawn(move || {
        for parcel in receive {
            let mut burst: Burst = parcel.into_iter().map(Detached::attach).collect();
            free_burst(&mut burst);
        }
    });
    let mut own = Burst::new();
    for _ in 0..ROUNDS {
        let mut parcel = Burst::new();
        pool.alloc_burst(&mut parcel, BURST);
        // A full channel loses nothing: the parcel comes back and drops here.
        let _ = send.try_send(parcel.drain(..).map(|packet| packet.detach()).collect());
        while pool.alloc_burst(&mut own, BURST) > 0 && !own.is_full() {}
        mark_and_check(&mut own);
        free_burst(&mut own);
    }
    drop(send);
    other.join().unwrap();
    assert_eq!(pool.available(), pool.buffers());
}

/// Marks every packet and then reads the marks back: a slot in two handles shows the later mark twice.
fn mark_and_check(burst: &mut Burst) {
    for (number, packet) in (0u8..).zip(burst.iter_mut()) {
        packet.append(1).unwrap()[0] = number;
    }
    for (number, packet) in (0u8..).zip(burst.iter()) {
        assert_eq!(packet.bytes(), [number], "a slot is in two handles");
    }
}

/// A burst in which foreign, chained and own packets mix in every order comes home complete.
#[test]
fn mixed_bursts_come_home_whatever_their_order() {
    let (near, far) = (pool(64), pool(64));
    for order in 0..81usize {
        let mut burst = Burst::new();
        for kind in [order % 3, order / 3 % 3, order / 9 % 3, order / 27] {
            burst.push(match kind {
                0 => near.alloc().unwrap(),
                1 => far.alloc().unwrap().detach().attach(),
                _ => near.copy_from(&[1; 150]).unwrap(),
            });
        }
        free_burst(&mut burst);
        assert_eq!((near.available(), far.available()), (64, 64), "order {order}");
    }
}

/// Once detached, always returned over the remote-free list: no operation makes a packet its core's own again.
#[test]
fn the_mark_of_a_detached_packet_survives() {
    let pool = pool(64);
    let parcel = pool.copy_from(&[1; 40]).unwrap().detach();
    let parcel = std::thread::spawn(move || {
        let mut packet = parcel.attach();
        packet.set_received(64, 20, 1).unwrap();
        packet.truncate(10).unwrap();
        packet.linearize().unwrap();
        assert!(Pool::of(&packet).is_none(), "this core would free into the other's list");
        packet.detach()
    });
    let packet = parcel.join().unwrap().attach();
    assert!(Pool::of(&packet).is_none());
    assert!(!pool.is_plain(&packet));
    drop(packet);
    assert_eq!(pool.available(), 64);
    assert!(pool.is_plain(&pool.alloc().unwrap()), "home again, it is as new");
}
