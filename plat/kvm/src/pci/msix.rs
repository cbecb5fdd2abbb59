//! MSI-X: a PCI function's interrupts as messages, without a line or an IOAPIC.
//!
//! One table entry is all that is used: whoever is woken polls every queue. The device's own part, naming that entry
//! for a queue (virtio 1.2, 4.1.5.1.2), is the driver's.

use super::Pci;
use crate::{paging, sleep::WakeError};
use virtio_drivers::transport::pci::bus::{BarInfo, Command, ConfigurationAccess, DeviceFunction};

const CAPABILITY: u8 = 0x11;
/// More capabilities than fit into configuration space: a list that runs in circles ends.
const MOST_CAPABILITIES: usize = 48;
/// In the word that the capability begins with.
const ENABLE: u32 = 1 << 31;
const FUNCTION_MASK: u32 = 1 << 30;
const ENTRY_SIZE: u64 = 16;
/// The local APIC of CPU 0, as an address to write to; the CPU's number goes to bit 12 and up.
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;

impl Pci {
    /// Makes entry 0 of the function's MSI-X table interrupt CPU `cpu` with `vector`, and switches MSI-X on.
    pub(crate) fn route_msix(
        &mut self,
        function: DeviceFunction,
        vector: u8,
        cpu: u8,
    ) -> Result<(), WakeError> {
        let (_, command) = self.root.get_status_command(function);
        if !command.contains(Command::MEMORY_SPACE | Command::BUS_MASTER) {
            return Err(WakeError::NotEnabled);
        }
        let mut capabilities = self.root.capabilities(function).take(MOST_CAPABILITIES);
        let capability = capabilities.find(|capability| capability.id == CAPABILITY);
        let at = capability.ok_or(WakeError::NoMsix)?.offset;
        let entry = self.first_entry(function, at).ok_or(WakeError::MsixTable)?;

        let control = self.space.read_word(function, at);
        self.space.write_word(function, at, control | ENABLE | FUNCTION_MASK);
        let words = [MESSAGE_ADDRESS | u32::from(cpu) << 12, 0, vector.into(), 0];
        for (index, word) in words.into_iter().enumerate() {
            // SAFETY: `first_entry` found four words of registers here, mapped and aligned. The message that they
            // describe goes to the local APIC, and what it raises there meets a gate.
            unsafe { entry.add(index).write_volatile(word) };
        }
        self.space.write_word(function, at, (control | ENABLE) & !FUNCTION_MASK);
        Ok(())
    }

    /// Entry 0 of the table that the capability at `at` describes.
    fn first_entry(&mut self, function: DeviceFunction, at: u8) -> Option<*mut u32> {
        let word = self.space.read_word(function, at.checked_add(4)?);
        let (bar, offset) = table(word)?;
        let info = self.root.bar_info(function, bar).ok()??;
        let BarInfo::Memory { address, size, .. } = info else { return None };
        let inside = offset + ENTRY_SIZE <= size;
        let usable =
            address != 0 && self.is_free(address, size) && paging::map_device(address, size);
        let entry = crate::to_usize(address.checked_add(offset)?);
        (inside && usable).then(|| core::ptr::with_exposed_provenance_mut(entry))
    }
}

/// The table's BAR and offset, aligned to 8.
fn table(word: u32) -> Option<(u8, u64)> {
    let bar = u8::try_from(word & 7).ok().filter(|bar| *bar < 6)?;
    Some((bar, u64::from(word & !7)))
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn tables_lie_in_one_of_six_bars() {
        assert_eq!(table(0x1001), Some((1, 0x1000)));
        assert_eq!(table(0xffff_fffd), Some((5, 0xffff_fff8)));
        assert_eq!(table(6), None);
        assert_eq!(table(7), None);
    }
}
