//! What a document may be written in: TOML, JSON or YAML; told by the file's name, else by how it begins.

pub(super) mod json;
pub(super) mod toml;
pub(super) mod yaml;

use super::tree::{Fault, Node};
use std::path::Path;

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Toml,
    Json,
    Yaml,
}

impl Format {
    /// By a file's name; none if it says nothing.
    pub(super) fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }

    /// By what is written: a resource of TOML has a header of its own, and JSON begins with a bracket.
    pub(super) fn of_text(text: &str) -> Self {
        if text.lines().any(|line| line.trim_start().starts_with("[[resource]]")) {
            return Self::Toml;
        }
        match text.trim_start().starts_with(['{', '[']) {
            true => Self::Json,
            false => Self::Yaml,
        }
    }

    /// The documents in a text: one, but that YAML may have several or none.
    pub(super) fn read(self, text: &str) -> Result<Vec<Node>, Fault> {
        match self {
            Self::Toml => toml::read(text),
            Self::Json => json::read(text),
            Self::Yaml => yaml::read(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_told_by_the_name_else_by_the_beginning() {
        let named =
            ["a.toml", "a.JSON", "a.yaml", "a.yml", "a", "a.txt"].map(|name| Format::of_name(name.as_ref()));
        let [toml, json, yaml] = [Format::Toml, Format::Json, Format::Yaml].map(Some);
        assert_eq!(named, [toml, json, yaml, yaml, None, None]);
        for (text, expected) in [
            ("# first\n[[resource]]\nkind = \"rule\"", Format::Toml),
            ("  [{\"kind\": \"rule\"}]", Format::Json),
            ("{\"kind\": \"rule\"}", Format::Json),
            ("- kind: rule", Format::Yaml),
            ("", Format::Yaml),
        ] {
            assert_eq!(Format::of_text(text), expected, "{text}");
        }
    }
}
