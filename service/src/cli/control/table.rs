//! A table for people, in pieces: columns are as wide as what they have had so far.

use std::io::{self, Write};

/// A table with `N` columns.
pub(super) struct TextTable<const N: usize> {
    heads: Option<[&'static str; N]>,
    widths: [usize; N],
}

impl<const N: usize> TextTable<N> {
    /// An empty table, with these heads.
    pub(super) fn new(heads: [&'static str; N]) -> Self {
        Self { heads: Some(heads), widths: heads.map(str::len) }
    }

    /// Writes some more rows, and before the first ones the heads.
    pub(super) fn write(&mut self, rows: &[[String; N]], out: &mut impl Write) -> io::Result<()> {
        // Text on a terminal must not be able to control it.
        let clean = |row: &[String; N]| row.each_ref().map(|text| text.replace(char::is_control, "\u{fffd}"));
        let rows: Vec<_> = rows.iter().map(clean).collect();
        for row in &rows {
            for (width, text) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count());
            }
        }
        let heads = self.heads.take().map(|heads| heads.map(str::to_owned));
        for row in heads.iter().chain(&rows) {
            let mut line = String::new();
            for (&width, text) in self.widths.iter().zip(row) {
                line.push_str(&format!("{text:width$}  "));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_are_aligned_and_grow_with_what_comes() {
        let (mut table, mut text) = (TextTable::new(["ID", "NAME", "SEEN"]), Vec::new());
        let row = |texts: [&str; 3]| texts.map(str::to_owned);
        table.write(&[row(["1", "Zoë", "now"]), row(["12345", "", "\u{1b}[31m"])], &mut text).unwrap();
        table.write(&[], &mut text).unwrap();
        table.write(&[row(["2", "Somebody", ""]), row(["3", "x", "y"])], &mut text).unwrap();
        expect![[r#"
            ID     NAME  SEEN
            1      Zoë   now
            12345        �[31m
            2      Somebody
            3      x         y
        "#]]
        .assert_eq(&String::from_utf8(text).unwrap());
    }

    #[test]
    fn a_table_without_rows_has_heads() {
        let mut text = Vec::new();
        TextTable::new(["ID", "NAME"]).write(&[], &mut text).unwrap();
        assert_eq!(text, b"ID  NAME\n");
    }
}
