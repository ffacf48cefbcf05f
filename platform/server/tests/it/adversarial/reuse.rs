//! Services whose sandboxes serve more than one request, and what they are asked: the same cases as their like, whose
//! requests get a fresh sandbox each, but for what is otherwise there.

use super::cases::{CASES, Case, Client, Counted, Service};

/// One for each generation of WASI: its sandboxes serve 128 requests, of WASI 0.2 one after the other, of WASI 0.3 16 at
/// once. Their like has the component's name.
pub(crate) const REUSED: &[Service] = &[
    Service {
        name: "misbehave-reused",
        component: "misbehave",
        arguments: &["--memory", "32MiB", "--reuse", "128"],
    },
    Service {
        name: SHARED,
        component: "misbehave-p3",
        arguments: &["--memory", "32MiB", "--reuse", "128x16"],
    },
];

const SHARED: &str = "misbehave-p3-reused";

/// What such a service is asked.
pub(crate) fn cases_of(service: &'static Service) -> impl Iterator<Item = Case> {
    let of_its_like = CASES.iter().filter(move |case| case.services.contains(&service.component));
    of_its_like.map(move |case| if service.name == SHARED { in_a_shared_sandbox(*case) } else { *case })
}

/// In a sandbox that others are served in, a request is over with its answer's last byte: no timeout ends what it has left
/// running there, but the next request that has to wait for it; and it is the load balancer who finds that too little came.
fn in_a_shared_sandbox(case: Case) -> Case {
    match case.path {
        "/answer/and-spin" | "/answer/end-and-spin" => Case { counted: Counted::Nothing, log: "", ..case },
        "/answer/shorter" => {
            Case { client: Client::Gets(502, "its content-length is not its body's length"), log: "", ..case }
        }
        _ => case,
    }
}
