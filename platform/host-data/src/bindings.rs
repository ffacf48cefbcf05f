//! The interfaces in Rust, made out of `sdk/wit`.
//!
//! All of them are plain functions there, and wait here: the guest stands still, and others of its worker go on.

mod generated {
    wasmtime::component::bindgen!({
        path: [
            "../../sdk/wit/deps/wasi-io-0.2.12.wit",
            "../../sdk/wit/deps/wasi-blobstore-0.2.0-draft.wit",
            "../../sdk/wit/deps/wasi-keyvalue-0.2.0-draft2.wit",
            "../../sdk/wit/deps/skiff-tables-0.1.0.wit",
        ],
        inline: "
            package skiff:host-data;

            world data {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
                import wasi:blobstore/types@0.2.0-draft;
                import wasi:blobstore/container@0.2.0-draft;
                import wasi:blobstore/blobstore@0.2.0-draft;
                import skiff:tables/table@0.1.0;
            }
        ",
        world: "data",
        imports: {
            "wasi:keyvalue/store.[drop]bucket": trappable,
            "wasi:keyvalue/atomics.[drop]cas": trappable,
            "wasi:keyvalue/atomics.[method]cas.current": trappable,
            "wasi:blobstore/types.[drop]outgoing-value": trappable,
            "wasi:blobstore/types.[static]outgoing-value.new-outgoing-value": trappable,
            "wasi:blobstore/types.[method]outgoing-value.outgoing-value-write-body": trappable,
            "wasi:blobstore/types.[drop]incoming-value": trappable,
            "wasi:blobstore/types.[static]incoming-value.incoming-value-consume-async": trappable,
            "wasi:blobstore/types.[method]incoming-value.size": trappable,
            "wasi:blobstore/container.[drop]container": trappable,
            "wasi:blobstore/container.[method]container.name": trappable,
            "wasi:blobstore/container.[method]container.info": trappable,
            "wasi:blobstore/container.[method]container.list-objects": trappable,
            "wasi:blobstore/container.[drop]stream-object-names": trappable,
            default: async | trappable,
        },
        trappable_error_type: {
            "wasi:keyvalue/store.error" => crate::keyvalue::StoreError,
            "skiff:tables/table.error" => crate::tables::TableError,
        },
        with: {
            "wasi:io/error": wasmtime_wasi_io::bindings::wasi::io::error,
            "wasi:io/poll": wasmtime_wasi_io::bindings::wasi::io::poll,
            "wasi:io/streams": wasmtime_wasi_io::bindings::wasi::io::streams,
            "wasi:keyvalue/store.bucket": crate::keyvalue::Bucket,
            "wasi:keyvalue/atomics.cas": crate::keyvalue::Cas,
            "wasi:blobstore/types.outgoing-value": crate::values::OutgoingValue,
            "wasi:blobstore/types.incoming-value": crate::values::IncomingValue,
            "wasi:blobstore/container.container": crate::container::Container,
            "wasi:blobstore/container.stream-object-names": crate::container::ObjectNames,
        },
    });
}

pub(crate) use self::generated::skiff::tables::table;
pub(crate) use self::generated::wasi::blobstore::{blobstore, container, types};
pub(crate) use self::generated::wasi::keyvalue::{atomics, batch, store};
