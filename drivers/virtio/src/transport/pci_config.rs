//! What a PCI device says about where its registers are (virtio 1.2, 4.1.4), checked before it is believed.
//!
//! The device's configuration space is read once, with bounds: its capability list may be a loop, name BARs that do not
//! exist, and places outside them.
#![forbid(unsafe_code)]

use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};
use virtio_drivers::transport::pci::{
    VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_CAP_ISR_CFG,
    VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_VENDOR_ID, virtio_device_type,
};

use super::TransportError;

/// Byte offsets in the configuration space.
const COMMAND_STATUS: u8 = 0x04;
const BAR0: u8 = 0x10;
const CAPABILITIES: u8 = 0x34;

/// Bits of the command and status word.
const DECODE: u32 = 0b11;
const HAS_CAPABILITIES: u32 = 1 << 20;

/// The vendor-specific capability.
const VENDOR_CAPABILITY: u8 = 9;
/// The most capabilities of 4 bytes that fit between 0x40 and 0x100: a longer list is a loop.
const MOST_CAPABILITIES: usize = 48;
/// Bytes of `virtio_pci_common_cfg` (virtio 1.2, 4.1.4.3).
pub(super) const COMMON_BYTES: u32 = 56;

/// A stretch of device addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub address: u64,
    /// Bytes.
    pub len: u64,
}

/// Where the registers of one device are: every stretch lies inside a memory BAR that has an address.
#[derive(Clone, Debug)]
pub struct PciRegions {
    pub(super) function: DeviceFunction,
    pub(super) device_type: DeviceType,
    pub(super) common: Span,
    pub(super) notify: Span,
    pub(super) notify_multiplier: u32,
    /// The device's own configuration, if it has one.
    pub(super) device: Option<Span>,
    bars: [Option<Span>; 6],
}

/// One virtio structure, as its capability states it.
#[derive(Clone, Copy)]
struct Capability {
    bar: u8,
    offset: u32,
    length: u32,
    multiplier: u32,
}

impl PciRegions {
    /// Reads where the registers of the device at `function` are. Its BARs must have been assigned; their
    /// sizes are probed, for which the device is deaf meanwhile.
    ///
    /// # Errors
    /// [`TransportError::Absent`] where no device answers, and what else is wrong.
    pub fn read<C: ConfigurationAccess>(
        access: &mut C,
        function: DeviceFunction,
    ) -> Result<Self, TransportError> {
        if !function.valid() {
            return Err(TransportError::Absent);
        }
        let id = access.read_word(function, 0);
        let device_type = identify(id)?;
        let [common, notify, isr, device] = capabilities(access, function)?;
        let (Some(common), Some(notify), Some(isr)) = (common, notify, isr) else {
            return Err(TransportError::Malformed(
                "a modern device has the common, notify and isr capabilities (a legacy one has not)",
            ));
        };
        let registers = Registers::probe(access, function);
        let mut bars = [None; 6];
        let mut span = |capability: Capability, least: u32| {
            let bar = registers.memory(capability.bar)?;
            bars[usize::from(capability.bar)] = Some(bar);
            inside(bar, capability, least)
        };
        let (common_span, notify_span) = (span(common, COMMON_BYTES)?, span(notify, 2)?);
        span(isr, 1)?;
        let device = device.map(|device| span(device, 0)).transpose()?;
        if !notify.multiplier.is_multiple_of(2) {
            return Err(TransportError::Malformed("notify_off_multiplier is odd"));
        }
        Ok(Self {
            function,
            device_type,
            common: common_span,
            notify: notify_span,
            notify_multiplier: notify.multiplier,
            device,
            bars,
        })
    }

    /// What kind of device it is.
    pub fn device_type(&self) -> DeviceType {
        self.device_type
    }

    /// The BARs that hold registers: what a platform maps before the device is used.
    pub fn bars(&self) -> impl Iterator<Item = Span> {
        self.bars.iter().flatten().copied()
    }
}

/// The kind of device that the first word of a configuration space names.
fn identify(id: u32) -> Result<DeviceType, TransportError> {
    let [low, high, device_low, device_high] = id.to_le_bytes();
    let (vendor, device) =
        (u16::from_le_bytes([low, high]), u16::from_le_bytes([device_low, device_high]));
    if vendor == 0xffff {
        return Err(TransportError::Absent);
    }
    if vendor != VIRTIO_VENDOR_ID {
        return Err(TransportError::NotVirtio { found: id });
    }
    use virtio_drivers::transport::pci::bus::{DeviceFunctionInfo, HeaderType};
    let info = DeviceFunctionInfo {
        vendor_id: vendor,
        device_id: device,
        class: 0,
        subclass: 0,
        prog_if: 0,
        revision: 0,
        header_type: HeaderType::Standard,
    };
    virtio_device_type(&info).ok_or(TransportError::UnknownDevice(device.into()))
}

