//! From a specification to a template and what its fields do.

use std::ops::Range;

use super::shape::{Dirty, Shape, read_word};
use super::{MAX_DIRTY, MAX_SUMS, Patch, SumField, Template, TemplateConfig, WordPlace};
use crate::checksum::{Key, sum, term};
use crate::stamp::{CHECKSUM_FROM_END, SEQUENCE_FROM_END, STAMP_LEN, Stamp};
use crate::stream::build::{Defaults, build, set};
use crate::stream::engine::Motion;
use crate::stream::field::Values;
use crate::stream::frame::{FrameSpec, LayerKind};
use crate::stream::layout::{Layer, Place, Sum, place, sums};
use crate::stream::{Checksums, FieldSpec};

/// The most bytes that the frames of one template take.
const MOST_BYTES: usize = 64 << 20;
/// Bits of a field that vary at most: those that a window of eight bytes can hold wherever it begins.
const MOST_BITS: u32 = 48;

/// A field that varies.
struct Varying {
    patch: Patch,
    bytes: Range<usize>,
    motion: Motion,
}

/// Builds the frames. Also returns what each varying field does, for the engine.
///
/// # Errors
/// What cannot be, in words that say what can.
pub(crate) fn compile(config: &TemplateConfig<'_>) -> Result<(Template, Vec<Motion>), String> {
    let least = usize::from(*config.sizes.first().ok_or("a stream needs a size")?);
    check_sizes(config, least)?;
    let (mut first, layers) = base(config, least)?;
    let sums = wanted_sums(config, &first, &layers);
    if sums.len() > MAX_SUMS {
        return Err(format!("a frame has at most {MAX_SUMS} checksums, this has {}", sums.len()));
    }
    let mut varying: Vec<Varying> = Vec::new();
    for field in config.fields {
        if let Some(field) = prepare(config, field, &mut first, &layers, &sums)? {
            if let Some(other) = varying.iter().find(|v| v.bytes_overlap(&field)) {
                let Range { start, end } = other.bytes;
                return Err(format!("two fields vary in bytes {start} to {}", end - 1));
            }
            varying.push(field);
        }
    }
    if config.stamped && sums.iter().any(|sum| covers(sum, &(least - STAMP_LEN..least)).is_none()) {
        return Err(
            "a protocol's data end in the middle of the stamp; accepted: stamp = false".into()
        );
    }
    let headers = layers.iter().map(|layer| layer.at + layer.header).max().unwrap_or_default();
    let start = config.coverage.start(headers).min(least);
    place_in_words(&mut varying, start, config.stamped)?;
    let fields = sum_fields(config, &sums);
    let shapes = config.sizes.iter().map(|&size| shape(config, usize::from(size), start, &varying));
    let shapes = shapes.collect::<Result<Vec<_>, _>>()?;
    let mut by_length = vec![u16::MAX; shapes.last().map_or(0, |shape| shape.frame.len() + 1)];
    for (number, shape) in shapes.iter().enumerate() {
        by_length[shape.frame.len()] = u16::try_from(number).unwrap_or(u16::MAX);
    }
    let (patches, motions): (Vec<_>, _) = varying.into_iter().map(|v| (v.patch, v.motion)).unzip();
    let mut template = Template {
        head: Vec::new(),
        stamp_sums: masks_of(&sums, &(least - 1..least)),
        shapes,
        by_length,
        patches,
        sums: fields,
        start,
        verify_sums: config.coverage != super::Coverage::Payload,
        stamped: config.stamped,
        magic: config.magic,
        stream: config.stream,
        run: config.run,
    };
    template.finish_constant_frames();
    template.head = template.head(headers);
    Ok((template, motions))
}

fn check_sizes(config: &TemplateConfig<'_>, least: usize) -> Result<(), String> {
    let stamp = if config.stamped { STAMP_LEN } else { 0 };
    if let FrameSpec::Layers(_) = config.frame {
        let needed = config.frame.header_len() + stamp;
        if least < needed {
            return Err(format!(
                "frames of {least} bytes are too short: {} with {} bytes of headers and {stamp} of stamp needs at \
                 least {needed}",
                config.frame,
                config.frame.header_len()
            ));
        }
    }
    if least < 14 + stamp {
        return Err(format!(
            "frames of {least} bytes are too short; at least {} are needed",
            14 + stamp
        ));
    }
    let bytes: usize = config.sizes.iter().map(|&size| usize::from(size)).sum();
    if bytes > MOST_BYTES {
        return Err(format!(
            "frames of {} different sizes are too many to keep ({} MiB, at most {})",
            config.sizes.len(),
            bytes >> 20,
            MOST_BYTES >> 20
        ));
    }
    Ok(())
}

