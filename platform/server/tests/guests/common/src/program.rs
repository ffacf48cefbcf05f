//! A program of host calls: bytes that say which call comes next and with what. Any bytes are a program.
//!
//! It is read from the front, a byte at a time; behind its end there are zeros. What a call takes is chosen from short
//! lists of what is usual, what is at a bound, and what is wrong.

/// Names of headers.
const NAMES: [&str; 8] =
    ["x-a", "content-length", "host", "Transfer-Encoding", "", "no name", "x-\u{e9}", "set-cookie"];
/// What most things that are texts can be: a path, a host, a value.
const TEXTS: [&str; 8] = [
    "",
    "1",
    "guest.test:80",
    "/a?b=c",
    "http://guest.test/",
    "18446744073709551615",
    "a b\r\nc: d",
    "\u{0}\u{e9}",
];
/// Sizes and counts.
const NUMBERS: [u64; 8] = [0, 1, 7, 64, 4_096, 65_537, 1 << 24, u64::MAX];
/// How much longer than its entry in the list a text can be made, in bytes.
const LONG_BYTES: usize = 70_000;
/// Most bytes that are handed to the host at once.
const DATA_BYTES_MAX: u64 = 1 << 17;

/// A program, and how far it has come.
#[derive(Debug)]
pub struct Program(std::vec::IntoIter<u8>);

impl Program {
    /// From a path: `/` and two hexadecimal digits for each byte. It ends where that does.
    pub fn from_path(path: Option<&str>) -> Self {
        let digits = path.unwrap_or_default().trim_start_matches('/').as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        Self(digits.chunks_exact(2).map_while(byte).collect::<Vec<u8>>().into_iter())
    }

    /// Whether it has come to its end.
    pub fn is_over(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.0.next().unwrap_or(0)
    }

    /// A yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of these.
    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()].clone()
    }

    /// One of what is held, if anything is.
    pub fn pick<'a, T>(&mut self, held: &'a mut [T]) -> Option<&'a mut T> {
        let index = usize::from(self.byte()).checked_rem(held.len())?;
        held.get_mut(index)
    }

    /// The same, which is no longer held then.
    pub fn take<T>(&mut self, held: &mut Vec<T>) -> Option<T> {
        let index = usize::from(self.byte()).checked_rem(held.len())?;
        Some(held.swap_remove(index))
    }

    /// The name of a header.
    pub fn name(&mut self) -> String {
        self.text_of(&NAMES)
    }

    /// A text.
    pub fn text(&mut self) -> String {
        self.text_of(&TEXTS)
    }

    /// A number.
    pub fn number(&mut self) -> u64 {
        self.of(&NUMBERS)
    }

    /// A time in nanoseconds that is short, but for one that never passes.
    pub fn nanoseconds(&mut self) -> u64 {
        match self.byte() {
            u8::MAX => u64::MAX,
            byte => u64::from(byte) * 1_000,
        }
    }

    /// Bytes for a body.
    pub fn data(&mut self) -> Vec<u8> {
        let byte = self.byte();
        vec![byte; self.number().min(DATA_BYTES_MAX) as usize]
    }

    fn text_of(&mut self, texts: &[&str]) -> String {
        let byte = self.byte();
        let text = texts[usize::from(byte) % texts.len()];
        if byte == u8::MAX { "a".repeat(LONG_BYTES) } else { text.to_owned() }
    }
}
