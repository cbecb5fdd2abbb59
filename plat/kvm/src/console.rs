//! The console: a 16550 at 0x3f8, written by polling.
//!
//! Output only, no locks and no buffer of its own, so that it works from a panic or a trap at any moment. The sixteen
//! bytes of the transmit FIFO are filled per readiness check, because each port access is an exit to the monitor.
//! Where there is no UART every register reads as all ones, which means "ready": output vanishes, nothing hangs.

use crate::cpu;
use core::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
};

const DATA: u16 = 0x3f8;
const INTERRUPTS: u16 = DATA + 1;
const FIFO: u16 = DATA + 2;
const LINE_CONTROL: u16 = DATA + 3;
const MODEM_CONTROL: u16 = DATA + 4;
const LINE_STATUS: u16 = DATA + 5;
const FIFO_EMPTY: u8 = 1 << 5;
const TRANSMITTER_EMPTY: u8 = 1 << 6;
const FIFO_SIZE: u8 = 16;
/// How many cycles a UART may keep us waiting: about a minute. QEMU holds it back while the reader of its output does
/// not read, and nothing may get lost then; only one that is broken stays busy for longer.
const PATIENCE: u64 = 1 << 37;

/// Bytes that may still be written before the FIFO's state must be read again.
static ROOM: AtomicU8 = AtomicU8::new(0);
/// Set once the UART was not ready for too long: nothing waits for it any more.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// The console as a [`fmt::Write`]; writing never fails.
#[derive(Debug, Clone, Copy)]
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(put);
        Ok(())
    }
}

/// 115200 8N1, FIFO on, interrupts off.
pub(crate) fn init() {
    for (port, value) in [
        (INTERRUPTS, 0),
        (LINE_CONTROL, 0x80),
        (DATA, 1),
        (INTERRUPTS, 0),
        (LINE_CONTROL, 0x03),
        (FIFO, 0x07),
        (MODEM_CONTROL, 0x03),
    ] {
        // SAFETY: the UART's own registers; with interrupts disabled it touches no memory.
        unsafe { cpu::out8(port, value) };
    }
}

/// Waits until the last byte has left the UART.
pub(crate) fn flush() {
    wait_for(TRANSMITTER_EMPTY);
}

fn put(byte: u8) {
    let mut room = ROOM.load(Relaxed);
    if room == 0 {
        wait_for(FIFO_EMPTY);
        room = FIFO_SIZE;
    }
    // SAFETY: the UART's data register touches no memory.
    unsafe { cpu::out8(DATA, byte) };
    ROOM.store(room - 1, Relaxed);
}

fn wait_for(bit: u8) {
    if GIVEN_UP.load(Relaxed) {
        return;
    }
    let start = cpu::timestamp();
    while cpu::timestamp().wrapping_sub(start) < PATIENCE {
        // SAFETY: reading the line status clears error flags, which nobody looks at.
        if unsafe { cpu::in8(LINE_STATUS) } & bit != 0 {
            return;
        }
    }
    GIVEN_UP.store(true, Relaxed);
}

/// Writes formatted text to the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => {{
        let _ = ::core::fmt::Write::write_fmt(
            &mut $crate::Console,
            ::core::format_args!($($argument)*),
        );
    }};
}

/// Writes formatted text and a line end to the console.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => {{
        $crate::print!($($argument)*);
        $crate::print!("\n");
    }};
}
