//! Tables for the terminal, and the same tables as plain text where there is none.

use std::fmt;
use std::io::IsTerminal;

use comfy_table::{CellAlignment, ContentArrangement, presets};

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// How a table is laid out; what it says is the same in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Rules above, below and under the header; without them columns are only spaced.
    pub rules: bool,
    /// The columns of the terminal, to wrap long cells into; `None`: as wide as the content.
    pub width: Option<u16>,
}

impl Layout {
    /// No rules, no wrapping: for pipes and files, one line a row.
    pub const PLAIN: Layout = Layout { rules: false, width: None };

    /// As standard output wants it: rules and the terminal's width, or plain where it is no terminal.
    pub fn stdout() -> Layout {
        if std::io::stdout().is_terminal() {
            Layout { rules: true, width: comfy_table::Table::new().width() }
        } else {
            Layout::PLAIN
        }
    }
}

/// A table: a header and rows of text.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|(name, align)| (clean(name), *align)).collect();
        Table { columns, rows: Vec::new() }
    }

    /// Adds a row. Cells that are missing are empty; cells beyond the last column are dropped.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let mut row: Vec<String> = cells.into_iter().map(|cell| clean(cell.as_ref())).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
        self
    }

    /// The names of the columns and how each stands, and the cells, row by row.
    pub(super) fn parts(&self) -> (&[(String, Align)], &[Vec<String>]) {
        (&self.columns, &self.rows)
    }

    /// The table in Markdown (GitHub's).
    pub fn markdown(&self) -> String {
        let line = |cells: &mut dyn Iterator<Item = String>| {
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let cell = |text: &String| text.replace('|', "\\|");
        let mut text = line(&mut self.columns.iter().map(|(name, _)| cell(name)));
        text += &line(&mut self.columns.iter().map(|(_, align)| match align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        }));
        for row in &self.rows {
            text += &line(&mut row.iter().map(cell));
        }
        text
    }

    /// The table as lines of text, the last one ended too; no line has spaces at its end.
    pub fn render(&self, layout: Layout) -> String {
        let mut table = comfy_table::Table::new();
        // What it looks like is `layout`'s alone to say: the same call, the same text.
        table.force_no_tty();
        table.load_style(if layout.rules { ruled() } else { presets::NOTHING });
        table.set_header(self.columns.iter().map(|(name, _)| name));
        table.add_rows(&self.rows);
        for (column, (_, align)) in table.column_iter_mut().zip(&self.columns) {
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        if let Some(width) = layout.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        // Two spaces between columns; rules bring one of them, and reach one beyond the text.
        let last = self.columns.len().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding(match (layout.rules, index) {
                (true, i) if i == last => (1, 1),
                (true, _) => (1, 0),
                (false, 0) => (0, 1),
                (false, _) => (1, 1),
            });
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// The plain layout.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Layout::PLAIN))
    }
}

/// A rule above, under the header and below; none between rows.
fn ruled() -> comfy_table::TableStyle {
    use comfy_table::LineStyle;
    let rule = LineStyle::none().fill('─').junction('─');
    comfy_table::TableStyle::new().top_border(rule).header_separator(rule).bottom_border(rule)
}

/// Names come from files: a control character in one must not reach the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_keeps_its_columns() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        table.row(["a|b", "1"]).row(["c"]);
        assert_eq!(table.markdown(), "| name | n |\n| --- | ---: |\n| a\\|b | 1 |\n| c |  |\n");
    }

    fn layers() -> Table {
        let mut table =
            Table::new(&[("layer", Align::Left), ("FLOPs", Align::Right), ("memory", Align::Right)]);
        table.row(["conv 3×3", "5.80 GFLOP", "1.2 MiB"]).row(["csp", "12 FLOP", "812 KiB"]);
        table
    }

    #[test]
    fn plain_text() {
        let expected = "\
layer          FLOPs   memory
conv 3×3  5.80 GFLOP  1.2 MiB
csp          12 FLOP  812 KiB
";
        assert_eq!(layers().to_string(), expected);
    }

    #[test]
    fn with_rules() {
        let expected = "\
───────────────────────────────
 layer          FLOPs   memory
───────────────────────────────
 conv 3×3  5.80 GFLOP  1.2 MiB
 csp          12 FLOP  812 KiB
───────────────────────────────
";
        assert_eq!(layers().render(Layout { rules: true, width: Some(80) }), expected);
    }

    #[test]
    fn wraps_into_a_narrow_terminal() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        table.row(["a rather long name of a layer", "1"]);
        let text = table.render(Layout { rules: true, width: Some(20) });
        assert!(text.lines().all(|line| line.chars().count() <= 20), "{text}");
        assert!(text.lines().count() > 4, "{text}");
        for width in 0..10 {
            assert!(table.render(Layout { rules: true, width: Some(width) }).contains("n"), "{width}");
        }
    }

    #[test]
    fn ragged_rows_and_control_characters() {
        let mut table = Table::new(&[("a", Align::Left), ("b", Align::Right)]);
        table.row(["\u{1b}[31mred\nline"]).row(["x", "1", "dropped"]);
        assert_eq!(table.to_string(), "a              b\n [31mred line\nx              1\n");
        let empty = Table::new(&[("a", Align::Left)]);
        assert_eq!(empty.to_string(), "a\n");
        assert_eq!(Table::new(&[]).row(["x"]).to_string().trim(), "");
    }
}
