//! `memcpy memmove memset memcmp bcmp strlen`: what compiled code expects to find, and an image has no libc for.
//!
//! Assembly, because the compiler turns a loop written in Rust back into a call of the function itself. SSE loops with
//! overlapping ends, tuned for 16 to 2048 bytes: `rep movsb` takes tens of cycles to start on a CPU and is interpreted
//! byte by byte under QEMU's TCG. Small sizes come first and take two loads and two stores. On the host these functions
//! keep their mangled names, so that tests can compare them with simple loops.

use core::arch::naked_asm;

/// C `memcpy`.
///
/// # Safety
///
/// `from` is readable and `to` writable for `length` bytes; the two do not overlap.
#[unsafe(naked)]
#[cfg_attr(all(panic = "abort", not(any(test, feature = "hosted"))), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "cmp rdx, 16",
        "jb {small}",
        "cmp rdx, 32",
        "ja {large}",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + rdx - 16]",
        "movups [rdi], xmm0",
        "movups [rdi + rdx - 16], xmm1",
        "ret",
        small = sym copy_small,
        large = sym copy_up,
    )
}

/// C `memmove`.
///
/// # Safety
///
/// `from` is readable and `to` writable for `length` bytes.
#[unsafe(naked)]
#[cfg_attr(all(panic = "abort", not(any(test, feature = "hosted"))), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "cmp rdx, 16",
        "jb {small}",
        "cmp rdx, 32",
        "ja 2f",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + rdx - 16]",
        "movups [rdi], xmm0",
        "movups [rdi + rdx - 16], xmm1",
        "ret",
        "2:",
        "mov rcx, rdi",         // to - from, unsigned: below length only if `to` lies inside `from`
        "sub rcx, rsi",
        "cmp rcx, rdx",
        "jb {down}",
        "jmp {up}",
        small = sym copy_small,
        up = sym copy_up,
        down = sym copy_down,
    )
}

/// Fewer than 16 bytes; every load comes before the first store.
#[unsafe(naked)]
unsafe extern "C" fn copy_small() {
    naked_asm!(
        "cmp edx, 8",
        "jae 8f",
        "cmp edx, 4",
        "jae 4f",
        "test edx, edx",
        "jz 9f",
        "movzx ecx, byte ptr [rsi]",
        "movzx r8d, byte ptr [rsi + rdx - 1]",
        "mov r9, rdx",
        "shr r9, 1",
        "movzx r10d, byte ptr [rsi + r9]",
        "mov [rdi], cl",
        "mov [rdi + r9], r10b",
        "mov [rdi + rdx - 1], r8b",
        "9:",
        "ret",
        "8:",
        "mov rcx, [rsi]",
        "mov r8, [rsi + rdx - 8]",
        "mov [rdi], rcx",
        "mov [rdi + rdx - 8], r8",
        "ret",
        "4:",
        "mov ecx, [rsi]",
        "mov r8d, [rsi + rdx - 4]",
        "mov [rdi], ecx",
        "mov [rdi + rdx - 4], r8d",
        "ret",
    )
}

/// More than 32 bytes, from the start; the last 32 are loaded first and stored last.
#[unsafe(naked)]
unsafe extern "C" fn copy_up() {
    naked_asm!(
        "movups xmm4, [rsi + rdx - 32]",
        "movups xmm5, [rsi + rdx - 16]",
        "lea r8, [rdi + rdx - 32]",
        "cmp rdx, 96",
        "jbe 3f",
        "lea r9, [rdi + rdx - 96]",
        "2:",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + 16]",
        "movups xmm2, [rsi + 32]",
        "movups xmm3, [rsi + 48]",
        "add rsi, 64",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm1",
        "movups [rdi + 32], xmm2",
        "movups [rdi + 48], xmm3",
        "add rdi, 64",
        "cmp rdi, r9",
        "jbe 2b",
        "3:",
        "cmp rdi, r8",
        "jae 4f",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + 16]",
        "add rsi, 32",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm1",
        "add rdi, 32",
        "jmp 3b",
        "4:",
        "movups [r8], xmm4",
        "movups [r8 + 16], xmm5",
        "ret",
    )
}