/// The frame of `size` bytes as it stands before fields are set, stamp included.
fn base(config: &TemplateConfig<'_>, size: usize) -> Result<(Vec<u8>, Vec<Layer>), String> {
    let defaults = Defaults {
        source: config.source,
        destination: config.destination,
        stream: config.stream,
        source_port: 0xc000 | config.magic & 0xff,
    };
    let (mut frame, layers) = build(config.frame, size, defaults)?;
    if let (true, Some(tail)) = (config.stamped, frame.last_chunk_mut()) {
        let Stamp { magic, stream, run, .. } = Stamp {
            magic: config.magic,
            stream: config.stream,
            run: config.run,
            sequence: 0,
            time: 0,
        };
        Stamp { magic, stream, run, sequence: 0, time: 0 }.write(tail);
    }
    Ok((frame, layers))
}

fn wanted_sums(config: &TemplateConfig<'_>, frame: &[u8], layers: &[Layer]) -> Vec<Sum> {
    if *config.checksums == Checksums::Keep { Vec::new() } else { sums(frame, layers) }
}

fn sum_fields(config: &TemplateConfig<'_>, sums: &[Sum]) -> Vec<SumField> {
    let field = |sum: &Sum| SumField {
        at: sum.at,
        covered_by: mask_of(sums, |other| {
            other != sum && covers(other, &(sum.at..sum.at + 2)) == Some(true)
        }),
        never_zero: sum.kind == LayerKind::Udp,
        wrong: matches!(config.checksums, Checksums::Wrong(kinds) if kinds.contains(&sum.kind)),
    };
    sums.iter().map(field).collect()
}

fn mask_of(sums: &[Sum], which: impl Fn(&Sum) -> bool) -> u8 {
    sums.iter().enumerate().map(|(number, sum)| u8::from(which(sum)) << number).sum()
}

/// For each checksum, all ones if it covers `bytes`.
fn masks_of(sums: &[Sum], bytes: &Range<usize>) -> [u64; MAX_SUMS] {
    let mut masks = [0; MAX_SUMS];
    for (mask, sum) in masks.iter_mut().zip(sums) {
        *mask = if covers(sum, bytes) == Some(true) { u64::MAX } else { 0 };
    }
    masks
}

/// Says of each field that the content checksum covers where its bits lie in the words of that.
fn place_in_words(varying: &mut [Varying], start: usize, stamped: bool) -> Result<(), String> {
    if !stamped {
        return Ok(());
    }
    let ranges: Vec<Range<usize>> = varying.iter().map(|v| v.bytes.clone()).collect();
    let indices = word_indices(&ranges, start);
    if indices.len() + 2 > MAX_DIRTY {
        return Err(format!(
            "too many fields vary: at most {} words of eight bytes",
            MAX_DIRTY - 2
        ));
    }
    for field in varying.iter_mut().filter(|field| field.bytes.end > start) {
        if field.bytes.start < start {
            return Err("a field crosses the border of what the content checksum covers".into());
        }
        // Where the lowest bit of the value lies, above the end of the field's last byte.
        let window_end = field.patch.at + 8;
        let above = field.patch.shift
            - u32::try_from(8 * (window_end - field.bytes.end)).unwrap_or_default();
        field.patch.word = Some(word_place(&indices, &field.bytes, start, above));
    }
    Ok(())
}

/// The place of a value whose lowest bit is `above` bits above the end of `bytes`.
fn word_place(indices: &[u32], bytes: &Range<usize>, start: usize, above: u32) -> WordPlace {
    let (first, last) = ((bytes.start - start) / 8, (bytes.end - 1 - start) / 8);
    let behind = 8 * (last + 1) - (bytes.end - start);
    let index =
        indices.iter().position(|&index| usize::try_from(index) == Ok(first)).unwrap_or_default();
    WordPlace {
        index,
        shift: u32::try_from(8 * behind).unwrap_or_default() + above,
        spans: first != last,
    }
}

/// Whether a checksum covers all of `bytes` or nothing of them; `None`: some.
fn covers(sum: &Sum, bytes: &Range<usize>) -> Option<bool> {
    let covered = |byte: &usize| sum.ranges.iter().any(|range| range.contains(byte));
    let count = bytes.clone().filter(covered).count();
    match count {
        0 => Some(false),
        _ if count == bytes.len() => Some(true),
        _ => None,
    }
}

