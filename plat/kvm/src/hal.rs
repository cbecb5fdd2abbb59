//! What `virtio-drivers` asks of a platform: memory that a device can reach, and addresses of its registers.
//!
//! All of it is the identity. DMA memory comes from the heap, so that it can be given back: this serves transports and
//! slow devices (a block device). Packet memory does not go through here.

extern crate alloc;

use crate::paging;
use alloc::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use core::alloc::Layout;
use core::ptr::NonNull;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// The machine as a [`Hal`]: device address == pointer.
#[derive(Debug, Clone, Copy)]
pub struct MachineHal;

fn layout(pages: usize) -> Layout {
    let size = pages.max(1).checked_mul(PAGE_SIZE);
    let layout = size.and_then(|size| Layout::from_size_align(size, PAGE_SIZE).ok());
    layout.expect("the size of a DMA buffer fits the address space")
}

// SAFETY: `dma_alloc` gives zeroed, page-aligned memory of the global allocator, which is nobody else's until
// `dma_dealloc`; addresses are identical for CPU and device because everything is identity-mapped;
// `mmio_phys_to_virt` maps what it returns.
unsafe impl Hal for MachineHal {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let layout = layout(pages);
        // SAFETY: the layout's size is not zero.
        let pointer = unsafe { alloc_zeroed(layout) };
        let Some(pointer) = NonNull::new(pointer) else { handle_alloc_error(layout) };
        (pointer.as_ptr() as PhysAddr, pointer)
    }

    unsafe fn dma_dealloc(_address: PhysAddr, pointer: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: the caller promises that `dma_alloc` gave this pointer for as many pages, so the layout is the same.
        unsafe { dealloc(pointer.as_ptr(), layout(pages)) };
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, size: usize) -> NonNull<u8> {
        assert!(paging::map_device(address, size as u64), "device registers at {address:#x}");
        let pointer = core::ptr::with_exposed_provenance_mut(crate::to_usize(address));
        NonNull::new(pointer).expect("device registers are not at address 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.as_ptr().expose_provenance() as PhysAddr
    }

    unsafe fn unshare(_address: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}
