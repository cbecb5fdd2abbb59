//! The records against a model: a back end takes chains, gives batches back, and is killed between any two of its stores.
//! Its successor must find what had been taken and not shown as used; of the chain that was being taken at that moment it
//! may know or not, because that one stands in the ring still.

use std::collections::VecDeque;

use proptest::prelude::*;
use virtio::ring::packed::{Desc, flags};
use virtio::ring::split::RingSize;

use super::cells::killer;
use super::{Cells, InflightMemory, Opened, PackedRecord, SplitRecord, Spot};

const SIZE: u16 = 8;

/// One step of a back end.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Takes a chain of so many descriptors.
    Take(u16),
    /// Gives so many chains back.
    Give(usize),
    /// Stops in order: what is held stays in the ring.
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..4u16).prop_map(Step::Take),
        4 => (1..5usize).prop_map(Step::Give),
        1 => Just(Step::Stop),
    ];
    prop::collection::vec(step, 1..60)
}

fn memory(packed: bool) -> InflightMemory {
    killer::after(usize::MAX);
    InflightMemory::create(packed, 2, SIZE).unwrap().0
}

fn cells(memory: &InflightMemory, packed: bool) -> Cells {
    killer::after(usize::MAX);
    memory.queue(packed, 1, RingSize::new(SIZE.into()).unwrap()).unwrap().unwrap()
}

/// Checks what a successor found: `sure` chains, and perhaps the next one.
fn check<T: PartialEq + std::fmt::Debug>(found: &[T], sure: &[T], perhaps: Option<&T>) {
    let with: Vec<_> = sure.iter().chain(perhaps).collect();
    let found: Vec<_> = found.iter().collect();
    assert!(found == with || found == sure.iter().collect::<Vec<_>>(), "{found:?}, not {with:?}");
}

/// A split queue, whose heads come in an order of the driver's.
fn split(steps: &[Step], lives: &[usize]) {
    let memory = memory(false);
    let (mut held, mut used, mut next) = (VecDeque::new(), 0u16, 0u16);
    let mut lives = lives.iter().copied();
    let mut record = SplitRecord::open(cells(&memory, false), SIZE, used).unwrap().0;
    killer::after(lives.next().unwrap_or(usize::MAX));
    // (A permutation: 3 and 8 have no common divisor.)
    let head = |number: u16| number.wrapping_mul(3) % SIZE;
    for step in steps {
        let mut taking = None;
        match *step {
            Step::Take(_) if held.len() < usize::from(SIZE) => {
                taking = Some(head(next));
                record.take(head(next));
                if !killer::is_dead() {
                    held.push_back(head(next));
                    next = next.wrapping_add(1);
                }
            }
            Step::Give(most) if !held.is_empty() => {
                let count = most.min(held.len());
                let published = used.wrapping_add(u16::try_from(count).unwrap());
                if killer::survives() {
                    used = published;
                    let batch: Vec<_> = held.drain(..count).collect();
                    record.give_back(batch.into_iter(), used, held.front().copied());
                }
            }
            Step::Stop => {
                record.put_back(held.iter().copied());
                if !killer::is_dead() {
                    held.clear();
                    next = used;
                }
            }
            _ => {}
        }
        if !killer::is_dead() {
            continue;
        }
        let stopping = matches!(step, Step::Stop);
        let (successor, found) = SplitRecord::open(cells(&memory, false), SIZE, used).unwrap();
        if !stopping {
            check(&found, held.make_contiguous(), taking.as_ref());
        }
        // (Stopped by half: what is no longer recorded stands in the ring; here the rest is put back as well.)
        record = successor;
        if stopping {
            record.put_back(found.iter().copied());
            held.clear();
        } else {
            held = found.into();
        }
        next = used.wrapping_add(u16::try_from(held.len()).unwrap());
        killer::after(lives.next().unwrap_or(usize::MAX));
    }
}

/// A chain of a packed ring that is told from others by its first address.
fn chain(number: u16, descs: u16, at: Spot) -> Vec<Desc> {
    let desc = |place: u16| {
        let more = if place + 1 < descs { flags::DESC_NEXT } else { 0 };
        let addr = u64::from(number) << 8 | u64::from(place);
        Desc { addr, len: 60 + u32::from(place), id: number % 5, flags: at.available(more) }
    };
    (0..descs).map(desc).collect()
}

/// What of a chain does not depend on where it stands.
fn plain(chain: &[Desc]) -> Vec<(u64, u32, u16, u16)> {
    let turn = flags::AVAIL | flags::USED;
    chain.iter().map(|desc| (desc.addr, desc.len, desc.id, desc.flags & !turn)).collect()
}

