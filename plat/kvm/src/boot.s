# PVH entry (Xen "PVH direct boot" ABI, docs/misc/pvh.pandoc): 32-bit protected mode, paging off, flat segments,
# ebx = physical address of hvm_start_info. Builds the first identity map (4 GiB in 2 MiB pages, all permissions;
# src/paging.rs tightens it in place), turns on SSE and long mode, and calls boot_rust(start_info, tsc) on a stack
# whose lowest neighbour is the guard page. Nothing else happens here: what can be done in Rust is done there.

    .section .note.pvh, "a", @note
    .balign 4
    .long 4                         # size of the name
    .long 4                         # size of the descriptor
    .long 18                        # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_start

    .section .text.boot, "ax", @progbits
    .code32
    .globl pvh_start
pvh_start:
    cli
    cld
    rdtsc                           # the moment of entry: kept in ebp (low) and esi (high)
    mov %eax, %ebp
    mov %edx, %esi

    mov $__bss_start, %edi          # a loader should have zeroed .bss; the tables below rely on it
    mov $__bss_end, %ecx
    sub %edi, %ecx
    shr $2, %ecx
    xor %eax, %eax
    rep stosl

    movl $boot_pdpt + 3, boot_pml4  # present, writable
    mov $boot_pd + 3, %eax
    mov $boot_pdpt, %edi
    mov $4, %ecx
1:  mov %eax, (%edi)
    add $4096, %eax
    add $8, %edi
    loop 1b

    mov $0x83, %eax                 # present, writable, 2 MiB
    mov $boot_pd, %edi
    mov $2048, %ecx
2:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 2b

    mov $boot_pml4, %eax
    mov %eax, %cr3
    mov $0x620, %eax                # CR4: PAE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $0xc0000080, %ecx           # EFER: long mode, no-execute
    rdmsr
    or $0x900, %eax
    wrmsr
    mov $0x80010033, %eax           # CR0: paging, write protect, numeric errors, monitor coprocessor, protected mode
    mov %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $8, $start64

    .code64
start64:
    xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    lea boot_stack_top(%rip), %rsp
    mov %ebx, %edi
    mov %ebp, %eax
    shl $32, %rsi
    or %rax, %rsi
    xor %ebp, %ebp
    fninit
    call boot_rust
    ud2

    .section .data.boot_gdt, "aw", @progbits
    .balign 8
    .globl boot_gdt
boot_gdt:                           # null, 64-bit code, and two entries' room for the TSS (src/traps.rs)
    .quad 0
    .quad 0x00209b0000000000
    .quad 0
    .quad 0
boot_gdt_pointer:
    .word 31
    .long boot_gdt
    .long 0                         # the upper half, read once the CPU is in long mode

    .section .boot_tables, "aw", @nobits
    .balign 4096
    .globl boot_pml4, boot_pdpt, boot_pd, boot_pt
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_pd:   .skip 4 * 4096
boot_pt:   .skip 4 * 4096

    .section .boot_stack, "aw", @nobits
    .balign 4096
    .globl boot_stack_guard, boot_stack_bottom, boot_stack_top
boot_stack_guard:  .skip 4096
boot_stack_bottom: .skip 128 * 1024
boot_stack_top:
