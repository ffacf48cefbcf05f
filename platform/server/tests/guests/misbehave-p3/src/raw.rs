//! What the bindings keep a guest from doing: the component model's own functions, called by hand.

use std::mem::MaybeUninit;
use wasip3::http::types::Response;

#[link(wasm_import_module = "$root")]
unsafe extern "C" {
    #[link_name = "[waitable-set-new]"]
    fn waitable_set_new() -> u32;
    #[link_name = "[waitable-set-drop]"]
    fn waitable_set_drop(set: u32);
    #[link_name = "[waitable-join]"]
    fn waitable_join(waitable: u32, set: u32);
}

#[link(wasm_import_module = "[export]wasi:http/handler@0.3.2")]
unsafe extern "C" {
    /// The answer, flat: whether it is an error, then the response's handle, or the error code and what belongs to it.
    #[link_name = "[task-return]handle"]
    fn task_return(
        is_error: i32,
        response: i32,
        _: i32,
        _: MaybeUninit<u64>,
        _: *mut u8,
        _: *mut u8,
        _: usize,
        _: i32,
    );
}

/// Gives the answer now, while the handler goes on and will give its own.
pub(crate) fn answer_at_once(response: Response) {
    let (unset, none) = (MaybeUninit::uninit(), std::ptr::null_mut());
    // SAFETY: the host reads the first two alone, since this is no error, and the handle is given away with it.
    unsafe { task_return(0, response.take_handle().cast_signed(), 0, unset, none, none, 0, 0) }
}

/// A set of things to wait for, empty.
pub(crate) fn waitable_set() -> u32 {
    // SAFETY: it takes and touches nothing of ours.
    unsafe { waitable_set_new() }
}

/// Drops a set that still has a member, which the host forbids: it traps in the middle of the drop.
pub(crate) fn drop_set_with_members() -> ! {
    let (_writer, reader) = wasip3::wit_stream::new::<u8>();
    let set = waitable_set();
    // SAFETY: both handles are ours, and the host checks them.
    unsafe {
        waitable_join(reader.handle(), set);
        waitable_set_drop(set);
    }
    panic!("the host let a set go before its members");
}
