//! `skiff listener …`.

use crate::actions;
use crate::args::{ListenerCommand, ListenerCreateArgs};
use crate::context::{Context, all_pages};
use crate::failure::usage;
use crate::output::{self, or_none};
use crate::{certificates, human, progress};
use skiff_api::{Certificate, Client, ErrorCode, Listener, PageQuery, PutListener};
use skiff_types::{ListenerProtocol, Name};

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
    // The platform is told the port and the protocol each time: those that a listener has are asked for.
    let present = match client.get_listener(name).await {
        Ok(listener) => Some(listener),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(port) = args.port.or(present.as_ref().map(|listener| listener.port)) else {
        return Err(usage(format!("there is no listener {name} yet: a new one needs --port PORT")));
    };
    let protocol = args.protocol.or(present.map(|listener| listener.protocol));
    let body = PutListener {
        protocol: protocol.unwrap_or(ListenerProtocol::Http),
        port,
        scheme: None,
        certificates: (!args.certificates.is_empty()).then(|| args.certificates.clone()),
        services: match (args.services, args.no_services) {
            (false, false) => None,
            (services, _) => Some(services),
        },
        default_action: actions::asked_for(&args.action, &context.namespace),
    };
    let listener = client.put_listener(name, &body, None).await?;
    print(context, &client, &listener).await
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
            listener.rules.to_string(),
            yes_or_no(listener.services).to_owned(),
            actions::text(&listener.default_action, None),
            or_none(listener.updated_at_ms.map(|at_ms| human::age(at_ms, now_ms))),
        ]
    };
    let header = ["NAME", "PROTOCOL", "PORT", "RULES", "SERVICES", "DEFAULT ACTION", "CHANGED"];
    output::columns(header, listeners.iter().map(row))
}

fn details(listener: &Listener, certificates: &[Certificate], now_ms: u64) -> String {
    let at = |at_ms: Option<u64>| or_none(at_ms.map(human::timestamp));
    let certificates: Vec<String> =
        certificates.iter().map(|certificate| expiry(certificate, now_ms)).collect();
    let certificates = (!certificates.is_empty()).then(|| ("Certificates", certificates.join("\n")));
    let body = actions::body(&listener.default_action).map(|body| ("Body", body.to_owned()));
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
        ("Revision", listener.revision.to_string()),
        ("Created", at(listener.created_at_ms)),
        ("Changed", at(listener.updated_at_ms)),
    ];
    output::properties(rows.into_iter().chain(certificates).chain(more).chain(body).chain(last))
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

    fn listener() -> Listener {
        serde_json::from_value(serde_json::json!({
            "name": "admin", "revision": 17, "protocol": "http", "port": 9000, "scheme": "public", "services": false,
            "default_action": { "fixed_response": { "status": 403, "content_type": "text/plain", "body": "not you" } },
            "rules": 2, "created_at_ms": 1_000, "updated_at_ms": 2_000,
        }))
        .unwrap()
    }

    #[test]
    fn listeners_in_a_table() {
        let untouched: Listener = serde_json::from_value(serde_json::json!({
            "name": "http", "revision": 0, "protocol": "http", "port": 8080, "scheme": "public", "services": true,
            "default_action": { "forward": { "groups": [{ "group": "default/web" }] } }, "rules": 0,
        }))
        .unwrap();
        let expected = "NAME    PROTOCOL   PORT   RULES   SERVICES   DEFAULT ACTION                     CHANGED\n\
             admin   http       9000   2       no         respond 403 and 7B of text/plain   60s\n\
             http    http       8080   0       yes        forward to default/web             -";
        assert_eq!(table(&[listener(), untouched], 62_000), expected);
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
                        Revision         17\n\
                        Created          1970-01-01T00:00:01.000Z\n\
                        Changed          1970-01-01T00:00:02.000Z";
        assert_eq!(details(&listener(), &[], 0), expected);
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
