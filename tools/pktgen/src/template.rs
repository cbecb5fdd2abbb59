//! The frames of a stream: built once for each size, then copied and patched.
//!
//! From one frame to the next only some fields and the stamp change. Whatever covers them (the checksums of the
//! protocols, the content checksum) is a sum, so it is the template's sum plus the share of what changed: the
//! incremental update of RFC 1624, from the template rather than from the frame before. A frame costs a copy and some
//! operations per varying field, whatever its length.

mod compile;
mod shape;

use netdev::{MacAddress, Netbuf};

use crate::checksum::{finish, sum, term};
use crate::stamp::{SEQUENCE_FROM_END, Stamp};
use crate::stream::engine::Engine;
use crate::stream::{Checksums, FieldSpec, FrameSpec};

use shape::{Shape, read_word};

pub(crate) use compile::compile;

/// The most protocol checksums of a frame.
const MAX_SUMS: usize = 4;
/// The most words of eight bytes that hold something that varies; a power of two, so that a place in them needs no check.
const MAX_DIRTY: usize = 32;
/// As many are enough for most frames: six fields and a stamp.
const FEW_DIRTY: usize = 8;

/// Which bytes the content checksum covers, besides the protocols' checksums and itself, which it never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// All of the frame.
    Whole,
    /// All but the first 12 bytes, for forwarders that rewrite MAC addresses.
    #[default]
    WithoutMacs,
    /// What follows the headers, for routers and translators. Protocol checksums are not verified then.
    Payload,
}

impl Coverage {
    /// The first byte that is covered, where the headers have `headers` bytes.
    pub const fn start(self, headers: usize) -> usize {
        match self {
            Self::Whole => 0,
            Self::WithoutMacs => 12,
            Self::Payload => headers,
        }
    }
}

/// What a template's frames look like.
#[derive(Clone, Copy, Debug)]
pub struct TemplateConfig<'a> {
    /// What frames are made of.
    pub frame: &'a FrameSpec,
    /// The sizes that frames can have, in bytes; the smallest first.
    pub sizes: &'a [u16],
    /// Fields that vary, or have another value than by default.
    pub fields: &'a [FieldSpec],
    /// Protocol checksums.
    pub checksums: &'a Checksums,
    /// What the content checksum covers.
    pub coverage: Coverage,
    /// Whether frames carry a stamp.
    pub stamped: bool,
    /// Source address: the port that sends.
    pub source: MacAddress,
    /// Destination address: the port that shall receive.
    pub destination: MacAddress,
    /// The stamp's magic.
    pub magic: u16,
    /// The stream; also in addresses.
    pub stream: u16,
    /// Told apart from other runs by this.
    pub run: u16,
}

/// Frames to copy and patch, one per size, and what is known of their checksums.
#[derive(Clone, Debug)]
pub struct Template {
    shapes: Vec<Shape>,
    /// For each length, the number of its shape, or [`u16::MAX`].
    by_length: Vec<u16>,
    patches: Vec<Patch>,
    sums: Vec<SumField>,
    /// For each of `sums`, all ones if it covers the stamp, else zero.
    stamp_sums: [u64; MAX_SUMS],
    /// The first byte that the content checksum covers.
    start: usize,
    verify_sums: bool,
    stamped: bool,
    magic: u16,
    stream: u16,
    run: u16,
    /// Bytes by which a frame without a good stamp is known: value and mask.
    head: Vec<(u8, u8)>,
}

/// Where the bits of a varying field go: into the eight bytes at `at`, which is even; and for the content checksum into
/// the words of [`Shape::dirty`].
#[derive(Clone, Copy, Debug)]
struct Patch {
    at: usize,
    shift: u32,
    mask: u64,
    /// For each checksum, all ones if it covers the field, else zero.
    sums: [u64; MAX_SUMS],
    word: Option<WordPlace>,
}

