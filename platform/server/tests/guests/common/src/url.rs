//! URLs, as far as the guests that send requests need them.

/// What a request to it is made of.
pub struct Url<'a> {
    /// Whether it is `https`; `http` otherwise.
    pub is_https: bool,
    /// The host, and the port if there is one.
    pub authority: &'a str,
    /// The path and the query.
    pub path: &'a str,
}

impl<'a> Url<'a> {
    /// Takes one apart.
    pub fn new(text: &'a str) -> Self {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (authority, path) = rest.find('/').map_or((rest, "/"), |start| rest.split_at(start));
        Self { is_https: scheme == "https", authority, path }
    }
}

/// A header's name and value, written `NAME: VALUE`.
pub fn header(line: &str) -> (&str, &str) {
    line.split_once(": ").unwrap_or((line, ""))
}