fn packed(steps: &[Step], lives: &[usize]) {
    let size = RingSize::new(SIZE.into()).unwrap();
    let memory = memory(true);
    let start = Spot { index: 0, wrap: true };
    let open = |used: Spot, shown: Spot| {
        // At `used` the ring has either an available descriptor still, or the first of the batch.
        let flags_at = move |_| if used == shown { used.available(0) } else { 0x8080 };
        PackedRecord::open(cells(&memory, true), SIZE, size, start, flags_at).unwrap()
    };
    let mut record = open(start, start).record;
    let (mut held, mut used, mut number) = (VecDeque::<(_, Vec<_>)>::new(), start, 0);
    let mut lives = lives.iter().copied();
    killer::after(lives.next().unwrap_or(usize::MAX));
    for step in steps {
        let (mut taking, before) = (None, used);
        let descs: usize = held.iter().map(|(_, chain)| chain.len()).sum();
        match *step {
            Step::Take(count) if descs + usize::from(count) <= usize::from(SIZE) => {
                number += 1;
                let chain = chain(number, count, start);
                let taken = record.take(&chain).unwrap();
                taking = Some(plain(&chain));
                if !killer::is_dead() {
                    held.push_back((taken, plain(&chain)));
                }
            }
            Step::Give(most) if !held.is_empty() => {
                // (All of the ring at once would leave the indexes as they were.)
                let most = if descs == usize::from(SIZE) { most.min(held.len() - 1) } else { most };
                let batch: Vec<_> =
                    held.iter().take(most).map(|(taken, chain)| (*taken, chain.len())).collect();
                let count: usize = batch.iter().map(|(_, len)| len).sum();
                if count == 0 {
                    continue;
                }
                let end = used.after(u16::try_from(count).unwrap(), size);
                let batch = batch.into_iter().map(|(taken, _)| taken);
                record.prepare(batch.clone(), end);
                if killer::survives() {
                    used = end;
                    held.drain(..batch.len());
                    record.commit(batch, end);
                }
            }
            Step::Stop => {
                while let Some((taken, _)) = held.pop_back() {
                    record.put_back(taken);
                }
            }
            _ => {}
        }
        if !killer::is_dead() {
            continue;
        }
        killer::after(usize::MAX);
        let Opened { record: successor, used: found_used, again } = open(before, used);
        assert_eq!(found_used, used);
        let found: Vec<_> = again.iter().map(|again| plain(&again.descs)).collect();
        record = successor;
        if matches!(step, Step::Stop) {
            again.iter().rev().for_each(|again| record.put_back(again.taken));
            held.clear();
        } else {
            let sure: Vec<_> = held.iter().map(|(_, chain)| chain.clone()).collect();
            check(&found, &sure, taking.as_ref());
            held = again.iter().map(|again| again.taken).zip(found).collect();
        }
        killer::after(lives.next().unwrap_or(usize::MAX));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whoever_takes_a_split_queue_over_finds_what_was_in_flight(
        steps in steps(),
        lives in prop::collection::vec(0..60usize, 0..12),
    ) {
        split(&steps, &lives);
    }

    #[test]
    fn whoever_takes_a_packed_queue_over_finds_what_was_in_flight(
        steps in steps(),
        lives in prop::collection::vec(0..120usize, 0..12),
    ) {
        packed(&steps, &lives);
    }

    /// Any bytes: refused, or something that can be: no chain twice, none longer than the ring.
    #[test]
    fn any_bytes_are_refused_or_make_sense(bytes in prop::collection::vec(any::<u8>(), 320)) {
        let size = RingSize::new(SIZE.into()).unwrap();
        for packed in [false, true] {
            let memory = memory(packed);
            let write = || {
                let cells = cells(&memory, packed);
                let len = super::queue_bytes(packed, SIZE);
                for (at, &byte) in bytes.iter().enumerate().take(len) {
                    // (Mostly in range, or little would be reached.)
                    cells.store8(at, if at < 32 { byte % 9 } else { byte & 0x87 });
                }
                cells.store16(8, 1);
                cells.store16(10, SIZE);
                (1..32).step_by(2).filter(|&at| at > 11).for_each(|at| cells.store8(at, 0));
                cells
            };
            if packed {
                let flags_at = |index: u16| u16::from(bytes[usize::from(index)]) << 8;
                let spot = Spot { index: 0, wrap: true };
                let opened = PackedRecord::open(write(), SIZE, size, spot, flags_at);
                let Ok(Opened { mut record, again, .. }) = opened else { continue };
                let descs: usize = again.iter().map(|again| again.descs.len()).sum();
                prop_assert!(descs <= usize::from(SIZE));
                let left = u16::try_from(usize::from(SIZE) - descs).unwrap();
                prop_assert!((0..left).all(|_| record.take(&chain(1, 1, spot)).is_some()));
                prop_assert!(record.take(&chain(1, 1, spot)).is_none());
            } else {
                let used = u16::from_le_bytes([bytes[0], bytes[1]]);
                let Ok((_, mut heads)) = SplitRecord::open(write(), SIZE, used) else { continue };
                let all = heads.len();
                heads.sort_unstable();
                heads.dedup();
                prop_assert!(heads.len() == all && heads.iter().all(|&head| head < SIZE));
            }
        }
    }
}
