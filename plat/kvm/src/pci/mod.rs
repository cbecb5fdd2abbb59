//! The PCI bus: which functions there are, and making one usable.
//!
//! Enumeration changes nothing. A function is touched only when `enable` names it: then its memory BARs get addresses
//! where the firmware gave none, and memory decoding and bus mastering are switched on. I/O BARs are left as they are
//! (modern virtio uses none). Behind a bridge the firmware's assignment is used and never extended.

mod config;
mod msix;
mod window;

pub use config::ConfigSpace;
pub(crate) use config::has_ports;

use crate::{acpi::Ecam, memory_map::MemoryMap, paging};
use core::fmt;
use virtio_drivers::transport::pci::bus::{
    BarInfo, Command, ConfigurationAccess, DeviceFunction, DeviceFunctionInfo, HeaderType,
    MemoryBarType, PciRoot,
};
use window::Window;

/// Below: RAM (QEMU keeps it under 3.5 GiB). Above: IOAPIC, local APIC, microvm's slots and firmware.
const WINDOW: core::ops::Range<u64> = 0xc000_0000..0xfe00_0000;

/// The PCI bus of the machine.
#[derive(Debug)]
pub struct Pci {
    space: ConfigSpace,
    root: PciRoot<ConfigSpace>,
    window: Window,
    map: MemoryMap,
}

/// Why a function cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnableError {
    /// A BAR is of no known type.
    InvalidBar(u8),
    /// There is no room for a BAR of this size.
    NoRoom {
        /// Which BAR.
        bar: u8,
        /// Its size in bytes.
        size: u64,
    },
    /// The function is behind a bridge, and the firmware gave this BAR no address.
    BehindBridge(u8),
    /// A BAR lies where the page tables do not reach, or in memory that is RAM or configuration space.
    Unusable {
        /// Which BAR.
        bar: u8,
        /// Its address.
        address: u64,
    },
}

impl fmt::Display for EnableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::InvalidBar(bar) => write!(f, "BAR {bar} has an invalid type"),
            Self::NoRoom { bar, size } => {
                write!(f, "no addresses left for BAR {bar} of {size:#x} bytes")
            }
            Self::BehindBridge(bar) => {
                write!(
                    f,
                    "BAR {bar} is unassigned and behind a bridge: use firmware that assigns it"
                )
            }
            Self::Unusable { bar, address } => write!(f, "BAR {bar} at {address:#x} is unusable"),
        }
    }
}

impl core::error::Error for EnableError {}

/// The functions of a bus, in order; see [`Pci::functions`].
#[derive(Debug)]
pub struct Functions<'a> {
    pci: &'a Pci,
    /// Where to look next.
    next: Option<DeviceFunction>,
    /// The last bus behind the bridges seen so far. Bridges come before the buses behind them, because firmware numbers
    /// buses upwards.
    last: u8,
}

impl Iterator for Functions<'_> {
    type Item = (DeviceFunction, DeviceFunctionInfo);

    // Not inlined: it runs once, from several places.
    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        while let Some(at) = self.next.filter(|at| at.bus <= self.last) {
            let space = &self.pci.space;
            let found = space.exists(at);
            let several = at.function > 0 || found && space.read_word(at, 0x0c) & 1 << 23 != 0;
            self.next = after(at, several);
            if found {
                let info = self.pci.identify(at);
                if info.header_type == HeaderType::PciPciBridge {
                    let [_, _, subordinate, _] = space.read_word(at, 0x18).to_le_bytes();
                    self.last = self.last.max(subordinate);
                }
                return Some((at, info));
            }
        }
        None
    }
}

/// The function after `at`: of the same device only if it has `several`.
fn after(at: DeviceFunction, several: bool) -> Option<DeviceFunction> {
    let DeviceFunction { bus, device, function } = at;
    if several && function < 7 {
        Some(DeviceFunction { function: function + 1, ..at })
    } else if device < 31 {
        Some(DeviceFunction { bus, device: device + 1, function: 0 })
    } else {
        bus.checked_add(1).map(|bus| DeviceFunction { bus, device: 0, function: 0 })
    }
}

impl Pci {
    /// Finds the bus and notes what addresses are taken; None on a machine without PCI.
    pub(crate) fn find(ecam: Option<Ecam>, map: &MemoryMap) -> Option<Self> {
        let space = ConfigSpace::find(ecam)?;
        // SAFETY: two handles to the same registers; `space` is used to read identification words only, and there is
        // one core, so that no access of one comes between address and data of the other.
        let root = PciRoot::new(unsafe { space.unsafe_clone() });
        let mut window = Window::new(WINDOW);
        for range in map.named().chain(space.memory()) {
            window.exclude(range);
        }
        let mut pci = Self { space, root, window, map: *map };
        if let Some(ecam) = pci.q35_ecam() {
            pci.window.exclude(ecam);
        }
        pci.note_assigned();
        Some(pci)
    }

