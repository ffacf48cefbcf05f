//! Texts with `*` for any characters, or none.
//!
//! What always holds: a match takes no longer than the text's length for each piece between stars.

/// A text with `*` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wildcard {
    /// What lies between the stars, so that there is one more than there are stars.
    pieces: Box<[Box<str>]>,
}

impl Wildcard {
    /// Reads a pattern: `\*` is a star itself and `\\` a backslash; an error says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut piece = String::new();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '*' if characters.peek() == Some(&'*') => {
                    return Err("\"**\" is not allowed: one \"*\" stands for any characters".into());
                }
                '*' => pieces.push(std::mem::take(&mut piece).into_boxed_str()),
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '\\')) => piece.push(escaped),
                    _ => return Err("a backslash escapes \"*\" or a backslash, nothing else".into()),
                },
                other => piece.push(other),
            }
        }
        pieces.push(piece.into_boxed_str());
        Ok(Self { pieces: pieces.into() })
    }

    /// Whether a text is one of those.
    pub(super) fn takes(&self, text: &str) -> bool {
        let [first, between @ .., last] = &*self.pieces else {
            return *self.first() == *text;
        };
        let Some(rest) = text.strip_prefix(&**first) else { return false };
        let Some(mut rest) = rest.strip_suffix(&**last) else { return false };
        for piece in between {
            let Some(at) = rest.find(&**piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        true
    }

    /// Whether there is no star in it.
    pub(super) fn is_plain(&self) -> bool {
        self.pieces.len() == 1
    }

    /// What each text begins with.
    pub(super) fn first(&self) -> &str {
        self.pieces.first().map_or("", |piece| piece.as_ref())
    }

    /// What each text ends with.
    pub(super) fn last(&self) -> &str {
        self.pieces.last().map_or("", |piece| piece.as_ref())
    }
}
