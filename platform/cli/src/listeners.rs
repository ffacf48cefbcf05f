//! `skiff listener …`.

use crate::actions;
use crate::args::{ListenerCommand, ListenerCreateArgs};
use crate::context::{Context, all_pages};
use crate::failure::usage;
use crate::output::{self, or_none};
use crate::{certificates, human, progress, settings};
use skiff_api::{Certificate, Client, ErrorCode, Listener, PageQuery, PutListener};
use skiff_types::{INTERNAL_LISTENER_DOMAIN, ListenerProtocol, Name, Namespace, Scheme};
use std::time::Duration;

/// Workers close within that what they had at a port before, and the platform has tried it again.
const TRIED_AGAIN_IN: Duration = Duration::from_millis(300);

pub(crate) async fn run(context: &Context, command: &ListenerCommand) -> anyhow::Result<()> {
    match command {
        ListenerCommand::Create(args) => create(context, args).await,
        ListenerCommand::Ls => list(context).await,
        ListenerCommand::Show { name } => show(context, name).await,
        ListenerCommand::Rm { names } => remove(context, names).await,
    }
}

async fn create(context: &Context, args: &ListenerCreateArgs) -> anyhow::Result<()> {
    let (client, name) = (context.client()?, &args.name);
    let present = if is_whole(args) { None } else { present(&client, name).await? };
    let body = body(args, present.as_ref(), &context.namespace)?;
    let mut listener = client.put_listener(name, &body, revision(args, present.as_ref())).await?;
    if listener.problem.is_some() {
        tokio::time::sleep(TRIED_AGAIN_IN).await;
        listener = client.get_listener(name).await.unwrap_or(listener);
    }
    print(context, &client, &listener).await
}

/// Whether all is given that the platform is told each time; else it is asked for the port and the protocol that a listener
/// has.
fn is_whole(args: &ListenerCreateArgs) -> bool {
    args.port.is_some() && args.protocol.is_some()
}

/// The revision that is changed, if it was asked for: so that what somebody else says of its port and protocol meanwhile is
/// not taken back.
fn revision(args: &ListenerCreateArgs, present: Option<&Listener>) -> Option<u64> {
    (!is_whole(args)).then(|| present.map_or(0, |listener| listener.revision))
}

/// A listener, if there is one.
async fn present(client: &Client, name: &Name) -> anyhow::Result<Option<Listener>> {
    match client.get_listener(name).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the platform is told of a listener that is so at present.
fn body(
    args: &ListenerCreateArgs,
    present: Option<&Listener>,
    namespace: &Namespace,
) -> anyhow::Result<PutListener> {
    let name = &args.name;
    let Some(port) = args.port.or(present.map(|listener| listener.port)) else {
        return Err(usage(format!("there is no listener {name} yet: a new one needs --port PORT")));
    };
    let protocol = args.protocol.or(present.map(|listener| listener.protocol));
    Ok(PutListener {
        protocol: protocol.unwrap_or(ListenerProtocol::Http),
        port,
        scheme: match (args.internal, args.public) {
            (true, _) => Some(Scheme::Internal),
            (false, true) => Some(Scheme::Public),
            (false, false) => None,
        },
        certificates: (!args.certificates.is_empty()).then(|| args.certificates.clone()),
        services: match (args.services, args.no_services) {
            (false, false) => None,
            (services, _) => Some(services),
        },
        default_action: actions::asked_for(&args.action, namespace),
        client_limit: settings::limit(args.client_limit, args.no_client_limit),
    })
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let listeners = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_listeners(&query).await
    })
    .await?;
    context.output.print(&listeners, || table(&listeners, human::now_ms()))?;
    Ok(())
}

async fn show(context: &Context, name: &Name) -> anyhow::Result<()> {
    let client = context.client()?;
    let listener = client.get_listener(name).await?;
    print(context, &client, &listener).await
}

