//! The memory of a process that packets and rings lie in: one region, shared with every peer whose driver or
//! device we are.

use netbuf::{CACHE_LINE, DeviceMemory};
use plat_linux::Region;
use vhost_user::SharedMemory;

use crate::Error;

/// A region, handed out piece by piece and never taken back.
#[derive(Debug)]
pub struct PortMemory {
    shared: SharedMemory,
    left: DeviceMemory,
}

impl PortMemory {
    /// Takes over a region.
    pub fn new(region: Region) -> Self {
        // SAFETY: the region is zeroed, page aligned, valid until the process ends, and ours alone, because the
        // value that owned it ends here; front ends name it to their peers only.
        let left = unsafe { DeviceMemory::from_raw(region.base(), region.len()) };
        let shared = SharedMemory {
            file: region.fd(),
            offset: region.offset(),
            base: region.base(),
            len: region.len(),
        };
        Self { shared, left }
    }

    /// What a front end tells its peer.
    pub fn shared(&self) -> SharedMemory {
        self.shared
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.left.len() / CACHE_LINE * CACHE_LINE
    }

    /// Takes `bytes` (rounded up to whole cache lines) for good.
    ///
    /// # Errors
    /// So much is not left.
    pub fn take(&mut self, bytes: usize) -> Result<DeviceMemory, Error> {
        let left = self.left();
        self.left.split_off_front(bytes).ok_or_else(|| {
            Error::Machine(format!("{bytes} bytes of packet memory are needed, {left} are left"))
        })
    }
}
