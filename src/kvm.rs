//! The machine as a unikernel image: devices from the buses, parameters from the kernel command line.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;

use eventloop::{EventLoop, Sleeper};
use netbuf::DeviceMemory;
use netdev::{Device, WakeSource};
use plat_kvm::{ExitCode, MmioSlot, Pci};
use virtio::net::{RingMemory, VirtioNet};
use virtio::transport::{BusDevice, DeviceType, MmioDevice, PciDevice, PciRegions};
use virtio_drivers::transport::pci::bus::DeviceFunction;

use crate::Error;
use crate::machine::Machine;
use crate::params::{IdlePolicy, Params};

/// What the monitor passes besides parameters of the function.
const PLATFORM_KEY: &str = "virtio_mmio.device";

/// What the bare machine gives besides ports.
pub(crate) struct Platform {
    machine: plat_kvm::Machine,
    /// There if the loop is to sleep, until the loop has it.
    sleeper: Option<plat_kvm::Sleeper>,
}

impl Platform {
    pub(crate) fn memory_left(&self) -> usize {
        plat_kvm::device_memory_largest()
    }

    pub(crate) fn device_memory(&mut self, bytes: usize) -> Result<DeviceMemory, Error> {
        device_memory(bytes)
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock(self.machine.clock())
    }

    /// Halts the core until an interrupt, of a device or of the timer. Without a timer it does not sleep.
    pub(crate) fn sleeper(&mut self) -> Box<dyn Sleeper> {
        let mut sleeper = self.sleeper.take();
        Box::new(move |until: Option<u64>, _: &[WakeSource]| match &mut sleeper {
            Some(sleeper) => _ = sleeper.sleep(until),
            None => plat_kvm::idle(),
        })
    }

    /// Nothing: an image runs until its machine is switched off.
    pub(crate) fn prepare<'a>(&'a self, _event_loop: &mut EventLoop<'a, Clock>) {}

    /// How long the image took from its first instruction to here.
    pub(crate) fn uptime(&self) -> impl fmt::Display {
        let cycles = plat_kvm::timestamp() - self.machine.entry_cycles();
        Uptime(self.machine.clock().nanoseconds(cycles) / 1000)
    }
}

/// Microseconds since the first instruction.
struct Uptime(u64);

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", {}.{:03} ms after entry", self.0 / 1000, self.0 % 1000)
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock(plat_kvm::Clock);

impl eventloop::Clock for Clock {
    #[inline]
    fn now(&self) -> u64 {
        self.0.now_cycles()
    }

    fn hz(&self) -> u64 {
        self.0.hz()
    }
}

/// Runs a network function and says how the machine is to end.
pub fn run(machine: plat_kvm::Machine, function: fn(Machine) -> Result<(), Error>) -> ExitCode {
    match open(machine).and_then(function) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            plat_kvm::println!("barewire: error: {error}");
            if error.is_usage() { ExitCode::USAGE } else { ExitCode::FAILURE }
        }
    }
}

fn open(mut machine: plat_kvm::Machine) -> Result<Machine, Error> {
    let words = machine.command_line().split_ascii_whitespace();
    let own: Vec<&str> = words.filter(|word| !word.starts_with(PLATFORM_KEY)).collect();
    let params = Params::from_line(own.join(" ").as_bytes())?;
    let idle = params.get("idle")?.unwrap_or_default();
    let mut sleeper = match idle {
        IdlePolicy::Sleep => Some(machine.sleeper().map_err(|error| {
            Error::Machine(alloc::format!("idle=sleep is not possible: {error}"))
        })?),
        IdlePolicy::Spin | IdlePolicy::Pause => None,
    };
    let mut devices = Vec::new();
    find_mmio(&machine, sleeper.as_mut(), &mut devices)?;
    if let Some(pci) = machine.pci() {
        find_pci(pci, sleeper.as_mut(), &mut devices)?;
    }
    Ok(Machine { params, devices, pool: None, idle, platform: Platform { machine, sleeper } })
}

