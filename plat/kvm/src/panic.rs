//! A panic: message, place, build id, backtrace, exit. Nothing is unwound; a panic while printing one ends at once.

use crate::{backtrace, build_id, cpu, exit::ExitCode, println};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    if PANICKING.swap(true, Relaxed) {
        println!("\npanic within a panic");
        crate::exit(ExitCode::PANIC);
    }
    match info.location() {
        Some(location) => println!("\npanic at {location}: {}", info.message()),
        None => println!("\npanic: {}", info.message()),
    }
    println!("build id {}", build_id());
    println!("backtrace:");
    let (rip, rsp) = cpu::here();
    backtrace::print(rip, rsp, 0);
    crate::exit(ExitCode::PANIC)
}

/// Named by unwind tables of the prebuilt `core`; nothing unwinds here, so nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    cpu::triple_fault()
}

/// Called by cleanup code of the prebuilt `core`, which is unreachable with `panic = "abort"`.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    cpu::triple_fault()
}