/// Sets what is fixed of a field in `frame`; what varies, if anything does.
fn prepare(
    config: &TemplateConfig<'_>,
    field: &FieldSpec,
    frame: &mut [u8],
    layers: &[Layer],
    sums: &[Sum],
) -> Result<Option<Varying>, String> {
    let name = &field.name;
    let fail = |error: String| format!("field {name}: {error}");
    let place = place(layers, name).map_err(fail)?;
    let (low, high) = field.values.bounds();
    let stamp = if config.stamped { STAMP_LEN } else { 0 };
    if place.at + place.bytes > frame.len() - stamp {
        return Err(fail("lies beyond the end of the smallest frame, or in its stamp".into()));
    }
    set(frame, place, high).map_err(fail)?;
    set(frame, place, low).map_err(fail)?;
    if low == high {
        return Ok(None);
    }
    let part = lower_part(place);
    if part.bits < 128 && low >> part.bits != high >> part.bits {
        return Err(fail(format!("at most the lowest {MOST_BITS} bits can vary")));
    }
    let bytes = part.at..part.at + part.bytes;
    if sums.iter().any(|sum| sum.at < bytes.end && bytes.start < sum.at + 2) {
        return Err(fail("is a checksum; accepted: `checksums = \"wrong:...\"`".into()));
    }
    if sums.iter().any(|sum| covers(sum, &bytes).is_none()) {
        return Err(fail("crosses the border of what a checksum covers".into()));
    }
    let window = (part.at & !1).min((frame.len() - 8) & !1);
    if bytes.end > window + 8 {
        return Err(fail("lies too close to the end of the frame".into()));
    }
    let behind = u32::try_from(8 * (window + 8 - bytes.end)).unwrap_or_default();
    let patch = Patch {
        at: window,
        shift: behind + part.shift,
        mask: (u64::MAX >> (64 - part.bits)) << (behind + part.shift),
        sums: masks_of(sums, &bytes),
        word: None,
    };
    Ok(Some(Varying { patch, bytes, motion: motion(&field.values, part.bits) }))
}

impl Varying {
    fn bytes_overlap(&self, other: &Self) -> bool {
        let ((a, b), at) = ((self.patch, other.patch), self.patch.at.min(other.patch.at));
        // The bits of both in one number that begins at the earlier window.
        let spread = |patch: Patch| {
            (u128::from(patch.mask) << 64)
                .checked_shr(8 * u32::try_from(patch.at - at).unwrap_or(16))
        };
        let (Some(a), Some(b)) = (spread(a), spread(b)) else { return false };
        a & b != 0
    }
}

/// Of a place with too many bits, the lowest.
fn lower_part(place: Place) -> Place {
    if place.bits <= MOST_BITS {
        return place;
    }
    Place { at: place.at + place.bytes - 6, bytes: 6, shift: 0, bits: MOST_BITS }
}

fn motion(values: &Values, bits: u32) -> Motion {
    let low = |value: u128| {
        u64::try_from(value & u128::from(u64::MAX >> (64 - bits))).unwrap_or_default()
    };
    let range =
        |from: u128, to: u128| (low(from), u64::try_from(to - from).unwrap_or_default() + 1);
    match values {
        Values::Fixed(value) => Motion::List(Box::new([low(*value)])),
        Values::List(list) => Motion::List(list.iter().map(|&value| low(value)).collect()),
        Values::Increment { from, to, step } => {
            let (base, span) = range(*from, *to);
            Motion::Up { base, span, step: step % span }
        }
        Values::Decrement { from, to, step } => {
            let (base, span) = range(*from, *to);
            Motion::Down { base, span, step: step % span }
        }
        Values::Random { from, to, seed } => {
            let (base, span) = range(*from, *to);
            Motion::Random { base, span, seed: *seed }
        }
    }
}

