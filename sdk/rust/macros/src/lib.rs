//! The attributes of `skiff-sdk`: they check the function they stand on and hand it to a macro of the SDK, which knows
//! the WASI generation. Nothing of WASI is named here.

use proc_macro::TokenStream;
use proc_macro2::Span;
use quote::{format_ident, quote};
use syn::{Error, ItemFn, parse_macro_input};

/// Makes an async function the component's HTTP handler. `skiff_sdk`'s own page shows how.
#[proc_macro_attribute]
pub fn http(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let function = parse_macro_input!(function as ItemFn);
    let name = &function.sig.ident;
    let errors = match http_error(&arguments, &function) {
        Some(error) => error.into_compile_error(),
        None => quote!(::skiff_sdk::__http!(#name);),
    };
    quote!(#function #errors).into()
}

/// Makes a function, sync or async, the program of a job. `skiff_sdk`'s own page shows how.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let mut function = parse_macro_input!(function as ItemFn);
    if let Some(error) = main_error(&arguments, &function) {
        return error.into_compile_error().into();
    }
    // The name `main` is left to what the SDK's macro makes of it; `?` and `return` mean the same in an async body.
    let name = format_ident!("__skiff_main");
    function.sig.ident = name.clone();
    function.sig.asyncness.get_or_insert_default();
    quote!(#function ::skiff_sdk::__main!(#name);).into()
}

/// Makes a function the component's initialisation, which runs once for all sandboxes where it is deployed with
/// `snapshot = true`. `skiff_sdk`'s own page shows how.
#[proc_macro_attribute]
pub fn initialize(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let function = parse_macro_input!(function as ItemFn);
    let name = &function.sig.ident;
    let errors = match initialize_error(&arguments, &function) {
        Some(error) => error.into_compile_error(),
        None => quote!(::skiff_sdk::__initialize!(#name);),
    };
    quote!(#function #errors).into()
}

/// Makes a function the component's handler of events. `skiff_sdk::events` shows how.
#[proc_macro_attribute]
pub fn event(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let function = parse_macro_input!(function as ItemFn);
    let name = &function.sig.ident;
    let errors = match called_error(&arguments, &function, "event", "a handler of events", "the `Event`") {
        Some(error) => error.into_compile_error(),
        None => quote!(::skiff_sdk::__event!(#name);),
    };
    quote!(#function #errors).into()
}

/// Makes a function the component's consumer of a queue's messages. `skiff_sdk::queues` shows how.
#[proc_macro_attribute]
pub fn queue(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let function = parse_macro_input!(function as ItemFn);
    let name = &function.sig.ident;
    let errors = match called_error(&arguments, &function, "queue", "a consumer", "the `Message`") {
        Some(error) => error.into_compile_error(),
        None => quote!(::skiff_sdk::__queue!(#name);),
    };
    quote!(#function #errors).into()
}

/// Refuses what the platform could not call: `what` takes `takes`.
fn called_error(
    arguments: &TokenStream,
    function: &ItemFn,
    attribute: &str,
    what: &str,
    takes: &str,
) -> Option<Error> {
    let signature = &function.sig;
    let error = |message: String| Some(Error::new_spanned(signature, message));
    if !arguments.is_empty() {
        let message = format!("`#[skiff_sdk::{attribute}]` takes no arguments");
        return Some(Error::new(Span::call_site(), message));
    }
    if signature.asyncness.is_some() {
        return error(format!("{what} is a plain `fn`: what it calls waits"));
    }
    if !signature.generics.params.is_empty() {
        return error(format!("{what} has no generic parameters"));
    }
    if signature.inputs.len() != 1 {
        return error(format!("{what} takes one argument, {takes}"));
    }
    None
}

fn http_error(arguments: &TokenStream, function: &ItemFn) -> Option<Error> {
    let signature = &function.sig;
    let error = |message| Some(Error::new_spanned(signature, message));
    if !arguments.is_empty() {
        return Some(Error::new(Span::call_site(), "`#[skiff_sdk::http]` takes no arguments"));
    }
    if signature.asyncness.is_none() {
        return error("an HTTP handler is an `async fn`");
    }
    if !signature.generics.params.is_empty() {
        return error("an HTTP handler has no generic parameters");
    }
    if signature.inputs.len() > 1 {
        return error("an HTTP handler takes one argument, the `Request`, or none");
    }
    None
}

fn main_error(arguments: &TokenStream, function: &ItemFn) -> Option<Error> {
    let signature = &function.sig;
    let error = |message| Some(Error::new_spanned(signature, message));
    if !arguments.is_empty() {
        return Some(Error::new(Span::call_site(), "`#[skiff_sdk::main]` takes no arguments"));
    }
    if signature.ident != "main" {
        return error("`#[skiff_sdk::main]` stands on `fn main`");
    }
    if !signature.generics.params.is_empty() || !signature.inputs.is_empty() {
        return error("`fn main` takes nothing; its arguments are in `std::env::args()`");
    }
    None
}

fn initialize_error(arguments: &TokenStream, function: &ItemFn) -> Option<Error> {
    let signature = &function.sig;
    let error = |message| Some(Error::new_spanned(signature, message));
    if !arguments.is_empty() {
        return Some(Error::new(Span::call_site(), "`#[skiff_sdk::initialize]` takes no arguments"));
    }
    if signature.asyncness.is_some() {
        return error("an initialisation is a plain `fn`: it has nothing to wait for");
    }
    if !signature.generics.params.is_empty() || !signature.inputs.is_empty() {
        return error("an initialisation takes nothing; what it makes stays in a `static`");
    }
    None
}
