//! What rules and listeners do with requests: from what the command line says, and as text for people.

use crate::args::ActionArgs;
use crate::human;
use skiff_api::{Action, FixedResponse, Forward, NameReference, Redirect, WeightedGroup};
use skiff_types::{FixedResponse as DomainFixedResponse, Namespace};

/// The action that was asked for, if any was; target groups without a namespace are of this one.
pub(crate) fn asked_for(args: &ActionArgs, here: &Namespace) -> Option<Action> {
    if let Some(redirect) = &args.redirect {
        let status = args.status.unwrap_or_default().code();
        return Some(Action::Redirect(Redirect { to: redirect.to_string(), status }));
    }
    if let Some(status) = args.respond {
        let content_type = args.content_type.as_deref().unwrap_or(DomainFixedResponse::CONTENT_TYPES[0]);
        return Some(Action::FixedResponse(FixedResponse {
            status,
            content_type: content_type.to_owned(),
            body: args.body.clone().unwrap_or_default(),
        }));
    }
    let qualified = |share: &WeightedGroup| WeightedGroup {
        group: NameReference::from(share.group.qualified(here)),
        weight: share.weight,
    };
    let groups: Vec<WeightedGroup> = args.forward.iter().map(qualified).collect();
    (!groups.is_empty()).then_some(Action::Forward(Forward { groups, stickiness: args.stickiness }))
}

/// An action in one line: `forward to web=95, shop/web-two=5, sticky for 1h`, `redirect to … with 301`, `respond 403`. The namespace of a
/// target group is left out where it is this one.
pub(crate) fn text(action: &Action, here: Option<&Namespace>) -> String {
    match action {
        Action::Forward(Forward { groups, stickiness }) => {
            let one = groups.len() == 1;
            let share = |share: &WeightedGroup| match (one, share.weight) {
                (true, 1..) => name(&share.group, here),
                (_, weight) => format!("{}={weight}", name(&share.group, here)),
            };
            let stays = stickiness.map(|time| format!(", sticky for {time}")).unwrap_or_default();
            format!("forward to {}{stays}", groups.iter().map(share).collect::<Vec<_>>().join(", "))
        }
        Action::Redirect(Redirect { to, status }) => format!("redirect to {to} with {status}"),
        Action::FixedResponse(FixedResponse { status, content_type, body }) => match body.len() as u64 {
            0 => format!("respond {status}"),
            bytes => format!("respond {status} and {} of {content_type}", human::bytes(bytes)),
        },
    }
}

/// The body of a response that is all there is to an action.
pub(crate) fn body(action: &Action) -> Option<&str> {
    match action {
        Action::FixedResponse(FixedResponse { body, .. }) if !body.is_empty() => Some(body),
        Action::FixedResponse(_) | Action::Forward(_) | Action::Redirect(_) => None,
    }
}

/// A name without its namespace, where that is this one.
pub(crate) fn name(reference: &NameReference, here: Option<&Namespace>) -> String {
    match reference.namespace.as_ref() == here {
        true => reference.name.to_string(),
        false => reference.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, RuleCommand};
    use clap::Parser;

    /// The action of such a command, as text in the namespace `default`.
    #[track_caller]
    fn check(words: &[&str], expected: &str) {
        let head = ["skiff", "rule", "create", "api", "--priority", "10", "--if", "path=*"];
        let cli = Cli::try_parse_from(head.iter().chain(words)).unwrap();
        let Command::Rule { command: RuleCommand::Create(args) } = cli.command else { panic!() };
        let here = Namespace::default();
        assert_eq!(text(&asked_for(&args.action, &here).unwrap(), Some(&here)), expected);
    }

    #[test]
    fn an_action_is_told_in_a_line() {
        check(&["--forward", "web"], "forward to web");
        check(&["--forward", "web=0"], "forward to web=0");
        check(&["--forward", "web=90,shop/web"], "forward to web=90, shop/web=1");
        check(&["--forward", "web", "--forward", "two=2"], "forward to web=1, two=2");
        check(&["--forward", "web,two", "--stickiness", "1h"], "forward to web=1, two=1, sticky for 1h");
        check(
            &["--redirect", "https://example.org"],
            "redirect to https://example.org:#{port}/#{path}?#{query} with 301",
        );
        check(
            &["--redirect", "/new", "--status", "302"],
            "redirect to #{protocol}://#{host}:#{port}/new?#{query} with 302",
        );
        check(&["--respond", "404"], "respond 404");
        check(
            &["--respond", "403", "--body", "not you", "--content-type", "text/html"],
            "respond 403 and 7B of text/html",
        );
    }

    #[test]
    fn without_a_word_there_is_no_action() {
        assert_eq!(asked_for(&ActionArgs::default(), &Namespace::default()), None);
    }
}