/// Where a value lies in two words that follow each other: `shift` bits above the lowest of 128.
#[derive(Clone, Copy, Debug)]
struct WordPlace {
    /// The first of the two, in [`Shape::dirty`].
    index: usize,
    shift: u32,
    /// Whether it reaches into the second.
    spans: bool,
}

/// A protocol checksum.
#[derive(Clone, Copy, Debug)]
struct SumField {
    at: usize,
    /// Which checksums cover it, as bits.
    covered_by: u8,
    /// A computed zero is sent as all ones: zero says that there is no checksum (RFC 768, RFC 8200).
    never_zero: bool,
    /// Wrong on purpose.
    wrong: bool,
}

impl Template {
    /// Bytes of a frame of the size number `shape`: L2 header included, FCS excluded.
    #[inline]
    pub fn size(&self, shape: usize) -> usize {
        self.shapes[shape].frame.len()
    }

    /// Whether frames carry a stamp.
    pub fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// Writes a frame of the size number `shape` to `out`, which has [`size`](Self::size) bytes: the one number
    /// `sequence`, made at `time`, whose varying fields have `values`.
    #[inline]
    pub fn write(&self, shape: usize, out: &mut [u8], sequence: u64, time: u32, values: &[u64]) {
        let shape = &self.shapes[shape];
        if shape.finished {
            copy(out, &shape.frame);
        } else {
            self.write_with::<MAX_DIRTY>(shape, out, sequence, time, values);
        }
    }

    /// Appends frames of the first size to empty `packets`: those from number `first` on, made at `time`. What kind of
    /// frame it is, is looked at once for all of them.
    pub(crate) fn write_burst(
        &self,
        packets: &mut [Netbuf],
        first: u64,
        time: u32,
        engine: &mut Engine,
    ) {
        let Some(shape) = self.shapes.first() else { return };
        if shape.finished {
            for packet in packets {
                if let Some(bytes) = packet.append(shape.frame.len()) {
                    copy(bytes, &shape.frame);
                }
            }
        } else if shape.dirty.len() <= FEW_DIRTY {
            self.write_each::<FEW_DIRTY>(shape, packets, first, time, engine);
        } else {
            self.write_each::<MAX_DIRTY>(shape, packets, first, time, engine);
        }
    }

    fn write_each<const WORDS: usize>(
        &self,
        shape: &Shape,
        packets: &mut [Netbuf],
        first: u64,
        time: u32,
        engine: &mut Engine,
    ) {
        let (values, width) = engine.rows(packets.len());
        let mut rows = values.chunks_exact(width.max(1));
        for (packet, sequence) in packets.iter_mut().zip(first..) {
            let values = rows.next().unwrap_or_default();
            if let Some(bytes) = packet.append(shape.frame.len()) {
                self.write_with::<WORDS>(shape, bytes, sequence, time, values);
            }
        }
    }

    /// What varies is put together in registers, word by word, and stored once: bytes that were just stored are slow to
    /// load in another width. `WORDS`: a power of two, not less than there are words that vary.
    #[inline]
    fn write_with<const WORDS: usize>(
        &self,
        shape: &Shape,
        out: &mut [u8],
        sequence: u64,
        time: u32,
        values: &[u64],
    ) {
        const { assert!(WORDS.is_power_of_two()) };
        copy(out, &shape.frame);
        let mut sums = shape.sums;
        let mut words = [0u64; WORDS];
        for (patch, &value) in self.patches.iter().zip(values) {
            add_masked(&mut sums, &patch.sums, halves(value << patch.shift));
            match patch.word {
                Some(place) => place.put(&mut words, value),
                None => patch.put(out, value),
            }
        }
        if self.stamped {
            let changing = u64::from(time) | sequence << 32;
            self.write_stamp(shape, out, &mut sums, &mut words, changing);
        }
        for (number, field) in self.sums.iter().enumerate() {
            let value = field.complete(sums[number % MAX_SUMS]);
            let Some(place) = out.get_mut(field.at..).and_then(<[u8]>::first_chunk_mut) else {
                return;
            };
            *place = value.to_be_bytes();
            if field.covered_by != 0 {
                add(&mut sums, field.covered_by, u64::from(value));
            }
        }
    }

