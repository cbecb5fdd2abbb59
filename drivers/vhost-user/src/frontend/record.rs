//! What outlives a back end: the file in which it records what is in flight, and where its rings stand.
//!
//! The file is the back end's, and is never mapped or read here: it is kept, and handed to the next one.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::channel::Message;
use crate::inflight::InflightDescription;
use crate::message::MemRegion;

/// The answer to `GET_INFLIGHT_FD`.
pub(super) struct Record {
    pub(super) description: InflightDescription,
    pub(super) file: OwnedFd,
}

impl Record {
    /// Takes an answer: `Some(None)` says that there is no record, and `None` that it makes no sense.
    pub(super) fn parse(mut message: Message, asked: InflightDescription) -> Option<Option<Self>> {
        let description = InflightDescription::parse(&message.payload)?;
        match (description.mmap_size, message.fds.len()) {
            (0, 0) => Some(None),
            (1.., 1)
                if InflightDescription { mmap_size: 0, mmap_offset: 0, ..description } == asked =>
            {
                Some(message.fds.pop().map(|file| Self { description, file }))
            }
            _ => None,
        }
    }
}

/// The used index of the split ring whose used ring stands at `address`; 0 where that is not in our memory.
pub(super) fn used_index(memory: &[(MemRegion, BorrowedFd<'static>)], address: u64) -> u16 {
    let inside = memory.iter().any(|(region, _)| {
        let offset = address.checked_sub(region.user_address);
        offset.is_some_and(|offset| region.size >= 4 && offset <= region.size - 4)
    });
    let Ok(place) = usize::try_from(address) else { return 0 };
    if !inside || !place.is_multiple_of(4) {
        return 0;
    }
    let flags = std::ptr::with_exposed_provenance_mut::<u16>(place);
    // SAFETY: four bytes of a region of `memory`, whose address was exposed, and which its owner keeps mapped as long as
    // the device; aligned; both sides of a ring access the word atomically.
    unsafe { AtomicU16::from_ptr(flags.add(1)) }.load(Ordering::Acquire)
}
