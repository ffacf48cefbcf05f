//! How deep a policy's text may be: who reads Cedar does so recursively, and a stack is bounded.
//!
//! It counts what can nest, without reading what it means. What always holds: what passes takes less than [`STACK_BYTES`] to be
//! read, and little of any stack to be judged by.

/// Brackets in each other, at most.
pub(crate) const DEPTH_MAX: usize = 32;
/// Characters of operators, and conditions, at most.
pub(crate) const OPERATORS_MAX: usize = 500;
/// The stack of the thread that compiles: some 60 KiB for each level, more than a build without optimisation takes.
pub(crate) const STACK_BYTES: usize = 32 << 20;

/// Whether a text is one that can be compiled safely.
pub(crate) fn is_shallow(text: &str) -> bool {
    let (mut depth, mut operators) = (0_usize, 0_usize);
    let mut word = Word::default();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        operators += usize::from(word.ends_an_if_before(char));
        match char {
            '"' => skip_text(&mut chars),
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|char| *char != '\n').is_some() {},
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '&' | '|' | '.' | '+' | '-' | '*' | '!' | '<' | '>' | '=' => operators += 1,
            _ => {}
        }
        if depth > DEPTH_MAX || operators > OPERATORS_MAX {
            return false;
        }
    }
    true
}

/// Goes behind the quote that ends a text.
fn skip_text(chars: &mut impl Iterator<Item = char>) {
    while let Some(char) = chars.next() {
        match char {
            '"' => return,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
}

/// The last two characters, as far as they are of one word, and how long it is.
#[derive(Default)]
struct Word {
    chars: [char; 2],
    length: usize,
}

impl Word {
    fn ends_an_if_before(&mut self, char: char) -> bool {
        if char.is_alphanumeric() || char == '_' {
            self.chars = [self.chars[1], char];
            self.length += 1;
            return false;
        }
        let is_if = self.length == 2 && self.chars == ['i', 'f'];
        self.length = 0;
        is_if
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nests_is_counted_and_what_texts_and_comments_say_is_not() {
        let nested = |depth: usize| format!("permit{}{}", "(".repeat(depth), ")".repeat(depth));
        assert!(is_shallow(&nested(DEPTH_MAX)) && !is_shallow(&nested(DEPTH_MAX + 1)));
        assert!(is_shallow(&format!("\"{}\"", "(\\\"".repeat(100))));
        assert!(is_shallow(&format!("// {}\n", "(".repeat(100))));
        assert!(!is_shallow(&format!("// a\n{}", "(".repeat(100))));
        assert!(is_shallow(&"if ".repeat(OPERATORS_MAX)) && !is_shallow(&"if ".repeat(OPERATORS_MAX + 1)));
        assert!(is_shallow(&"elif ifs ".repeat(OPERATORS_MAX + 1)));
        assert!(!is_shallow(&"a||".repeat(OPERATORS_MAX)));
        assert!(is_shallow(&"() ".repeat(10_000)));
    }
}
