//! A table in plain text: columns padded to their widest cell.

use std::fmt;

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under a header. `Display` ends each line without trailing spaces.
#[derive(Clone, Debug)]
pub struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let header = columns.iter().map(|(name, _)| (*name).to_owned());
        Self {
            align: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![header.collect()],
        }
    }

    /// Adds a row below the others, a cell for each column.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.align.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(&widths).zip(&self.align) {
                let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
                line.extend(match align {
                    Align::Left => [cell, gap.as_str(), "  "],
                    Align::Right => [gap.as_str(), cell, "  "],
                });
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_words_left() {
        let mut table = Table::new(&[("team", Align::Left), ("calls", Align::Right)]);
        table.row(vec!["search".into(), "7".into()]);
        table.row(vec!["ä".into(), "123456".into()]);
        let expected = "team     calls\nsearch       7\nä       123456\n";
        assert_eq!(table.to_string(), expected);
    }
}
