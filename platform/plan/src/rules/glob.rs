//! Patterns ready to be matched: `*` is any bytes or none, `?` is exactly one, what follows `\` is meant literally.
//!
//! It deliberately knows bytes, not characters: what is beyond ASCII is several of `?`.
//!
//! What always holds: matching takes at most as many steps as the text has bytes, times the length of what is between
//! two `*` (below 128), however many `*` there are.

use skiff_types::Pattern;

/// Whether `A` and `a` are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Counts,
    Ignored,
}

impl Case {
    fn of(self, byte: u8) -> u8 {
        match self {
            Self::Counts => byte,
            Self::Ignored => byte.to_ascii_lowercase(),
        }
    }
}

/// A pattern.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    /// Where case is ignored, its bytes are in lower case. Never two [`Token::Many`] in a row.
    tokens: Box<[Token]>,
    case: Case,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Many,
}

impl Token {
    fn literal(self) -> Option<u8> {
        match self {
            Self::Byte(byte) => Some(byte),
            Self::One | Self::Many => None,
        }
    }
}

impl Glob {
    pub(super) fn new(pattern: &Pattern, case: Case) -> Self {
        let mut tokens = Vec::with_capacity(pattern.as_str().len());
        let mut bytes = pattern.as_str().bytes();
        while let Some(byte) = bytes.next() {
            let token = match byte {
                b'*' => Token::Many,
                b'?' => Token::One,
                b'\\' => Token::Byte(case.of(bytes.next().unwrap_or(b'\\'))),
                byte => Token::Byte(case.of(byte)),
            };
            if !(token == Token::Many && tokens.last() == Some(&Token::Many)) {
                tokens.push(token);
            }
        }
        Self { tokens: tokens.into(), case }
    }

    /// Whether it matches one text alone: [`Self::beginning`].
    pub(super) fn is_literal(&self) -> bool {
        self.tokens.iter().all(|token| token.literal().is_some())
    }

    /// What all that it matches begins with.
    pub(super) fn beginning(&self) -> Vec<u8> {
        self.tokens.iter().map_while(|token| token.literal()).collect()
    }

    /// What all that it matches ends in, its last byte first.
    pub(super) fn ending_reversed(&self) -> Vec<u8> {
        self.tokens.iter().rev().map_while(|token| token.literal()).collect()
    }

    /// Whether a whole text is like it. Only the last `*` is ever tried anew, with one byte more: what those before it
    /// took was the least they could, so that more of it would leave less for the rest.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        // What follows the last `*`, and where in the text that was tried.
        let mut tried: Option<(usize, usize)> = None;
        loop {
            let fits = match self.tokens.get(token) {
                None if at == text.len() => return true,
                None => false,
                Some(Token::Many) if token + 1 == self.tokens.len() => return true,
                Some(Token::Many) => {
                    token += 1;
                    tried = Some((token, at));
                    continue;
                }
                Some(Token::One) => at < text.len(),
                Some(Token::Byte(byte)) => text.get(at).is_some_and(|other| self.case.of(*other) == *byte),
            };
            match tried {
                _ if fits => (token, at) = (token + 1, at + 1),
                // A text that is at its end is too short from any later place too.
                Some((after, from)) if at < text.len() => {
                    (token, at) = (after, from + 1);
                    tried = Some((token, at));
                }
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, case: Case) -> Glob {
        Glob::new(&pattern.parse().unwrap(), case)
    }

    #[track_caller]
    fn check(pattern: &str, like: &[&str], unlike: &[&str]) {
        let glob = glob(pattern, Case::Counts);
        like.iter().for_each(|text| assert!(glob.matches(text.as_bytes()), "{pattern} is not like {text:?}"));
        unlike.iter().for_each(|text| assert!(!glob.matches(text.as_bytes()), "{pattern} is like {text:?}"));
    }

    #[test]
    fn an_asterisk_is_any_bytes_or_none() {
        check("*", &["", "a", "a/b"], &[]);
        check("**", &["", "a"], &[]);
        check("/api/*", &["/api/", "/api/x/y"], &["/api", "/apix", ""]);
        check("*.example.com", &["a.example.com", ".example.com", "a.b.example.com"], &["example.com"]);
        check("a*b*c", &["abc", "abbc", "aXbYc", "abcbc"], &["ab", "ac", "abcd", "bc"]);
        check("*ab", &["ab", "aab", "abab"], &["aba", "b", ""]);
        check("a*a", &["aa", "aaa"], &["a", "ab"]);
    }

    #[test]
    fn a_question_mark_is_exactly_one_byte() {
        check("?", &["a", "?"], &["", "ab"]);
        check("/v?/x", &["/v1/x"], &["/v/x", "/v12/x"]);
        check("*?", &["a", "ab"], &[""]);
        check("?*", &["a", "ab"], &[""]);
        check("?*?", &["ab", "abc"], &["", "a"]);
        check("*?b", &["ab", "bb", "abb"], &["b", "ba"]);
    }

    #[test]
    fn what_follows_an_escape_is_meant_literally() {
        check(r"\*", &["*"], &["", "a", r"\*"]);
        check(r"a\?*", &["a?", "a?b"], &["ab", "a"]);
        check(r"a\\", &[r"a\"], &["a", r"a\\"]);
        check(r"\a", &["a"], &[r"\a"]);
    }

    #[test]
    fn case_counts_or_not() {
        assert!(!glob("a*Z", Case::Counts).matches(b"A-z"));
        assert!(glob("a*Z", Case::Ignored).matches(b"A-z"));
        assert!(glob(r"\A", Case::Ignored).matches(b"a"));
    }

    #[test]
    fn many_asterisks_do_not_multiply() {
        let pattern = "*a".repeat(63) + "*b";
        let text = "a".repeat(64 << 10);
        check(&pattern, &[&(text.clone() + "b")], &[&text, &text[..62]]);
    }

    #[test]
    fn bytes_that_are_no_text_are_matched_too() {
        assert!(glob("a??*", Case::Ignored).matches(b"A\xff\x00\xfe"));
    }

    #[test]
    fn the_literal_ends_are_those_before_the_first_and_after_the_last_wildcard() {
        let ends = |pattern: &str| {
            let glob = glob(pattern, Case::Ignored);
            let [beginning, ending] = [glob.beginning(), glob.ending_reversed()];
            (String::from_utf8(beginning).unwrap(), String::from_utf8(ending).unwrap(), glob.is_literal())
        };
        assert_eq!(ends("Ab"), ("ab".into(), "ba".into(), true));
        assert_eq!(ends(r"/x\*y/*.PNG"), ("/x*y/".into(), "gnp.".into(), false));
        assert_eq!(ends("?a*"), (String::new(), String::new(), false));
    }
}