/// The first common, notify, isr and device capability, in this order. Ones that are too short to be read are
/// passed over (virtio 1.2, 4.1.4.1).
fn capabilities<C: ConfigurationAccess>(
    access: &C,
    function: DeviceFunction,
) -> Result<[Option<Capability>; 4], TransportError> {
    let mut found = [None; 4];
    if access.read_word(function, COMMAND_STATUS) & HAS_CAPABILITIES == 0 {
        return Ok(found);
    }
    let [first, ..] = access.read_word(function, CAPABILITIES).to_le_bytes();
    let mut at = first & !3;
    for _ in 0..MOST_CAPABILITIES {
        if at == 0 {
            return Ok(found);
        }
        if at < 0x40 {
            return Err(TransportError::Malformed("the capability list leads into the header"));
        }
        let [id, next, len, kind] = access.read_word(function, at).to_le_bytes();
        let place = match kind {
            VIRTIO_PCI_CAP_COMMON_CFG => Some((0, 16)),
            VIRTIO_PCI_CAP_NOTIFY_CFG => Some((1, 20)),
            VIRTIO_PCI_CAP_ISR_CFG => Some((2, 16)),
            VIRTIO_PCI_CAP_DEVICE_CFG => Some((3, 16)),
            _ => None,
        };
        if let Some((place, least)) = place.filter(|&(_, least)| {
            id == VENDOR_CAPABILITY && len >= least && u16::from(at) + u16::from(least) <= 0x100
        }) && found[place].is_none()
        {
            let word = |offset| access.read_word(function, at + offset);
            let [bar, ..] = word(4).to_le_bytes();
            let multiplier = if least == 20 { word(16) } else { 0 };
            found[place] = Some(Capability { bar, offset: word(8), length: word(12), multiplier });
        }
        at = next & !3;
    }
    Err(TransportError::Malformed("the capability list is a loop"))
}

/// The stretch that a capability names in its BAR.
fn inside(bar: Span, capability: Capability, least: u32) -> Result<Span, TransportError> {
    let (offset, len) = (u64::from(capability.offset), u64::from(capability.length));
    if offset + len > bar.len {
        return Err(TransportError::Malformed("a capability reaches beyond its BAR"));
    }
    if capability.length < least {
        return Err(TransportError::Malformed("a capability is too short for its structure"));
    }
    Ok(Span { address: bar.address + offset, len })
}

/// The six BAR registers: what they hold, and what they read back when all ones are written.
#[derive(Clone, Copy, Debug)]
struct Registers {
    values: [u32; 6],
    masks: [u32; 6],
}

impl Registers {
    fn probe<C: ConfigurationAccess>(access: &mut C, function: DeviceFunction) -> Self {
        // (The status bits in the upper half are cleared by ones: write zeros there.)
        let command = access.read_word(function, COMMAND_STATUS) & 0xffff;
        access.write_word(function, COMMAND_STATUS, command & !DECODE);
        let mut registers = Self { values: [0; 6], masks: [0; 6] };
        for (register, (value, mask)) in
            (BAR0..).step_by(4).zip(registers.values.iter_mut().zip(&mut registers.masks))
        {
            *value = access.read_word(function, register);
            access.write_word(function, register, u32::MAX);
            *mask = access.read_word(function, register);
            access.write_word(function, register, *value);
        }
        access.write_word(function, COMMAND_STATUS, command);
        registers
    }

    /// The memory behind BAR `number`.
    fn memory(&self, number: u8) -> Result<Span, TransportError> {
        let malformed = |what| Err(TransportError::Malformed(what));
        let at = usize::from(number);
        let (Some(&value), Some(&mask)) = (self.values.get(at), self.masks.get(at)) else {
            return malformed("a capability names a BAR that does not exist");
        };
        let (high, high_mask) = match value & 0b111 {
            0b000 => (0, u32::MAX),
            0b100 => match (self.values.get(at + 1), self.masks.get(at + 1)) {
                (Some(&high), Some(&high_mask)) => (high, high_mask),
                _ => return malformed("the last BAR claims to have a second half"),
            },
            _ => return malformed("a capability names a BAR that is not memory"),
        };
        let join = |low: u32, high: u32| u64::from(low & !0xf) | u64::from(high) << 32;
        let (address, len) = (join(value, high), (!join(mask, high_mask)).wrapping_add(1));
        if len == 0 || mask == 0 {
            return malformed("a capability names a BAR that is not there");
        }
        if address == 0 {
            return malformed("a BAR that is needed has no address");
        }
        if address.checked_add(len).is_none_or(|end| usize::try_from(end).is_err()) {
            return malformed("a BAR reaches beyond the address space");
        }
        Ok(Span { address, len })
    }
}
