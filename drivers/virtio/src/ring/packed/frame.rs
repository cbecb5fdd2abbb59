//! A frame over several buffers: scattered into a chain.

use netbuf::Netbuf;
use netdev::DropCause;

use super::chain::Chain;
use crate::raw;
use crate::ring::frame::HEADER;

/// Why a packet did not get into a chain.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unscattered {
    /// Both are lost: the chain breaks a rule.
    BadChain,
    /// The packet cannot be sent; the chain waits for the next.
    Unsendable(DropCause),
}

/// Writes [`HEADER`] and the packet's bytes over the buffers of a chain.
pub(super) fn scatter(chain: &mut Chain<'_>, packet: &Netbuf) -> Result<(), Unscattered> {
    let (mut to, mut left) = (core::ptr::null_mut::<u8>(), 0);
    for mut bytes in core::iter::once(&HEADER[..]).chain(packet.segments()) {
        while !bytes.is_empty() {
            if left == 0 {
                match chain.next() {
                    Ok(Some(piece)) => (to, left) = (piece.host.as_ptr(), piece.len),
                    Ok(None) => return Err(Unscattered::Unsendable(DropCause::Oversize)),
                    Err(_) => return Err(Unscattered::BadChain),
                }
            }
            let (now, later) = bytes.split_at(bytes.len().min(left));
            // SAFETY: the walk translated the buffer, of which `left >= now.len()` bytes remain; `bytes` is ours.
            unsafe {
                raw::copy(now.as_ptr(), to, now.len());
                to = to.add(now.len());
            }
            left -= now.len();
            bytes = later;
        }
    }
    Ok(())
}
