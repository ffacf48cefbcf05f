//! The documents of an image, as they lie on the disk and will go over the wire.
//!
//! The manifest is that of the OCI image specification 1.1, the config that of the CNCF's "Wasm OCI Artifact layout"
//! (media type `application/vnd.wasm.config.v0+json`). Both are a function of the component's bytes alone: no time, no
//! author, so that the same component is the same image wherever it was pushed.

use crate::interface::Interface;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skiff_types::Digest;

/// The largest manifest that is read, in bytes; ours have some 500.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 * 1024;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
const COMPONENT_TYPE: &str = "application/wasm";
/// The layout wants a time; any but a fixed one would make the same component two images.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Names an image's config and its component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    schema_version: u32,
    media_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Names a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    media_type: String,
    pub digest: Digest,
    pub size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    layer_digests: [Digest; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a Interface>,
}

/// The config and the manifest of a component, as bytes.
pub(crate) fn describe(component: Digest, bytes: u64, interface: Option<&Interface>) -> (Vec<u8>, Vec<u8>) {
    // The layout knows these two words only; what is no component counts as the older.
    let os = if interface.is_some() { "wasip2" } else { "wasip1" };
    let config = Config {
        created: CREATED,
        architecture: "wasm",
        os,
        layer_digests: [component],
        component: interface,
    };
    let config = serde_json::to_vec(&config).expect("a struct of texts is JSON");
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE.to_owned(),
        config: Descriptor {
            media_type: CONFIG_TYPE.to_owned(),
            digest: digest(&config),
            size: config.len() as u64,
        },
        layers: vec![Descriptor { media_type: COMPONENT_TYPE.to_owned(), digest: component, size: bytes }],
    };
    let manifest = serde_json::to_vec(&manifest).expect("a struct of texts is JSON");
    (config, manifest)
}

impl Manifest {
    /// Reads a manifest. `None` if the bytes are something else, or another kind of artifact.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(bytes).ok()?;
        let is_ours = manifest.schema_version == 2
            && manifest.media_type == MANIFEST_TYPE
            && manifest.config.media_type == CONFIG_TYPE
            && matches!(&manifest.layers[..], [layer] if layer.media_type == COMPONENT_TYPE);
        is_ours.then_some(manifest)
    }

    pub(crate) fn config(&self) -> &Descriptor {
        &self.config
    }

    pub(crate) fn component(&self) -> &Descriptor {
        &self.layers[0]
    }
}

/// The SHA-256 of these bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_are_those_of_the_layout() {
        let component = Digest::from_bytes([0xab; 32]);
        let interface = Interface {
            imports: vec!["wasi:io/streams@0.2.0".to_owned()],
            exports: vec!["wasi:cli/run@0.2.0".to_owned()],
        };
        let (config, manifest) = describe(component, 7, Some(&interface));
        let expected = serde_json::json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [component.to_string()],
            "component": { "imports": ["wasi:io/streams@0.2.0"], "exports": ["wasi:cli/run@0.2.0"] },
        });
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&config).unwrap(), expected);
        let expected = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.wasm.config.v0+json",
                "digest": digest(&config).to_string(),
                "size": config.len(),
            },
            "layers": [
                { "mediaType": "application/wasm", "digest": component.to_string(), "size": 7 },
            ],
        });
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&manifest).unwrap(), expected);
        assert_eq!(Manifest::parse(&manifest).unwrap().component().digest, component);
    }

    #[test]
    fn what_is_no_manifest_of_ours_is_none() {
        let (config, manifest) = describe(Digest::from_bytes([1; 32]), 7, None);
        let text = String::from_utf8(manifest).unwrap();
        for other in [
            "",
            "{}",
            "[]",
            "null",
            "\0asm",
            &text[1..],
            &text.replace("application/wasm", "text/plain"),
            &text.replace("vnd.wasm.config.v0", "vnd.oci.image.config.v1"),
            &text.replace("\"schemaVersion\":2", "\"schemaVersion\":1"),
            &text.replace("sha256:", "sha512:"),
            std::str::from_utf8(&config).unwrap(),
        ] {
            assert_eq!(Manifest::parse(other.as_bytes()), None, "{other}");
        }
    }
}