    /// All functions on the first bus and on the buses that firmware set up behind bridges.
    pub fn functions(&self) -> Functions<'_> {
        let first = self.space.first_bus();
        Functions {
            pci: self,
            next: Some(DeviceFunction { bus: first, device: 0, function: 0 }),
            last: first,
        }
    }

    fn identify(&self, at: DeviceFunction) -> DeviceFunctionInfo {
        let [v0, v1, d0, d1] = self.space.read_word(at, 0).to_le_bytes();
        let [revision, prog_if, subclass, class] = self.space.read_word(at, 8).to_le_bytes();
        let header = self.space.read_word(at, 0x0c).to_le_bytes()[2];
        DeviceFunctionInfo {
            vendor_id: u16::from_le_bytes([v0, v1]),
            device_id: u16::from_le_bytes([d0, d1]),
            class,
            subclass,
            prog_if,
            revision,
            header_type: HeaderType::from(header & 0x7f),
        }
    }

    /// Makes a function usable: memory BARs assigned and mapped, memory decoding and bus mastering on.
    ///
    /// # Errors
    ///
    /// A BAR that cannot be placed or reached; the command register is then left as it was.
    pub fn enable(&mut self, function: DeviceFunction) -> Result<(), EnableError> {
        let mut bar = 0;
        while bar < 6 {
            let info = self.root.bar_info(function, bar);
            let info = info.map_err(|_| EnableError::InvalidBar(bar))?;
            let Some(info) = info else {
                bar += 1;
                continue;
            };
            if let BarInfo::Memory { address_type, address, size, .. } = info {
                self.place(function, bar, address_type, address, size)?;
            }
            bar += if info.takes_two_entries() { 2 } else { 1 };
        }
        let (_, command) = self.root.get_status_command(function);
        let command = command | Command::MEMORY_SPACE | Command::BUS_MASTER;
        self.root.set_command(function, command | Command::INTERRUPT_DISABLE);
        Ok(())
    }

    fn place(
        &mut self,
        function: DeviceFunction,
        bar: u8,
        kind: MemoryBarType,
        address: u64,
        size: u64,
    ) -> Result<(), EnableError> {
        let mut address = address;
        if address == 0 {
            if function.bus != self.space.first_bus() {
                return Err(EnableError::BehindBridge(bar));
            }
            address = self.window.take(size).ok_or(EnableError::NoRoom { bar, size })?;
            let [low, high] = [address & 0xffff_ffff, address >> 32];
            match (kind, u32::try_from(low), high) {
                (MemoryBarType::Width64, ..) => self.root.set_bar_64(function, bar, address),
                (MemoryBarType::Width32, Ok(low), 0) => self.root.set_bar_32(function, bar, low),
                _ => return Err(EnableError::InvalidBar(bar)),
            }
        }
        if self.is_free(address, size) && paging::map_device(address, size) {
            Ok(())
        } else {
            Err(EnableError::Unusable { bar, address })
        }
    }

    /// Whether a BAR's addresses are neither RAM nor configuration space.
    fn is_free(&self, address: u64, size: u64) -> bool {
        let range = address..address.saturating_add(size);
        let overlaps =
            |other: core::ops::Range<u64>| range.start < other.end && other.start < range.end;
        !self.map.has_ram(&range) && !self.space.memory().is_some_and(overlaps)
    }

    /// Where configuration space is mapped; None if it is reached through ports.
    #[must_use]
    pub fn mapped_at(&self) -> Option<u64> {
        self.space.memory().map(|range| range.start)
    }

    /// The configuration space, for a transport that checks what it reads there.
    pub fn config_space(&mut self) -> &mut ConfigSpace {
        &mut self.space
    }

    /// What virtio-drivers builds a transport from: `PciTransport::new::<MachineHal, _>(pci.root(), function)`.
    pub fn root(&mut self) -> &mut PciRoot<ConfigSpace> {
        &mut self.root
    }

    /// Marks the addresses that firmware gave to functions as taken.
    fn note_assigned(&mut self) {
        let mut assigned = [None; 64];
        let functions =
            self.functions().filter(|(_, info)| info.header_type == HeaderType::Standard);
        for (slot, (function, _)) in assigned.iter_mut().zip(functions) {
            *slot = Some(function);
        }
        for function in assigned.into_iter().flatten() {
            let mut bar = 0;
            while bar < 6 {
                let word = self.space.read_word(function, 0x10 + 4 * bar);
                let wide = word & 0b111 == 0b100;
                // Sizing a BAR rewrites it, which is slow: only those that have an address are asked.
                if word & 1 == 0
                    && word & !0xf != 0
                    && let Ok(Some(BarInfo::Memory { address, size, .. })) =
                        self.root.bar_info(function, bar)
                {
                    self.window.exclude(address..address.saturating_add(size));
                }
                bar += if wide { 2 } else { 1 };
            }
        }
        self.note_bridges();
    }

    /// Marks the memory windows of bridges as taken: what lies there is theirs to forward.
    fn note_bridges(&mut self) {
        let mut ranges = [(0, 0); 32];
        let bridges =
            self.functions().filter(|(_, info)| info.header_type == HeaderType::PciPciBridge);
        for (slot, (function, _)) in ranges.iter_mut().zip(bridges) {
            let word = u64::from(self.space.read_word(function, 0x20));
            *slot = ((word & 0xfff0) << 16, (word & 0xfff0_0000) | 0xf_ffff);
        }
        for (start, last) in ranges {
            if start != 0 && start < last {
                self.window.exclude(start..last + 1);
            }
        }
    }

    /// Where the host bridge of q35 decodes configuration space, whether or not ACPI tells of it.
    fn q35_ecam(&self) -> Option<core::ops::Range<u64>> {
        const Q35_HOST_BRIDGE: u32 = 0x29c0_8086;
        let bridge = DeviceFunction { bus: 0, device: 0, function: 0 };
        if self.space.read_word(bridge, 0) != Q35_HOST_BRIDGE {
            return None;
        }
        let low = u64::from(self.space.read_word(bridge, 0x60));
        let high = u64::from(self.space.read_word(bridge, 0x64));
        let base = (high << 32 | low) & 0xf_fc00_0000;
        (low & 1 != 0).then_some(base..base + (256 << 20))
    }
}
