//! What every textual type shares: one parse error, and `serde` by way of `Display` and `FromStr`.

/// A text that is not a value of the wanted type.
///
/// Prints as one sentence that names the value and says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct ParseError {
    /// The text as given, cut at 120 characters.
    pub value: String,
    /// What was wanted, as a noun phrase with an example.
    pub expected: &'static str,
}

impl ParseError {
    const VALUE_CHARS_MAX: usize = 120;

    pub(crate) fn new(value: &str, expected: &'static str) -> Self {
        Self { value: value.chars().take(Self::VALUE_CHARS_MAX).collect(), expected }
    }
}

/// Implements `Serialize` and `Deserialize` through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($($type:ty),+ $(,)?) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
pub(crate) use serde_as_text;
