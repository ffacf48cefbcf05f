//! An HTTP task on WASI 0.2 that puts values of metrics of its own, as its path says, and answers with what came of it.

use guest_common::Target;
use skiff_sdk::metrics::{Error, put, put_with};
use skiff_sdk::{Request, Result};

#[skiff_sdk::initialize]
fn initialize() -> std::result::Result<(), Error> {
    match std::env::var("INITIALIZE").as_deref() {
        Ok("put") => put("started", 1.0),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[skiff_sdk::http]
async fn handle(request: Request) -> Result<String> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let target = Target::new(Some(path));
    let number = |name| target.number_or(name, 1);
    Ok(match target.path() {
        "/" => "counter".to_owned(),
        // `times` values of 2.
        "/put" => {
            let puts = (0..number("times")).map(|_| put_with("jobs", &[("kind", "small")], 2.0));
            told(puts.collect::<std::result::Result<Vec<_>, _>>().map(drop))
        }
        // As if it were another service's.
        "/forge" => told(put_with("jobs", &[("service", "bank")], 1.0)),
        "/infinite" => told(put("jobs", f64::INFINITY)),
        // So many metrics at once; how many of them were taken.
        "/flood" => {
            let taken = (0..number("metrics")).filter(|number| put(&format!("flood-{number}"), 1.0).is_ok());
            taken.count().to_string()
        }
        other => return Err(format!("there is no {other:?}").into()),
    })
}

fn told(result: std::result::Result<(), Error>) -> String {
    match result {
        Ok(()) => "taken".to_owned(),
        Err(error) => format!("{error:?}: {error}"),
    }
}
