//! How much packet memory a run takes, and its pools.

use barewire::ports::PortMemory;
use netbuf::{DeviceMemory, Pool, PoolConfig};
use plat_linux::Region;

use crate::{Error, Options, worker};

/// Bytes of packet memory beyond which large frames get fewer buffers.
const PLENTY: usize = 128 << 20;
/// The fewest buffers: two receive rings and two transmit rings of 256, and as many in between.
const FEWEST: usize = 2048;
/// Bytes of a buffer in front of the frame.
const HEADROOM: u16 = 128;
/// Bytes of a buffer for the frame, at least.
const ROOM: u16 = 2048;

/// What the pool for `options` looks like.
pub(crate) fn pool_config(options: &Options) -> PoolConfig {
    let largest = u16::try_from(worker::largest_frame(options)).unwrap_or(u16::MAX);
    let room = largest.clamp(ROOM, u16::MAX - HEADROOM - 1);
    let one = PoolConfig { buffers: 1, headroom: HEADROOM, room };
    let affordable = (PLENTY / one.device_bytes()).max(FEWEST);
    PoolConfig { buffers: options.buffers.clamp(FEWEST, affordable), ..one }
}

/// Memory for `pools` pools and `rings` bytes of rings, which peers can map.
pub(crate) fn share(config: PoolConfig, pools: usize, rings: usize) -> Result<PortMemory, Error> {
    let region = Region::new(config.device_bytes() * pools + rings);
    region.map(PortMemory::new).map_err(|error| Error::Memory(error.to_string()))
}

/// The pool, in what the rings have left of `memory`.
pub(crate) fn pool(memory: &mut PortMemory, config: PoolConfig) -> Result<Pool, Error> {
    let fail = |error: &dyn std::fmt::Display| Error::Memory(error.to_string());
    let memory = memory.take(config.device_bytes()).map_err(|error| fail(&error))?;
    Pool::new(memory, config).map_err(|error| fail(&error))
}

/// What `pools` pools are made of, for threads to make each its own.
pub(crate) fn pieces(
    memory: &mut PortMemory,
    config: PoolConfig,
    pools: usize,
) -> Result<(Vec<DeviceMemory>, PoolConfig), Error> {
    let pieces = (0..pools).map(|_| memory.take(config.device_bytes()));
    let pieces = pieces.collect::<Result<_, _>>();
    pieces.map(|pieces| (pieces, config)).map_err(|error| Error::Memory(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FrameSize;

    #[test]
    fn buffers_fit_the_frame_and_the_memory_stays_bounded() {
        for size in [60, 2048, 2049, 9000, 65_280] {
            let size = FrameSize::new(size).unwrap();
            let config = pool_config(&Options { size, ..Options::default() });
            assert!(config.room >= size.bytes() && config.buffers >= FEWEST);
            assert!(config.device_bytes() <= PLENTY + 16 * (1 << 20), "{config:?}");
        }
        let many = pool_config(&Options { buffers: usize::MAX, ..Options::default() });
        assert!(many.device_bytes() <= PLENTY, "{many:?}");
    }
}
