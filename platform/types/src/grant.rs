//! Grants: the short form of what a role allows, `ACTION RESOURCE`. What decides by them is made of them elsewhere.
//!
//! - The action is one ([`crate::AccessAction`]), all of a kind (`bucket:*`), or all there are (`*`).
//! - The resource is `NAME`: the bucket, table, queue, bus or secret and everything in it; or `NAME/PATH`: what lies in a bucket or
//!   table under these keys, and nothing else of it. A path that ends in `*` also allows to list what begins with it.
//! - `*` stands for any characters or none, in a path slashes too; `\*` is a star and `\\` a backslash. All else means itself,
//!   byte for byte: nothing is decoded, folded or tidied up.
//!
//! What always holds: a grant says nothing of a namespace, and so is of the one that its role lives in; it has no control characters,
//! so that it prints as one line.

use crate::text::{ParseError, serde_as_text};
use crate::{AccessAction, AccessResource, Name, ResourceKind};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const EXPECTED: &str = "a grant: an action and what it is done to, like \"bucket:read uploads/images/*\", \"table:* accounts\" or \
                        \"* *\"";
const EXPECTED_ACTION: &str = "a grant, which begins with an action: bucket:read, bucket:write, bucket:delete, bucket:manage, \
                               table:read, table:write, queue:send, queue:receive, bus:put, secret:read, all of a kind like \
                               bucket:*, or *";
const EXPECTED_NAME: &str = "a grant, which names a bucket, table, queue, bus or secret of its role's namespace: a-z, 0-9, '-' and \
                             \"*\" for any characters";
const EXPECTED_PATH: &str = "a grant of a path: behind NAME/ stand 1 to 2048 bytes without control characters, \"*\" for any \
                             characters, \"\\*\" for a star, \"\\\\\" for a backslash; without the slash it is of all of NAME";
const EXPECTED_NO_PATH: &str = "a grant: only what is in buckets and tables has paths, and bucket:manage is of buckets themselves; \
                                leave out what follows the name";

/// What a role allows, in short. Parses from and prints as `ACTION RESOURCE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    action: GrantAction,
    name: GrantPattern,
    path: Option<GrantPattern>,
}

/// Which actions a grant is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantAction {
    /// All there are: `*`.
    Any,
    /// All of a kind of resource: `bucket:*`.
    Kind(ResourceKind),
    /// This one.
    One(AccessAction),
}

impl GrantAction {
    /// The kind of resource that it is done to, if it is one.
    pub fn kind(self) -> Option<ResourceKind> {
        match self {
            Self::Any => None,
            Self::Kind(kind) => Some(kind),
            Self::One(action) => Some(action.kind()),
        }
    }

    /// Whether this action is one of them.
    pub fn includes(self, action: AccessAction) -> bool {
        match self {
            Self::Any => true,
            Self::Kind(kind) => action.kind() == kind,
            Self::One(one) => action == one,
        }
    }

    /// Whether anything of it can be done to what lies in a resource.
    fn has_paths(self) -> bool {
        match self {
            Self::Any | Self::Kind(ResourceKind::Bucket | ResourceKind::Table) => true,
            Self::Kind(ResourceKind::Queue | ResourceKind::Bus | ResourceKind::Secret) => false,
            Self::One(AccessAction::BucketManage) => false,
            Self::One(action) => Self::Kind(action.kind()).has_paths(),
        }
    }
}

/// A text with wildcards, as it stands in a grant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantPattern(Arc<str>);

/// A part of a [`GrantPattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternPiece {
    /// Any characters, or none.
    Any,
    /// This one.
    Char(char),
}

impl GrantPattern {
    /// As its user wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts in order.
    pub fn pieces(&self) -> impl Iterator<Item = PatternPiece> + '_ {
        let mut chars = self.0.chars();
        std::iter::from_fn(move || match chars.next()? {
            '*' => Some(PatternPiece::Any),
            '\\' => chars.next().map(PatternPiece::Char),
            char => Some(PatternPiece::Char(char)),
        })
    }

    /// Whether it has no wildcard: then it is of one text alone.
    pub fn is_literal(&self) -> bool {
        self.pieces().all(|piece| piece != PatternPiece::Any)
    }

    /// Whether it is of this text.
    pub fn is_of(&self, text: &str) -> bool {
        let (pieces, text): (Vec<PatternPiece>, Vec<char>) =
            (self.pieces().collect(), text.chars().collect());
        // Where the last wildcard stands, and how far the text was when it was met: there it goes on with one more.
        let (mut at, mut read, mut wildcard) = (0, 0, None);
        while read < text.len() {
            match (pieces.get(at), wildcard) {
                (Some(PatternPiece::Char(char)), _) if *char == text[read] => (at, read) = (at + 1, read + 1),
                (Some(PatternPiece::Any), _) => {
                    wildcard = Some((at, read));
                    at += 1;
                }
                (Some(PatternPiece::Char(_)) | None, Some((place, from))) => {
                    wildcard = Some((place, from + 1));
                    (at, read) = (place + 1, from + 1);
                }
                (Some(PatternPiece::Char(_)) | None, None) => return false,
            }
        }
        pieces[at..].iter().all(|piece| *piece == PatternPiece::Any)
    }

    /// Whether it ends in a wildcard: then what it is of may go on in any way.
    pub fn is_open(&self) -> bool {
        self.pieces().last() == Some(PatternPiece::Any)
    }
}

