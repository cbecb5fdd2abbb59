//! virtio over PCI, modern devices (virtio 1.2, 4.1).

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use netdev::WakeSource;
use virtio_drivers::transport::pci::bus::ConfigurationAccess;
use virtio_drivers::transport::pci::{PciTransport, VirtioPciError};
use virtio_drivers::transport::{DeviceStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

use super::delegate::delegate_transport;
use super::pci_config::root;
use super::{BusDoorbell, DoorbellTransport, PciRegions, Span, TransportError};

/// Byte offsets in `virtio_pci_common_cfg` (virtio 1.2, 4.1.4.3).
const QUEUE_SELECT: usize = 22;
const QUEUE_MSIX_VECTOR: usize = 26;
const QUEUE_NOTIFY_OFF: usize = 30;

/// The command register: memory decoding, bus mastering, and no INTx (queues are polled).
const COMMAND: u8 = 0x04;
const COMMAND_BITS: u32 = 1 << 1 | 1 << 2 | 1 << 10;

/// A device on a PCI bus.
#[derive(Debug)]
pub struct PciDevice {
    /// Not dropped: virtio-drivers would wait for ever for a device that does not reset.
    inner: ManuallyDrop<PciTransport>,
    common: NonNull<u8>,
    notify: Span,
    notify_multiplier: u32,
    wake: Option<Wake>,
}

/// How a receive queue wakes a sleeper.
#[derive(Clone, Copy, Debug)]
struct Wake {
    /// Entry of the function's MSI-X table.
    entry: u16,
    /// The interrupt vector that the platform wrote there.
    vector: u8,
}

impl PciDevice {
    /// The device whose registers were found at `regions`; switches on its memory and its bus mastering.
    ///
    /// # Errors
    /// Where a structure is not aligned as it must be.
    ///
    /// # Safety
    /// The [`bars`](PciRegions::bars) must be mapped at their own addresses, uncached as device memory wants
    /// it, for ever, and used by nobody else.
    pub unsafe fn new<C: ConfigurationAccess>(
        access: &mut C,
        regions: &PciRegions,
    ) -> Result<Self, TransportError> {
        let command = access.read_word(regions.function, COMMAND) & 0xffff;
        access.write_word(regions.function, COMMAND, command | COMMAND_BITS);
        let inner = PciTransport::new::<Identity, _>(&mut root(regions), regions.function)
            .map_err(|error| match error {
                VirtioPciError::Misaligned { .. } => {
                    TransportError::Malformed("a capability's structure is not aligned")
                }
                _ => TransportError::Malformed("a capability is not what it was"),
            })?;
        let inner = ManuallyDrop::new(inner);
        let common = pointer(regions.common.address)
            .ok_or(TransportError::Malformed("the common structure has no address"))?;
        Ok(Self {
            inner,
            common,
            notify: regions.notify,
            notify_multiplier: regions.notify_multiplier,
            wake: None,
        })
    }

    /// States that entry `entry` of the function's MSI-X table, which is on, raises `vector`: receive queues that
    /// are started from now on can wake a sleeper.
    pub fn wake_by(&mut self, entry: u16, vector: u8) {
        self.wake = Some(Wake { entry, vector });
    }

    /// Names the MSI-X entry of a receive queue, before the queue is enabled (virtio 1.2, 4.1.5.1.3). A device
    /// that refuses it cannot wake anybody.
    fn before_queue_set(&mut self, queue: u16) {
        let Some(wake) = self.wake.filter(|_| is_receive(queue)) else { return };
        // SAFETY: both registers lie in the common structure, as in `doorbell`.
        let accepted = unsafe {
            self.common.add(QUEUE_SELECT).cast::<u16>().write_volatile(queue);
            let register = self.common.add(QUEUE_MSIX_VECTOR).cast::<u16>();
            register.write_volatile(wake.entry);
            register.read_volatile() == wake.entry
        };
        if !accepted {
            self.wake = None;
        }
    }
}

/// Receive queues have the even numbers (virtio 1.2, 5.1.2).
fn is_receive(queue: u16) -> bool {
    queue.is_multiple_of(2)
}

impl Drop for PciDevice {
    fn drop(&mut self) {
        self.inner.set_status(DeviceStatus::empty());
    }
}

delegate_transport!(PciDevice);

impl DoorbellTransport for PciDevice {
    type Doorbell = BusDoorbell;

    fn doorbell(&mut self, queue: u16, data: bool) -> Result<BusDoorbell, &'static str> {
        // SAFETY: both registers lie in the common structure, which `PciRegions` found to be long enough and
        // `PciTransport` to be aligned; mapped as `new`'s caller promised.
        let place = unsafe {
            self.common.add(QUEUE_SELECT).cast::<u16>().write_volatile(queue);
            self.common.add(QUEUE_NOTIFY_OFF).cast::<u16>().read_volatile()
        };
        let offset = u64::from(place) * u64::from(self.notify_multiplier);
        let bytes = if data { 4 } else { 2 };
        if offset + bytes > self.notify.len {
            return Err("a queue's doorbell lies outside the notify structure");
        }
        let register = pointer(self.notify.address + offset)
            .filter(|register| (register.addr().get() as u64).is_multiple_of(bytes))
            .ok_or("a queue's doorbell is not aligned")?;
        // SAFETY: inside the notify structure, which lies inside a mapped BAR, and aligned: just compared.
        Ok(unsafe {
            if data {
                BusDoorbell::data(register.cast(), queue)
            } else {
                BusDoorbell::word(register.cast(), queue)
            }
        })
    }

    fn wake_source(&self, queue: u16) -> Option<WakeSource> {
        self.wake.filter(|_| is_receive(queue)).map(|wake| WakeSource::Vector(wake.vector))
    }
}

/// The pointer to a device address: the two are equal.
fn pointer(address: u64) -> Option<NonNull<u8>> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(usize::try_from(address).ok()?))
}

/// The platform as virtio-drivers sees it: registers at their own addresses, and no memory to give, because a
/// transport needs none.
struct Identity;

// SAFETY: `mmio_phys_to_virt` is called with spans of BARs that `PciDevice::new`'s caller has mapped at their own
// addresses. `dma_alloc` fails, as its callers know by the address zero, so no memory is handed out.
unsafe impl Hal for Identity {
    fn dma_alloc(_pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        (0, NonNull::dangling())
    }

    unsafe fn dma_dealloc(_paddr: PhysAddr, _vaddr: NonNull<u8>, _pages: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        pointer(paddr).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.addr().get() as u64
    }

    unsafe fn unshare(_paddr: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}
