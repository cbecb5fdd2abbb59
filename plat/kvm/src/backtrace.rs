//! A backtrace for panic and trap reports, from the stack alone.
//!
//! Every word of the stack that points directly behind a call instruction is taken for a frame, innermost first. A
//! call that names its target must have led to where the frame before it was, or the frame is marked with `?`: what a
//! function left in a corner of its frame that it never wrote, or a caller whose callee went on by a jump. The
//! compiler's call frame information would know better, and would be a tenth of the image; it stays in the file, for a
//! debugger. Frame pointers are out of reach: the stock toolchain builds `core` without them. All but the first address
//! of a trap are return addresses: `addr2line -e IMAGE` on address - 1 names the call.

use crate::symbols;
use core::ops::Range;

/// The most frames that are printed.
const MAX_FRAMES: usize = 24;

/// No function is longer than this, in bytes.
const LONGEST_FUNCTION: u64 = 32 << 10;

/// Prints the callers of the function that runs at `rip` with the stack pointer `rsp`, numbered from `first`.
pub(crate) fn print(rip: u64, rsp: u64, first: usize) {
    let (stack, text) = (symbols::stack(), symbols::text());
    let (mut frame, mut callee) = (first, rip);
    let mut at = rsp.clamp(stack.start, stack.end).next_multiple_of(8);
    while frame < MAX_FRAMES && at < stack.end {
        // SAFETY: an aligned word of the boot stack, which is mapped; frames are looked at as plain words, volatile
        // because they belong to other functions.
        let word = unsafe { word(at) };
        at += 8;
        // SAFETY: `call_before` asks only for bytes of the text, which is mapped and never written.
        let call = call_before(word, &text, |address| unsafe { byte(address) });
        let Some(call) = call else { continue };
        let mark = if call.may_reach(callee) { "" } else { " ?" };
        crate::println!("  #{frame} {word:#018x}{mark}");
        (frame, callee) = (frame + 1, word - 1);
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

/// A call instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// It names its target.
    Direct(u64),
    Indirect,
}

impl Call {
    /// Whether the function that it calls can be the one that `address` lies in.
    fn may_reach(self, address: u64) -> bool {
        match self {
            Self::Direct(target) => {
                address.checked_sub(target).is_some_and(|ahead| ahead < LONGEST_FUNCTION)
            }
            Self::Indirect => true,
        }
    }
}

/// The call instruction in `text`, whose bytes `code` reads, that `word` points directly behind.
fn call_before(word: u64, text: &Range<u64>, code: impl Fn(u64) -> u8) -> Option<Call> {
    const LONGEST_CALL: u64 = 7;
    if word < text.start + LONGEST_CALL || word >= text.end {
        return None;
    }
    let back = |distance| code(word - distance);
    if back(5) == 0xe8 {
        let offset = i32::from_le_bytes([back(4), back(3), back(2), back(1)]);
        let target = word.wrapping_add_signed(i64::from(offset));
        if text.contains(&target) {
            return Some(Call::Direct(target));
        }
    }
    // FF /2 with a register (2 bytes), or memory with SIB and displacements (up to 7 bytes).
    let indirect = |length: u64| back(length) == 0xff && back(length - 1) >> 3 & 7 == 2;
    let found = (2..=LONGEST_CALL).filter(|&length| length != 5).any(indirect);
    found.then_some(Call::Indirect)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1000;

    fn test(code: &[u8], at: u64) -> Option<Call> {
        call_before(START + at, &(START..START + code.len() as u64), |address| {
            code[usize::try_from(address - START).unwrap()]
        })
    }

    #[test]
    fn direct_calls_with_a_target_in_the_text_count() {
        let mut code = [0x90; 32];
        code[10..15].copy_from_slice(&[0xe8, 0xf1, 0xff, 0xff, 0xff]); // to offset 0
        assert_eq!(test(&code, 15), Some(Call::Direct(START)));
        assert_eq!(test(&code, 14), None);
        code[11..15].copy_from_slice(&[0, 0, 0, 0x40]);
        assert_eq!(test(&code, 15), None);
    }

    #[test]
    fn indirect_calls_count() {
        let mut code = [0x90; 32];
        code[10..12].copy_from_slice(&[0xff, 0xd0]); // call rax
        assert_eq!(test(&code, 12), Some(Call::Indirect));
        code[10..16].copy_from_slice(&[0xff, 0x15, 0, 0, 0, 0]); // call [rip + 0]
        assert_eq!(test(&code, 16), Some(Call::Indirect));
        code[10..12].copy_from_slice(&[0xff, 0xe0]); // jmp rax
        assert_eq!(test(&code, 12), None);
    }

    #[test]
    fn words_outside_the_text_do_not() {
        assert_eq!(test(&[0xff; 32], 3), None);
        assert_eq!(test(&[0xe8; 32], 32), None);
        assert_eq!(test(&[0xe8; 32], u64::MAX - 0x1000), None);
    }

    #[test]
    fn a_direct_call_reaches_what_begins_at_its_target() {
        let call = Call::Direct(START);
        assert!(call.may_reach(START) && call.may_reach(START + LONGEST_FUNCTION - 1));
        assert!(!call.may_reach(START - 1) && !call.may_reach(START + LONGEST_FUNCTION));
        assert!(Call::Indirect.may_reach(0));
    }
}
