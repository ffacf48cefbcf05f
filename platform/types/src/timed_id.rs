//! Ids that order by when they were made: UUIDs of version 7, written as ECS writes its ids.
//!
//! It deliberately has no clock and no chance of its own: both are arguments.

/// Makes a type of 16 bytes such an id: of what it is made, how it is read and printed. The second is what an error says that it
/// should have been.
macro_rules! timed_id {
    ($type:ident, $expected:literal) => {
        impl $type {
            /// From the time when what it names was made or asked for, in milliseconds since 1970, and ten random bytes.
            pub fn from_parts(at_ms: u64, random: [u8; 10]) -> Self {
                let mut bytes = [0; 16];
                bytes[..6].copy_from_slice(&at_ms.to_be_bytes()[2..]);
                bytes[6..].copy_from_slice(&random);
                bytes[6] = (bytes[6] & 0x0f) | 0x70;
                bytes[8] = (bytes[8] & 0x3f) | 0x80;
                Self(bytes)
            }

            /// The last 8 digits, the random end, for people.
            pub fn short(&self) -> String {
                hex::encode(&self.0[12..])
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::text::ParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 16];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| crate::text::ParseError::new(text, $expected))?;
                Ok(Self(bytes))
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "…{}", self.short())
            }
        }
    };
}
pub(crate) use timed_id;
