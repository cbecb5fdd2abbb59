//! A backtrace for panic and trap reports.
//!
//! Walks call frame information (`unwind.rs`), because frame pointers are out of reach: the stock toolchain builds
//! `core` without them, and a flag that affects images alone does not exist. Where the tables know nothing (a jump into
//! data, hand-written assembly) the walk goes on at the next word of the stack that points directly behind a call
//! instruction; such a frame is marked with `?`. All but the first address of a trap are return addresses:
//! `addr2line -e IMAGE` on address - 1 names the call.

use crate::symbols;
use crate::unwind::{self, Registers};
use core::ops::Range;

/// The most frames that are printed.
const MAX_FRAMES: usize = 24;

/// Prints the callers of the function that runs with `now`, numbered from `first`. `exact`: rip is an instruction that
/// was about to run, not a return address.
pub(crate) fn print(now: Registers, exact: bool, first: usize) {
    let stack = symbols::stack();
    let text = symbols::text();
    let read = |at: u64| {
        let inside = stack.start <= at && at.checked_add(8)? <= stack.end;
        // SAFETY: at..at + 8 lies within the boot stack, which is mapped; frames are looked at as plain words,
        // volatile because they belong to other functions.
        inside.then(|| unsafe { word(at) })
    };
    let mut now = now;
    let mut address = if exact { now.rip } else { now.rip.wrapping_sub(1) };
    for frame in first..MAX_FRAMES {
        let table = symbols::unwind_table();
        let (next, mark) = match unwind::step(now, address, table, read) {
            Some(next) if text.contains(&next.rip) => (next, ""),
            _ => match search(now, &stack, read) {
                Some(next) => (next, " ?"),
                None => return,
            },
        };
        crate::println!("  #{frame} {:#018x}{mark}", next.rip);
        address = next.rip - 1;
        now = next;
    }
}

/// Looks up the stack for the next return address.
fn search(
    now: Registers,
    stack: &Range<u64>,
    read: impl Fn(u64) -> Option<u64>,
) -> Option<Registers> {
    let mut at = now.rsp.clamp(stack.start, stack.end).next_multiple_of(8);
    loop {
        let rip = read(at)?;
        at += 8;
        // SAFETY: `is_return_address` asks only for bytes of the text, which is mapped and never written.
        if is_return_address(rip, &symbols::text(), |address| unsafe { byte(address) }) {
            return Some(Registers { rip, rsp: at, rbp: now.rbp });
        }
    }
}

/// Reads a word of memory.
///
/// # Safety
///
/// The word is mapped.
unsafe fn word(address: u64) -> u64 {
    let pointer = core::ptr::with_exposed_provenance::<u64>(crate::to_usize(address));
    // SAFETY: the caller's promise.
    unsafe { pointer.read_volatile() }
}

/// Reads a byte of memory.
///
/// # Safety
///
/// The byte is mapped.
unsafe fn byte(address: u64) -> u8 {
    let pointer = core::ptr::with_exposed_provenance::<u8>(crate::to_usize(address));
    // SAFETY: the caller's promise.
    unsafe { pointer.read_volatile() }
}

/// Whether `word` points directly behind a call instruction in `text`, whose bytes `code` reads.
fn is_return_address(word: u64, text: &Range<u64>, code: impl Fn(u64) -> u8) -> bool {
    const LONGEST_CALL: u64 = 7;
    if word < text.start + LONGEST_CALL || word >= text.end {
        return false;
    }
    let back = |distance| code(word - distance);
    if back(5) == 0xe8 {
        let offset = i32::from_le_bytes([back(4), back(3), back(2), back(1)]);
        if text.contains(&word.wrapping_add_signed(i64::from(offset))) {
            return true;
        }
    }
    // FF /2 with a register (2 bytes), or memory with SIB and displacements (up to 7 bytes).
    let indirect = |length: u64| back(length) == 0xff && back(length - 1) >> 3 & 7 == 2;
    (2..=LONGEST_CALL).filter(|&length| length != 5).any(indirect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(code: &[u8], at: u64) -> bool {
        let start = 0x1000;
        is_return_address(start + at, &(start..start + code.len() as u64), |address| {
            code[usize::try_from(address - start).unwrap()]
        })
    }

    #[test]
    fn direct_calls_with_a_target_in_the_text_count() {
        let mut code = [0x90; 32];
        code[10..15].copy_from_slice(&[0xe8, 0xf1, 0xff, 0xff, 0xff]); // to offset 0
        assert!(test(&code, 15));
        assert!(!test(&code, 14));
        code[11..15].copy_from_slice(&[0, 0, 0, 0x40]);
        assert!(!test(&code, 15));
    }

    #[test]
    fn indirect_calls_count() {
        let mut code = [0x90; 32];
        code[10..12].copy_from_slice(&[0xff, 0xd0]); // call rax
        assert!(test(&code, 12));
        code[10..16].copy_from_slice(&[0xff, 0x15, 0, 0, 0, 0]); // call [rip + 0]
        assert!(test(&code, 16));
        code[10..12].copy_from_slice(&[0xff, 0xe0]); // jmp rax
        assert!(!test(&code, 12));
    }

    #[test]
    fn words_outside_the_text_do_not() {
        assert!(!test(&[0xff; 32], 3));
        assert!(!test(&[0xe8; 32], 32));
        assert!(!test(&[0xe8; 32], u64::MAX - 0x1000));
    }
}
