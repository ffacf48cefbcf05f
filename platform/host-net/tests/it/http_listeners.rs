//! Requests of tasks to internal listeners of the load balancer, in whose place the test is.

use crate::world::{Guest, World};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_ports::connect::Connection;
use skiff_ports::internal::InternalListeners;
use skiff_testbed::on_one_thread;
use skiff_types::{DEFAULT_GROUP, Name, TaskId};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::task::spawn_local;

const PORT: u16 = 9000;

/// Has the listener `api`, which answers with what was asked, and by whom.
struct Balancer;

impl InternalListeners for Balancer {
    fn at_port(&self, port: u16) -> Option<Name> {
        (port == PORT).then(|| "api".parse().expect("a name"))
    }

    fn is_there(&self, name: &Name) -> bool {
        name.as_str() == "api"
    }

    fn serve(&self, _: &Name, connection: Box<dyn Connection>, from: SocketAddr) {
        let service = service_fn(move |request: Request<Incoming>| async move {
            let host = request.headers()["host"].to_str().expect("a host");
            let asked = format!("{} of {host} by {}", request.uri(), from.ip());
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(asked))))
        });
        spawn_local(async move {
            // How a connection ends is the client's business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

async fn fetch(world: &World, task: TaskId, url: &str) -> String {
    world.text(task, "/fetch", &[("x-url", url)]).await
}

#[test]
fn an_internal_listener_is_asked_by_its_name_as_far_as_the_rules_allow() {
    on_one_thread(async {
        for guest in [Guest::Fetch, Guest::FetchP3] {
            let world = World::new(&[guest]);
            world.network.lead_to(Rc::new(Balancer));
            let shop = world.run(guest, "shop", |_| {});
            let own = world.address(shop).v4;
            let told = fetch(&world, shop, "http://api.listener.internal:9000/x?y=1").await;
            let expected = format!("\n/x?y=1 of api.listener.internal:9000 by {own}");
            assert!(told.starts_with("status 200\n") && told.contains(&expected), "{told}");
            for (url, error) in [
                ("http://api.listener.internal:9001/", "ConnectionRefused"),
                ("http://other.listener.internal:9000/", "NXDOMAIN"),
            ] {
                let told = fetch(&world, shop, url).await;
                assert!(told.starts_with("error:") && told.contains(error), "{url}: {told}");
            }
            world.set_rules(DEFAULT_GROUP, vec!["all to self".parse().expect("a rule")]);
            let told = fetch(&world, shop, "http://api.listener.internal:9000/").await;
            assert!(told.contains("HttpRequestDenied"), "{told}");
            let denied = world.flows(shop).into_iter().filter(|flow| flow.note.contains("to platform\""));
            assert!(denied.count() > 0, "{:?}", world.flows(shop));
        }
    });
}
