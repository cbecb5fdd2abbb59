//! Device half: groups of descriptors of a packed ring checked with AVX2, for both directions. What they leave alone,
//! and all where there is no AVX2, is taken one by one in [`device_receive`](super::device_receive) and
//! [`device_transmit`](super::device_transmit).

use core::mem::MaybeUninit;
use core::sync::atomic::{Ordering, fence};

use netbuf::{BURST, Netbuf, Pool};

use super::layout::{Slot, Word, flags};
use crate::avx2::Quad;
use crate::checks::{BELIEVES, checked};
use crate::memory::Nearby;
use crate::raw::{Class, Pair, prefetch};
use crate::ring::copy_in::GROUP;
use crate::ring::split::{HEADER_BYTES, HEADER_LEN};

/// The most that the pool's test for plain packets can tell.
const MOST: u16 = (1 << 15) - 1;

/// Descriptors that lie one after the other, and what is expected of them.
pub(super) struct Run {
    pub(super) first: Slot,
    /// How many there are before the end of the ring.
    pub(super) most: usize,
    /// Flags of an available one.
    pub(super) available: u16,
    /// Flags that it gets when it is used.
    pub(super) used: u16,
    pub(super) region: Nearby,
    pub(super) class: Class,
}

/// Flags in the second word.
const fn place(flags: u16) -> u64 {
    (flags as u64) << Word::FLAGS
}

/// What one group says.
struct Group {
    /// The OR of what the descriptors have more than the least.
    all: Pair,
    /// The sum.
    sum: Quad,
    /// The descriptors, two in each.
    descs: [Quad; 4],
}

impl Run {
    /// Reads the group from descriptor `at` on, takes `least` from what of it is looked at, and writes that to `excess`.
    ///
    /// A descriptor is read at once, in 16 aligned bytes (32 at a time, which no CPU with AVX2 takes apart further, and
    /// DPDK's vectorized paths rely on 64): where its flags say that it is available, its address is the one that was
    /// meant. If it were not, what is checked is still what is used.
    ///
    /// # Safety
    /// The group must be inside the ring.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn read(
        &self,
        at: usize,
        least: Pair,
        excess: &mut [MaybeUninit<Pair>; GROUP],
    ) -> Group {
        const ID: u64 = 0xffff << Word::ID;
        // SAFETY: the caller's promise.
        let descs = unsafe { self.first.add(at).eight() };
        let (mask, least) = (Quad::twice(Pair::new([u64::MAX, !ID])), Quad::twice(least));
        let (mut all, mut sum) = (Quad::zero(), Quad::zero());
        for (descs, place) in descs.into_iter().zip(excess.as_chunks_mut::<2>().0) {
            let more = descs.and(mask).minus(least);
            (all, sum) = (all.or(more), sum.plus(more));
            // SAFETY: two pairs are 32 bytes.
            unsafe { more.write(place.as_mut_ptr().cast()) };
        }
        Group { all: all.fold(), sum, descs }
    }

    /// Whether each offset is in the region.
    #[cold]
    #[inline(never)]
    fn all_hold(&self, offsets: &[Pair; GROUP]) -> bool {
        offsets.iter().all(|offset| self.region.holds(offset.words()[0]))
    }
}

/// Whether descriptors of which this is what the second words have more than the least are all available, and have no more
/// than `most` bytes more: nothing is left above the lengths only if the flags are as expected.
#[inline]
fn available(more: u64, most: u64) -> bool {
    if BELIEVES { more & place(flags::AVAIL | flags::USED) == 0 } else { more <= most }
}

/// Parses whole groups of descriptors that are all available and good, and of one class of lengths; how many, and the bytes of
/// their frames. What they have more than the least goes to `excess`, and what they become to `words`.
///
/// # Safety
/// As many descriptors as `run` says must lie before the end of the ring.
#[inline(never)]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn parse_groups(
    run: &Run,
    excess: &mut [MaybeUninit<Pair>; BURST],
    words: &mut [MaybeUninit<Word>; BURST],
) -> (usize, u64) {
    let least = u64::from(run.class.least) + u64::from(HEADER_LEN);
    let least = Pair::new([run.region.device(), least | place(run.available)]);
    let places = excess.as_chunks_mut::<GROUP>().0.iter_mut().zip(words.as_chunks_mut::<GROUP>().0);
    let used = Quad::all(place(run.used));
    let (mut count, mut bytes) = (0, Quad::zero());
    for (excess, words) in places.take(run.most / GROUP) {
        run.first.prefetch_eight(count);
        // SAFETY: the group lies before the end of the ring.
        let Group { all, sum, descs: [a, b, c, d] } = unsafe { run.read(count, least, excess) };
        // SAFETY: written there.
        let excess = unsafe { &*excess.as_ptr().cast::<[Pair; GROUP]>() };
        let [offsets, lengths] = all.words();
        // (An OR may reach the end of the region where none of the offsets does.)
        let inside = || run.region.holds(offsets) || run.all_hold(excess);
        if !available(lengths, run.class.width.into()) || !checked(inside()) {
            break;
        }
        fence(Ordering::Acquire);
        let words: *mut u8 = words.as_mut_ptr().cast();
        // SAFETY: eight words are twice 32 bytes.
        unsafe {
            Quad::ids(a, b, used).write(words);
            Quad::ids(c, d, used).write(words.add(32));
        }
        for more in excess {
            let host = run.region.perhaps_at(more.load_first());
            prefetch(host);
            prefetch(host.wrapping_add(HEADER_BYTES));
        }
        count += GROUP;
        bytes = bytes.plus(sum);
    }
    (count, bytes.sums()[1] + u64::from(run.class.least) * count as u64)
}

