//! What a target is sent of an event: whatever was checked can be made of any event.

use skiff_events::envelope;
use skiff_events::input::{self, InputError, Origin};
use skiff_types::{BusEvent, Input, Template};
use std::collections::BTreeMap;

/// The first line of the input is a path, the second a template with that path as `<p>`, the rest an event's detail.
pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.splitn(3, '\n');
    let [path, template, detail] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let event = event(detail);
    if envelope::check(&event).is_err() {
        return;
    }
    let name = "default/rule".parse().expect("a name");
    let origin = Origin { name: &name, ingested_at_ms: 1 };
    let paths = BTreeMap::from([("p".to_owned(), path.to_owned())]);
    let inputs = [
        Input::Path(path.into()),
        Input::Constant(template.into()),
        Input::Template(Template { paths, text: template.into() }),
    ];
    for input in inputs {
        if input::check(&input).is_err() {
            continue;
        }
        match input::render(&input, &event, &origin) {
            Ok(made) if matches!(input, Input::Path(_)) => {
                let made = BusEvent {
                    detail: std::str::from_utf8(&made).expect("it is text").into(),
                    ..event.clone()
                };
                assert!(
                    !envelope::check(&made).is_err_and(|error| error.to_string().contains("JSON")),
                    "{made:?}"
                );
            }
            Ok(_) | Err(InputError::TooLarge { .. }) => {}
            Err(error) => panic!("it was checked, and can't be made: {error}"),
        }
    }
    assert_eq!(input::check_substitution(path).is_ok(), input::substitute(path, &event).is_ok());
}

fn event(detail: &str) -> BusEvent {
    BusEvent {
        namespace: "default".parse().expect("a name"),
        bus: "default".parse().expect("a name"),
        id: "i".into(),
        source: "s".into(),
        detail_type: "t".into(),
        time_ms: 0,
        resources: vec!["r".into()],
        subject: None,
        extensions: BTreeMap::new(),
        detail: detail.trim().into(),
        order_key: None,
    }
}