/// More than 32 bytes, from the end; the first 32 are loaded first and stored last.
#[unsafe(naked)]
unsafe extern "C" fn copy_down() {
    naked_asm!(
        "movups xmm4, [rsi]",
        "movups xmm5, [rsi + 16]",
        "2:",
        "cmp rdx, 32",
        "jbe 3f",
        "movups xmm0, [rsi + rdx - 16]",
        "movups xmm1, [rsi + rdx - 32]",
        "movups [rdi + rdx - 16], xmm0",
        "movups [rdi + rdx - 32], xmm1",
        "sub rdx, 32",
        "jmp 2b",
        "3:",
        "movups [rdi], xmm4",
        "movups [rdi + 16], xmm5",
        "ret",
    )
}

/// C `memset`.
///
/// # Safety
///
/// `to` is writable for `length` bytes.
#[unsafe(naked)]
#[cfg_attr(all(panic = "abort", not(any(test, feature = "hosted"))), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "movzx esi, sil",
        "mov rcx, 0x0101010101010101",
        "imul rsi, rcx",
        "cmp rdx, 16",
        "jb 8f",
        "movq xmm0, rsi",
        "punpcklqdq xmm0, xmm0",
        "lea r8, [rdi + rdx - 16]",
        "cmp rdx, 80",
        "jbe 3f",
        "lea r9, [rdi + rdx - 80]",
        "2:",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm0",
        "movups [rdi + 32], xmm0",
        "movups [rdi + 48], xmm0",
        "add rdi, 64",
        "cmp rdi, r9",
        "jbe 2b",
        "3:",
        "cmp rdi, r8",
        "jae 4f",
        "movups [rdi], xmm0",
        "add rdi, 16",
        "jmp 3b",
        "4:",
        "movups [r8], xmm0",
        "ret",
        "8:",
        "cmp edx, 8",
        "jb 5f",
        "mov [rdi], rsi",
        "mov [rdi + rdx - 8], rsi",
        "ret",
        "5:",
        "cmp edx, 4",
        "jb 6f",
        "mov [rdi], esi",
        "mov [rdi + rdx - 4], esi",
        "ret",
        "6:",
        "test edx, edx",
        "jz 7f",
        "mov [rdi], sil",
        "mov [rdi + rdx - 1], sil",
        "shr rdx, 1",
        "mov [rdi + rdx], sil",
        "7:",
        "ret",
    )
}

/// C `memcmp`.
///
/// # Safety
///
/// `a` and `b` are readable for `length` bytes.
#[unsafe(naked)]
#[cfg_attr(all(panic = "abort", not(any(test, feature = "hosted"))), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    naked_asm!(
        "cmp rdx, 8",
        "jb 5f",
        "lea r8, [rdx - 8]", // the last place for a whole word
        "xor r9d, r9d",
        "2:",
        "mov rax, [rdi + r9]",
        "mov rcx, [rsi + r9]",
        "cmp rax, rcx",
        "jne 4f",
        "cmp r9, r8",
        "jae 3f",
        "add r9, 8",
        "cmp r9, r8",
        "cmova r9, r8",
        "jmp 2b",
        "3:",
        "xor eax, eax",
        "ret",
        "4:",
        "bswap rax",
        "bswap rcx",
        "cmp rax, rcx",
        "sbb eax, eax",
        "or eax, 1",
        "ret",
        "5:",
        "xor r9d, r9d",
        "6:",
        "cmp r9, rdx",
        "jae 3b",
        "movzx eax, byte ptr [rdi + r9]",
        "movzx ecx, byte ptr [rsi + r9]",
        "inc r9",
        "sub eax, ecx",
        "jz 6b",
        "ret",
    )
}

