//! Standard output: tables without borders as `docker ps` prints them, or JSON. Nothing else is printed there.

use crate::args::OutputFormat;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use std::io::{self, Write};

/// Prints what a command was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: OutputFormat,
}

impl Output {
    pub(crate) fn new(format: OutputFormat) -> Self {
        Self { format }
    }

    pub(crate) fn is_json(self) -> bool {
        self.format == OutputFormat::Json
    }

    /// Prints `value` as JSON, or what `text` makes of it for people.
    pub(crate) fn print<T: Serialize + ?Sized>(
        self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> io::Result<()> {
        match self.format {
            OutputFormat::Json => line(&serde_json::to_string_pretty(value)?),
            OutputFormat::Table => line(&text()),
        }
    }
}

/// One line, or several, with the newline at the end; nothing where there is nothing.
pub(crate) fn line(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Columns under a header.
pub(crate) fn columns<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = plain();
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    layout(table)
}

/// Names and values, one to a line; a value of several lines goes on below itself.
pub(crate) fn properties<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = plain();
    for (name, value) in rows {
        table.add_row([name, value.as_str()]);
    }
    layout(table)
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn layout(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The value, or what stands for none.
pub(crate) fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_no_borders() {
        let rows = [["hello".to_owned(), "1".to_owned()], ["a-long-name".to_owned(), "20".to_owned()]];
        let expected = "NAME          TASKS\nhello         1\na-long-name   20";
        assert_eq!(columns(["NAME", "TASKS"], rows), expected);
        assert_eq!(columns(["NAME", "TASKS"], []), "NAME   TASKS");
    }

    #[test]
    fn properties_line_up() {
        let rows = [("Name", "hello".to_owned()), ("Imports", "a\nb".to_owned())];
        assert_eq!(properties(rows), "Name      hello\nImports   a\n          b");
    }
}
