//! Device half: groups of descriptors checked with AVX2, for both directions. The portable twins are in
//! [`device_receive`](super::device_receive) and [`device_transmit`](super::device_transmit).

use core::mem::MaybeUninit;

use netbuf::{BURST, Netbuf, Pool};

use super::SplitRing;
use super::device::{HEADER_BYTES, HEADER_LEN, SHORT_HEADER};
use super::device_transmit::MOST;
use super::layout::{RawDesc, write_heads};
use crate::avx2::{Eight, Quad};
use crate::checks::checked;
use crate::memory::Nearby;
use crate::raw::{Class, Pair, prefetch};
use crate::ring::copy_in::GROUP;

/// Reads the descriptors that `heads` name, takes `least` from what of them is looked at, and writes it to `excess`;
/// the OR and the sum of all. `None` where an index is beyond the table.
///
/// Heads one after the other are the usual case: their descriptors are, too.
#[inline]
#[target_feature(enable = "avx2")]
fn read_group(
    ring: &SplitRing,
    heads: &[u16; GROUP],
    least: Pair,
    excess: &mut [MaybeUninit<Pair>; GROUP],
) -> Option<(Pair, Quad)> {
    let eight = Eight::of(heads);
    // (The size is a power of two.)
    if !checked(eight.lacks(!(ring.size().get() - 1))) {
        return None;
    }
    let (mask, least) = (Quad::twice(Pair::new(RawDesc::MASK)), Quad::twice(least));
    let (mut all, mut sum) = (Quad::zero(), Quad::zero());
    let mut put = |descs: Quad, excess: &mut [MaybeUninit<Pair>; 2]| {
        let more = descs.and(mask).minus(least);
        (all, sum) = (all.or(more), sum.plus(more));
        // SAFETY: two pairs are 32 bytes.
        unsafe { more.write(excess.as_mut_ptr().cast()) };
    };
    let places = excess.as_chunks_mut::<2>().0.iter_mut();
    if eight.ascend() {
        // SAFETY: the last of them is in the table, and so all are.
        let descs = unsafe { ring.eight_descs_unchecked(heads[0]) };
        descs.into_iter().zip(places).for_each(|(descs, place)| put(descs, place));
    } else {
        for (heads, place) in heads.as_chunks::<2>().0.iter().zip(places) {
            // SAFETY: all are in the table.
            let [low, high] = heads.map(|head| unsafe { ring.desc_pair_unchecked(head) });
            put(Quad::join(low, high), place);
        }
    }
    Some((all.fold(), sum))
}

/// Whether each offset is in the region.
#[cold]
#[inline(never)]
fn all_hold(region: Nearby, offsets: &[Pair]) -> bool {
    offsets.iter().all(|offset| region.holds(offset.words()[0]))
}

/// As [`parse_groups`](super::device_receive::parse_groups).
#[inline(never)]
#[target_feature(enable = "avx2")]
pub(super) fn parse_groups(
    ring: &SplitRing,
    region: Nearby,
    class: Class,
    heads: &[u16],
    excess: &mut [MaybeUninit<Pair>; BURST],
) -> (usize, u64) {
    let least = Pair::new([region.device(), u64::from(class.least) + u64::from(HEADER_LEN)]);
    let groups = heads.as_chunks::<GROUP>().0.iter();
    let (mut count, mut bytes) = (0, Quad::zero());
    for (heads, excess) in groups.zip(excess.as_chunks_mut::<GROUP>().0) {
        let Some((all, sum)) = read_group(ring, heads, least, excess) else { break };
        // SAFETY: written there.
        let excess = unsafe { excess.assume_init_ref() };
        let [offsets, lengths] = all.words();
        // (An OR may reach the end of the region where none of the offsets does.)
        let inside = || region.holds(offsets) || all_hold(region, excess);
        if !checked(lengths <= class.width.into() && inside()) {
            break;
        }
        for more in excess {
            let host = region.perhaps_at(more.load_first());
            prefetch(host);
            prefetch(host.wrapping_add(HEADER_BYTES));
        }
        count += GROUP;
        bytes = bytes.plus(sum);
    }
    (count, bytes.sums()[1] + u64::from(class.least) * count as u64)
}

