//! Which security groups a task is in.
//!
//! It deliberately does not know what groups allow, nor whether they exist: a group that is gone allows nothing.

use skiff_types::{Name, default_group};

/// The groups of a task, sorted, each once, never none: what its service names; else what its definition names; else the
/// default one. An empty list names none.
pub fn of_task(definition: &[Name], service: Option<&[Name]>) -> Vec<Name> {
    let named = service.filter(|names| !names.is_empty()).unwrap_or(definition);
    if named.is_empty() {
        return vec![default_group()];
    }
    let mut names = named.to_vec();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<Name> {
        text.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_service_goes_before_its_definition_and_the_default_comes_last() {
        let service = names("web api web");
        assert_eq!(of_task(&names("db"), Some(&service)), names("api web"));
        assert_eq!(of_task(&names("db"), Some(&[])), names("db"));
        assert_eq!(of_task(&names("db"), None), names("db"));
        assert_eq!(of_task(&[], None), names("default"));
    }
}