/// See [`Slot::put_words`]: the same, compiled for AVX2, which stores halves of registers.
///
/// # Safety
/// As there.
#[inline(never)]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn put_words(first: Slot, words: &[Word]) {
    // SAFETY: the caller's promise.
    unsafe { first.put_words(words) }
}

/// Matches whole groups of packets that are plain, of one class of lengths, and stand where their pool put them, with
/// buffers that are one good descriptor with room for any of the class; how many, and their bytes. The descriptors from
/// `ahead` on, which are next, are loaded meanwhile.
///
/// # Safety
/// As in [`parse_groups`].
#[inline(never)]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn match_groups(
    run: &Run,
    ahead: Slot,
    home: &Pool,
    packets: &[Netbuf],
    offsets: &mut [MaybeUninit<Pair>; BURST],
    words: &mut [MaybeUninit<Word>; BURST],
) -> (usize, u64) {
    let (plain, class) = (home.plain_from(run.class.least), run.class);
    let written = u64::from(class.least) + u64::from(HEADER_LEN);
    let most = written + u64::from(class.width);
    // A buffer of more than 65,535 bytes is not known to lie in the region.
    let Some(span) = u64::from(u16::MAX).checked_sub(most) else { return (0, 0) };
    let least = Pair::new([run.region.device(), most | place(run.available)]);
    let used = Quad::all(place(run.used) | written);
    let longest = class.width.min(MOST).into();
    let strange = Quad::all(plain.beyond(longest));
    let packets = packets[..run.most.min(packets.len())].as_chunks::<GROUP>().0.iter();
    let places =
        offsets.as_chunks_mut::<GROUP>().0.iter_mut().zip(words.as_chunks_mut::<GROUP>().0);
    let (mut count, mut sum) = (0, Quad::zero());
    for (packets, (offsets, words)) in packets.zip(places) {
        // SAFETY: the group lies before the end of the ring.
        let Group { all, descs: [a, b, c, d], .. } = unsafe { run.read(count, least, offsets) };
        ahead.prefetch_eight(count);
        let [one, two, three, four] = packets.as_chunks::<2>().0 else { break };
        let low = Quad::join(plain.more_of_both(one), plain.more_of_both(two));
        let high = Quad::join(plain.more_of_both(three), plain.more_of_both(four));
        let words: *mut u8 = words.as_mut_ptr().cast();
        // (Where a check fails, these are not among those that are counted.)
        // SAFETY: eight words are twice 32 bytes.
        unsafe {
            Quad::ids(a, b, low.upper().plus(used)).write(words);
            Quad::ids(c, d, high.upper().plus(used)).write(words.add(32));
        }
        // SAFETY: written there.
        let offsets = unsafe { &*offsets.as_ptr().cast::<[Pair; GROUP]>() };
        let ([any_offset, room], longer) = (all.words(), low.or(high));
        // (One test is enough for the classes that are copied in blocks.)
        let fit = || longer.lacks(strange) || plain.longest(longer.joined()) <= longest;
        if !fit() || !available(room, span) {
            break;
        }
        // (An OR may reach the end of the region where none of the offsets does.)
        if !checked(run.region.holds(any_offset) || run.all_hold(offsets)) {
            break;
        }
        // (The header's line is one that both sides only read, as a rule, and no instruction waits for it.)
        for offset in offsets {
            run.region.prefetch_write::<HEADER_BYTES>(offset.load_first());
        }
        count += GROUP;
        sum = sum.plus(low).plus(high);
    }
    // (Nothing but lengths in the upper halves was added up.)
    (count, (sum.sums().iter().sum::<u64>() >> 32) + u64::from(class.least) * count as u64)
}