/// As [`SplitRing::set_used_heads`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn set_used_heads(ring: &SplitRing, index: u16, heads: &[u16]) {
    for (mut place, heads) in ring.used_places(index, heads) {
        let (groups, rest) = heads.as_chunks::<8>();
        // SAFETY: 64 bytes for each group, and 8 for each of the rest.
        unsafe {
            for group in groups {
                let [low, high] = Eight::of(group).widen();
                low.write(place);
                high.write(place.add(32));
                place = place.add(64);
            }
            if !rest.is_empty() {
                write_heads(place, rest);
            }
        }
    }
}

/// As [`match_groups`](super::device_transmit::match_groups).
///
/// # Safety
/// As there.
#[inline(never)]
#[target_feature(enable = "avx2")]
#[expect(clippy::too_many_arguments, reason = "as its twin")]
pub(super) unsafe fn match_groups(
    ring: &SplitRing,
    region: Nearby,
    home: &Pool,
    class: Class,
    packets: &[Netbuf],
    heads: &[u16],
    offsets: &mut [MaybeUninit<Pair>; BURST],
    mut elems: *mut u8,
) -> (usize, u64) {
    let (plain, written) = (home.plain_from(class.least), class.least + SHORT_HEADER);
    let most = u32::from(written) + u32::from(class.width);
    let least = Pair::new([region.device(), RawDesc::WRITE_ALONE | u64::from(most)]);
    // A buffer of more than 65,535 bytes is not known to lie in the region.
    let Some(span) = u32::from(u16::MAX).checked_sub(most) else { return (0, 0) };
    let written = Quad::all(u64::from(written) << 32);
    let longest = class.width.min(MOST).into();
    let strange = Quad::all(plain.beyond(longest));
    let groups = packets.as_chunks::<GROUP>().0.iter().zip(heads.as_chunks::<GROUP>().0);
    let (mut count, mut sum) = (0, Quad::zero());
    for ((packets, heads), offsets) in groups.zip(offsets.as_chunks_mut::<GROUP>().0) {
        let Some((all, _)) = read_group(ring, heads, least, offsets) else { break };
        let [one, two, three, four] = packets.as_chunks::<2>().0 else { break };
        let low = Quad::join(plain.more_of_both(one), plain.more_of_both(two));
        let high = Quad::join(plain.more_of_both(three), plain.more_of_both(four));
        let [first, last] = Eight::of(heads).widen();
        // The length in the upper half; the lower one is zero where nothing is wrong with the packet. (Where a check
        // fails, these are not among those that are counted.)
        // SAFETY: eight elements are twice 32 bytes.
        unsafe {
            low.plus(written).or(first).write(elems);
            high.plus(written).or(last).write(elems.add(32));
            elems = elems.add(64);
        }
        // SAFETY: written above.
        let offsets = unsafe { offsets.assume_init_ref() };
        let ([any_offset, room], longer) = (all.words(), low.or(high));
        // (One test is enough for the classes that are copied in blocks.)
        let fit = || longer.lacks(strange) || plain.longest(longer.joined()) <= longest;
        if !fit() || !checked(room <= span.into()) {
            break;
        }
        // (An OR may reach the end of the region where none of the offsets does.)
        if !checked(region.holds(any_offset) || all_hold(region, offsets)) {
            break;
        }
        // (The header's line is one that both sides only read, as a rule, and no instruction waits for it.)
        for offset in offsets {
            region.prefetch_write::<HEADER_BYTES>(offset.load_first());
        }
        count += GROUP;
        sum = sum.plus(low).plus(high);
    }
    if let Some(&first) = heads.first() {
        ring.prefetch_burst_ahead(first);
    }
    // (Nothing but lengths in the upper halves was added up.)
    (count, (sum.sums().iter().sum::<u64>() >> 32) + u64::from(class.least) * count as u64)
}

#[cfg(test)]
mod tests {
    use core::ptr::NonNull;

    use netbuf::{DeviceMemory, PoolConfig};

