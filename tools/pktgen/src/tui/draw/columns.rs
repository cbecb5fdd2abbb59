//! Tables that fit: columns as wide as what is in them, and the least wanted left out where the screen is narrow.

use ratatui::layout::Constraint;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};

/// Columns between two columns.
const GAP: usize = 2;

/// One column of a table.
pub(super) struct Column {
    pub(super) head: &'static str,
    /// How soon it is left out: the highest first; 0 never.
    pub(super) rank: u8,
    /// Words stand at the left, numbers at the right.
    pub(super) words: bool,
    pub(super) cells: Vec<(String, Style)>,
}

impl Column {
    fn width(&self) -> usize {
        self.content().max(width(self.head))
    }

    /// The width without the head.
    fn content(&self) -> usize {
        self.cells.iter().map(|(text, _)| width(text)).max().unwrap_or(0)
    }

    fn line(&self, text: String) -> Line<'static> {
        let line = Line::from(text);
        if self.words { line } else { line.right_aligned() }
    }
}

/// Columns of the screen that a text takes.
pub(super) fn width(text: &str) -> usize {
    Line::from(text).width()
}

/// A table of those columns that there is `room` for.
pub(super) fn table(mut columns: Vec<Column>, room: u16, head: Style) -> Table<'static> {
    let room = usize::from(room);
    let needs = |columns: &[Column]| {
        columns.iter().map(Column::width).sum::<usize>() + GAP * columns.len().saturating_sub(1)
    };
    while needs(&columns) > room
        && let Some(place) = (0..columns.len()).rev().max_by_key(|&place| columns[place].rank)
        && columns[place].rank > 0
    {
        columns.remove(place);
    }
    if needs(&columns) > room {
        // Figures come before the words above them.
        for column in columns.iter_mut().filter(|column| column.width() > column.content()) {
            column.head = "";
        }
    }
    let heads = columns.iter().map(|column| Cell::from(column.line(column.head.into())));
    let heads = Row::new(heads.collect::<Vec<_>>()).style(head);
    let count = columns.iter().map(|column| column.cells.len()).max().unwrap_or(0);
    let row = |number: usize| {
        let cell = |column: &Column| {
            let (text, style) = column.cells.get(number).cloned().unwrap_or_default();
            Cell::from(column.line(text)).style(style)
        };
        Row::new(columns.iter().map(cell).collect::<Vec<_>>())
    };
    let rows: Vec<_> = (0..count).map(row).collect();
    let widths = columns
        .iter()
        .map(|column| Constraint::Length(u16::try_from(column.width()).unwrap_or(u16::MAX)));
    let widths: Vec<_> = widths.collect();
    Table::new(rows, widths).header(heads).column_spacing(u16::try_from(GAP).unwrap_or(1))
}
