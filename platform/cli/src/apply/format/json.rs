//! JSON, with the lines that its values stand on.
//!
//! serde_json says whether a text is JSON, and what its words mean; this only walks along what is known to be sound, since
//! serde_json does not tell where things stand.

use crate::apply::tree::{DEPTH_MAX, Entry, Fault, Node, Value};
use serde::de::DeserializeOwned;
use skiff_api::is_exact_float;
use std::collections::HashSet;

/// Reads the one value that a text of JSON has.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, Fault> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|error| Fault::new(error.line(), format!("this is not JSON: {error}")))?;
    let mut walk = Walk { text, at: 0, line: 1 };
    walk.node(DEPTH_MAX).map(|node| vec![node])
}

/// A place in a text that is sound JSON.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Walk<'_> {
    fn node(&mut self, depth: usize) -> Result<Node, Fault> {
        let first = self.next_byte();
        let line = self.line;
        let deeper = depth.checked_sub(1);
        let deeper = deeper.ok_or_else(|| Fault::too_deep(line));
        let value = match first {
            b'{' => Value::Table(self.table(deeper?)?),
            b'[' => Value::List(self.list(deeper?)?),
            b'"' => Value::Text(self.text_in_quotes()?),
            _ => self.word()?,
        };
        Ok(Node { line, value })
    }

    fn table(&mut self, depth: usize) -> Result<Vec<Entry>, Fault> {
        let (mut entries, mut keys) = (Vec::new(), HashSet::new());
        self.at += 1;
        while self.goes_on(b'}') {
            let line = self.line;
            let key = self.text_in_quotes()?;
            if !keys.insert(key.clone()) {
                return Err(Fault::new(line, format!("the key {key:?} is there twice")));
            }
            self.next_byte();
            self.at += 1;
            entries.push(Entry { key, line, node: self.node(depth)? });
        }
        Ok(entries)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        let mut items = Vec::new();
        self.at += 1;
        while self.goes_on(b']') {
            items.push(self.node(depth)?);
        }
        Ok(items)
    }

    /// Whether something comes before the bracket that ends a list or a table; passes that bracket, or a comma.
    fn goes_on(&mut self, end: u8) -> bool {
        let mut next = self.next_byte();
        if next == b',' {
            self.at += 1;
            next = self.next_byte();
        }
        if next == end {
            self.at += 1;
        }
        next != end
    }

    fn text_in_quotes(&mut self) -> Result<String, Fault> {
        let start = self.at;
        let mut escaped = false;
        let inner = self.text[start + 1..].bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        // Past both quotes.
        self.at += inner.map_or(self.text.len() - start, |inner| inner + 2);
        self.parsed(start)
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        let ends = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b']' | b'}');
        let length = self.text[start..].bytes().position(ends);
        self.at = length.map_or(self.text.len(), |length| start + length);
        let word = &self.text[start..self.at];
        let is_number = word.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if is_number && word.parse::<i64>().is_err() && !is_exact_float(word) {
            return Err(Fault::not_exact(self.line, word));
        }
        Ok(match self.parsed(start)? {
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(integer) => Value::Integer(integer),
                None => Value::Float(number.as_f64().unwrap_or(f64::INFINITY)),
            },
            _ => Value::Null,
        })
    }

    /// What stands between `start` and here.
    fn parsed<T: DeserializeOwned>(&self, start: usize) -> Result<T, Fault> {
        serde_json::from_str(&self.text[start..self.at])
            .map_err(|error| Fault::new(self.line, format!("this is not JSON: {error}")))
    }

    /// The next byte that is no white space; it is not passed. 0 at the end.
    fn next_byte(&mut self) -> u8 {
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            if !byte.is_ascii_whitespace() {
                return byte;
            }
            self.line += usize::from(byte == b'\n');
            self.at += 1;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_lines() {
        let text = "[\n {\"a\\n\": \"}\\\"\\ud83d\\ude00\",\n\t\"b\" : [1, -2.5,true ,null],\"c\":{} }\n]\n";
        let node = |line, value| Node { line, value };
        let entry = |key: &str, line, node| Entry { key: key.to_owned(), line, node };
        let numbers = [Value::Integer(1), Value::Float(-2.5), Value::Bool(true), Value::Null];
        let table = Value::Table(vec![
            entry("a\n", 2, node(2, Value::Text("}\"😀".to_owned()))),
            entry("b", 3, node(3, Value::List(numbers.map(|value| node(3, value)).into()))),
            entry("c", 3, node(3, Value::Table(vec![]))),
        ]);
        assert_eq!(read(text).unwrap(), [node(1, Value::List(vec![node(2, table)]))]);
    }

    #[test]
    fn what_is_not_json_is_told_with_its_line() {
        for (text, line, message) in [
            ("[\n{\"a\": 1,}\n]", 2, "this is not JSON: key must be a string"),
            ("", 1, "this is not JSON: EOF"),
            ("[1,\n1e400]", 2, "the number 1e400 has more digits"),
            ("[12345678901234567890.123]", 1, "the number 12345678901234567890.123 has more digits"),
            ("[18446744073709551615]", 1, "the number 18446744073709551615 has more digits"),
            ("{\"a\": 1,\n\"a\": 2}", 2, "the key \"a\" is there twice"),
            (&"[".repeat(500), 1, "this is not JSON: EOF"),
            (&format!("{}{}", "[".repeat(100), "]".repeat(100)), 1, "values lie too deep"),
        ] {
            let fault = read(text).unwrap_err();
            assert!(fault.to_string().starts_with(message), "{text}: {fault}");
            assert_eq!(fault.line.max(1), line, "{text}: {fault}");
        }
    }
}
