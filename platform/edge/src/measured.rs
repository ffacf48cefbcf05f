//! What `benches/inside.rs` measures of the parts that are private to this crate. Nothing else uses it.

use crate::chance::Chance;
use crate::group::{Load, Side, Tried};
use crate::headers::{self, Forwarded, RequestIds};
use crate::routing::Table;
use crate::trace::Trace;
use http::{HeaderMap, HeaderValue};
use skiff_ledger::Ledger;
use skiff_ports::snapshot::Route;

/// A routing table.
#[derive(Debug)]
pub struct Routing(Table, Chance);

impl Routing {
    /// The table of these routes.
    pub fn new(routes: &[Route], ledger: &Ledger) -> Self {
        let mut table = Table::default();
        routes.iter().for_each(|route| table.set(route, ledger));
        Self(table, Chance::new(7))
    }

    /// Looks a host and a path up, and picks a target of the service: its place, if there is one.
    pub fn target(&self, host: &str, path: &str) -> Option<usize> {
        let service = self.0.find(host, path)?;
        let how = (service.settings.algorithm, Side::Any);
        service.choose(how, Load::Requests, &Tried::default(), &self.1)
    }
}

/// What is done to the head of every request.
#[derive(Debug)]
pub struct Heads {
    forwarded: Forwarded,
    client: HeaderValue,
    ids: RequestIds,
    chance: Chance,
}

impl Default for Heads {
    fn default() -> Self {
        let [proto, port, client] = ["http", "8080", "10.0.0.9"].map(HeaderValue::from_static);
        Self { forwarded: Forwarded { proto, port }, client, ids: RequestIds::new(7), chance: Chance::new(7) }
    }
}

impl Heads {
    /// Makes a head ready for the guest.
    pub fn make_ready(&self, headers: &mut HeaderMap) {
        let trace = Trace::of(headers, &self.chance);
        headers::strip_hop_by_hop(headers);
        headers::make_room(headers);
        headers::unify(headers, None);
        self.forwarded.add(headers, &self.client);
        let id = self.ids.of(headers);
        headers.insert(&headers::REQUEST_ID, id);
        trace.tell(headers, self.chance.number());
    }
}
