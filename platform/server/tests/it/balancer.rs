//! The load balancer as its users meet it: rules with each action, listeners that come and go under load, those that tasks
//! alone reach, targets that are not tasks of services, targets that answer worse than others, clients that stay, certificates,
//! more requests than can be answered, and what is refused.
//!
//! Where it matters who answered, the guest is `misbehave` with a name in its environment; else it is the example `hello`.
//! Changes are waited for by what is answered: a command returns when the platform has taken them down.

mod changes;
mod grpc;
mod health;
mod internal;
mod limits;
mod listeners;
pub(crate) mod load;
mod metrics;
mod outliers;
mod outside;
mod overload;
mod refused;
mod rules;
mod settings;
mod sticky;
mod targets;
pub(crate) mod tls;

use crate::harness::{PATIENCE, Platform, eventually, free_port};

/// What `hello` answers.
const HELLO: &str = "Hello from Skiff!\n";
/// Where `misbehave` says who it is.
const WHO: &str = "/env?name=WHO";

/// What was answered; no redirection is followed.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A GET with these headers, on a connection of its own.
fn ask(at: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(0)
        .timeout_global(Some(PATIENCE));
    let request = config.build().new_agent().get(format!("http://{at}{path}"));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut response = request.call()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, text: response.body_mut().read_to_string()? })
}

/// Waits until a host is answered so there; the answer.
fn answers(at: &str, host: &str, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let mut last = None;
    eventually(&format!("{host}{path} at {at} is answered as it is to be"), || {
        let answer = ask(at, path, &[("host", host)]);
        let shown = format!("{answer:?}");
        // So that a test that waits in vain shows what it got.
        if last.as_ref() != Some(&shown) {
            println!("{host}{path} at {at}: {shown}");
            last = Some(shown);
        }
        answer.ok().filter(&wanted)
    })
}

/// Waits until a host is answered by the guest that is called so.
fn is_answered_by(at: &str, host: &str, who: &str) {
    answers(at, host, WHO, |answer| answer.status == 200 && answer.text.trim() == who);
}

/// Waits until a host is answered with that status.
fn has_status(at: &str, host: &str, path: &str, status: u16) -> Answer {
    answers(at, host, path, |answer| answer.status == status)
}

/// Deploys `misbehave` under a name that it knows.
fn deploy_named(platform: &Platform, name: &str) {
    platform.deploy("misbehave", name, &["--cpu", "2048", "--env", &format!("WHO={name}")]);
}

/// Makes a rule or changes one.
fn rule(platform: &Platform, name: &str, priority: &str, condition: &str, more: &[&str]) {
    let command = ["rule", "create", name, "--priority", priority, "--if", condition];
    platform.ok(&[&command[..], more].concat());
}
