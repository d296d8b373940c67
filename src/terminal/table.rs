//! A table: aligned columns on a terminal, tab-separated in a pipe.

use std::borrow::Cow;

use anstyle::Style;

use super::{page::Page, style};
use crate::printable::printable;

/// Space between two columns on a terminal.
const GAP: usize = 2;

/// Rows of cells under a header.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Column {
    name: String,
    align: Align,
}

#[derive(Debug)]
struct Row {
    cells: Vec<Cell>,
    /// Lines beneath, on their own.
    notes: Vec<String>,
}

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// Text and how it looks.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        let text = text.into();
        // Escaped as it is printed, since the width of a column counts that.
        let text = match printable(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(printable) => printable,
        };
        Self { text, style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, style::PLAIN)
    }
}

impl Table {
    #[must_use]
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, Align)>) -> Self {
        let columns = columns.into_iter();
        let columns = columns.map(|(name, align)| Column { name: name.into(), align });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(Row { cells, notes: Vec::new() });
    }

    pub fn note(&mut self, text: impl Into<String>) {
        if let Some(row) = self.rows.last_mut() {
            row.notes.push(text.into());
        }
    }

    pub fn write(&self, page: &mut Page) {
        let header: Vec<Cell> =
            self.columns.iter().map(|column| Cell::styled(&*column.name, style::HEAD)).collect();
        let used = self.used();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().map(|row| row.cells[at].text.chars().count());
                cells.chain([header[at].text.chars().count()]).max().unwrap_or(0)
            })
            .collect();
        self.line(page, &header, &used, &widths);
        for row in &self.rows {
            self.line(page, &row.cells, &used, &widths);
            for note in &row.notes {
                page.line(format!("    {note}"));
            }
        }
    }

    /// Which columns have text. A terminal shows no empty columns; a pipe shows all, since scripts count
    /// columns.
    fn used(&self) -> Vec<bool> {
        let used = |at: usize| self.rows.iter().any(|row| !row.cells[at].text.is_empty());
        (0..self.columns.len()).map(|at| self.rows.is_empty() || used(at)).collect()
    }

    fn line(&self, page: &mut Page, cells: &[Cell], used: &[bool], widths: &[usize]) {
        if !page.aligned {
            let cells: Vec<_> = cells.iter().map(|cell| (cell.style, &*cell.text)).collect();
            page.joined(&cells, "\t");
            return;
        }
        let blanks = " ".repeat(widths.iter().max().unwrap_or(&0) + GAP);
        let mut pieces = Vec::new();
        for (at, cell) in cells.iter().enumerate().filter(|(at, _)| used[*at]) {
            let padding = (style::PLAIN, &blanks[..widths[at] - cell.text.chars().count()]);
            let text = (cell.style, &*cell.text);
            pieces.extend(match self.columns[at].align {
                Align::Left => [text, padding],
                Align::Right => [padding, text],
            });
            pieces.push((style::PLAIN, &blanks[..GAP]));
        }
        page.styled(&pieces);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table =
            Table::new([("ADDRESS", Align::Left), ("ZONE", Align::Left), ("WEIGHT", Align::Right)]);
        table.row(vec!["10.0.0.1:80".into(), "".into(), Cell::styled("1", style::GOOD)]);
        table.row(vec!["10.0.0.12:8080".into(), "".into(), "12.5".into()]);
        table.note("why");
        table
    }

    #[test]
    fn a_terminal_gets_aligned_columns_without_the_empty_ones() {
        let mut page = Page::new(true, false);
        table().write(&mut page);
        let right = "ADDRESS         WEIGHT\n\
                     10.0.0.1:80          1\n\
                     10.0.0.12:8080    12.5\n    why\n";
        assert_eq!(page.text(), right);
    }

    #[test]
    fn a_pipe_gets_every_column_by_tabs() {
        let mut page = Page::new(false, false);
        table().write(&mut page);
        assert!(page.text().starts_with("ADDRESS\tZONE\tWEIGHT\n10.0.0.1:80\t\t1\n"));
    }

    #[test]
    fn colour_does_not_shift_columns() {
        let mut page = Page::new(true, true);
        table().write(&mut page);
        let line = page.text().lines().nth(1).unwrap().to_owned();
        assert!(line.contains("\u{1b}[32m1\u{1b}[0m"), "{line:?}");
        assert_eq!(
            line.replace("\u{1b}[32m", "").replace("\u{1b}[0m", ""),
            "10.0.0.1:80          1"
        );
    }
}
