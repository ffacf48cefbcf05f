//! Grants written as Cedar: what is compiled of them, and what is shown to who asks.
//!
//! A grant's name and path are texts of strangers to Cedar: what they have of quotes, backslashes and stars is escaped. They have no
//! control characters.

use crate::vocabulary::word;
use skiff_types::{
    AccessAction, Grant, GrantAction, GrantPattern, Name, PatternPiece, ResourceKind, RoleSpec,
};

/// All that a role's policy says, in Cedar: its short form, then what is said in Cedar besides.
pub fn to_cedar(role: &RoleSpec) -> String {
    let grants = role.allow.iter().map(|grant| policy_of(&role.name.name, grant));
    let policy = role.policy.iter().map(|policy| policy.trim_end().to_owned());
    grants.chain(policy).collect::<Vec<_>>().join("\n\n")
}

/// A grant of a role, as a policy.
pub(crate) fn policy_of(role: &Name, grant: &Grant) -> String {
    let (grant_text, role) = (quoted(&grant.to_string()), quoted(role.as_str()));
    let (action, scope) = (action_scope(grant.action()), resource_scope(grant));
    let mut conditions = Vec::from_iter(name_condition(grant));
    conditions.extend(grant.path().map(|path| path_condition(grant.action().kind(), path)));
    let when = match conditions.is_empty() {
        true => String::new(),
        false => format!("\nwhen {{ {} }}", conditions.join(" && ")),
    };
    format!(
        "@grant({grant_text})\npermit (\n  principal == Skiff::Role::{role},\n  {action},\n  {scope}\n){when};"
    )
}

fn action_scope(action: GrantAction) -> String {
    let named = |action: AccessAction| format!("Skiff::Action::\"{action}\"");
    match action {
        GrantAction::Any => "action".to_owned(),
        GrantAction::One(action) => format!("action == {}", named(action)),
        GrantAction::Kind(kind) => {
            let all = AccessAction::ALL.into_iter().filter(|action| action.kind() == kind).map(named);
            format!("action in [{}]", all.collect::<Vec<_>>().join(", "))
        }
    }
}

/// The one thing that a grant is of, where it is one.
fn resource_scope(grant: &Grant) -> String {
    match grant.action().kind().filter(|_| grant.name().is_literal()) {
        Some(kind) => format!("resource in Skiff::{}::{}", word(kind), quoted(grant.name().as_str())),
        None => "resource".to_owned(),
    }
}

/// What the name has to be like, where the scope does not say it.
fn name_condition(grant: &Grant) -> Option<String> {
    let name = grant.name();
    let is_any = name.pieces().all(|piece| piece == PatternPiece::Any);
    let is_said = grant.action().kind().is_some() && name.is_literal();
    (!is_any && !is_said).then(|| like("resource.name", name))
}

/// What a key or a listed prefix has to be like, among what has such.
fn path_condition(kind: Option<ResourceKind>, path: &GrantPattern) -> String {
    let mut ways = Vec::new();
    let of = |wanted: ResourceKind| kind.is_none_or(|kind| kind == wanted);
    if of(ResourceKind::Bucket) {
        ways.push(format!("resource is Skiff::Object && {}", like("resource.key", path)));
    }
    if of(ResourceKind::Table) {
        ways.push(format!("resource is Skiff::Item && {}", like("resource.key", path)));
    }
    // What begins with a prefix goes on in any way.
    if path.is_open() {
        ways.push(format!("resource is Skiff::Listing && {}", like("resource.prefix", path)));
    }
    let ways: Vec<String> = ways.into_iter().map(|way| format!("({way})")).collect();
    format!("({})", ways.join(" || "))
}

fn like(what: &str, pattern: &GrantPattern) -> String {
    let mut written = String::from("\"");
    let is_literal = pattern.is_literal();
    for piece in pattern.pieces() {
        match piece {
            PatternPiece::Any => written.push('*'),
            PatternPiece::Char('*') if !is_literal => written.push_str("\\*"),
            PatternPiece::Char(char) => push_escaped(&mut written, char),
        }
    }
    written.push('"');
    let operator = if is_literal { "==" } else { "like" };
    format!("{what} {operator} {written}")
}

fn quoted(text: &str) -> String {
    let mut written = String::from("\"");
    text.chars().for_each(|char| push_escaped(&mut written, char));
    written.push('"');
    written
}

fn push_escaped(written: &mut String, char: char) {
    if matches!(char, '"' | '\\') {
        written.push('\\');
    }
    written.push(char);
}
