//! What is asked of a node's attributes: a small language after ECS's cluster query language.
//!
//! `attribute:zone == a`, `attribute:zone != a`, `attribute:zone in [a, b]`, `attribute:gpu exists`, joined by `not`, `and`,
//! `or` and parentheses; `not` binds the most, `or` the least. An attribute that a node lacks is equal to nothing.
//!
//! An expression exists by its text alone, so each that exists prints as a text that means the same.

use super::node::is_of_word;
use super::{AttributeName, AttributeValue, Attributes};
use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// Asks something of a node's attributes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Expression(Part);

/// A part of an expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Test(AttributeName, Test),
    Not(Box<Part>),
    /// At least two.
    All(Vec<Part>),
    /// At least two.
    Any(Vec<Part>),
}

/// What is asked of one attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Test {
    Is(AttributeValue),
    IsNot(AttributeValue),
    /// At least one.
    IsOneOf(Vec<AttributeValue>),
    Exists,
}

impl Expression {
    /// Longest text, in bytes.
    pub const LENGTH_MAX: usize = 2_000;
    /// How deep parentheses and `not` may be nested.
    pub const DEPTH_MAX: u32 = 32;

    /// Whether attributes fulfil it.
    pub fn holds(&self, attributes: &Attributes) -> bool {
        self.0.holds(attributes)
    }

    /// Why they do not, to follow a count of nodes: `attribute zone is not a`. `None` if they do.
    pub fn objection(&self, attributes: &Attributes) -> Option<String> {
        self.0.objection(attributes)
    }
}

impl Part {
    fn holds(&self, attributes: &Attributes) -> bool {
        match self {
            Self::Test(name, test) => {
                let value = attributes.get(name);
                match test {
                    Test::Is(wanted) => value == Some(wanted),
                    Test::IsNot(unwanted) => value != Some(unwanted),
                    Test::IsOneOf(wanted) => value.is_some_and(|value| wanted.contains(value)),
                    Test::Exists => value.is_some(),
                }
            }
            Self::Not(part) => !part.holds(attributes),
            Self::All(parts) => parts.iter().all(|part| part.holds(attributes)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(attributes)),
        }
    }

    fn objection(&self, attributes: &Attributes) -> Option<String> {
        if let Self::All(parts) = self {
            return parts.iter().find_map(|part| part.objection(attributes));
        }
        let reason = || match self {
            Self::Test(name, Test::Is(wanted)) => format!("attribute {name} is not {wanted}"),
            Self::Test(name, Test::IsNot(unwanted)) => format!("attribute {name} is {unwanted}"),
            Self::Test(name, Test::IsOneOf(wanted)) => {
                format!("attribute {name} is none of {}", joined(wanted))
            }
            Self::Test(name, Test::Exists) => format!("no attribute {name}"),
            Self::Not(_) | Self::All(_) | Self::Any(_) => format!("not so: {self}"),
        };
        (!self.holds(attributes)).then(reason)
    }
}

fn joined(values: &[AttributeValue]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, word) = match self {
            Self::Test(name, Test::Is(value)) => return write!(f, "attribute:{name} == {value}"),
            Self::Test(name, Test::IsNot(value)) => return write!(f, "attribute:{name} != {value}"),
            Self::Test(name, Test::IsOneOf(values)) => {
                return write!(f, "attribute:{name} in [{}]", joined(values));
            }
            Self::Test(name, Test::Exists) => return write!(f, "attribute:{name} exists"),
            Self::Not(part) => {
                f.write_str("not ")?;
                return part.fmt_inside(f);
            }
            Self::All(parts) => (parts, "and"),
            Self::Any(parts) => (parts, "or"),
        };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                write!(f, " {word} ")?;
            }
            part.fmt_inside(f)?;
        }
        Ok(())
    }
}

impl Part {
    /// Within another: in parentheses if it is several.
    fn fmt_inside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test(..) | Self::Not(_) => fmt::Display::fmt(self, f),
            Self::All(_) | Self::Any(_) => write!(f, "({self})"),
        }
    }
}

const EXPECTED: &str = "a placement expression, like \"attribute:zone == a\", \"attribute:zone in [a, b]\" or \
                        \"not (attribute:gpu exists or attribute:zone != a) and attribute:disk == fast\"";
