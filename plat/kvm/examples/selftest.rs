//! The self-test image: does what the first word of the command line says, so that `tests/boot.rs` can watch.

#![cfg_attr(panic = "abort", no_std)]
#![no_main]
#![allow(missing_docs, reason = "the macro below defines the symbol that boot calls")]

extern crate alloc;

use alloc::{boxed::Box, vec::Vec};
use core::hint::black_box;
use plat_kvm::{ExitCode, Machine, MachineHal, println};
use virtio_drivers::transport::pci::{PciTransport, VIRTIO_VENDOR_ID};
use virtio_drivers::transport::{DeviceType, Transport};

#[path = "selftest/sleep.rs"]
mod sleep;

plat_kvm::entry!(main);

fn main(machine: Machine) -> ExitCode {
    let up = machine.clock().nanoseconds(plat_kvm::timestamp() - machine.entry_cycles());
    println!("selftest: up after {} us", up / 1000);
    match machine.command_line().split_ascii_whitespace().next().unwrap_or("hello") {
        "hello" => hello(&machine),
        "fail" => ExitCode::FAILURE,
        "panic" => panic!("as asked"),
        "null" => read(0x10),
        "text" => write(main as *const () as usize),
        "constant" => write("constant".as_ptr() as usize),
        "data" => execute(),
        "overflow" => {
            println!("selftest: {}", overflow(1));
            ExitCode::SUCCESS
        }
        "panic-in-panic" => panic!("{}", Faulty(|| panic!("again"))),
        "trap-in-panic" => panic!("{}", Faulty(|| _ = read(0))),
        "absent" => read(1 << 45),
        "gp" => read(1 << 63),
        "opcode" => trap("ud2"),
        "breakpoint" => trap("int3"),
        "divide" => trap("divide"),
        "double" => trap("double"),
        "heap" => heap(),
        "memory" => memory(machine),
        "avx" => avx(&machine),
        "console" => console(),
        "pci" => pci(machine),
        "mmio" => mmio(&machine),
        "sleep" => sleep::for_times(machine),
        "wake" => sleep::until_devices_wake(machine),
        other => {
            println!("selftest: unknown word `{other}`");
            ExitCode::USAGE
        }
    }
}

fn hello(machine: &Machine) -> ExitCode {
    let clock = machine.clock();
    println!("hello: command line `{}`", machine.command_line());
    println!("hello: build id {}", plat_kvm::build_id());
    println!("hello: {} Hz, {}", clock.hz(), clock.source());
    println!(
        "hello: {} KiB of RAM, {} KiB for devices, largest {} KiB",
        machine.memory_size() / 1024,
        plat_kvm::device_memory_free() / 1024,
        plat_kvm::device_memory_largest() / 1024
    );
    ExitCode::SUCCESS
}

/// Something that cannot be printed.
struct Faulty(fn());

impl core::fmt::Display for Faulty {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (self.0)();
        f.write_str("printed")
    }
}

/// Reads an address that is not there, and says so if it was.
fn read(address: usize) -> ExitCode {
    let pointer = core::ptr::with_exposed_provenance::<u64>(black_box(address));
    // SAFETY: none; that the machine stops here is what the test is about.
    let value = unsafe { pointer.read_volatile() };
    println!("selftest: read {value:#x}");
    ExitCode::SUCCESS
}

fn write(address: usize) -> ExitCode {
    let pointer = core::ptr::with_exposed_provenance_mut::<u8>(black_box(address));
    // SAFETY: none; that the machine stops here is what the test is about.
    unsafe { pointer.write_volatile(0x90) };
    println!("selftest: wrote {address:#x}");
    ExitCode::SUCCESS
}

fn execute() -> ExitCode {
    let code = black_box(Box::new([0xc3u8; 16]));
    // SAFETY: none; that the machine stops here is what the test is about.
    let function: extern "C" fn() = unsafe { core::mem::transmute(code.as_ptr()) };
    function();
    println!("selftest: executed data");
    ExitCode::SUCCESS
}

#[allow(unconditional_recursion, reason = "that is the test")]
#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let buffer = black_box([depth; 64]);
    overflow(depth + 1) + buffer[1]
}

fn trap(which: &str) -> ExitCode {
    // SAFETY: none; that the machine stops here is what the test is about.
    unsafe {
        match which {
            "ud2" => core::arch::asm!("ud2"),
            "int3" => core::arch::asm!("int3"),
            "divide" => core::arch::asm!("xor edx, edx", "xor ecx, ecx", "div ecx",
                out("eax") _, out("edx") _, out("ecx") _),
            // Without usable gates a fault becomes a double fault, and that a triple fault: nothing is printed.
            _ => {
                let table = [0u16; 5];
                core::arch::asm!("lidt [{}]", "ud2", in(reg) table.as_ptr());
            }
        }
    }
    ExitCode::SUCCESS
}