    use super::*;
    use crate::avx2::Avx2;
    use crate::memory::{MemoryMap, Region};
    use crate::ring::split::{Desc, RingSize, UsedElem, device_receive, device_transmit, flags};

    const ENTRIES: u16 = 64;
    const START: u64 = 0x10_0000;

    /// Numbers that repeat from run to run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }

        fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
            all[usize::try_from(self.below(all.len() as u64)).unwrap()]
        }
    }

    struct Rig {
        ring: SplitRing,
        region: Nearby,
        random: Random,
    }

    impl Rig {
        fn new() -> Self {
            let size = RingSize::new(ENTRIES.into()).unwrap();
            let part = |bytes| DeviceMemory::from_heap(bytes).base();
            // SAFETY: heap memory of these sizes that is never freed; what is checked only is never read.
            let (ring, map) = unsafe {
                let (desc, avail) = (part(size.desc_bytes()), part(size.avail_bytes()));
                let ring = SplitRing::new(desc, avail, part(size.used_bytes()), size);
                let host = NonNull::dangling();
                (ring, MemoryMap::new(&[Region { device: START, len: 0x4_0000, host }]).unwrap())
            };
            Self { ring, region: map.nearby(), random: Random(0x9e37_79b9_7f4a_7c15) }
        }

        /// Mostly good descriptors of about `len` bytes, and heads one after the other, or not, or none of the table's.
        fn spoil(&mut self, good: u16, lens: [u32; 3]) -> [u16; BURST] {
            let random = &mut self.random;
            let rare = random.one_of(&[1, 30, 1000]);
            for index in 0..ENTRIES {
                let odd = random.below(rare * 4) < 3;
                let addr = START + random.below(0x2_0000);
                let wild = [0, START - 1, START + 0x3_ffff, START + 0x3_ff00, u64::MAX];
                let addr = if odd { random.one_of(&wild) } else { addr };
                let wild = [0, 11, 12, 25, 26, 4096, 65_535, 65_536, u32::MAX];
                let len = if random.below(rare * 4) < 3 {
                    random.one_of(&wild)
                } else {
                    random.one_of(&lens)
                };
                let wild = [0, flags::DESC_WRITE, flags::DESC_NEXT, flags::DESC_INDIRECT, 0x8000];
                let flags = if random.below(rare * 4) < 3 { random.one_of(&wild) } else { good };
                let next = u16::try_from(random.below(0x1_0000)).unwrap();
                self.ring.set_desc(index, Desc { addr, len, flags, next });
            }
            let first = u16::try_from(random.below(u64::from(ENTRIES))).unwrap();
            let mut heads: [u16; BURST] =
                core::array::from_fn(|at| (first + u16::try_from(at).unwrap()) % ENTRIES);
            for _ in 0..random.one_of(&[0, 0, 1, 5]) {
                let at = usize::try_from(random.below(32)).unwrap();
                heads[at] = random.one_of(&[0, 5, ENTRIES - 1, ENTRIES, 0x8000, 0xffff]);
            }
            heads
        }
    }

    fn words(pairs: &[MaybeUninit<Pair>]) -> Vec<[u64; 2]> {
        // SAFETY: the callers look at what was written.
        pairs.iter().map(|pair| unsafe { pair.assume_init() }.words()).collect()
    }

    fn without_avx2() -> bool {
        let without = Avx2::detect().is_none();
        if without {
            println!("skipped: this CPU has no AVX2");
        }
        without
    }

    #[test]
    fn parsing_agrees_with_the_portable_twin() {
        if without_avx2() {
            return;
        }
        let (mut rig, mut counts) = (Rig::new(), [0; 5]);
        for len in [60, 64, 65, 100, 128, 200, 256, 1000] {
            for round in 0..300 {
                let class = Class::of(len, 14, if round % 5 == 0 { 1514 } else { 1024 }).unwrap();
                let heads = rig.spoil(0, [12 + len, 12 + len - 1, 12 + u32::from(class.least)]);
                let [mut one, mut other] = [[const { MaybeUninit::uninit() }; BURST]; 2];
                let twin =
                    device_receive::parse_groups(&rig.ring, rig.region, class, &heads, &mut one);
                // SAFETY: the CPU has AVX2.
                let count =
                    unsafe { parse_groups(&rig.ring, rig.region, class, &heads, &mut other) };
                assert_eq!(count, twin);
                let count = count.0;
                assert_eq!(words(&one[..count]), words(&other[..count]));
                counts[count / GROUP] += 1;
            }
        }
        assert!(counts.iter().all(|&count| count > 10), "{counts:?}");
    }

    #[test]
    fn matching_agrees_with_the_portable_twin() {
        if without_avx2() {
            return;
        }
        let config = PoolConfig { buffers: 2 * BURST, ..PoolConfig::default() };
        let memory = || DeviceMemory::from_heap(config.device_bytes());
        let pools = [(); 2].map(|()| Pool::new(memory(), config).unwrap());
        let (mut rig, mut counts) = (Rig::new(), [0; 5]);
        for len in [60, 64, 65, 100, 128, 200, 256, 1000] {
            for _ in 0..300 {
                let class = Class::of(len, 14, 1514).unwrap();
                let most = 12 + u32::from(class.least) + u32::from(class.width);
                let heads = rig.spoil(flags::DESC_WRITE, [most, 2048, 1526]);
                let packets: Vec<Netbuf> = (0..BURST)
                    .map(|_| {
                        let pool = &pools[usize::from(rig.random.below(400) == 0)];
                        let len =
                            usize::try_from(len - u32::try_from(rig.random.below(2)).unwrap());
                        let mut packet = pool.copy_from(&vec![7; len.unwrap()]).unwrap();
                        match rig.random.below(900) {
                            0 => packet.set_vlan(Some(3)),
                            1 => packet.set_checksum(netbuf::Checksum::Valid),
                            2 => packet.trim(1).unwrap(),
                            3 => packet.truncate(10).unwrap(),
                            _ => {}
                        }
                        packet
                    })
                    .collect();
                let [mut one, mut other] = [[const { MaybeUninit::uninit() }; BURST]; 2];
                let [mut named, mut named_too] = [[UsedElem::default(); BURST]; 2];
                let (ring, region, home) = (&rig.ring, rig.region, &pools[0]);
                // SAFETY: as many elements as heads; and the CPU has AVX2.
                let (twin, result) = unsafe {
                    let elems = named.as_mut_ptr().cast();
                    let twin = device_transmit::match_groups(
                        ring, region, home, class, &packets, &heads, &mut one, elems,
                    );
                    let elems = named_too.as_mut_ptr().cast();
                    let result = match_groups(
                        ring, region, home, class, &packets, &heads, &mut other, elems,
                    );
                    (twin, result)
                };
                assert_eq!(result, twin);
                let count = result.0;
                assert_eq!(words(&one[..count]), words(&other[..count]));
                assert_eq!(named[..count], named_too[..count]);
                let bytes: usize = packets[..count].iter().map(Netbuf::len).sum();
                assert_eq!(result.1, bytes as u64);
                counts[count / GROUP] += 1;
            }
        }
        assert!(counts.iter().all(|&count| count > 10), "{counts:?}");
    }

    #[test]
    fn used_heads_agree_with_the_portable_twin() {
        if without_avx2() {
            return;
        }
        let rigs = [Rig::new(), Rig::new()];
        for start in [0, 1, 40, 63, 0xffe0] {
            for count in 0..=BURST {
                let heads: Vec<u16> = (0..count).map(|at| u16::try_from(at * 2).unwrap()).collect();
                rigs[0].ring.set_used_heads(start, &heads);
                // SAFETY: the CPU has AVX2.
                unsafe { set_used_heads(&rigs[1].ring, start, &heads) };
                for at in 0..ENTRIES {
                    assert_eq!(rigs[0].ring.used(at), rigs[1].ring.used(at));
                }
                for (at, &head) in (start..start.wrapping_add(64)).zip(&heads) {
                    assert_eq!(rigs[1].ring.used(at), UsedElem { id: head.into(), len: 0 });
                }
            }
        }
    }
}
