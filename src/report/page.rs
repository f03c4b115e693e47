//! A page of HTML that needs nothing else: text, tables, and charts as SVG within it.

use std::path::Path;

use super::canvas::escaped;
use super::sheet::{Chart, svg_sheet};
use super::table::{Align, Table};
use crate::Result;
use crate::format::atomic::write_atomically;

/// How it looks: readable on a phone and on paper, in a light and in a dark room (charts stay on white).
const STYLE: &str = "\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.875rem; }
th, td { padding: 0.3rem 0.6rem; border-bottom: 1px solid #8886; text-align: left; vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { background: #fff; max-width: 100%; height: auto; border-radius: 4px; }
";

/// A page in the making, from top to bottom.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// A page with `title` above all.
    pub fn new(title: &str) -> Self {
        Page { title: escaped(title), body: String::new() }
    }

    /// Begins a section.
    pub fn heading(&mut self, text: &str) -> &mut Self {
        self.push("h2", text)
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: &str) -> &mut Self {
        self.push("p", text)
    }

    fn push(&mut self, tag: &str, text: &str) -> &mut Self {
        self.body += &format!("<{tag}>{}</{tag}>\n", escaped(text));
        self
    }

    /// Adds a table.
    pub fn table(&mut self, table: &Table) -> &mut Self {
        let (columns, rows) = table.parts();
        let class = |align: Align| if align == Align::Right { " class=\"number\"" } else { "" };
        let line = |tag: &str, cells: &mut dyn Iterator<Item = (&String, Align)>| {
            let cells =
                cells.map(|(text, align)| format!("<{tag}{}>{}</{tag}>", class(align), escaped(text)));
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        self.body += "<div class=\"wide\"><table>\n<thead>";
        self.body += &line("th", &mut columns.iter().map(|(name, align)| (name, *align)));
        self.body += "</thead>\n<tbody>\n";
        for row in rows {
            self.body += &line("td", &mut row.iter().zip(columns).map(|(cell, column)| (cell, column.1)));
        }
        self.body += "</tbody>\n</table></div>\n";
        self
    }

    /// Adds charts, one below the other.
    pub fn charts(&mut self, charts: &[Chart]) -> &mut Self {
        self.body += &svg_sheet(charts);
        self
    }

    /// The page as text.
    pub fn html(&self) -> String {
        let Page { title, body } = self;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
        )
    }

    /// Writes the page to `path`, whole or not at all.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_atomically(path, |file| file.write_all(self.html().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{BarChart, BarRow, BarSeries};

    /// Every element that is opened is closed, in order: what a parser of XML says of all but the first line.
    fn check_nesting(html: &str) {
        let (doctype, rest) = html.split_once('\n').unwrap();
        assert_eq!(doctype, "<!DOCTYPE html>");
        let rest = rest.replace("<meta charset=\"utf-8\">", "").replacen(
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
            "",
            1,
        );
        roxmltree::Document::parse(&rest).unwrap();
    }

    #[test]
    fn text_is_text_and_charts_are_part_of_it() {
        let mut table = Table::new(&[("what", Align::Left), ("n", Align::Right)]);
        table.row(["<b> & co", "12"]);
        let bars = Chart::Bars(BarChart {
            title: "in < out".into(),
            series: vec![BarSeries { name: "a".into(), color: [0, 0, 0] }],
            rows: vec![BarRow { label: "row".into(), values: vec![1.0] }],
            ..BarChart::default()
        });
        let mut page = Page::new("A & B");
        page.heading("First").paragraph("1 < 2").table(&table).charts(&[bars]);
        let html = page.html();
        check_nesting(&html);
        assert!(html.contains("<title>A &amp; B</title>"), "{html}");
        assert!(html.contains("<td>&lt;b&gt; &amp; co</td><td class=\"number\">12</td>"), "{html}");
        assert!(html.contains("<svg ") && html.contains("in &lt; out"), "{html}");
        // Nothing is fetched: the only address is the name of SVG's language.
        let addresses = html.matches("http").count();
        assert_eq!(addresses, html.matches("http://www.w3.org/2000/svg").count());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        page.save(&path).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), html);
    }
}
