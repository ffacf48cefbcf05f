//! TOML, with the lines that its values stand on.

use crate::apply::tree::{DEPTH_MAX, Entry, Fault, Node, Value};
use skiff_api::is_exact_float;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Reads the one table that a text of TOML is.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, Fault> {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    // The first by place: what follows it often follows from it.
    if let Some(error) = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start)) {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let line = lines.line(&error.span().unwrap_or(0..0));
        return Err(Fault::new(line, format!("this is not TOML: {message}")));
    }
    Ok(vec![Node { line: 1, value: entries(&lines, table.get_ref(), DEPTH_MAX - 1)? }])
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(ends.map(|(at, _)| at + 1).collect())
    }

    fn line(&self, span: &Range<usize>) -> usize {
        1 + self.0.partition_point(|start| *start <= span.start)
    }
}

/// The entries of a table, in which values may lie so much deeper.
fn entries(lines: &Lines, table: &DeTable<'_>, depth: usize) -> Result<Value, Fault> {
    type Pair<'a> = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>);
    let entry = |(key, value): Pair<'_>| -> Result<(usize, Entry), Fault> {
        let line = lines.line(&key.span());
        let node = node(lines, value, depth).map_err(|fault| fault.below(key.get_ref()))?;
        Ok((key.span().start, Entry { key: key.get_ref().to_string(), line, node }))
    };
    let mut entries = table.iter().map(entry).collect::<Result<Vec<_>, Fault>>()?;
    // In the order of the text, whatever the table's is.
    entries.sort_by_key(|(start, _)| *start);
    Ok(Value::Table(entries.into_iter().map(|(_, entry)| entry).collect()))
}

fn node(lines: &Lines, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Fault> {
    let line = lines.line(&value.span());
    let deeper = depth.checked_sub(1).ok_or_else(|| Fault::too_deep(line));
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => {
            let parsed = i64::from_str_radix(integer.as_str(), integer.radix());
            let too_great = |_| Fault::new(line, format!("the number {} is too great", integer.as_str()));
            Value::Integer(parsed.map_err(too_great)?)
        }
        DeValue::Float(float) if !is_exact_float(float.as_str()) => {
            return Err(Fault::not_exact(line, float.as_str()));
        }
        DeValue::Float(float) => {
            let parsed = float.as_str().parse();
            Value::Float(parsed.map_err(|_| Fault::new(line, format!("{} is no number", float.as_str())))?)
        }
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => {
            let deeper = deeper?;
            Value::List(items.iter().map(|item| node(lines, item, deeper)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => entries(lines, table, deeper?)?,
    };
    Ok(Node { line, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_lines() {
        let text = "[[resource]]\nname = \"b\"\n\n[[resource]]\nspec = { a = 0x10, b = [true] }\n";
        let node = |line, value| Node { line, value };
        let entry = |key: &str, line, node| Entry { key: key.to_owned(), line, node };
        let Value::Table(root) = &read(text).unwrap()[0].value else { panic!() };
        let Value::List(resources) = &root[0].node.value else { panic!() };
        assert_eq!(
            resources[0].value,
            Value::Table(vec![entry("name", 2, node(2, Value::Text("b".to_owned())))])
        );
        let spec = Value::Table(vec![
            entry("a", 5, node(5, Value::Integer(16))),
            entry("b", 5, node(5, Value::List(vec![node(5, Value::Bool(true))]))),
        ]);
        assert_eq!(resources[1].value, Value::Table(vec![entry("spec", 5, node(5, spec))]));
        assert_eq!(resources.iter().map(|node| node.line).collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_line() {
        let fault = read("a = 1\nb = \n").unwrap_err();
        assert_eq!(fault.line, 2);
        assert!(fault.to_string().starts_with("this is not TOML: "), "{fault}");
        let fault = read("a = 1\na = 2\n").unwrap_err();
        assert!(fault.line == 2 && fault.to_string().contains("duplicate key"), "{fault}");
        let fault = read("a = 0.5\nb = 1.00000000000000000001\n").unwrap_err();
        assert!(fault.line == 2 && fault.to_string().contains("has more digits"), "{fault}");
        let deep = |keys: usize| format!("{} = 1\n", vec!["a"; keys].join("."));
        assert!(read(&deep(DEPTH_MAX)).is_ok());
        let fault = read(&deep(DEPTH_MAX + 1)).unwrap_err();
        assert!(fault.to_string().contains("values lie too deep"), "{fault}");
    }
}