fn heap() -> ExitCode {
    let mut blocks = Vec::new();
    for round in 0..1000usize {
        let mut block = Vec::with_capacity(round);
        block.resize(round, round.to_le_bytes()[0]);
        blocks.push(block);
        if round % 3 == 0 {
            blocks.swap_remove(round / 7 % blocks.len());
        }
    }
    let sum: usize = blocks.iter().map(|block| block.len()).sum();
    let intact = blocks.iter().all(|b| b.iter().all(|&byte| byte == b.len().to_le_bytes()[0]));
    println!("heap: {} blocks, {sum} bytes, intact {intact}", blocks.len());
    if intact { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takes all device memory, writes all of it, and checks that the pieces are zeroed, aligned and distinct.
fn memory(mut machine: Machine) -> ExitCode {
    let mut pieces = Vec::new();
    let mut total = 0;
    while let Some(piece) = machine.take_device_memory(256 << 10, 64 << 10) {
        let start = piece.as_ptr().cast::<u64>();
        assert!(start.addr().is_multiple_of(64 << 10));
        for word in (0..piece.len() / 8).step_by(64) {
            // SAFETY: within the piece, which nobody else has.
            unsafe {
                assert_eq!(start.add(word).read_volatile(), 0, "zeroed");
                start.add(word).write_volatile(start.addr() as u64);
            }
        }
        total += piece.len();
        pieces.push(piece);
    }
    for piece in &pieces {
        let start = piece.as_ptr().cast::<u64>();
        // SAFETY: as above.
        assert_eq!(unsafe { start.read_volatile() }, start.addr() as u64, "distinct");
    }
    println!("memory: {} pieces, {} KiB", pieces.len(), total / 1024);
    ExitCode::SUCCESS
}

fn avx(machine: &Machine) -> ExitCode {
    if machine.has_avx() {
        // SAFETY: AVX state is on.
        unsafe { core::arch::asm!("vxorps ymm0, ymm0, ymm0", out("ymm0") _) };
    }
    println!("avx: {}", machine.has_avx());
    ExitCode::SUCCESS
}

/// More than the UART's FIFO holds many times over; the last line must arrive.
fn console() -> ExitCode {
    for line in 0..2000 {
        println!("console line {line:04} 0123456789012345678901234567890123456789");
    }
    ExitCode::SUCCESS
}

fn pci(mut machine: Machine) -> ExitCode {
    let Some(pci) = machine.pci() else {
        println!("pci: none");
        return ExitCode::SUCCESS;
    };
    println!("pci: configuration space at {:x?}", pci.mapped_at());
    let functions: Vec<_> = pci.functions().collect();
    for (function, info) in functions {
        println!("pci: {function} {info}");
        if info.vendor_id != VIRTIO_VENDOR_ID {
            continue;
        }
        if let Err(error) = pci.enable(function) {
            println!("pci: {function}: {error}");
            return ExitCode::FAILURE;
        }
        match PciTransport::new::<MachineHal, _>(pci.root(), function) {
            Ok(transport) => describe(transport),
            Err(error) => {
                println!("pci: {function}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn mmio(machine: &Machine) -> ExitCode {
    use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
    for slot in machine.mmio_slots() {
        let slot = match slot {
            Ok(slot) => slot,
            Err(error) => {
                println!("mmio: {error}");
                return ExitCode::USAGE;
            }
        };
        println!("mmio: {:?} version {} id {}", slot.registers, slot.version, slot.device_id);
        let header = slot.registers.cast::<VirtIOHeader>();
        // SAFETY: the slot answered as a virtio-mmio device, and nobody else uses it.
        match unsafe { MmioTransport::new(header, slot.size) } {
            Ok(transport) => describe(transport),
            Err(error) => println!("mmio: {error}"),
        }
    }
    ExitCode::SUCCESS
}

fn describe(mut transport: impl Transport) {
    println!("virtio: features {:#x}", transport.read_device_features());
    if transport.device_type() == DeviceType::Network {
        let mac = [0, 1, 2, 3, 4, 5].map(|at| transport.read_config_space::<u8>(at).unwrap_or(0));
        println!("virtio: network card {mac:02x?}");
    }
}
