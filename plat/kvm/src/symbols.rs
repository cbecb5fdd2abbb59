//! What image.ld and boot.s define: where the parts of the image lie.
//!
//! Elsewhere than in an image (tests, checks) the symbols do not exist, and empty ranges stand in for them.

use core::ops::Range;

/// The page tables that boot.s built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    /// 512 entries, one per GiB.
    pub(crate) pdpt: *mut u64,
    /// 2048 entries, one per 2 MiB of the first 4 GiB.
    pub(crate) pd: *mut u64,
    /// 2048 entries, one per 4 KiB of the first 8 MiB.
    pub(crate) pt: *mut u64,
}

macro_rules! symbols {
    ($($name:ident)*) => {
        #[cfg(all(panic = "abort", not(any(test, feature = "hosted"))))]
        unsafe extern "C" {
            $(safe static $name: [u8; 0];)*
        }
        $(#[cfg(not(all(panic = "abort", not(any(test, feature = "hosted")))))]
        #[allow(non_upper_case_globals)]
        static $name: [u8; 0] = [];)*
    };
}

symbols! {
    __image_start __image_end __text_start __text_end __rodata_end __build_id_start __build_id_end
    boot_pdpt boot_pd boot_pt boot_gdt boot_stack_guard boot_stack_bottom boot_stack_top
}

fn range(start: &'static [u8; 0], end: &'static [u8; 0]) -> Range<u64> {
    start.as_ptr() as u64..end.as_ptr() as u64
}

/// The whole image in memory, .bss included.
pub(crate) fn image() -> Range<u64> {
    range(&__image_start, &__image_end)
}

/// Executable code.
pub(crate) fn text() -> Range<u64> {
    range(&__text_start, &__text_end)
}

/// Notes and constants.
pub(crate) fn constants() -> Range<u64> {
    range(&__image_start, &__rodata_end)
}

/// The NT_GNU_BUILD_ID note.
pub(crate) fn build_id_note() -> Range<u64> {
    range(&__build_id_start, &__build_id_end)
}

/// The boot stack, without its guard page.
pub(crate) fn stack() -> Range<u64> {
    range(&boot_stack_bottom, &boot_stack_top)
}

/// The absent page under the stack.
pub(crate) fn stack_guard() -> u64 {
    boot_stack_guard.as_ptr() as u64
}

/// The global descriptor table, four entries.
pub(crate) fn gdt() -> *mut u64 {
    boot_gdt.as_ptr().cast_mut().cast()
}

/// The page tables.
pub(crate) fn tables() -> Tables {
    let pointer = |table: &'static [u8; 0]| table.as_ptr().cast_mut().cast();
    Tables { pdpt: pointer(&boot_pdpt), pd: pointer(&boot_pd), pt: pointer(&boot_pt) }
}
