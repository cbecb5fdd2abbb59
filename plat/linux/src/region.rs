//! Memory that another process can map too: huge pages where the machine has them.
//!
//! A region is a memfd, mapped shared, with every page present before it is handed out. It lives as long as
//! the process: packets and rings in it may be named to a peer at any time.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Once;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// Bytes of a huge page; regions are whole multiples of it.
pub const HUGE_PAGE: usize = 2 << 20;

/// What a region's pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Huge pages that the administrator set aside (`vm.nr_hugepages`).
    HugePages,
    /// Ordinary pages, which the kernel may join to huge ones where it is set to
    /// (`/sys/kernel/mm/transparent_hugepage/shmem_enabled`).
    OrdinaryPages,
}

/// Why memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionError {
    /// Bytes asked for.
    pub len: usize,
    /// The step that failed.
    pub step: &'static str,
    /// The kernel's answer.
    pub cause: Errno,
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { len, step, cause } = self;
        write!(f, "no shared memory of {len} bytes: {step}: {cause}")?;
        if *cause == Errno::NOMEM || *cause == Errno::NOSPC {
            f.write_str("; free memory, or ask for fewer buffers")?;
        }
        Ok(())
    }
}

impl std::error::Error for RegionError {}

/// Zeroed, present, shareable memory that stays until the process ends. Owned by whoever holds the value;
/// dropping the value gives nothing back.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    fd: BorrowedFd<'static>,
    backing: Backing,
}

// SAFETY: the value stands for exclusively owned memory of the process; no thread is special to it.
unsafe impl Send for Region {}

impl Region {
    /// At least `len` bytes, rounded up to whole huge pages, aligned to at least 4096 bytes.
    ///
    /// Where there are no huge pages, ordinary ones are used, and that is said once on standard error.
    ///
    /// # Errors
    /// The kernel has no memory or no memory file for us.
    pub fn new(len: usize) -> Result<Self, RegionError> {
        Self::with_huge_pages(len).or_else(|refused| {
            say_once(refused);
            Self::with_ordinary_pages(len)
        })
    }

    /// As [`new`](Self::new), of huge pages or not at all.
    ///
    /// # Errors
    /// There are not enough free huge pages, or as [`new`](Self::new).
    pub fn with_huge_pages(len: usize) -> Result<Self, RegionError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
        Self::make(len, flags, Backing::HugePages)
    }

    /// As [`new`](Self::new), of ordinary pages, without a word.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_ordinary_pages(len: usize) -> Result<Self, RegionError> {
        Self::make(len, MemfdFlags::CLOEXEC, Backing::OrdinaryPages)
    }

    fn make(len: usize, flags: MemfdFlags, backing: Backing) -> Result<Self, RegionError> {
        let fail = |step| move |cause| RegionError { len, step, cause };
        let whole = len.max(1).checked_next_multiple_of(HUGE_PAGE);
        let whole = whole.ok_or(fail("rounding up")(Errno::NOMEM))?;
        if backing == Backing::OrdinaryPages && available_memory().is_some_and(|most| whole > most)
        {
            // The kernel promises ordinary pages without counting, and ends a process when it cannot keep that.
            return Err(fail("looking for available memory")(Errno::NOMEM));
        }
        let flags = flags | MemfdFlags::ALLOW_SEALING;
        let fd = memfd_create("barewire", flags).map_err(fail("memfd_create"))?;
        ftruncate(&fd, whole as u64).map_err(fail("ftruncate"))?;
        // A peer that is given the file could else cut it short, and our next access would be a SIGBUS.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&fd, seals).map_err(fail("sealing"))?;
        let base = map_shared(&fd, whole).map_err(fail("mmap"))?;
        populate(base, whole, backing).map_err(|cause| {
            // SAFETY: the mapping was made above, whole, and nothing refers to it.
            let _ = unsafe { munmap(base.as_ptr().cast(), whole) };
            fail("populating")(cause)
        })?;
        let raw = fd.into_raw_fd();
        // SAFETY: the descriptor was owned by us and given up by `into_raw_fd`; nobody closes it any more.
        let fd = unsafe { BorrowedFd::borrow_raw(raw) };
        Ok(Self { base, len: whole, fd, backing })
    }

    /// First byte. The memory is valid for reads and writes until the process ends.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes; a multiple of [`HUGE_PAGE`].
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a region has at least one page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The memory file; open until the process ends. The region is all of it.
    pub fn fd(&self) -> BorrowedFd<'static> {
        self.fd
    }

    /// Where in the memory file the region begins, in bytes: at its start.
    pub fn offset(&self) -> u64 {
        0
    }

    /// What the pages are.
    pub fn backing(&self) -> Backing {
        self.backing
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

fn map_shared(fd: &OwnedFd, len: usize) -> Result<NonNull<u8>, Errno> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: no address is asked for, so no existing mapping is touched; the new one has no Rust object in
    // it. The file is sealed against shrinking, so the mapping stays backed.
    let base = unsafe { mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, fd, 0) }?;
    NonNull::new(base.cast()).ok_or(Errno::NOMEM)
}

