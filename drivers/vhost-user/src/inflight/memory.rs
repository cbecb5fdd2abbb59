//! The shared file with the regions of all queues.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use virtio::ring::split::RingSize;

use super::{Cells, InflightDescription, queue_bytes};
use crate::mapping::Mapping;
use crate::message::Request;
use crate::violation::Violation;

/// The regions, mapped.
pub(crate) struct InflightMemory {
    mapping: Arc<Mapping>,
    description: InflightDescription,
}

impl InflightMemory {
    /// Fresh regions, and their file, which nobody can cut short.
    ///
    /// # Errors
    /// The system has no more memory or descriptors.
    pub(crate) fn create(
        packed: bool,
        num_queues: u16,
        queue_size: u16,
    ) -> Result<(Self, OwnedFd), Violation> {
        let bytes = usize::from(num_queues) * queue_bytes(packed, queue_size);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("inflight", flags).map_err(Violation::Map)?;
        ftruncate(&file, bytes as u64).map_err(Violation::Map)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&file, seals).map_err(Violation::Map)?;
        let description =
            InflightDescription { mmap_size: bytes as u64, mmap_offset: 0, num_queues, queue_size };
        Ok((Self::adopt(&file, description)?, file))
    }

    /// The regions that a peer describes. Nothing of what they say is looked at.
    ///
    /// # Errors
    /// The file is none, or ends before the regions do; they are too few bytes for so many queues.
    pub(crate) fn adopt(
        file: &OwnedFd,
        description: InflightDescription,
    ) -> Result<Self, Violation> {
        let InflightDescription { mmap_size, mmap_offset, num_queues, queue_size } = description;
        // Packed ones need more, which is checked for each ring that starts.
        let least = usize::from(num_queues) * queue_bytes(false, queue_size);
        let possible = num_queues > 0
            && RingSize::new(queue_size.into()).is_some()
            && mmap_offset.is_multiple_of(8)
            && mmap_size >= least as u64;
        if !possible {
            return Err(Violation::Value(Request::SetInflightFd));
        }
        let mapping = Mapping::new(file.as_fd(), mmap_offset, mmap_size);
        let mapping = mapping.map_err(|why| match why {
            Violation::DescriptorKind(_) => Violation::DescriptorKind(Request::SetInflightFd),
            other => other,
        })?;
        Ok(Self { mapping: Arc::new(mapping), description })
    }

    /// What a peer is told of them.
    pub(crate) fn description(&self) -> InflightDescription {
        self.description
    }

    /// The region of a queue with so many entries; `None` for one that is not tracked.
    ///
    /// # Errors
    /// The queue has more entries than its region, or the region ends beyond the memory.
    pub(crate) fn queue(
        &self,
        packed: bool,
        index: u32,
        size: RingSize,
    ) -> Result<Option<Cells>, Violation> {
        let InflightDescription { mmap_size, num_queues, queue_size, .. } = self.description;
        if index >= num_queues.into() {
            return Ok(None);
        }
        if size.get() > queue_size {
            return Err(Violation::RingSize(size.get().into()));
        }
        let bytes = queue_bytes(packed, queue_size);
        let wrong = Violation::Value(Request::SetInflightFd);
        let mapped = usize::try_from(mmap_size).map_err(|_| wrong)?;
        let offset = usize::try_from(index).map_err(|_| wrong)? * bytes;
        Cells::new(&self.mapping, mapped, offset, bytes).map(Some).ok_or(wrong)
    }

    /// Most entries of a queue, which is how many its region has.
    pub(crate) fn entries(&self) -> u16 {
        self.description.queue_size
    }

    /// Whether the peer has cut the file short while we used it.
    pub(crate) fn is_broken(&self) -> bool {
        self.mapping.is_broken()
    }
}
