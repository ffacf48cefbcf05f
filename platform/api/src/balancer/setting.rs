//! What a request says of a setting that may be there or not: it stays, it is taken away, or it becomes this.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is to become of a setting. In JSON: left out, `null`, or what it is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Setting<T> {
    /// It stays as it is.
    #[default]
    Kept,
    /// It is taken away.
    None,
    /// It is this from now on.
    Given(T),
}

impl<T> Setting<T> {
    /// Whether nothing is said of it; such a field is left out of the JSON.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept)
    }

    /// What it is then, where it was `before`.
    pub fn over(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Kept => before,
            Self::None => None,
            Self::Given(value) => Some(value),
        }
    }

    /// The same of what a value means; the first that has no meaning is the error.
    pub fn try_map<U, E>(self, meaning: impl FnOnce(T) -> Result<U, E>) -> Result<Setting<U>, E> {
        Ok(match self {
            Self::Kept => Setting::Kept,
            Self::None => Setting::None,
            Self::Given(value) => Setting::Given(meaning(value)?),
        })
    }
}

/// All that there is to say: nothing stays as it was.
impl<T> From<Option<T>> for Setting<T> {
    fn from(whole: Option<T>) -> Self {
        whole.map_or(Self::None, Self::Given)
    }
}

impl<T: Serialize> Serialize for Setting<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Kept | Self::None => serializer.serialize_none(),
            Self::Given(value) => serializer.serialize_some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::from)
    }
}
