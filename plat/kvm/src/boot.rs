//! From the first instruction to the program: boot.s, then this, in the order in which things begin to exist.

use crate::clock::Clock;
use crate::command_line::{self, MAX_COMMAND_LINE};
use crate::start_info::{
    MEMORY_MAP_ENTRY_SIZE, START_INFO_SIZE, Span, StartInfo, memory_map_entry,
};
use crate::{
    BootError, ExitCode, Machine, acpi, console, cpu, memory, memory_map::MAX_ENTRIES,
    memory_map::MemoryMap, paging, pci::Pci, println, symbols, traps, tsc_rate,
};
use core::cell::UnsafeCell;

core::arch::global_asm!(include_str!("boot.s"), options(att_syntax));

unsafe extern "Rust" {
    /// Defined by `entry!`.
    safe fn barewire_image_main(machine: Machine) -> ExitCode;
}

/// The command line's copy, because the monitor's lies in memory that is about to be given away.
struct CommandLine(UnsafeCell<[u8; MAX_COMMAND_LINE]>);

// SAFETY: written once, by `read_command_line`, which runs once.
unsafe impl Sync for CommandLine {}

static COMMAND_LINE: CommandLine = CommandLine(UnsafeCell::new([0; MAX_COMMAND_LINE]));

/// The first Rust code to run. `start_info` is the monitor's, `entry_cycles` was taken at the first instruction.
///
/// # Safety
///
/// Called once, by boot.s.
#[unsafe(no_mangle)]
unsafe extern "C" fn boot_rust(start_info: u32, entry_cycles: u64) -> ! {
    console::init();
    // SAFETY: called once, from boot, interrupts disabled, with boot.s's GDT.
    unsafe { traps::init() };
    // SAFETY: the same holds here.
    let code = match unsafe { bring_up(start_info, entry_cycles) } {
        Ok(machine) => barewire_image_main(machine),
        Err(error) => {
            println!("boot: {error}");
            error.exit_code()
        }
    };
    crate::exit(code)
}

/// # Safety
///
/// As for `boot_rust`.
unsafe fn bring_up(start_info: u32, entry_cycles: u64) -> Result<Machine, BootError> {
    // SAFETY: ring 0, and nothing saves extended state.
    let extended_state = unsafe { cpu::enable_avx() };
    let image = symbols::image();
    let span = Span { image_start: image.start, image_end: image.end };
    let info = u64::from(start_info);
    span.check("start info", info, START_INFO_SIZE as u64)?;
    // SAFETY: `check` just found these bytes mapped and not the image's.
    let info = StartInfo::parse(&unsafe { read(info) })?;

    let map = read_memory_map(&info, span)?;
    let command_line = read_command_line(&info, span)?;
    // Tables may lie in RAM that the heap gets next, and in page 0, which vanishes, so they are read before.
    let acpi = acpi::find(info.rsdp, |address, length| {
        span.check("ACPI table", address, length as u64).ok()?;
        let start = core::ptr::with_exposed_provenance(crate::to_usize(address));
        // SAFETY: `check` found these bytes mapped and not the image's; nobody writes them before `find` is done.
        Some(unsafe { core::slice::from_raw_parts(start, length) })
    });
    // SAFETY: called once, from boot; `layout` is what image.ld says.
    unsafe {
        paging::protect(
            &map,
            &paging::Layout {
                text: symbols::text(),
                constants: symbols::constants(),
                guard: symbols::stack_guard(),
            },
        );
    }
    // SAFETY: called once; RAM outside the image holds nothing that is looked at from here on.
    unsafe { memory::init(&map)? };
    let clock: Clock = tsc_rate::find(acpi.timer);
    let pci = Pci::find(acpi.ecam, &map);
    Ok(Machine {
        clock,
        command_line,
        entry_cycles,
        extended_state,
        memory_map: map,
        pci,
        sleeper_taken: false,
    })
}

fn read_memory_map(info: &StartInfo, span: Span) -> Result<MemoryMap, BootError> {
    let count = info.memory_map_entries;
    if count == 0 || count as usize > MAX_ENTRIES {
        return Err(BootError::MemoryMapEntries(count));
    }
    let size = MEMORY_MAP_ENTRY_SIZE as u64;
    span.check("memory map", info.memory_map, u64::from(count) * size)?;
    MemoryMap::new((0..u64::from(count)).map(|index| {
        // SAFETY: `check` found all entries mapped and not the image's.
        memory_map_entry(&unsafe { read(info.memory_map + index * size) })
    }))
}

fn read_command_line(info: &StartInfo, span: Span) -> Result<&'static str, BootError> {
    if info.command_line == 0 {
        return Ok("");
    }
    span.check("command line", info.command_line, 1)?;
    // SAFETY: this is the only use of the buffer, once.
    let buffer = unsafe { &mut *COMMAND_LINE.0.get() };
    let start = info.command_line;
    let length = command_line::copy(buffer, |at| {
        let address = start + at as u64;
        match span.check("command line", address, 1) {
            // SAFETY: `check` just found the byte mapped and not the image's.
            Ok(()) => unsafe { read::<1>(address)[0] },
            Err(_) => 0xff, // running into the image or the end of memory: not a character
        }
    })?;
    Ok(str::from_utf8(&buffer[..length]).unwrap_or(""))
}

/// Copies bytes from memory that the monitor wrote.
///
/// # Safety
///
/// The bytes are mapped.
unsafe fn read<const N: usize>(address: u64) -> [u8; N] {
    let pointer = core::ptr::with_exposed_provenance::<[u8; N]>(crate::to_usize(address));
    // SAFETY: the caller's promise; bytes need no alignment. (Nobody writes to them any more: the monitor is done.)
    unsafe { pointer.read() }
}
