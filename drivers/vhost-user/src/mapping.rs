//! A part of a peer's file, mapped.
//!
//! The length of the file is checked before it is mapped, and again by nobody: a file that shrinks later is
//! sigbus.rs's business. Huge-page files are mapped by whole huge pages.

use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

use rustix::fs::{FileType, fstat, fstatfs};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::message::Request;
use crate::sigbus::Guard;
use crate::violation::Violation;

/// `HUGETLBFS_MAGIC` of linux/magic.h.
const HUGETLBFS: u32 = 0x9584_58f6;

/// Memory that a peer shares with us; unmapped when dropped.
pub(crate) struct Mapping {
    /// What was mapped: whole pages.
    base: NonNull<u8>,
    len: usize,
    /// The first byte that was asked for.
    host: NonNull<u8>,
    guard: Option<Guard>,
}

// SAFETY: a mapping belongs to the process, and is unmapped by whichever thread drops the last table that has it; the
// methods only read fields that never change (the guard's mark is atomic).
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `size` bytes from `offset` of a file.
    ///
    /// # Errors
    /// The descriptor is no regular file, the range is empty, overflows or ends beyond the file, or the
    /// system refuses.
    pub(crate) fn new(file: BorrowedFd<'_>, offset: u64, size: u64) -> Result<Self, Violation> {
        let stat = fstat(file).map_err(Violation::Map)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Violation::DescriptorKind(Request::SetMemTable));
        }
        let end = offset.checked_add(size).filter(|_| size > 0).ok_or(Violation::RegionShape)?;
        if u64::try_from(stat.st_size).map_or(true, |length| end > length) {
            return Err(Violation::RegionBeyondFile);
        }
        let page = page_size(file)?;
        let start = offset - offset % page;
        let len = end
            .checked_next_multiple_of(page)
            .and_then(|end| usize::try_from(end - start).ok())
            .ok_or(Violation::RegionShape)?;
        Self::map(file, start, len, usize::try_from(offset - start).unwrap_or(0))
    }

    fn map(file: BorrowedFd<'_>, start: u64, len: usize, skip: usize) -> Result<Self, Violation> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: without FIXED the kernel chooses a range that is not in use.
        let base = unsafe { mmap(null_mut(), len, protection, flags, file, start) };
        let base = NonNull::new(base.map_err(Violation::Map)?.cast::<u8>())
            .ok_or(Violation::Map(rustix::io::Errno::NOMEM))?;
        let _ = base.as_ptr().expose_provenance();
        // SAFETY: `skip` is less than a page and the mapping has at least one.
        let host = unsafe { base.add(skip) };
        let mut mapping = Self { base, len, host, guard: None };
        // SAFETY: the mapping is ours until the value drops, which ends the guard first. Only the rings' atomic
        // and volatile accesses and raw copies touch it, and they trust no byte of it.
        mapping.guard = unsafe { Guard::register(base, len) };
        if mapping.guard.is_none() {
            return Err(Violation::TooManyMappings);
        }
        Ok(mapping)
    }

    /// The first byte. The range that was asked for is valid for reads and writes as long as the value lives.
    pub(crate) fn host(&self) -> NonNull<u8> {
        self.host
    }

    /// Whether the file was cut short while we used it.
    pub(crate) fn is_broken(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::is_broken)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard = None;
        // SAFETY: `base` and `len` are what `mmap` gave; nothing points into it any more, because rings and
        // maps hold the table that owns this value.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// The unit in which the file can be mapped.
fn page_size(file: BorrowedFd<'_>) -> Result<u64, Violation> {
    let system = rustix::param::page_size() as u64;
    let fs = fstatfs(file).map_err(Violation::Map)?;
    let huge = u32::try_from(fs.f_type) == Ok(HUGETLBFS);
    let size = if huge { u64::try_from(fs.f_bsize).unwrap_or(system) } else { system };
    Ok(if size.is_power_of_two() { size } else { system })
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    fn memfd(bytes: u64) -> OwnedFd {
        let file = memfd_create("mapping", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, bytes).unwrap();
        file
    }

    #[test]
    fn offsets_need_no_alignment() {
        let file = memfd(3 * 4096);
        rustix::io::pwrite(&file, b"mark", 5000).unwrap();
        let mapping = Mapping::new(file.as_fd(), 5000, 4096).unwrap();
        // SAFETY: four bytes of the mapping; nobody writes them meanwhile.
        let seen = unsafe { mapping.host().cast::<[u8; 4]>().read_unaligned() };
        assert_eq!(&seen, b"mark");
    }

    #[test]
    fn impossible_ranges_are_refused() {
        let file = memfd(8192);
        for (offset, size, expected) in [
            (0, 0, Violation::RegionShape),
            (u64::MAX, 1, Violation::RegionShape),
            (1, u64::MAX, Violation::RegionShape),
            (0, 8193, Violation::RegionBeyondFile),
            (8192, 1, Violation::RegionBeyondFile),
            (0, u64::MAX, Violation::RegionBeyondFile),
            (4096, 4097, Violation::RegionBeyondFile),
        ] {
            let refused = Mapping::new(file.as_fd(), offset, size).err();
            assert_eq!(refused, Some(expected), "{offset:#x} + {size:#x}");
        }
    }

    #[test]
    fn only_regular_files_are_mapped() {
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let directory = OwnedFd::from(std::fs::File::open("/").unwrap());
        for fd in [read, directory] {
            let refused = Mapping::new(fd.as_fd(), 0, 4096).err();
            assert_eq!(refused, Some(Violation::DescriptorKind(Request::SetMemTable)));
        }
    }

    #[test]
    fn huge_pages_are_mapped_whole() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
        let Ok(file) = memfd_create("mapping-huge", flags) else {
            println!("skipped: no huge-page memfd on this machine");
            return;
        };
        ftruncate(&file, 4 << 20).unwrap();
        let mapping = match Mapping::new(file.as_fd(), (2 << 20) + 4096, 8192) {
            Ok(mapping) => mapping,
            Err(Violation::Map(errno)) => {
                println!("skipped: no huge page is free: {errno}");
                return;
            }
            Err(other) => panic!("{other}"),
        };
        assert_eq!(mapping.len, 2 << 20);
        assert_eq!(mapping.host.addr().get() - mapping.base.addr().get(), 4096);
    }

    #[test]
    fn a_truncated_file_reads_as_zeroes_and_is_marked() {
        let file = memfd(64 << 10);
        let mapping = Mapping::new(file.as_fd(), 0, 64 << 10).unwrap();
        rustix::io::pwrite(&file, &[0xaa; 16], 60_000).unwrap();
        // SAFETY: one byte inside the mapping; volatile, because it changes behind the compiler's back.
        let read = || unsafe { mapping.host().add(60_000).read_volatile() };
        assert_eq!(read(), 0xaa);
        assert!(!mapping.is_broken());
        ftruncate(&file, 4096).unwrap();
        assert_eq!(read(), 0);
        assert!(mapping.is_broken());
        // SAFETY: as above, a write.
        unsafe { mapping.host().add(60_000).write_volatile(1) };
        assert_eq!(read(), 1);
    }
}
