//! What an image is made of, as binutils tell it: loadable bytes, symbols, and which function calls which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Bytes of the loadable segments in the file, together.
pub fn loadable_bytes(image: &Path) -> u64 {
    let text = run("readelf", &["-lW"], image);
    let sizes = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        // LOAD, offset, virtual address, physical address, size in the file
        (words.next()? == "LOAD").then(|| words.nth(3))?
    });
    sizes
        .map(|size| {
            u64::from_str_radix(size.trim_start_matches("0x"), 16).expect("readelf prints hex")
        })
        .sum()
}

/// The symbols' names, as the linker knows them.
pub fn symbols(image: &Path) -> Vec<String> {
    let text = run("nm", &[], image);
    text.lines()
        .filter_map(|line| line.split_ascii_whitespace().last())
        .map(str::to_owned)
        .collect()
}

/// Functions by address: name, and the functions that are called or jumped to by address.
#[derive(Debug)]
pub struct Calls(BTreeMap<u64, (String, BTreeSet<u64>)>);

impl Calls {
    /// Disassembles the image.
    pub fn of(image: &Path) -> Self {
        Self::parse(&run("objdump", &["-d", "-C", "--no-show-raw-insn"], image))
    }

    fn parse(text: &str) -> Self {
        let mut functions = BTreeMap::new();
        let mut current = None;
        for line in text.lines() {
            if let Some((address, name)) = function_head(line) {
                functions.entry(address).or_insert_with(|| (name.to_owned(), BTreeSet::new()));
                current = Some(address);
            } else if let (Some(function), Some(target)) = (current, branch_target(line)) {
                functions.entry(function).and_modify(|(_, targets)| _ = targets.insert(target));
            }
        }
        Self(functions)
    }

    /// Names of the functions that satisfy `is_root`, and of all that they reach by direct calls and jumps.
    pub fn reached_from(&self, is_root: impl Fn(&str) -> bool) -> BTreeSet<&str> {
        let roots =
            self.0.iter().filter(|(_, (name, _))| is_root(name)).map(|(address, _)| *address);
        let mut open: Vec<u64> = roots.collect();
        let mut seen: BTreeSet<u64> = open.iter().copied().collect();
        while let Some(address) = open.pop() {
            for &target in &self.0[&address].1 {
                // A jump may lead into a function's middle.
                let start = self.0.range(..=target).next_back().map(|(start, _)| *start);
                if let Some(start) = start.filter(|start| seen.insert(*start)) {
                    open.push(start);
                }
            }
        }
        seen.iter().map(|address| self.0[address].0.as_str()).collect()
    }
}

/// `0000000000103000 <name>:`
fn function_head(line: &str) -> Option<(u64, &str)> {
    let (address, name) = line.strip_suffix(">:")?.split_once(" <")?;
    Some((u64::from_str_radix(address, 16).ok()?, name))
}

/// `  10300a:\tcall   104000 <name+0x10>`: the address behind the mnemonic of a call or jump.
fn branch_target(line: &str) -> Option<u64> {
    let instruction = line.split_once(":\t")?.1;
    let (mnemonic, rest) = instruction.split_once(' ')?;
    let branches = mnemonic.starts_with("call") || mnemonic.starts_with('j');
    let operand = rest.trim_start().split(' ').next()?;
    if branches { u64::from_str_radix(operand, 16).ok() } else { None }
}

fn run(program: &str, arguments: &[&str], image: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .arg(image)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{program} (package binutils) does not start: {error}"));
    assert!(
        output.status.success(),
        "{program} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
0000000000001000 <a::rx_burst>:
    1000:\tpush   %rbx
    1001:\tcall   1020 <b>
    1006:\tcall   *0x8(%rax)
0000000000001020 <b>:
    1020:\tjmp    1045 <c+0x5>
0000000000001040 <c>:
    1040:\tret
0000000000001050 <__rust_alloc>:
    1050:\tjne    1000 <a::rx_burst>
";

    #[test]
    fn calls_are_followed_into_the_middle_of_functions_too() {
        let calls = Calls::parse(TEXT);
        let reached = calls.reached_from(|name| name.contains("rx_burst"));
        assert_eq!(reached.into_iter().collect::<Vec<_>>(), ["a::rx_burst", "b", "c"]);
        assert_eq!(calls.reached_from(|name| name == "__rust_alloc").len(), 4);
    }
}
