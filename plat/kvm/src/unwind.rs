//! One step up the stack, by the call frame information (`.eh_frame`) that the compiler writes anyway.
//!
//! Just enough of DWARF 4 section 6.4 for what rustc emits on x86-64: the frame address from rsp or rbp plus an offset,
//! the return address below it, and where rbp was saved. DWARF expressions and other base registers end the walk (the
//! caller then looks for the next return address itself). Pure: it reads tables and a stack through what it is given,
//! and stops at anything malformed. A linear search without an index: speed does not matter in a panic.

const RBP: u64 = 6;
const RSP: u64 = 7;
/// Pointers relative to their own place, signed, four bytes: the one encoding that the linker writes for x86-64.
const PC_RELATIVE_SIGNED_4: u8 = 0x1b;

/// The registers that a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) rip: u64,
    pub(crate) rsp: u64,
    pub(crate) rbp: u64,
}

/// How a function's caller is found at one of its instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rules {
    base: u64,
    offset: i64,
    /// Where rbp was saved, from the frame address.
    rbp: Option<i64>,
}

/// The registers of the caller of the function that `address` lies in (for a return address: of its call, so one byte
/// before it). `table` is `.eh_frame`, loaded at `base`; `stack` reads a word.
pub(crate) fn step(
    registers: Registers,
    address: u64,
    (table, base): (&[u8], u64),
    stack: impl Fn(u64) -> Option<u64>,
) -> Option<Registers> {
    let rules = find(address, table, base)?;
    let start = match rules.base {
        RSP => registers.rsp,
        RBP => registers.rbp,
        _ => return None,
    };
    let frame = start.checked_add_signed(rules.offset)?;
    if frame <= registers.rsp {
        return None; // a caller's frame lies higher
    }
    let rbp = match rules.rbp {
        Some(offset) => stack(frame.checked_add_signed(offset)?)?,
        None => registers.rbp,
    };
    Some(Registers { rip: stack(frame.checked_sub(8)?)?, rsp: frame, rbp })
}

/// Searches the table for the entry that covers `address`, and runs its program up to there.
fn find(address: u64, table: &[u8], base: u64) -> Option<Rules> {
    let mut at = 0;
    loop {
        let length = usize::try_from(u32_at(table, at)?).ok()?;
        let body = at + 4;
        let end = body.checked_add(length).filter(|end| length >= 4 && *end <= table.len())?;
        let id = usize::try_from(u32_at(table, body)?).ok()?;
        if id != 0 {
            let mut entry = Reader { bytes: &table[..end], at: body + 4 };
            let place = base + entry.at as u64;
            let start = place.wrapping_add_signed(i64::from(entry.u32()?.cast_signed()));
            let covered = start..start.checked_add(u64::from(entry.u32()?))?;
            if covered.contains(&address) {
                let common = Common::parse(table, body.checked_sub(id)?)?;
                let skip = usize::try_from(entry.unsigned()?).ok()?;
                entry.at = entry.at.checked_add(skip)?;
                let initial = Rules { base: RSP, offset: 8, rbp: None };
                let initial = common.run(common.program, initial, initial, u64::MAX)?;
                return common.run(entry, initial, initial, address - start);
            }
        }
        at = end;
    }
}

/// What several entries share (a CIE).
struct Common<'a> {
    code_factor: u64,
    data_factor: i64,
    program: Reader<'a>,
}

impl<'a> Common<'a> {
    fn parse(table: &'a [u8], at: usize) -> Option<Self> {
        let length = usize::try_from(u32_at(table, at)?).ok()?;
        let end = at.checked_add(4)?.checked_add(length)?;
        let mut reader = Reader { bytes: table.get(..end)?, at: at + 8 };
        let _version = reader.u8()?;
        let names = reader.at;
        while reader.u8()? != 0 {}
        let names = &table[names..reader.at - 1];
        let code_factor = reader.unsigned()?;
        let data_factor = reader.signed()?;
        let _return_address = reader.unsigned()?;
        if names.first() != Some(&b'z') {
            return None;
        }
        let size = usize::try_from(reader.unsigned()?).ok()?;
        let program = reader.at.checked_add(size)?;
        for name in &names[1..] {
            match name {
                b'R' if reader.u8()? != PC_RELATIVE_SIGNED_4 => return None,
                b'R' | b'S' => {}
                b'L' => _ = reader.u8()?,
                b'P' => {
                    let wide = matches!(reader.u8()? & 0xf, 0 | 4 | 0xc);
                    reader.at += if wide { 8 } else { 4 };
                }
                _ => return None,
            }
        }
        Some(Self { code_factor, data_factor, program: Reader { at: program, ..reader } })
    }