const EXPECTED_SHORT: &str = "a placement expression of 2000 characters at most; say it shorter";
const EXPECTED_FLAT: &str =
    "a placement expression whose parentheses and \"not\" are nested 32 deep at most; say it flatter";

impl FromStr for Expression {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() > Self::LENGTH_MAX {
            return Err(ParseError::new(text, EXPECTED_SHORT));
        }
        let tokens = tokens(text).ok_or_else(|| ParseError::new(text, EXPECTED))?;
        let mut parser = Parser { tokens, at: 0, depth: 0 };
        match parser.any() {
            Some(part) if parser.at == parser.tokens.len() => Ok(Self(part)),
            Some(_) => Err(ParseError::new(text, EXPECTED)),
            None if parser.depth > Self::DEPTH_MAX => Err(ParseError::new(text, EXPECTED_FLAT)),
            None => Err(ParseError::new(text, EXPECTED)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
    Equal,
    Unequal,
    Word(&'a str),
}

const SYMBOLS: [(&str, Token<'static>); 7] = [
    ("(", Token::Open),
    (")", Token::Close),
    ("[", Token::OpenList),
    ("]", Token::CloseList),
    (",", Token::Comma),
    ("==", Token::Equal),
    ("!=", Token::Unequal),
];

/// `None` where a character belongs to none.
fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (token, length) = match SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(*symbol)) {
            Some((symbol, token)) => (*token, symbol.len()),
            None => {
                let length = rest.find(|character: char| !is_of_word(character)).unwrap_or(rest.len());
                (Token::Word(&rest[..length]), length)
            }
        };
        if length == 0 {
            return None;
        }
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

/// Each of its methods takes the tokens of what it is called after, or says `None`.
struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Option<Part> {
        let mut parts = vec![self.all()?];
        while self.takes(Token::Word("or")) {
            parts.push(self.all()?);
        }
        if parts.len() == 1 { parts.pop() } else { Some(Part::Any(parts)) }
    }

    fn all(&mut self) -> Option<Part> {
        let mut parts = vec![self.one()?];
        while self.takes(Token::Word("and")) {
            parts.push(self.one()?);
        }
        if parts.len() == 1 { parts.pop() } else { Some(Part::All(parts)) }
    }

    fn one(&mut self) -> Option<Part> {
        if self.takes(Token::Word("not")) {
            self.enter()?;
            let part = self.one()?;
            self.depth -= 1;
            return Some(Part::Not(Box::new(part)));
        }
        if self.takes(Token::Open) {
            self.enter()?;
            let part = self.any()?;
            self.depth -= 1;
            return self.takes(Token::Close).then_some(part);
        }
        self.test()
    }

    /// One level deeper; a depth beyond the most stays, for the error to name it.
    fn enter(&mut self) -> Option<()> {
        self.depth += 1;
        (self.depth <= Expression::DEPTH_MAX).then_some(())
    }

    fn test(&mut self) -> Option<Part> {
        let name = self.word()?.strip_prefix("attribute:")?.parse().ok()?;
        let test = match self.next()? {
            Token::Equal => Test::Is(self.value()?),
            Token::Unequal => Test::IsNot(self.value()?),
            Token::Word("in") => Test::IsOneOf(self.list()?),
            Token::Word("exists") => Test::Exists,
            Token::Word(_)
            | Token::Open
            | Token::Close
            | Token::OpenList
            | Token::CloseList
            | Token::Comma => return None,
        };
        Some(Part::Test(name, test))
    }

    fn list(&mut self) -> Option<Vec<AttributeValue>> {
        if !self.takes(Token::OpenList) {
            return None;
        }
        let mut values = vec![self.value()?];
        while self.takes(Token::Comma) {
            values.push(self.value()?);
        }
        self.takes(Token::CloseList).then_some(values)
    }

    fn value(&mut self) -> Option<AttributeValue> {
        self.word()?.parse().ok()
    }

    fn word(&mut self) -> Option<&'a str> {
        match self.next()? {
            Token::Word(word) => Some(word),
            Token::Open
            | Token::Close
            | Token::OpenList
            | Token::CloseList
            | Token::Comma
            | Token::Equal
            | Token::Unequal => None,
        }
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.at).copied()?;
        self.at += 1;
        Some(token)
    }

