//! How many rows each part of the screen gets.

/// Rows of each part, in their order from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) title: u16,
    pub(super) gauge: u16,
    pub(super) directions: u16,
    pub(super) streams: u16,
    pub(super) plots: u16,
    pub(super) search: u16,
    pub(super) foot: u16,
    /// Whether there is room for frames around tables.
    pub(super) framed: bool,
}

/// A table's frame and its head.
pub(super) const FRAME: u16 = 3;
/// A plot with its frame.
const PLOT: u16 = 3;
/// What a search wants beside tables.
const SEARCH: u16 = 8;

impl Parts {
    /// Shares `height` rows out: what matters most comes first.
    pub(super) fn of(height: u16, directions: usize, streams: usize, searching: bool) -> Self {
        let (directions, streams) = (rows(directions), rows(streams));
        let mut left = height;
        let mut take = |wanted: u16| {
            let taken = wanted.min(left);
            left -= taken;
            taken
        };
        let title = take(1);
        let wanted = if directions > 0 { directions.saturating_add(FRAME) } else { 0 };
        let searched = if searching { SEARCH } else { 0 };
        let framed = wanted.saturating_add(searched).saturating_add(3) <= height;
        let table = take(if framed || directions == 0 { wanted } else { directions + 1 });
        let (foot, gauge) = (take(1), take(1));
        let search = take(if searching && directions == 0 { u16::MAX } else { searched });
        let plots = if directions > 0 { directions.saturating_mul(PLOT) } else { 0 };
        let room = left.saturating_sub(plots);
        let shown = if streams > directions { streams.saturating_add(FRAME).min(room) } else { 0 };
        let streams = if shown > FRAME { shown } else { 0 };
        let plots = left - streams;
        Self { title, gauge, directions: table, streams, plots, search, foot, framed }
    }
}

fn rows(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX - FRAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_are_shared_out_whatever_their_number() {
        for height in (0..100).chain([1000, u16::MAX]) {
            for (directions, streams) in [(0, 0), (1, 1), (2, 2), (2, 5), (2, 256), (2, 1 << 20)] {
                for searching in [false, true] {
                    let p = Parts::of(height, directions, streams, searching);
                    let parts =
                        [p.title, p.gauge, p.directions, p.streams, p.plots, p.search, p.foot];
                    let sum: u32 = parts.into_iter().map(u32::from).sum();
                    assert_eq!(sum, u32::from(height), "{directions} {streams} {searching}: {p:?}");
                }
            }
        }
    }

    #[test]
    fn little_room_is_for_figures_and_not_for_frames() {
        let small = Parts::of(5, 2, 2, false);
        assert_eq!((small.directions, small.foot, small.framed), (3, 1, false));
        let usual = Parts::of(24, 2, 2, false);
        assert_eq!((usual.directions, usual.plots, usual.framed), (5, 16, true));
        assert_eq!(Parts::of(24, 0, 0, true).search, 21, "a search has the whole screen");
    }
}