    /// Runs a program of call frame instructions until it passes `target` (an offset from the function's start).
    fn run(
        &self,
        mut code: Reader<'_>,
        mut now: Rules,
        initial: Rules,
        target: u64,
    ) -> Option<Rules> {
        let mut remembered = [now; 4];
        let mut depth = 0;
        let mut place = 0u64;
        while code.at < code.bytes.len() {
            let byte = code.u8()?;
            let low = u64::from(byte & 0x3f);
            let mut advance = None;
            let mut saved = None;
            match (byte >> 6, low) {
                (1, _) => advance = Some(low),
                (2, _) => saved = Some((low, Some(self.scaled(&mut code)?))),
                (3, _) => saved = Some((low, initial.rbp)),
                (_, 0x00) => {}
                (_, 0x02) => advance = Some(code.u8()?.into()),
                (_, 0x03) => advance = Some(u16::from_le_bytes([code.u8()?, code.u8()?]).into()),
                (_, 0x04) => advance = Some(code.u32()?.into()),
                (_, 0x05) => saved = Some((code.unsigned()?, Some(self.scaled(&mut code)?))),
                (_, 0x06) => saved = Some((code.unsigned()?, initial.rbp)),
                (_, 0x07 | 0x08) => saved = Some((code.unsigned()?, None)),
                (_, 0x0a) => {
                    *remembered.get_mut(depth)? = now;
                    depth += 1;
                }
                (_, 0x0b) => {
                    depth = depth.checked_sub(1)?;
                    now = remembered[depth];
                }
                (_, 0x0c) => {
                    now.base = code.unsigned()?;
                    now.offset = i64::try_from(code.unsigned()?).ok()?;
                }
                (_, 0x0d) => now.base = code.unsigned()?,
                (_, 0x0e) => now.offset = i64::try_from(code.unsigned()?).ok()?,
                (_, 0x2e) => _ = code.unsigned()?,
                _ => return None,
            }
            if let Some((RBP, rule)) = saved {
                now.rbp = rule;
            }
            if let Some(distance) = advance {
                place = place.checked_add(distance.checked_mul(self.code_factor)?)?;
                if place > target {
                    break;
                }
            }
        }
        Some(now)
    }

    fn scaled(&self, code: &mut Reader<'_>) -> Option<i64> {
        i64::try_from(code.unsigned()?).ok()?.checked_mul(self.data_factor)
    }
}

/// Reads forward through bytes.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u32(&mut self) -> Option<u32> {
        let value = u32_at(self.bytes, self.at)?;
        self.at += 4;
        Some(value)
    }

    /// ULEB128.
    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// SLEB128.
    fn signed(&mut self) -> Option<i64> {
        let start = self.at;
        let value = self.unsigned()?;
        let bits = 7 * (self.at - start);
        Some((value << (64 - bits)).cast_signed() >> (64 - bits))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    const BASE: u64 = 0x1000;

    /// A table with one function at 0x2000 of 0x40 bytes: push rbp at +1, 32 bytes more of stack at +9.
    fn table() -> Vec<u8> {
        let mut bytes =
            Vec::from([0x14, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b]);
        bytes.extend([0x0c, 7, 8, 0x90, 1, 0, 0]); // def_cfa rsp + 8; return address at cfa - 8
        assert_eq!(bytes.len(), 24);
        bytes.extend([0x18, 0, 0, 0, 28, 0, 0, 0]);
        bytes.extend((0x2000 - (0x1000 + 32u32)).to_le_bytes());
        bytes.extend([0x40, 0, 0, 0, 0]);
        bytes.extend([0x41, 0x0e, 16, 0x86, 2, 0x48, 0x0e, 48, 0, 0, 0]);
        bytes.extend([0; 4]);
        bytes
    }

    fn step_at(table: &[u8], address: u64) -> Option<Registers> {
        let registers = Registers { rip: address, rsp: 0x8000, rbp: 0x5555 };
        step(registers, address, (table, BASE), Some)
    }

    #[test]
    fn each_part_of_a_function_finds_its_caller() {
        let table = table();
        let caller = |rip, rsp, rbp| Some(Registers { rip, rsp, rbp });
        assert_eq!(step_at(&table, 0x2000), caller(0x8000, 0x8008, 0x5555));
        assert_eq!(step_at(&table, 0x2001), caller(0x8008, 0x8010, 0x8000));
        assert_eq!(step_at(&table, 0x203f), caller(0x8028, 0x8030, 0x8020));
    }

    #[test]
    fn addresses_without_an_entry_end_the_walk() {
        assert_eq!(step_at(&table(), 0x1fff), None);
        assert_eq!(step_at(&table(), 0x2040), None);
        assert_eq!(step_at(&[], 0x2000), None);
    }

    #[test]
    fn damaged_tables_neither_panic_nor_loop() {
        let table = table();
        for at in 0..table.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = table.clone();
                damaged[at] = value;
                let _ = step_at(&damaged, 0x2010);
                let _ = step_at(&damaged[..at], 0x2010);
            }
        }
    }

    #[test]
    fn leb128() {
        let mut reader = Reader { bytes: &[0xe5, 0x8e, 0x26, 0x78, 0x80, 0x7f], at: 0 };
        assert_eq!(reader.unsigned(), Some(624_485));
        assert_eq!(reader.signed(), Some(-8));
        assert_eq!(reader.signed(), Some(-128));
        assert_eq!(reader.unsigned(), None);
    }
}
