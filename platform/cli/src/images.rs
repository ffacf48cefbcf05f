//! `skiff image …`.

use crate::artifact::{Artifact, Source};
use crate::context::{Context, all_pages};
use crate::failure::usage;
use crate::{human, output, progress};
use skiff_api::{Image, PageQuery};
use skiff_types::{ImageReference, Name};

pub(crate) async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let images = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_images(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&images, || table(&images, human::now_ms()))?;
    Ok(())
}

/// Pushes what a project or a file holds, and registers nothing.
pub(crate) async fn push(context: &Context, source: &str, name: Option<&Name>) -> anyhow::Result<()> {
    let client = context.client()?;
    let source = Source::find(source)?;
    if let Source::Image(image) = &source {
        return Err(usage(format!(
            "there is no file or folder {image}; name a project's folder, or a component's file"
        )));
    }
    let image = Artifact::prepare(&source, name)?.push(context, &client).await?;
    context.output.print(&image, || image.to_string())?;
    Ok(())
}

pub(crate) async fn remove(context: &Context, images: &[ImageReference]) -> anyhow::Result<()> {
    let client = context.client()?;
    for image in images {
        client.delete_image(&context.namespace, image, None).await?;
        progress::note(format!("removed {image}"));
    }
    context.output.print(images, String::new)?;
    Ok(())
}

fn table(images: &[Image], now_ms: u64) -> String {
    let row = |image: &Image| {
        [
            image.reference.to_string(),
            image.digest.short(),
            image.component.short(),
            human::bytes(image.component_bytes),
            human::age(image.updated_at_ms, now_ms),
        ]
    };
    output::columns(["IMAGE", "DIGEST", "COMPONENT", "SIZE", "PUSHED"], images.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::{Digest, Namespace};

    #[test]
    fn images_in_a_table() {
        let image = Image {
            reference: "team/hello:v2".parse().unwrap(),
            namespace: Namespace::default(),
            digest: Digest::from_bytes([0xab; 32]),
            component: Digest::from_bytes([0xcd; 32]),
            component_bytes: 74_000,
            revision: 3,
            created_at_ms: 0,
            updated_at_ms: 1_000,
        };
        let expected = "IMAGE           DIGEST         COMPONENT      SIZE      PUSHED\n\
                        team/hello:v2   abababababab   cdcdcdcdcdcd   72.3KiB   60s";
        assert_eq!(table(&[image], 61_000), expected);
    }
}