/// Makes every page present, so that a lack of memory shows here as an error and not later as a SIGBUS.
fn populate(base: NonNull<u8>, len: usize, backing: Backing) -> Result<(), Errno> {
    let base = base.as_ptr().cast();
    if backing == Backing::OrdinaryPages {
        // SAFETY: the range is our fresh mapping; this advice changes no contents. Refusal (a kernel without
        // transparent huge pages) costs speed only.
        let _ = unsafe { madvise(base, len, Advice::LinuxHugepage) };
    }
    // SAFETY: the range is our fresh mapping, to which nothing refers; the advice writes no other value than
    // is there.
    unsafe { madvise(base, len, Advice::LinuxPopulateWrite) }
}

/// Bytes that can be used without swapping, where the kernel tells.
fn available_memory() -> Option<usize> {
    let table = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1024)
}

/// Says why huge pages are not used, and what would help. Once per process.
fn say_once(refused: RegionError) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let pages = refused.len.div_ceil(HUGE_PAGE);
        eprintln!(
            "barewire: no huge pages ({}: {}); using ordinary ones, which is slower. \
             To have them: sysctl vm.nr_hugepages={pages} (at least)",
            refused.step, refused.cause
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_zeroed_writable_and_shareable() {
        let region = Region::with_ordinary_pages(HUGE_PAGE + 1).unwrap();
        assert_eq!(region.len(), 2 * HUGE_PAGE);
        assert_eq!(region.base().addr().get() % 4096, 0);
        // SAFETY: both bytes lie in the region, which this test alone knows.
        unsafe {
            assert_eq!(region.base().add(region.len() - 1).read(), 0);
            region.base().add(7).write(42);
        }
        let mut copy = [0; 8];
        assert_eq!(rustix::io::pread(region.fd(), &mut copy, region.offset()), Ok(8));
        assert_eq!(copy, [0, 0, 0, 0, 0, 0, 0, 42], "the file shows what the mapping holds");
    }

    #[test]
    fn huge_pages_or_a_reason() {
        match Region::with_huge_pages(1) {
            Ok(region) => {
                assert_eq!((region.len(), region.backing()), (HUGE_PAGE, Backing::HugePages))
            }
            Err(error) => {
                println!("skipped: the half with huge pages: {error}");
                assert!(error.to_string().contains("1 bytes"), "{error}");
            }
        }
        assert!(Region::new(1).is_ok(), "the fall-back needs no huge pages");
    }

    #[test]
    fn a_peer_cannot_cut_the_file_short() {
        let region = Region::with_ordinary_pages(1).unwrap();
        assert_eq!(ftruncate(region.fd(), 0), Err(Errno::PERM));
        assert_eq!(ftruncate(region.fd(), 1 << 30), Err(Errno::PERM));
    }

    #[test]
    fn an_impossible_length_is_an_error() {
        for len in [usize::MAX, usize::MAX / 2, 1 << 46] {
            let error = Region::with_ordinary_pages(len).unwrap_err();
            assert!(error.to_string().contains("no shared memory of"), "{error}");
        }
    }
}
