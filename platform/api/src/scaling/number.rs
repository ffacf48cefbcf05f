//! Numbers that values are held against, as JSON has them: by `#[serde(with = …)]`.

use serde::{Deserialize, Deserializer, Serializer, de};
use skiff_types::MetricValue;

pub(super) fn serialize<S: Serializer>(value: &MetricValue, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.get())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MetricValue, D::Error> {
    checked(f64::deserialize(deserializer)?)
}

fn checked<E: de::Error>(number: f64) -> Result<MetricValue, E> {
    MetricValue::new(number)
        .ok_or_else(|| E::custom(format!("{number} is not a number that a value can have")))
}

/// The same of one that may be missing.
pub(super) mod open {
    use super::{Deserialize, Deserializer, MetricValue, Serializer, checked};

    pub(in crate::scaling) fn serialize<S: Serializer>(
        value: &Option<MetricValue>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::scaling) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<MetricValue>, D::Error> {
        Option::<f64>::deserialize(deserializer)?.map(checked).transpose()
    }
}
