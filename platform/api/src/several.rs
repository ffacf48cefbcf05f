//! Query parameters that take several values: `a,b`, for use with `#[serde(with)]`.
//!
//! What always holds: no value is empty, and there are no more than [`VALUES_MAX`] of them.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};
use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

/// The most values of a parameter.
const VALUES_MAX: usize = 100;

pub(crate) fn serialize<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    serializer.serialize_str(&texts.join(","))
}

pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    let values = text.split(',').map(|value| value.parse().map_err(D::Error::custom));
    let values = values.collect::<Result<Vec<T>, D::Error>>()?;
    if values.len() > VALUES_MAX {
        let count = values.len();
        return Err(D::Error::custom(format!("there are {count} values; give {VALUES_MAX} at most")));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use crate::EventQuery;
    use serde_json::json;
    use skiff_types::EventType;

    #[test]
    fn values_have_commas_between_them() {
        let query = EventQuery {
            services: vec!["web".parse().unwrap(), "api".parse().unwrap()],
            types: vec![EventType::Task],
            ..EventQuery::default()
        };
        let text = json!({ "service": "web,api", "type": "task" });
        assert_eq!(serde_json::to_value(&query).unwrap(), text);
        assert_eq!(serde_json::from_value::<EventQuery>(text).unwrap(), query);
        assert_eq!(serde_json::from_value::<EventQuery>(json!({})).unwrap(), EventQuery::default());
    }

    #[test]
    fn what_is_no_value_is_refused_and_so_are_too_many() {
        let refused = |services: &str| {
            serde_json::from_value::<EventQuery>(json!({ "service": services })).unwrap_err().to_string()
        };
        assert!(refused("web,").contains("is not"), "{}", refused("web,"));
        let many = vec!["a"; 101].join(",");
        assert_eq!(refused(&many), "there are 101 values; give 100 at most");
    }
}