impl Grant {
    /// Longest path, in bytes: a key of 1024 bytes fits, even if each has to be escaped.
    pub const PATH_BYTES_MAX: usize = 2_048;
    /// Longest grant, in bytes.
    pub const BYTES_MAX: usize = 2_176;

    /// The grant that allows this and nothing more, as far as a grant can say it: where a path has characters that no grant has, or
    /// is too long, a wildcard stands for the rest.
    pub fn of(action: AccessAction, resource: &AccessResource) -> Self {
        let name = GrantPattern(resource.name.name.as_str().into());
        let action = GrantAction::One(action);
        let path = resource.path.as_deref().filter(|_| action.has_paths());
        Self { action, name, path: path.map(|path| escaped(path, resource.listing)) }
    }

    /// Of which actions it is.
    pub fn action(&self) -> GrantAction {
        self.action
    }

    /// Of which buckets, tables, queues, buses or secrets, by their names in the role's namespace.
    pub fn name(&self) -> &GrantPattern {
        &self.name
    }

    /// Of what in them; none where it is of all, and of themselves.
    pub fn path(&self) -> Option<&GrantPattern> {
        self.path.as_ref()
    }
}

/// A pattern of this path alone, or of all that begins with it.
fn escaped(path: &str, and_all_that_follows: bool) -> GrantPattern {
    /// The longest character with its escape, and a wildcard.
    const LEFT_BYTES_MIN: usize = 5;
    let mut pattern = String::with_capacity(path.len() + 1);
    let mut is_cut = path.is_empty();
    for char in path.chars() {
        is_cut = char.is_control() || pattern.len() + LEFT_BYTES_MIN > Grant::PATH_BYTES_MAX;
        if is_cut {
            break;
        }
        if matches!(char, '*' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    if is_cut || and_all_that_follows {
        pattern.push('*');
    }
    GrantPattern(pattern.into())
}

impl FromStr for Grant {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = |expected| ParseError::new(text, expected);
        let (action, resource) = text.split_once(' ').ok_or_else(|| error(EXPECTED))?;
        let action: GrantAction = action.parse().map_err(|_: ParseError| error(EXPECTED_ACTION))?;
        let (name, path) = match resource.split_once('/') {
            Some((name, path)) => (name, Some(path)),
            None => (resource, None),
        };
        if !is_name_pattern(name) {
            return Err(error(EXPECTED_NAME));
        }
        if path.is_some() && !action.has_paths() {
            return Err(error(EXPECTED_NO_PATH));
        }
        if path.is_some_and(|path| !is_path_pattern(path)) {
            return Err(error(EXPECTED_PATH));
        }
        let path = path.map(|path| GrantPattern(path.into()));
        Ok(Self { action, name: GrantPattern(name.into()), path })
    }
}

/// Whether it could be a name, or of several.
fn is_name_pattern(text: &str) -> bool {
    let is_known =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'*');
    match text.contains('*') {
        true => text.len() <= Name::LENGTH_MAX && text.bytes().all(is_known),
        false => text.parse::<Name>().is_ok(),
    }
}

fn is_path_pattern(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let is_escape = char == '\\';
        if char.is_control() || is_escape && !matches!(chars.next(), Some('*' | '\\')) {
            return false;
        }
    }
    (1..=Grant::PATH_BYTES_MAX).contains(&text.len())
}

impl FromStr for GrantAction {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.strip_suffix(":*") {
            Some(kind) => kind.parse().map(Self::Kind),
            None if text == "*" => Ok(Self::Any),
            None => text.parse().map(Self::One),
        }
    }
}

impl fmt::Display for GrantAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Kind(kind) => write!(f, "{kind}:*"),
            Self::One(action) => action.fmt(f),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action, self.name.as_str())?;
        self.path.iter().try_for_each(|path| write!(f, "/{}", path.as_str()))
    }
}

