//! A resource of the component's own, whose destructor misbehaves. The engine calls the destructor when the last handle is
//! dropped: code of the guest that runs in the middle of what looks like a host call.

use exports::skiff::tests::droppable::{Bomb, Guest, GuestBomb};

wit_bindgen::generate!({
    inline: "
        package skiff:tests;

        interface droppable {
            resource bomb {}
        }

        world destructor {
            export droppable;
        }
    ",
});

struct Component;

export!(Component);

impl Guest for Component {
    type Bomb = Armed;
}

/// What its destructor does.
struct Armed(fn());

impl GuestBomb for Armed {}

impl Drop for Armed {
    fn drop(&mut self) {
        self.0();
    }
}

/// A handle of a resource that is never to be dropped.
pub fn make() -> impl Sized {
    Bomb::new(Armed(|| panic!("dropped after all")))
}

/// Makes a resource and drops its only handle: the engine calls the destructor, which does what is asked for.
pub fn drop_with(what: &str) {
    drop(Bomb::new(Armed(match what {
        "spin" => || {
            guest_common::spin(None);
        },
        "recurse" => || {
            guest_common::recurse(0);
        },
        "grow" => || guest_common::grow_forever(),
        "trap" => || guest_common::trap(),
        other => panic!("no such destructor: {other}"),
    })));
}
