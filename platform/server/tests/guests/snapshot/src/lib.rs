//! An HTTP task on WASI 0.2 with an initialisation that does what the variable `INITIALIZE` says, and tells by its paths
//! what became of it.

use guest_common::Target;
use skiff_sdk::{Request, Result};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use wasip2::random::random;

static INITIALIZED: AtomicU32 = AtomicU32::new(0);
static SQUARES: OnceLock<HashMap<u64, u64>> = OnceLock::new();

#[skiff_sdk::initialize]
fn initialize() -> Result<()> {
    INITIALIZED.fetch_add(1, Ordering::Relaxed);
    let todo = std::env::var("INITIALIZE").unwrap_or_default();
    skiff_sdk::log::info!("initialising: {todo:?}");
    match todo.as_str() {
        "" => {}
        "panic" => panic!("asked to panic"),
        "error" => return Err("asked to fail".into()),
        "exit" => std::process::exit(3),
        "spin" => drop(guest_common::spin(None)),
        "sleep" => std::thread::sleep(std::time::Duration::MAX),
        "grow" => guest_common::grow_forever(),
        "random" => skiff_sdk::log::info!("{}", random::get_random_u64()),
        // The standard library keeps the stream that it opens for this.
        "print" => println!("printed by the initialisation"),
        other => return Err(format!("{other:?} is nothing to do").into()),
    }
    SQUARES.set((0..1_000).map(|number| (number, number * number)).collect()).expect("set once");
    Ok(())
}

#[skiff_sdk::http]
async fn handle(request: Request) -> Result<String> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let target = Target::new(Some(path));
    Ok(match target.path() {
        "/" => "snapshot".to_owned(),
        "/initialized" => INITIALIZED.fetch_add(100, Ordering::Relaxed).to_string(),
        "/square" => {
            let squares = SQUARES.get().ok_or("nothing was initialised")?;
            format!("{:?}", squares.get(&target.number_or("of", 0)))
        }
        "/env" => format!("{:?}", std::env::var(target.text("name").unwrap_or_default())),
        "/random" => random::get_random_u64().to_string(),
        // Differs wherever the keys do.
        "/keys" => RandomState::new().hash_one("the same").to_string(),
        "/print" => {
            println!("printed by a request");
            "printed".to_owned()
        }
        other => return Err(format!("there is no {other:?}").into()),
    })
}
