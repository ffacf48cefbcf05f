//! Which fields the body of a call has, and what of an answer belongs to it.
//!
//! So that no field of the API is named here: what it learns, documents know at once.

use super::difference::Fields;
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::Value as Json;
use std::fmt::{self, Display};

/// What a type writes, as a table.
pub(super) fn table(value: &impl Serialize) -> Fields {
    match serde_json::to_value(value) {
        Ok(Json::Object(fields)) => fields,
        other => unreachable!("what the API has is a table of JSON: {other:?}"),
    }
}

/// Of what is shown, that which the body `T` says.
pub(super) fn body_of<T: DeserializeOwned>(shown: &impl Serialize) -> Fields {
    let known = fields_of::<T>();
    let mut fields = table(shown);
    fields.retain(|field, _| known.contains(&field.as_str()));
    fields
}

/// The names of the fields of `T`, as it tells serde what it is to be read from.
pub(super) fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    match T::deserialize(Asked) {
        Err(Told(fields)) => fields,
        Ok(_) => &[],
    }
}

/// Has nothing to read, and only hears what it is asked for.
struct Asked;

/// The fields that were asked for.
#[derive(Debug)]
struct Told(&'static [&'static str]);

impl Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asked for {:?}", self.0)
    }
}

impl std::error::Error for Told {}

impl de::Error for Told {
    fn custom<M: Display>(_: M) -> Self {
        Self(&[])
    }
}

impl<'de> de::Deserializer<'de> for Asked {
    type Error = Told;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Told> {
        Err(Told(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Told> {
        Err(Told(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_api::{PutSecurityGroup, SecurityGroup, WeightedGroup};

    #[test]
    fn a_body_says_which_fields_it_has() {
        assert_eq!(fields_of::<WeightedGroup>(), ["group", "weight"]);
        assert!(fields_of::<String>().is_empty());
    }

    #[test]
    fn what_a_body_does_not_say_is_left_out() {
        let shown: SecurityGroup = serde_json::from_value(serde_json::json!({
            "name": "a", "namespace": "default", "revision": 3, "rules": ["all from self"], "tasks": 2,
        }))
        .unwrap();
        let body = body_of::<PutSecurityGroup>(&shown);
        assert_eq!(Json::Object(body), serde_json::json!({ "rules": ["all from self"] }));
    }
}