/// The frame of `size` bytes: fixed fields set, varying bits and checksums zero.
fn shape(
    config: &TemplateConfig<'_>,
    size: usize,
    start: usize,
    varying: &[Varying],
) -> Result<Shape, String> {
    let (mut frame, layers) = base(config, size)?;
    for field in config.fields {
        let place = place(&layers, &field.name)?;
        set(&mut frame, place, field.values.bounds().0)
            .map_err(|e| format!("field {}: {e}", field.name))?;
    }
    for Varying { patch, .. } in varying {
        if let Some(window) = frame[patch.at..].first_chunk_mut() {
            *window = (u64::from_be_bytes(*window) & !patch.mask).to_be_bytes();
        }
    }
    let sums = wanted_sums(config, &frame, &layers);
    sums.iter().for_each(|sum| frame[sum.at..sum.at + 2].fill(0));
    let mut totals = [0; MAX_SUMS];
    for (total, sum) in totals.iter_mut().zip(&sums) {
        *total =
            sum.constant + sum.ranges.iter().map(|range| words(&frame[range.clone()])).sum::<u64>();
    }
    let end = frame.len();
    let check = end - CHECKSUM_FROM_END.min(end)..end;
    let fields: Vec<Range<usize>> = varying.iter().map(|v| v.bytes.clone()).collect();
    let mut checks: Vec<Range<usize>> = sums.iter().map(|sum| sum.at..sum.at + 2).collect();
    let of_fields = word_indices(&fields, start);
    let mut indices = of_fields.clone();
    let mut stamp = WordPlace { index: 0, shift: 0, spans: false };
    if config.stamped {
        let changing = end - SEQUENCE_FROM_END..check.start;
        // The fields come first in the frame, so their words do too.
        indices.extend(word_indices(std::slice::from_ref(&changing), start));
        indices.dedup();
        stamp = word_place(&indices, &changing, start, 0);
        checks.push(check);
    }
    let covered = &frame[start..];
    let dirty = |index: &u32| Dirty {
        at: start + 8 * usize::try_from(*index).unwrap_or_default(),
        key: Key::of(*index),
        value: read_word(covered, *index).swap_bytes(),
        of_field: of_fields.contains(index),
    };
    let dirty: Vec<Dirty> = indices.iter().map(dirty).collect();
    let fixed_terms = indices.iter().fold(sum(covered), |total, &index| {
        total.wrapping_sub(term(index, read_word(covered, index)))
    });
    let masked = masks(&checks, start);
    Ok(Shape { finished: false, sums: totals, fixed_terms, dirty, stamp, masked, frame })
}

/// The sum of big-endian words of 16 bits, the last filled up with a zero.
fn words(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|p| u64::from(p[0]) << 8 | p.get(1).map_or(0, |&b| u64::from(b))).sum()
}

/// The words, counted from `start`, that hold any of `ranges`.
fn word_indices(ranges: &[Range<usize>], start: usize) -> Vec<u32> {
    let places = ranges.iter().cloned().flatten().filter_map(|place| place.checked_sub(start));
    let mut indices: Vec<u32> =
        places.map(|place| u32::try_from(place / 8).unwrap_or(u32::MAX)).collect();
    indices.sort_unstable();
    indices.dedup();
    indices
}

/// The words, counted from `start`, that hold any of `ranges`, with masks (little-endian) that leave those out.
fn masks(ranges: &[Range<usize>], start: usize) -> Vec<(u32, u64)> {
    let mask = |index: u32| {
        let first = start + 8 * usize::try_from(index).unwrap_or_default();
        let bytes = (0..8u64).filter(|&n| {
            let place = first + usize::try_from(n).unwrap_or_default();
            !ranges.iter().any(|range| range.contains(&place))
        });
        (index, bytes.map(|n| 0xff << (8 * n)).sum())
    };
    word_indices(ranges, start).into_iter().map(mask).collect()
}

impl Template {
    /// Where nothing varies, completes the frames once and for all.
    fn finish_constant_frames(&mut self) {
        if self.stamped || !self.patches.is_empty() {
            return;
        }
        for number in 0..self.shapes.len() {
            let mut frame = vec![0; self.size(number)];
            self.write(number, &mut frame, 0, 0, &[]);
            self.shapes[number].frame = frame;
            self.shapes[number].finished = true;
        }
    }

    /// The bytes of the headers that all frames share, from the first that the content checksum covers (addresses that
    /// may change are none to know a frame by).
    fn head(&self, headers: usize) -> Vec<(u8, u8)> {
        let Some(first) = self.shapes.first() else { return Vec::new() };
        let headers = headers.min(first.frame.len());
        let mut head: Vec<(u8, u8)> =
            first.frame[..headers].iter().map(|&byte| (byte, 0xff)).collect();
        for (place, (value, mask)) in head.iter_mut().enumerate() {
            let sum = self.sums.iter().any(|sum| (sum.at..sum.at + 2).contains(&place));
            let same = self.shapes.iter().all(|shape| shape.frame[place] == *value);
            if place < self.start.min(12) || sum || !same {
                *mask = 0;
            }
            for patch in self.patches.iter().filter(|p| (p.at..p.at + 8).contains(&place)) {
                *mask &= !patch.mask.to_be_bytes()[place - patch.at];
            }
            *value &= *mask;
        }
        head
    }
}
