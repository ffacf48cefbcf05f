//! The environment: what a task definition gives under `[environment]` or `--env`.
//!
//! ```
//! # fn main() -> Result<(), skiff_sdk::env::Error> {
//! let name = skiff_sdk::env::require("CARGO_PKG_NAME")?;
//! let port: u16 = skiff_sdk::env::parse("PORT")?.unwrap_or(8080);
//! # assert_eq!((name.as_str(), port), ("skiff-sdk", 8080));
//! # Ok(())
//! # }
//! ```

use std::env::VarError;
use std::fmt;
use std::str::FromStr;

/// Why a variable has no usable value. Its message names the variable and says what to do; it never shows the value,
/// which may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Error {
    /// It is not set.
    Missing {
        /// The variable.
        name: String,
    },
    /// It is set to bytes that are no text.
    NotText {
        /// The variable.
        name: String,
    },
    /// It is text, but not what was asked for.
    Invalid {
        /// The variable.
        name: String,
        /// The type that was asked for.
        expected: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name } => write!(
                f,
                "the environment variable {name} is not set; set it under [environment] in skiff.toml or with \
                 --env {name}=VALUE"
            ),
            Self::NotText { name } => write!(f, "the environment variable {name} is not valid UTF-8"),
            Self::Invalid { name, expected } => {
                write!(f, "the environment variable {name} is not a valid {expected}")
            }
        }
    }
}

/// The same as its message: this is what Rust prints when a `main` returns it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// The variable's value, if it is set.
pub fn get(name: &str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Error::NotText { name: name.to_owned() }),
    }
}

/// The variable's value; an error if it is not set.
pub fn require(name: &str) -> Result<String, Error> {
    get(name)?.ok_or_else(|| Error::Missing { name: name.to_owned() })
}

/// The variable's value as a number or anything else that is parsed from text, if it is set.
pub fn parse<T: FromStr>(name: &str) -> Result<Option<T>, Error> {
    let invalid = |_| Error::Invalid { name: name.to_owned(), expected: std::any::type_name::<T>() };
    get(name)?.map(|value| value.parse().map_err(invalid)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_variable_and_not_the_value() {
        let missing = require("SKIFF_SDK_UNSET").unwrap_err();
        assert!(missing.to_string().contains("--env SKIFF_SDK_UNSET=VALUE"), "{missing}");
        let invalid = parse::<u16>("CARGO_PKG_NAME").unwrap_err();
        assert_eq!(invalid.to_string(), "the environment variable CARGO_PKG_NAME is not a valid u16");
        assert_eq!(parse::<u16>("SKIFF_SDK_UNSET"), Ok(None));
    }
}
