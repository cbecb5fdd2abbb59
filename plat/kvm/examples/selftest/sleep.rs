//! The self-test image's sleeps: for a time, and until a device (an entropy source) interrupts.
//!
//! Nothing here fails because a sleep was long: the host may be busy.

use alloc::{boxed::Box, vec, vec::Vec};
use plat_kvm::{ExitCode, Machine, MachineHal, Pci, Sleeper, Wake, println};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};
use virtio_drivers::transport::pci::{PciTransport, virtio_device_type};
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};

const SLEEPS: usize = 100;
const WAKES: usize = 20;
const MILLISECOND: u64 = 1_000_000;
/// virtio 1.2, 4.1.4.3: selects a queue; that queue's MSI-X table entry.
const QUEUE_SELECT: usize = 22;
const QUEUE_MSIX_VECTOR: usize = 26;
/// virtio 1.2, 4.2.2: not zero while the interrupt line is up.
const INTERRUPT_STATUS: usize = 0x60;

pub(crate) fn for_times(mut machine: Machine) -> ExitCode {
    let clock = machine.clock();
    let mut sleeper = match machine.sleeper() {
        Ok(sleeper) => sleeper,
        Err(error) => {
            println!("sleep: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("sleep: again: {:?}", machine.sleeper().err());
    for past in [0, 1, clock.now_cycles()] {
        assert_eq!(sleeper.sleep(Some(past)), Wake::Time);
    }
    assert_eq!(sleeper.count().halts, 0, "a past time needs no sleep");
    for _ in 0..SLEEPS {
        let until = clock.now_cycles() + clock.cycles(10 * MILLISECOND);
        assert_eq!(sleeper.sleep(Some(until)), Wake::Time);
        assert!(clock.now_cycles() >= until, "woken early");
        assert!(!x86_64::instructions::interrupts::are_enabled());
    }
    let halts = sleeper.count().halts;
    for until in [None, Some(u64::MAX)] {
        let start = clock.now_cycles();
        assert_eq!(sleeper.sleep(until), Wake::Time);
        let slept = clock.now_cycles() - start;
        assert!(slept >= clock.cycles(1000 * MILLISECOND), "{slept} cycles are less than a second");
    }
    println!("sleep: {SLEEPS} sleeps took {halts} halts; {:?}", sleeper.count());
    ExitCode::SUCCESS
}

pub(crate) fn until_devices_wake(mut machine: Machine) -> ExitCode {
    let mut sleeper = machine.sleeper().expect("a sleeper");
    let slots: Vec<_> = machine.mmio_slots().collect();
    for slot in slots.into_iter().map(|slot| slot.expect("a command line without mistakes")) {
        if slot.device_id != DeviceType::EntropySource as u32 {
            continue;
        }
        match sleeper.wake_on_mmio(&slot) {
            Ok(vector) => println!("wake: line {:?} is vector {vector:#x}", slot.line()),
            Err(error) => {
                println!("wake: {error}");
                return ExitCode::FAILURE;
            }
        }
        let header = slot.registers.cast::<VirtIOHeader>();
        // SAFETY: the slot answered as a virtio-mmio device, and nobody else uses it.
        let transport = unsafe { MmioTransport::new(header, slot.size) }.expect("a transport");
        let status = slot.registers.cast::<u32>();
        // SAFETY: within the slot's registers; reading the interrupt status has no side effect.
        let is_low = || unsafe { status.byte_add(INTERRUPT_STATUS).read_volatile() == 0 };
        wakes(transport, &mut sleeper, || (), is_low);
    }
    let Some(pci) = machine.pci() else { return ExitCode::SUCCESS };
    let functions: Vec<_> = pci.functions().collect();
    for (function, info) in functions {
        if virtio_device_type(&info) != Some(DeviceType::EntropySource) {
            continue;
        }
        println!("wake: before: {:?}", sleeper.wake_on_pci(pci, function));
        pci.enable(function).expect("a usable function");
        match sleeper.wake_on_pci(pci, function) {
            Ok(vector) => println!("wake: {function} is vector {vector:#x}"),
            Err(error) => {
                println!("wake: {error}");
                return ExitCode::FAILURE;
            }
        }
        let common = common(pci, function);
        let transport = PciTransport::new::<MachineHal, _>(pci.root(), function);
        let name_vector = || {
            // SAFETY: registers of the common structure, mapped and aligned; queue 0 exists.
            let entry = unsafe {
                common.byte_add(QUEUE_SELECT).write_volatile(0);
                common.byte_add(QUEUE_MSIX_VECTOR).write_volatile(Sleeper::MSIX_ENTRY);
                common.byte_add(QUEUE_MSIX_VECTOR).read_volatile()
            };
            assert_eq!(entry, Sleeper::MSIX_ENTRY, "the device accepts the entry");
        };
        wakes(transport.expect("a transport"), &mut sleeper, name_vector, || true);
    }
    ExitCode::SUCCESS
}

/// Where the function's common structure (virtio 1.2, 4.1.4: type 1) is.
fn common(pci: &mut Pci, function: DeviceFunction) -> *mut u16 {
    let mut capabilities = pci.root().capabilities(function);
    let found = capabilities.find(|found| found.id == 9 && found.private_header >> 8 == 1);
    let at = found.expect("a common structure").offset;
    let [bar, ..] = pci.config_space().read_word(function, at + 4).to_le_bytes();
    let offset = pci.config_space().read_word(function, at + 8);
    let info = pci.root().bar_info(function, bar).expect("a valid BAR").expect("a BAR");
    let (address, _) = info.memory_address_size().expect("a memory BAR");
    let address = usize::try_from(address + u64::from(offset)).expect("64 bits");
    core::ptr::with_exposed_provenance_mut(address)
}

/// Asks an entropy source for bytes again and again, and insists on being woken each time; every other time it sleeps
/// only after the device is done, so that the interrupt is pending before the halt.
fn wakes(
    mut transport: impl Transport,
    sleeper: &mut Sleeper,
    name_vector: impl FnOnce(),
    is_low: impl Fn() -> bool,
) {
    let mut status = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
    transport.set_status(DeviceStatus::empty());
    transport.set_status(status);
    transport.write_driver_features(1 << 32); // VIRTIO_F_VERSION_1
    status |= DeviceStatus::FEATURES_OK;
    transport.set_status(status);
    assert!(transport.get_status().contains(status), "the features are accepted");
    name_vector();
    let mut queue =
        VirtQueue::<MachineHal, 4>::new(&mut transport, 0, false, false).expect("a queue");
    transport.set_status(status | DeviceStatus::DRIVER_OK);

    let buffer = Box::leak(vec![0u8; 64].into_boxed_slice());
    let mut bytes = 0;
    for round in 0..WAKES {
        let before = sleeper.count();
        // SAFETY: the buffer is leaked, and not touched before it is popped below.
        let token = unsafe { queue.add(&[], &mut [&mut *buffer]) }.expect("room");
        transport.notify(0);
        while round % 2 == 0 && !queue.can_pop() {
            core::hint::spin_loop();
        }
        let mut in_vain = 0;
        while !queue.can_pop() || sleeper.count().device == before.device {
            if sleeper.sleep(None) == Wake::Time && queue.can_pop() {
                in_vain += 1;
                assert!(in_vain < 3, "the device is done and does not wake: {:?}", sleeper.count());
            }
        }
        assert!(is_low(), "an edge can follow");
        // SAFETY: the same buffer as was added under this token.
        bytes += unsafe { queue.pop_used(token, &[], &mut [&mut *buffer]) }.expect("an answer");
    }
    assert!(buffer.iter().any(|byte| *byte != 0), "entropy");
    println!("wake: {bytes} bytes, {:?}", sleeper.count());
    transport.set_status(DeviceStatus::empty());
    core::mem::forget(queue);
}
