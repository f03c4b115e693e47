//! Tables of numbers as CSV (RFC 4180).

use std::path::Path;

use super::atomic::write_atomically;
use crate::Result;

/// Writes `header` and `rows` to `path`, whole or not at all.
///
/// # Errors
/// Where the file cannot be written.
pub fn save<S: AsRef<str>>(path: impl AsRef<Path>, header: &[&str], rows: &[Vec<S>]) -> Result<()> {
    let mut text = line(header.iter().copied());
    rows.iter().for_each(|row| text += &line(row.iter().map(AsRef::as_ref)));
    write_atomically(path.as_ref(), |w| w.write_all(text.as_bytes()))
}

/// One line. A field with a comma, a quote or a line break is quoted.
fn line<'a>(fields: impl Iterator<Item = &'a str>) -> String {
    let quoted = fields.map(|field| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        save(&path, &["a", "b,c"], &[vec!["1.5", "say \"x\""], vec!["", "two\nlines"]]).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "a,\"b,c\"\n1.5,\"say \"\"x\"\"\"\n,\"two\nlines\"\n");
    }
}