    /// Stores the words of the fields and the stamp. `changing`: the sequence number's lower half, and the time.
    #[inline]
    fn write_stamp<const WORDS: usize>(
        &self,
        shape: &Shape,
        out: &mut [u8],
        sums: &mut [u64; MAX_SUMS],
        words: &mut [u64; WORDS],
        changing: u64,
    ) {
        shape.stamp.put(words, changing);
        let mut total = shape.fixed_terms;
        for (dirty, bits) in shape.dirty.iter().zip(words) {
            let word = dirty.value | *bits;
            total = total.wrapping_add(dirty.key.term(word.swap_bytes()));
            if dirty.of_field {
                let Some(place) = out.get_mut(dirty.at..).and_then(<[u8]>::first_chunk_mut) else {
                    return;
                };
                *place = word.to_be_bytes();
            }
        }
        let checksum = finish(total, out.len() - self.start);
        let Some(tail) = out.last_chunk_mut::<SEQUENCE_FROM_END>() else { return };
        tail[..8].copy_from_slice(&changing.to_be_bytes());
        tail[8..].copy_from_slice(&checksum.to_be_bytes());
        add_masked(sums, &self.stamp_sums, shape.aligned(halves(changing) + u64::from(checksum)));
    }

    /// The stamp of `frame`, if the frame is one of this template's as it was written: every covered byte is proven by
    /// the content checksum, protocol checksums by arithmetic.
    #[inline]
    pub fn verify(&self, frame: &[u8]) -> Option<Stamp> {
        let stamp = Stamp::of(frame)?;
        if (stamp.magic, stamp.stream) != (self.magic, self.stream) {
            return None;
        }
        let shape = self.shapes.get(usize::from(*self.by_length.get(frame.len())?))?;
        let found = u32::from_be_bytes(*frame.last_chunk()?);
        let covered = &frame[self.start..];
        let mut total = sum(covered);
        for &(index, mask) in &shape.masked {
            let word = read_word(covered, index);
            total = total.wrapping_sub(term(index, word)).wrapping_add(term(index, word & mask));
        }
        let good = finish(total, covered.len()) == found
            && (!self.verify_sums || self.sums_are_good(shape, frame, stamp, found));
        good.then_some(stamp)
    }

    /// Whether the protocol checksums are those that [`write`](Self::write) would have written into the same frame.
    #[inline]
    fn sums_are_good(&self, shape: &Shape, frame: &[u8], stamp: Stamp, checksum: u32) -> bool {
        let mut sums = shape.sums;
        for patch in &self.patches {
            let Some(window) = frame.get(patch.at..).and_then(<[u8]>::first_chunk) else {
                return false;
            };
            add_masked(&mut sums, &patch.sums, halves(u64::from_be_bytes(*window) & patch.mask));
        }
        let changing = u64::from(stamp.sequence) + u64::from(stamp.time) + u64::from(checksum);
        // What the template holds of another run is not what this frame holds.
        let run = u64::from(stamp.run) + u64::from(!self.run);
        add_masked(&mut sums, &self.stamp_sums, shape.aligned(changing + run));
        self.sums.iter().enumerate().all(|(number, field)| {
            let expected = field.complete(sums[number]);
            if field.covered_by != 0 {
                add(&mut sums, field.covered_by, u64::from(expected));
            }
            frame.get(field.at..field.at + 2) == Some(&expected.to_be_bytes()[..])
        })
    }

    /// Whether `frame` has this template's magic and stream in its stamp's place.
    pub fn is_marked(&self, frame: &[u8]) -> bool {
        self.stamped
            && Stamp::of(frame).is_some_and(|s| (s.magic, s.stream) == (self.magic, self.stream))
    }

