//! Log lines on stderr, which Skiff keeps line by line with their time: `LEVEL target: message`.
//!
//! With the feature `log`, records of the `log` crate go there, from `info` up or from what `SKIFF_LOG` says. Without
//! it, only the SDK's own errors do, so that a component that never fails imports no stderr.

use std::fmt;

/// Logs an error of the component that the SDK has caught.
pub(crate) fn error(message: fmt::Arguments<'_>) {
    line("ERROR", "skiff_sdk", message);
}

/// Makes the `log` crate's records go to stderr, unless the component has set a logger of its own.
#[cfg(feature = "log")]
pub(crate) fn install() {
    facade::install();
}

/// Nothing to install without the feature `log`.
#[cfg(not(feature = "log"))]
pub(crate) fn install() {}

/// Writes a line in one piece, so that lines of concurrent work do not mix.
fn line(level: &str, target: &str, message: fmt::Arguments<'_>) {
    let text = format!("{level} {target}: {message}\n");
    crate::runtime::write_stderr(text.as_bytes());
}

#[cfg(feature = "log")]
mod facade {
    use log::{LevelFilter, Log, Metadata, Record};
    use std::sync::LazyLock;

    /// Read with the first record only: a request that logs nothing does not fetch the environment.
    static LEVEL: LazyLock<LevelFilter> = LazyLock::new(|| level(std::env::var("SKIFF_LOG").ok().as_deref()));

    pub(super) fn install() {
        if log::set_logger(&Stderr).is_ok() {
            log::set_max_level(LevelFilter::Trace);
        }
    }

    /// `info` where `SKIFF_LOG` is unset or no level.
    fn level(variable: Option<&str>) -> LevelFilter {
        variable.and_then(|text| text.parse().ok()).unwrap_or(LevelFilter::Info)
    }

    struct Stderr;

    impl Log for Stderr {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.level() <= *LEVEL
        }

        fn log(&self, record: &Record<'_>) {
            if self.enabled(record.metadata()) {
                super::line(record.level().as_str(), record.target(), *record.args());
            }
        }

        fn flush(&self) {}
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_level_is_info_or_what_the_variable_says() {
            assert_eq!(level(None), LevelFilter::Info);
            assert_eq!(level(Some("debug")), LevelFilter::Debug);
            assert_eq!(level(Some("loud")), LevelFilter::Info);
        }
    }
}
