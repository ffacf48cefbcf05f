//! What `#[skiff_sdk::initialize]` exports: the world `skiff:task/snapshot` of `sdk/wit`, for both WASI generations.
//!
//! Written by hand and not by `wit-bindgen`'s macro, which would double the time that a component takes to build; a test
//! holds the world's encoding against the contract.

use std::hash::RandomState;
use std::hint::black_box;
use std::process::Termination;

/// The world, as `wasm-component-ld` reads it from a section of the module.
pub const WORLD: [u8; include_bytes!("snapshot.world").len()] = *include_bytes!("snapshot.world");

/// Runs the initialisation. One that returns an error ends the deploy, with what it printed.
pub fn initialize<T: Termination>(initialize: impl FnOnce() -> T) {
    super::private::run_ctors_once();
    crate::logging::install();
    if super::exit_code(initialize()) != 0 {
        std::process::abort();
    }
}

/// Runs the constructors that every first call runs.
pub fn prepare_seeds() {
    super::private::run_ctors_once();
}

/// Has the standard library draw the keys of its hash maps, which it keeps for the thread.
pub fn draw_seeds() {
    super::private::run_ctors_once();
    black_box(RandomState::new());
}

#[doc(hidden)]
#[macro_export]
macro_rules! __initialize {
    ($initialize:ident) => {
        // Names that no function of the component's will have: here they would hide it.
        const _: () = {
            #[unsafe(export_name = "wizer-initialize")]
            extern "C" fn __skiff_initialize() {
                $crate::__private::initialize($initialize)
            }

            #[unsafe(export_name = "skiff:task/seeds@0.1.0#prepare")]
            extern "C" fn __skiff_prepare_seeds() {
                $crate::__private::prepare_seeds()
            }

            #[unsafe(export_name = "skiff:task/seeds@0.1.0#draw")]
            extern "C" fn __skiff_draw_seeds() {
                $crate::__private::draw_seeds()
            }

            #[unsafe(link_section = "component-type:skiff:task@0.1.0:snapshot:encoded world")]
            static __SKIFF_WORLD: [u8; $crate::__private::WORLD.len()] = $crate::__private::WORLD;
        };
    };
}