/// C `bcmp`.
///
/// # Safety
///
/// `a` and `b` are readable for `length` bytes.
#[unsafe(naked)]
#[cfg_attr(all(panic = "abort", not(any(test, feature = "hosted"))), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    naked_asm!("jmp {memcmp}", memcmp = sym memcmp)
}

/// C `strlen`.
///
/// # Safety
///
/// `text` is readable up to and including a zero byte.
#[unsafe(naked)]
#[cfg_attr(all(panic = "abort", not(any(test, feature = "hosted"))), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn strlen(text: *const u8) -> usize {
    naked_asm!(
        "xor eax, eax",
        "2:",
        "cmp byte ptr [rdi + rax], 0",
        "je 3f",
        "inc rax",
        "jmp 2b",
        "3:",
        "ret",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    const SIZES: [usize; 6] = [300, 511, 512, 1500, 2048, 4099];

    fn sizes() -> impl Iterator<Item = usize> {
        (0..260).chain(SIZES)
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap()).collect()
    }

    #[test]
    fn memcpy_copies_exactly_that() {
        for length in sizes() {
            for shift in [0, 1, 7] {
                let from = pattern(length + 16);
                let mut to = std::vec![0xee; length + 16];
                // SAFETY: both have length + 16 bytes, shift is at most 7, and they are two allocations.
                let result = unsafe {
                    memcpy(to.as_mut_ptr().add(shift), from.as_ptr().add(7 - shift), length)
                };
                assert_eq!(result, to[shift..].as_mut_ptr());
                assert_eq!(to[shift..shift + length], from[7 - shift..7 - shift + length]);
                assert!(to[..shift].iter().chain(&to[shift + length..]).all(|&byte| byte == 0xee));
            }
        }
    }

    #[test]
    fn memmove_survives_every_overlap() {
        for length in sizes() {
            for (from, to) in
                [(0, 1), (1, 0), (0, 15), (15, 0), (0, 33), (64, 1), (5, 5), (0, 100), (100, 0)]
            {
                let mut bytes = pattern(length + 128);
                let mut expected = bytes.clone();
                expected.copy_within(from..from + length, to);
                let start = bytes.as_mut_ptr();
                // SAFETY: from and to are at most 100, and there are length + 128 bytes.
                unsafe { memmove(start.add(to), start.add(from), length) };
                assert_eq!(bytes, expected, "{length} bytes from {from} to {to}");
            }
        }
    }

    #[test]
    fn memset_sets_exactly_that() {
        for length in sizes() {
            let mut bytes = std::vec![1; length + 32];
            // SAFETY: 9 + length is within the vector.
            unsafe { memset(bytes.as_mut_ptr().add(9), 0x5a5, length) };
            assert!(bytes[9..9 + length].iter().all(|&byte| byte == 0xa5));
            assert!(bytes[..9].iter().chain(&bytes[9 + length..]).all(|&byte| byte == 1));
        }
    }

    #[test]
    fn memcmp_orders_like_slices() {
        for length in sizes().filter(|length| *length < 70 || *length > 250) {
            let a = pattern(length);
            // SAFETY: both are readable for `length` bytes.
            let compare = |b: &[u8]| unsafe {
                assert_eq!(bcmp(a.as_ptr(), b.as_ptr(), length) != 0, a != b);
                memcmp(a.as_ptr(), b.as_ptr(), length)
            };
            assert_eq!(compare(&a.clone()), 0);
            for at in 0..length {
                for change in [1u8, 0x80] {
                    let mut b = a.clone();
                    b[at] ^= change;
                    if at + 1 < length {
                        b[at + 1] ^= 0xff;
                    }
                    assert_eq!(compare(&b).signum(), a.cmp(&b) as i32, "{length} at {at}");
                }
            }
        }
    }

    #[test]
    fn strlen_stops_at_the_first_zero() {
        // SAFETY: the literal ends with a zero byte.
        assert_eq!(unsafe { strlen(c"twelve bytes".as_ptr().cast()) }, 12);
    }
}