    /// Whether `frame` has this template's headers, but for what varies.
    pub fn has_headers(&self, frame: &[u8]) -> bool {
        frame.len() >= self.head.len()
            && self.head.iter().zip(frame).all(|((value, mask), byte)| byte & mask == *value)
    }

    /// Whether `frame` is, or was before something changed it, one of this template's: it has its stamp's magic and
    /// stream, or its headers. Damage in one place leaves the other.
    pub fn resembles(&self, frame: &[u8]) -> bool {
        self.is_marked(frame) || self.has_headers(frame)
    }

    /// Whether a frame of so many bytes can be one of this template's.
    pub fn has_size(&self, bytes: usize) -> bool {
        self.by_length.get(bytes).is_some_and(|&shape| shape != u16::MAX)
    }

    /// The run that the template's frames belong to.
    #[inline]
    pub fn run(&self) -> u16 {
        self.run
    }
}

impl SumField {
    #[inline]
    fn complete(self, sum: u64) -> u16 {
        let mut value = !folded(sum);
        if self.never_zero && value == 0 {
            value = 0xffff;
        }
        if self.wrong { spoiled(value, self.never_zero) } else { value }
    }
}

/// Another checksum than `value`, in ones' complement too, where 0 and 0xffff are the same.
fn spoiled(value: u16, never_zero: bool) -> u16 {
    match value ^ 0x0101 {
        0 if never_zero => value ^ 0x0202,
        other => other,
    }
}

impl Patch {
    /// Stores a value's bits over zeros.
    #[inline]
    fn put(self, out: &mut [u8], value: u64) {
        if let Some(window) = out.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut) {
            *window = (u64::from_be_bytes(*window) | value << self.shift).to_be_bytes();
        }
    }
}

impl WordPlace {
    /// Adds a value's bits to its words.
    #[inline]
    fn put<const WORDS: usize>(self, words: &mut [u64; WORDS], value: u64) {
        let Self { index, shift, spans } = self;
        if !spans {
            words[index % WORDS] |= value << (shift & 63);
            return;
        }
        // The value lies across the border: `shift` bits of the second word are below it.
        words[index % WORDS] |= value >> (64 - (shift & 63));
        words[(index + 1) % WORDS] |= value << (shift & 63);
    }
}

/// Copies a frame to where it has room. Short ones, which are many, without a call: two halves that overlap.
#[inline]
fn copy(out: &mut [u8], frame: &[u8]) {
    const HALF: usize = 32;
    if frame.len() > 2 * HALF {
        out.copy_from_slice(frame);
        return;
    }
    let front = (out.first_chunk_mut::<HALF>(), frame.first_chunk::<HALF>());
    let (Some(to), Some(from)) = front else { return out.copy_from_slice(frame) };
    *to = *from;
    if let (Some(to), Some(from)) = (out.last_chunk_mut::<HALF>(), frame.last_chunk::<HALF>()) {
        *to = *from;
    }
}

#[inline]
fn add_masked(sums: &mut [u64; MAX_SUMS], masks: &[u64; MAX_SUMS], part: u64) {
    for (sum, mask) in sums.iter_mut().zip(masks) {
        *sum += part & mask;
    }
}

#[inline]
fn add(sums: &mut [u64; MAX_SUMS], which: u8, part: u64) {
    for (number, sum) in sums.iter_mut().enumerate() {
        if which >> number == 0 {
            break;
        }
        if which >> number & 1 != 0 {
            *sum += part;
        }
    }
}

/// The ones' complement sum of a word's halves: 2^32 is 1 modulo 2^16 - 1.
#[inline]
fn halves(word: u64) -> u64 {
    (word >> 32) + (word & 0xffff_ffff)
}

/// `sum` in 16 bits, with the carries added (RFC 1071).
#[inline]
fn folded(sum: u64) -> u16 {
    let mut sum = halves(sum);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