/// The network devices of the PCI bus, in the bus's order.
fn find_pci(
    pci: &mut Pci,
    mut sleeper: Option<&mut plat_kvm::Sleeper>,
    devices: &mut Vec<Box<dyn Device>>,
) -> Result<(), Error> {
    let virtio = |info: &virtio_drivers::transport::pci::bus::DeviceFunctionInfo| {
        virtio_drivers::transport::pci::virtio_device_type(info) == Some(DeviceType::Network)
    };
    let functions: Vec<DeviceFunction> =
        pci.functions().filter(|(_, info)| virtio(info)).map(|(function, _)| function).collect();
    for function in functions {
        let failed = |what: &dyn core::fmt::Display| {
            Err(Error::Open {
                port: devices.len(),
                reason: alloc::format!("PCI {function}: {what}"),
            })
        };
        if let Err(error) = pci.enable(function) {
            return failed(&error);
        }
        let access = pci.config_space();
        let opened = PciRegions::read(access, function).and_then(|regions| {
            // SAFETY: `enable` has placed and mapped the function's BARs for good, at their own addresses and
            // uncached; each function is opened once, here.
            unsafe { PciDevice::new(access, &regions) }
        });
        match opened {
            Ok(mut transport) => {
                // (Without an MSI-X table, as over vhost-user with vectors=0, naps bound the sleep.)
                let sleeper = sleeper.as_deref_mut();
                if let Some(Ok(vector)) = sleeper.map(|s| s.wake_on_pci(pci, function)) {
                    transport.wake_by(plat_kvm::Sleeper::MSIX_ENTRY, vector);
                }
                devices.push(network(transport.into(), devices.len())?);
            }
            Err(error) => return failed(&error),
        }
    }
    Ok(())
}

/// The network devices among the virtio-mmio slots, in the order of their slots.
fn find_mmio(
    machine: &plat_kvm::Machine,
    mut sleeper: Option<&mut plat_kvm::Sleeper>,
    devices: &mut Vec<Box<dyn Device>>,
) -> Result<(), Error> {
    for slot in machine.mmio_slots() {
        let slot = slot.map_err(|error| Error::Usage(error.to_string()))?;
        if slot.device_id == DeviceType::Network as u32 {
            let mut transport = open_mmio(slot, devices.len())?;
            let sleeper = sleeper.as_deref_mut();
            if let Some(Ok(vector)) = sleeper.map(|s| s.wake_on_mmio(&slot)) {
                transport.wake_by(vector);
            }
            devices.push(network(transport.into(), devices.len())?);
        }
    }
    Ok(())
}

fn open_mmio(slot: MmioSlot, port: usize) -> Result<MmioDevice, Error> {
    // SAFETY: the platform has probed and mapped the slot's registers, which are no RAM, for good; each slot is
    // opened once, here.
    unsafe { MmioDevice::new(slot.registers, slot.size) }.map_err(|error| Error::Open {
        port,
        reason: alloc::format!("virtio-mmio at {:p}: {error}", slot.registers),
    })
}

fn network(transport: BusDevice, port: usize) -> Result<Box<dyn Device>, Error> {
    let memory = RingMemory::from_source(|bytes| device_memory(bytes).ok());
    match VirtioNet::new(transport, memory) {
        Ok(device) => Ok(Box::new(device)),
        Err(error) => Err(Error::Open { port, reason: error.reason.to_string() }),
    }
}

/// Takes device memory of the machine for good.
fn device_memory(bytes: usize) -> Result<DeviceMemory, Error> {
    let Some(region) = plat_kvm::take_device_memory(bytes, 4096) else {
        return Err(Error::Machine(alloc::format!(
            "{bytes} bytes of device memory are needed, {} are left in one piece; give the machine more memory",
            plat_kvm::device_memory_largest()
        )));
    };
    let base: NonNull<u8> = region.cast();
    // SAFETY: zeroed, page aligned, identity mapped and given to us for good.
    Ok(unsafe { DeviceMemory::from_raw(base, region.len()) })
}