/// Prints a listener; for people, with what there is to know of its certificates.
async fn print(context: &Context, client: &Client, listener: &Listener) -> anyhow::Result<()> {
    let mut shown = Vec::new();
    if !context.output.is_json() {
        for name in &listener.certificates {
            shown.push(client.get_certificate(name).await?);
        }
    }
    context.output.print(listener, || details(listener, &shown, human::now_ms()))?;
    Ok(())
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_listener(name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

fn table(listeners: &[Listener], now_ms: u64) -> String {
    let row = |listener: &Listener| {
        [
            listener.name.to_string(),
            listener.protocol.to_string(),
            listener.port.to_string(),
            or_none(internal_name(listener)),
            listener.rules.to_string(),
            yes_or_no(listener.services).to_owned(),
            actions::text(&listener.default_action, None),
            or_none(listener.updated_at_ms.map(|at_ms| human::age(at_ms, now_ms))),
        ]
    };
    let header =
        ["NAME", "PROTOCOL", "PORT", "INTERNAL NAME", "RULES", "SERVICES", "DEFAULT ACTION", "CHANGED"];
    let problem = |listener: &Listener| {
        listener.problem.as_ref().map(|problem| format!("\n\n{}: {problem}", listener.name))
    };
    let problems: String = listeners.iter().filter_map(problem).collect();
    output::columns(header, listeners.iter().map(row)) + &problems
}

fn details(listener: &Listener, certificates: &[Certificate], now_ms: u64) -> String {
    let at = |at_ms: Option<u64>| or_none(at_ms.map(human::timestamp));
    let certificates: Vec<String> =
        certificates.iter().map(|certificate| expiry(certificate, now_ms)).collect();
    let certificates = (!certificates.is_empty()).then(|| ("Certificates", certificates.join("\n")));
    let body = actions::body(&listener.default_action).map(|body| ("Body", body.to_owned()));
    let internal = internal_name(listener).map(|name| ("Internal name", name));
    let rows = [
        ("Name", listener.name.to_string()),
        ("Protocol", listener.protocol.to_string()),
        ("Port", listener.port.to_string()),
        ("Scheme", listener.scheme.to_string()),
    ];
    let more = [
        ("Rules", listener.rules.to_string()),
        ("Services", yes_or_no(listener.services).to_owned()),
        ("Default action", actions::text(&listener.default_action, None)),
    ];
    let last = [
        ("Client limit", or_none(listener.client_limit)),
        ("Revision", listener.revision.to_string()),
        ("Created", at(listener.created_at_ms)),
        ("Changed", at(listener.updated_at_ms)),
    ];
    let problem = listener.problem.clone().map(|problem| ("Problem", problem));
    let rows = rows.into_iter().chain(problem).chain(internal).chain(certificates);
    output::properties(rows.chain(more).chain(body).chain(last))
}

/// The name by which tasks reach an internal listener.
fn internal_name(listener: &Listener) -> Option<String> {
    match listener.scheme {
        Scheme::Public => None,
        Scheme::Internal => Some(format!("{}.{INTERNAL_LISTENER_DOMAIN}", listener.name)),
    }
}

/// A certificate's name, and until when it is valid.
fn expiry(certificate: &Certificate, now_ms: u64) -> String {
    let (name, at) = (&certificate.name, human::timestamp(certificate.not_after_ms));
    match certificate.not_after_ms > now_ms {
        true => format!("{name} (expires {at}, in {})", certificates::remaining(certificate, now_ms)),
        false => format!("{name} (expired {at})"),
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn listener() -> Listener {
        serde_json::from_value(serde_json::json!({
            "name": "admin", "revision": 17, "protocol": "http", "port": 9000, "scheme": "public", "services": false,
            "default_action": { "fixed_response": { "status": 403, "content_type": "text/plain", "body": "not you" } },
            "rules": 2, "created_at_ms": 1_000, "updated_at_ms": 2_000,
        }))
        .unwrap()
    }

    fn arguments(words: &str) -> ListenerCreateArgs {
        let line = format!("skiff listener create admin {words}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Listener { command: ListenerCommand::Create(args) } = cli.command else { panic!() };
        *args
    }

    #[track_caller]
    fn check_told(words: &str, present: Option<&Listener>, told: (ListenerProtocol, u16, Option<u64>)) {
        let args = arguments(words);
        let body = body(&args, present, &Namespace::default()).unwrap();
        assert_eq!((body.protocol, body.port, revision(&args, present)), told, "{words}");
    }

    #[test]
    fn what_is_told_as_it_was_read_is_told_of_the_revision_that_was_read() {
        use ListenerProtocol::{Http, Tcp};
        let there = listener();
        check_told("--no-services", Some(&there), (Http, 9000, Some(17)));
        check_told("--port 9001", Some(&there), (Http, 9001, Some(17)));
        check_told("--protocol tcp --forward kv", Some(&there), (Tcp, 9000, Some(17)));
        check_told("--port 9001", None, (Http, 9001, Some(0)));
        check_told("--port 9001 --protocol tcp --forward kv", None, (Tcp, 9001, None));
        let error = body(&arguments("--no-services"), None, &Namespace::default()).unwrap_err();
        assert!(error.to_string().contains("a new one needs --port PORT"), "{error}");
    }

    #[test]
    fn listeners_in_a_table() {
        let untouched: Listener = serde_json::from_value(serde_json::json!({
            "name": "http", "revision": 0, "protocol": "http", "port": 8080, "scheme": "public", "services": true,
            "default_action": { "forward": { "groups": [{ "group": "default/web" }] } }, "rules": 0,
        }))
        .unwrap();
        let internal = Listener { scheme: Scheme::Internal, ..listener() };
        let expected = [
            "NAME    PROTOCOL   PORT   INTERNAL NAME             RULES   SERVICES   DEFAULT ACTION                     \
             CHANGED",
            "admin   http       9000   admin.listener.internal   2       no         respond 403 and 7B of text/plain   \
             60s",
            "http    http       8080   -                         0       yes        forward to default/web             -",
        ];
        assert_eq!(table(&[internal, untouched], 62_000), expected.join("\n"));
    }

    #[test]
    fn a_listener_in_detail() {
        let expected = "Name             admin\n\
                        Protocol         http\n\
                        Port             9000\n\
                        Scheme           public\n\
                        Rules            2\n\
                        Services         no\n\
                        Default action   respond 403 and 7B of text/plain\n\
                        Body             not you\n\
                        Client limit     -\n\
                        Revision         17\n\
                        Created          1970-01-01T00:00:01.000Z\n\
                        Changed          1970-01-01T00:00:02.000Z";
        assert_eq!(details(&listener(), &[], 0), expected);
        let internal = details(&Listener { scheme: Scheme::Internal, ..listener() }, &[], 0);
        let of_scheme = "Scheme           internal\nInternal name    admin.listener.internal\nRules";
        assert!(internal.contains(of_scheme), "{internal}");
        let limit = "concurrent=20".parse::<skiff_types::Limit>().unwrap();
        let limited = details(&Listener { client_limit: Some(limit.into()), ..listener() }, &[], 0);
        assert!(limited.contains("Client limit     concurrent=20\n"), "{limited}");
    }

    #[test]
    fn what_is_wrong_with_a_listener_is_shown_in_detail_and_below_the_table() {
        let problem = Some("nobody reaches it".to_owned());
        let listener = Listener { problem, ..listener() };
        let shown = details(&listener, &[], 0);
        let of_scheme = "Scheme           public\nProblem          nobody reaches it\nRules";
        assert!(shown.contains(of_scheme), "{shown}");
        let listed = table(&[listener], 0);
        assert!(listed.ends_with("\n\nadmin: nobody reaches it"), "{listed}");
    }

    #[test]
    fn the_certificates_of_a_listener_are_shown_with_their_expiry() {
        let certificate = |name: &str, not_after_ms: u64| -> Certificate {
            serde_json::from_value(serde_json::json!({
                "name": name, "revision": 1, "domains": ["a.example"], "not_before_ms": 0,
                "not_after_ms": not_after_ms, "fingerprint": "ab", "algorithm": "ECDSA-P256", "listeners": ["admin"],
                "created_at_ms": 0, "updated_at_ms": 0,
            }))
            .unwrap()
        };
        let certificates = [certificate("a", 864_000_000), certificate("b", 1_000)];
        let shown = details(&listener(), &certificates, 2_000);
        let expected = "Scheme           public\n\
                        Certificates     a (expires 1970-01-11T00:00:00.000Z, in 9d)\n                 \
                        b (expired 1970-01-01T00:00:01.000Z)\n\
                        Rules            2\n";
        assert!(shown.contains(expected), "{shown}");
    }
}
