//! Plain text tables.

/// Rows of cells under a head; the first column is flush left, the others flush right.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Table {
        Table {
            rows: vec![head.into_iter().map(Into::into).collect()],
        }
    }

    /// Adds a row. Cells beyond the head's are kept; missing ones are blank.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The text, each line indented by two spaces.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(|column| self.width(column)).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::from("  ");
            for (column, width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                let padding = " ".repeat(width - cell.chars().count());
                let gap = if column + 1 == columns { "" } else { "  " };
                if column == 0 {
                    line.push_str(&format!("{cell}{padding}{gap}"));
                } else {
                    line.push_str(&format!("{padding}{cell}{gap}"));
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["proxy", "us"]);
        table.row(["nginx", "13.40"]);
        table.row(["haproxy", "9.1"]);
        assert_eq!(
            table.render(),
            "  proxy       us\n  nginx    13.40\n  haproxy    9.1\n"
        );
    }

    #[test]
    fn short_and_long_rows_are_shown() {
        let mut table = Table::new(["a", "b"]);
        table.row(["x"]);
        table.row(["x", "y", "z"]);
        assert_eq!(table.render(), "  a  b\n  x\n  x  y  z\n");
    }
}