serde_as_text!(Grant);

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: Option<&str>) -> AccessResource {
        let name = "default/uploads".parse().unwrap();
        match path {
            Some(path) => AccessResource::at(ResourceKind::Bucket, name, path),
            None => AccessResource::new(ResourceKind::Bucket, name),
        }
    }

    #[test]
    fn a_grant_prints_as_it_was_written() {
        for text in [
            "* *",
            "bucket:* *",
            "bucket:read uploads",
            "bucket:read uploads/*",
            "bucket:read up*s/images/*.png",
            "* uploads/a",
            "table:write accounts/eu-*",
            "table:* accounts/ with  spaces ",
            "bucket:read uploads//../%2e%2e/ä\"'",
            r"bucket:read uploads/\*\\*",
            "queue:send orders",
            "bus:put *",
            "secret:read db-*",
            "bucket:manage tmp-*",
        ] {
            assert_eq!(text.parse::<Grant>().map(|grant| grant.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_grant_is_told_with_what_would_be_right() {
        for (text, expected) in [
            ("", EXPECTED),
            ("bucket:read", EXPECTED),
            ("uploads bucket:read", EXPECTED_ACTION),
            ("bucket:get uploads", EXPECTED_ACTION),
            ("bucket:re* uploads", EXPECTED_ACTION),
            ("*:read uploads", EXPECTED_ACTION),
            ("Bucket:read uploads", EXPECTED_ACTION),
            ("bucket:read ", EXPECTED_NAME),
            ("bucket:read  uploads", EXPECTED_NAME),
            ("bucket:read uploads ", EXPECTED_NAME),
            ("bucket:read Uploads", EXPECTED_NAME),
            ("bucket:read /uploads", EXPECTED_NAME),
            ("bucket:read up?oads", EXPECTED_NAME),
            ("queue:send shop.orders", EXPECTED_NAME),
            ("queue:send orders/a", EXPECTED_NO_PATH),
            ("bus:* default/a", EXPECTED_NO_PATH),
            ("bucket:manage uploads/*", EXPECTED_NO_PATH),
            ("bucket:read uploads/", EXPECTED_PATH),
            ("bucket:read uploads/a\nb", EXPECTED_PATH),
            (r"bucket:read uploads/a\", EXPECTED_PATH),
            (r"bucket:read uploads/a\b", EXPECTED_PATH),
        ] {
            assert_eq!(text.parse::<Grant>().unwrap_err().expected, expected, "{text:?}");
        }
        let long = format!("bucket:read uploads/{}", "a".repeat(Grant::PATH_BYTES_MAX));
        assert!(long.parse::<Grant>().is_ok());
        assert!(format!("{long}a").parse::<Grant>().is_err());
    }

    #[test]
    fn a_pattern_is_of_what_its_wildcards_can_stand_for() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "b", false),
            ("a", "aa", false),
            ("*", "", true),
            ("*", "anything", true),
            ("eu-*", "eu-", true),
            ("eu-*", "us-1", false),
            ("*-eu", "a-eu-eu", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-c-", false),
            ("*ab", "aab", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("ä*", "äö", true),
        ] {
            assert_eq!(GrantPattern(pattern.into()).is_of(text), expected, "{pattern:?} of {text:?}");
        }
    }

    #[test]
    fn the_grant_of_a_thing_is_of_that_alone() {
        let grant = |path: Option<&str>| Grant::of(AccessAction::BucketRead, &resource(path)).to_string();
        assert_eq!(grant(None), "bucket:read uploads");
        assert_eq!(grant(Some("a/b.png")), "bucket:read uploads/a/b.png");
        assert_eq!(grant(Some(r"*\x")), r"bucket:read uploads/\*\\x");
        assert_eq!(grant(Some("a\nb")), "bucket:read uploads/a*");
        assert_eq!(grant(Some("")), "bucket:read uploads/*");
        let listed = AccessResource::listing(ResourceKind::Bucket, "default/uploads".parse().unwrap(), "a/");
        assert_eq!(Grant::of(AccessAction::BucketRead, &listed).to_string(), "bucket:read uploads/a/*");
        for path in ["*".repeat(5_000), "ä".repeat(5_000), "😀".repeat(5_000)] {
            let text = grant(Some(path.as_str()));
            assert!(text.len() <= Grant::BYTES_MAX && text.ends_with('*'), "{} bytes", text.len());
            assert_eq!(text.parse::<Grant>().map(|grant| grant.to_string()), Ok(text));
        }
    }

    #[test]
    fn wildcards_are_told_from_stars() {
        let pieces = |text: &str| -> String {
            let grant: Grant = format!("bucket:read a/{text}").parse().unwrap();
            let shown = |piece| match piece {
                PatternPiece::Any => "<any>".to_owned(),
                PatternPiece::Char(char) => char.to_string(),
            };
            grant.path().unwrap().pieces().map(shown).collect()
        };
        assert_eq!(pieces(r"a*\*\\*"), r"a<any>*\<any>");
        let path = |text: &str| format!("bucket:read a/{text}").parse::<Grant>().unwrap().path.unwrap();
        assert_eq!(
            (path("a*").is_open(), path(r"a\*").is_open(), path("*a").is_open()),
            (true, false, false)
        );
        assert_eq!((path("a*").is_literal(), path(r"a\*").is_literal()), (false, true));
    }
}
