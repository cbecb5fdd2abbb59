//! A packet on its way to another core.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::Netbuf;
use crate::header::{Header, flag};

/// A packet that may change cores. Dropped anywhere, its buffers return to their pool over the pool's
/// remote-free list; the owner picks them up when its own list runs short.
#[derive(Debug)]
pub struct Detached(NonNull<Header>);

// SAFETY: every segment has REMOTE set, so a drop on any core only uses the pool's atomic remote-free list;
// the header and the bytes are owned by this value alone.
unsafe impl Send for Detached {}

impl Netbuf {
    /// Readies the packet to leave this core.
    pub fn detach(self) -> Detached {
        let mut slot = Some(self.0);
        while let Some(current) = slot {
            // SAFETY: the segments are owned through this handle.
            let header = unsafe { current.as_ref() };
            header.set_flag(flag::REMOTE, true);
            slot = header
                .has_flag(flag::CHAINED)
                .then(|| NonNull::new(header.next.get().cast_mut()))
                .flatten();
        }
        Detached(self.into_slot())
    }
}

impl Detached {
    /// Makes it a packet of this core. It stays marked: its buffers return over the remote-free list.
    pub fn attach(self) -> Netbuf {
        let this = ManuallyDrop::new(self);
        // SAFETY: the ownership moves from this value to the handle; REMOTE is set.
        unsafe { Netbuf::from_header(this.0) }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        // SAFETY: as in `attach`; the handle's drop takes the remote path.
        drop(unsafe { Netbuf::from_header(self.0) });
    }
}

#[cfg(test)]
mod tests {
    use crate::{DeviceMemory, Pool, PoolConfig};

    #[test]
    fn packets_dropped_on_other_cores_come_home() {
        let config = PoolConfig { buffers: 64, ..PoolConfig::default() };
        let pool = Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap();
        for round in 0u8..50 {
            let (mut one, mut two) = (Vec::new(), Vec::new());
            for number in 0u8..16 {
                one.push(pool.copy_from(&[number; 3000]).unwrap().detach());
                two.push(pool.copy_from(&[round; 60]).unwrap().detach());
            }
            std::thread::scope(|scope| {
                scope.spawn(move || drop(one));
                scope.spawn(move || {
                    for packet in two {
                        assert_eq!(packet.attach().bytes(), [round; 60]);
                    }
                });
            });
            assert_eq!(pool.available(), 64);
        }
    }
}
