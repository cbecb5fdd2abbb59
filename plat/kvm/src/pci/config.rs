//! Access to PCI configuration space: memory-mapped where ACPI says so, else through ports 0xCF8 and 0xCFC.
//!
//! Implements the trait of `virtio-drivers`, whose transport then finds a device's registers by itself. Only the first
//! 256 bytes of a function are reachable, which is all that trait can name.

use crate::{acpi::Ecam, cpu, paging};
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// How configuration space is reached.
#[derive(Debug)]
pub struct ConfigSpace(Way);

#[derive(Debug, Clone)]
enum Way {
    Ports,
    Memory(Ecam),
}

impl ConfigSpace {
    /// Chooses the mechanism: `ecam` if it can be mapped and shows a device, else the ports, else microvm's place,
    /// else nothing: a machine without PCI.
    pub(crate) fn find(ecam: Option<Ecam>) -> Option<Self> {
        if let Some(ecam) = ecam
            && paging::map_device(ecam.base, 256 << 20)
        {
            let first = *ecam.buses.start();
            let space = Self(Way::Memory(ecam));
            if (0..32)
                .any(|device| space.exists(DeviceFunction { bus: first, device, function: 0 }))
            {
                return Some(space);
            }
        }
        if has_ports() {
            return Some(Self(Way::Ports));
        }
        // qboot passes no ACPI on microvm; its configuration space is known by place and host bridge (1b36:0008).
        let microvm = Self(Way::Memory(Ecam { base: 0xe000_0000, buses: 0..=255 }));
        let bridge = DeviceFunction { bus: 0, device: 0, function: 0 };
        (microvm.read_word(bridge, 0) == 0x0008_1b36).then_some(microvm)
    }

    /// Whether a function answers.
    pub(crate) fn exists(&self, function: DeviceFunction) -> bool {
        !matches!(self.read_word(function, 0), 0 | 0xffff_ffff)
    }

    /// The range of memory that the configuration space takes, if any.
    pub(crate) fn memory(&self) -> Option<core::ops::Range<u64>> {
        match &self.0 {
            Way::Ports => None,
            Way::Memory(ecam) => Some(ecam.base..ecam.base + (256 << 20)),
        }
    }

    /// The number of the first bus.
    pub(crate) fn first_bus(&self) -> u8 {
        match &self.0 {
            Way::Ports => 0,
            Way::Memory(ecam) => *ecam.buses.start(),
        }
    }
}

/// Whether the ports of configuration mechanism 1 exist: the address register keeps what is written to it.
pub(crate) fn has_ports() -> bool {
    // SAFETY: writing the address register selects what the data register shows, and does nothing else.
    unsafe {
        cpu::out32(ADDRESS, ENABLE);
        cpu::in32(ADDRESS) == ENABLE
    }
}

/// The word to write to the address register.
fn port_address(function: DeviceFunction, register: u8) -> u32 {
    ENABLE
        | u32::from(function.bus) << 16
        | u32::from(function.device & 31) << 11
        | u32::from(function.function & 7) << 8
        | u32::from(register & 0xfc)
}

/// Where a register is mapped, for a bus that is.
fn mapped(ecam: &Ecam, function: DeviceFunction, register: u8) -> Option<*mut u32> {
    if !ecam.buses.contains(&function.bus) {
        return None;
    }
    let offset = u64::from(function.bus) << 20
        | u64::from(function.device & 31) << 15
        | u64::from(function.function & 7) << 12
        | u64::from(register & 0xfc);
    Some(core::ptr::with_exposed_provenance_mut(crate::to_usize(ecam.base + offset)))
}

// Not inlined: called from dozens of places that run once.
impl ConfigurationAccess for ConfigSpace {
    #[inline(never)]
    fn read_word(&self, function: DeviceFunction, register: u8) -> u32 {
        match &self.0 {
            // SAFETY: selects a register and reads it; configuration reads touch no memory.
            Way::Ports => unsafe {
                cpu::out32(ADDRESS, port_address(function, register));
                cpu::in32(DATA)
            },
            // SAFETY: `mapped` gives an aligned address within the configuration space, which `find` mapped.
            Way::Memory(ecam) => mapped(ecam, function, register)
                .map_or(u32::MAX, |register| unsafe { register.read_volatile() }),
        }
    }

    #[inline(never)]
    fn write_word(&mut self, function: DeviceFunction, register: u8, data: u32) {
        match &self.0 {
            // SAFETY: selects a register and writes it. What a BAR or a command register then makes the device do is
            // the business of `Pci`, the only one that owns a `ConfigSpace`.
            Way::Ports => unsafe {
                cpu::out32(ADDRESS, port_address(function, register));
                cpu::out32(DATA, data);
            },
            Way::Memory(ecam) => {
                if let Some(register) = mapped(ecam, function, register) {
                    // SAFETY: as for reading; and as for the ports.
                    unsafe { register.write_volatile(data) };
                }
            }
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: DeviceFunction = DeviceFunction { bus: 3, device: 31, function: 7 };

    #[test]
    fn port_addresses() {
        assert_eq!(port_address(FUNCTION, 0x3f), 0x8003_ff3c);
    }

    #[test]
    fn mapped_addresses_stay_within_the_buses() {
        let ecam = Ecam { base: 0xb000_0000, buses: 0..=3 };
        assert_eq!(mapped(&ecam, FUNCTION, 0x10).unwrap() as u64, 0xb03f_f010);
        let beyond = DeviceFunction { bus: 4, ..FUNCTION };
        assert_eq!(mapped(&ecam, beyond, 0x10), None);
    }
}
