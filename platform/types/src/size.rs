//! Sizes with their units: CPU units, bytes of memory, spans of time. A size or a time without its unit is refused.

use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// CPU units, as on Fargate: 1024 are one vCPU, that is one core's full time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuUnits(u32);

impl CpuUnits {
    /// The units of one vCPU.
    pub const PER_VCPU: u32 = 1024;
    /// The fewest units a task can have: 1/64 of a core.
    pub const MIN: u32 = 16;
    /// The most units a task can have: 64 cores.
    pub const MAX: u32 = 64 * Self::PER_VCPU;

    /// From a count of units; `None` outside [`Self::MIN`]..=[`Self::MAX`].
    pub fn new(units: u32) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&units).then_some(Self(units))
    }

    /// The count of units.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for CpuUnits {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error =
            || ParseError::new(text, "a CPU size in units from 16 to 65536 (1024 are one vCPU), like 256");
        text.parse().ok().and_then(Self::new).ok_or_else(error)
    }
}

impl fmt::Display for CpuUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A count of bytes, written with its unit: `128MiB`, `1GiB`, `512KiB`, `100MB`, `64B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemorySize(u64);

impl MemorySize {
    /// Units by name, largest first; binary before decimal so that printing prefers the binary.
    const UNITS: [(&str, u64); 7] = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1_000),
        ("B", 1),
    ];

    /// From a count of bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// From a count of MiB.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The count of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for MemorySize {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(text, "a size with its unit, like 128MiB, 1GiB or 512KiB");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| error())?;
        let unit = unit.trim_start();
        let (_, factor) =
            Self::UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(error)?;
        number.checked_mul(*factor).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        let (name, factor) = Self::UNITS.iter().find(exact).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

/// A span of time in whole milliseconds, written with its unit: `30s`, `500ms`, `5m`, `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Span {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

    /// From a count of milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// The count of milliseconds.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// As the standard library's duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(text, "a time with its unit, like 30s, 500ms, 5m or 2h");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| error())?;
        let (_, factor) =
            Self::UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(error)?;
        number.checked_mul(*factor).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        let (name, factor) = Self::UNITS.iter().find(exact).unwrap_or(&("ms", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

serde_as_text!(CpuUnits, MemorySize, Span);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_as_they_parse() {
        for text in ["128MiB", "1GiB", "512KiB", "1000MB", "63B", "0B"] {
            let size: MemorySize = text.parse().unwrap();
            assert_eq!(size.to_string().parse::<MemorySize>().unwrap(), size);
        }
        assert_eq!("128mib".parse::<MemorySize>().unwrap().to_string(), "128MiB");
        for bad in ["", "128", "MiB", "1.5GiB", "-1MiB", "99999999999GiB"] {
            assert!(bad.parse::<MemorySize>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn spans_print_as_they_parse() {
        for text in ["30s", "500ms", "5m", "2h", "1d", "0ms", "90s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for bad in ["", "30", "s", "1.5s", "30 sec"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn cpu_units_have_bounds() {
        assert!("15".parse::<CpuUnits>().is_err());
        assert!("65537".parse::<CpuUnits>().is_err());
        assert_eq!("256".parse::<CpuUnits>().unwrap().get(), 256);
    }
}