    /// Takes the next token if it is this one; whether it was.
    fn takes(&mut self, wanted: Token<'_>) -> bool {
        let is_next = self.tokens.get(self.at).is_some_and(|token| *token == wanted);
        self.at += usize::from(is_next);
        is_next
    }
}

serde_as_text!(Expression);

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(texts: &[&str]) -> Attributes {
        let pair = |text: &&str| {
            let (name, value) = text.split_once('=').unwrap();
            (name.parse().unwrap(), value.parse().unwrap())
        };
        texts.iter().map(pair).collect()
    }

    #[test]
    fn expressions_print_as_they_parse() {
        for (text, printed) in [
            ("attribute:zone == a", ""),
            ("  attribute:zone==a ", "attribute:zone == a"),
            ("attribute:zone!=and", "attribute:zone != and"),
            ("attribute:zone in[a,b , c]", "attribute:zone in [a, b, c]"),
            ("attribute:gpu exists", ""),
            ("not not attribute:gpu exists", ""),
            ("((attribute:gpu exists))", "attribute:gpu exists"),
            (
                "attribute:a exists or attribute:b exists and attribute:c exists",
                "attribute:a exists or (attribute:b exists and attribute:c exists)",
            ),
            ("(attribute:a exists or attribute:b exists) and not (attribute:c == 1 or attribute:d == 2)", ""),
        ] {
            let expression: Expression = text.parse().unwrap();
            assert_eq!(expression.to_string(), if printed.is_empty() { text } else { printed });
            assert_eq!(expression.to_string().parse::<Expression>().unwrap(), expression);
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for bad in [
            "",
            "attribute:zone",
            "attribute:zone = a",
            "attribute:zone =~ a",
            "attribute:zone ==",
            "zone == a",
            "attribute: == a",
            "attribute:zone in a",
            "attribute:zone in []",
            "attribute:zone in [a,]",
            "attribute:zone in [a",
            "attribute:gpu exists exists",
            "attribute:gpu exists and",
            "and attribute:gpu exists",
            "not",
            "()",
            "(attribute:gpu exists",
            "attribute:gpu exists)",
            "attribute:zone == ä",
            "attribute:zone == \"a\"",
        ] {
            assert!(bad.parse::<Expression>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn its_length_and_depth_have_bounds() {
        let nested = |depth| format!("{}attribute:gpu exists{}", "(".repeat(depth), ")".repeat(depth));
        assert!(nested(32).parse::<Expression>().is_ok());
        let message = nested(33).parse::<Expression>().unwrap_err().to_string();
        assert!(message.contains("32 deep"), "{message}");
        let denied = format!("{}attribute:gpu exists", "not ".repeat(33));
        assert!(denied.parse::<Expression>().unwrap_err().to_string().contains("32 deep"));
        let long = vec!["attribute:gpu exists"; 100].join(" and ");
        assert!(long.parse::<Expression>().unwrap_err().to_string().contains("2000 characters"));
    }

    #[test]
    fn what_fails_a_node_is_said() {
        let node = attributes(&["zone=a", "disk=fast"]);
        for (text, objection) in [
            ("attribute:zone == a", None),
            ("attribute:zone == b", Some("attribute zone is not b")),
            ("attribute:rack == b", Some("attribute rack is not b")),
            ("attribute:zone != a", Some("attribute zone is a")),
            ("attribute:rack != a", None),
            ("attribute:zone in [b, c]", Some("attribute zone is none of b, c")),
            ("attribute:zone in [b, a]", None),
            ("attribute:gpu exists", Some("no attribute gpu")),
            ("attribute:disk == fast and attribute:gpu exists", Some("no attribute gpu")),
            ("not attribute:zone == a", Some("not so: not attribute:zone == a")),
            (
                "attribute:gpu exists or attribute:zone == b",
                Some("not so: attribute:gpu exists or attribute:zone == b"),
            ),
        ] {
            let expression: Expression = text.parse().unwrap();
            assert_eq!(expression.objection(&node).as_deref(), objection, "{text}");
            assert_eq!(expression.holds(&node), objection.is_none(), "{text}");
        }
    }
}
