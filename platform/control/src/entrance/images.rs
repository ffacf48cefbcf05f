//! Images: pushed, tagged, shown, removed. What an image holds is looked at when a task definition names it.

use super::page::page;
use super::views;
use super::{Entrance, IfMatch, WRITE_ATTEMPTS};
use crate::error::ApiError;
use crate::keys;
use crate::model::Image;
use crate::view::Held;
use bytes::Bytes;
use futures::stream::BoxStream;
use skiff_api::{Page, PageQuery};
use skiff_ports::store::Expect;
use skiff_types::{Digest, ImageReference, Namespace};
use tracing::info;

/// What a reference means.
pub(super) struct Resolved {
    pub(super) manifest: Digest,
    pub(super) component: Digest,
}

impl Entrance {
    /// Stores a component and moves the tag to it.
    pub(crate) async fn push_image(
        &self,
        namespace: &Namespace,
        reference: &ImageReference,
        component: BoxStream<'static, std::io::Result<Bytes>>,
        if_match: IfMatch,
    ) -> Result<skiff_api::Image, ApiError> {
        let tag = tag(reference)?;
        let _kept = self.context.keeping.read().await;
        let pushed = self.context.images.push(component).await?;
        let key = keys::image(namespace, &reference.repository, &tag);
        for _ in 0..WRITE_ATTEMPTS {
            let present = self.context.objects.load::<Image>(&key).await?;
            if_match.check(present.as_ref().map_or(0, |held| held.revision))?;
            let now_ms = self.context.now_ms();
            let created_at_ms = present.as_ref().map_or(now_ms, |held| held.value.created_at_ms);
            let image = Image {
                namespace: namespace.clone(),
                repository: reference.repository.clone(),
                tag: tag.clone(),
                manifest: pushed.manifest,
                component: pushed.component,
                component_bytes: pushed.component_bytes,
                created_at_ms,
                updated_at_ms: now_ms,
            };
            let expect = present.map_or(Expect::Absent, |held| Expect::Revision(held.revision));
            match self.context.objects.put(image, expect).await {
                Err(error) if error.is_conflict() => {}
                result => {
                    let held = result?;
                    info!(%namespace, image = %held.value.reference(), digest = %pushed.manifest, "pushed");
                    return Ok(views::image(&held));
                }
            }
        }
        Err(contended(reference))
    }

    /// Lists tags by name.
    pub(crate) fn list_images(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::Image>, ApiError> {
        let prefix = keys::in_namespace("image", namespace);
        let images: Vec<(String, Held<Image>)> = self.context.objects.read(|view| {
            let images = view.images.under(&prefix).cloned();
            images.map(|held| (held.value.reference().to_string(), held)).collect()
        });
        page(images, query.limit, query.cursor.as_deref(), |held| views::image(&held))
    }

    /// Shows an image, by tag or by digest.
    pub(crate) async fn get_image(
        &self,
        namespace: &Namespace,
        reference: &ImageReference,
    ) -> Result<skiff_api::Image, ApiError> {
        let held = self.find_image(namespace, reference).await?;
        Ok(match reference.digest {
            Some(digest) => views::image_by_digest(&held, digest),
            None => views::image(&held),
        })
    }

    /// Removes a tag.
    pub(crate) async fn delete_image(
        &self,
        namespace: &Namespace,
        reference: &ImageReference,
        if_match: IfMatch,
    ) -> Result<(), ApiError> {
        let key = keys::image(namespace, &reference.repository, &tag(reference)?);
        for _ in 0..WRITE_ATTEMPTS {
            let present = self.context.objects.load::<Image>(&key).await?;
            if_match.check(present.as_ref().map_or(0, |held| held.revision))?;
            let held = present.ok_or_else(|| no_image(namespace, reference))?;
            match self.context.objects.delete::<Image>(&key, Expect::Revision(held.revision)).await {
                Err(error) if error.is_conflict() => {}
                result => {
                    result?;
                    self.context.objects.wakes.collector.notify_one();
                    return Ok(());
                }
            }
        }
        Err(contended(reference))
    }

    /// What a reference means now.
    pub(super) async fn resolve_image(
        &self,
        namespace: &Namespace,
        reference: &ImageReference,
    ) -> Result<Resolved, ApiError> {
        let held = self.find_image(namespace, reference).await?;
        Ok(Resolved { manifest: held.value.manifest, component: held.value.component })
    }

    async fn find_image(
        &self,
        namespace: &Namespace,
        reference: &ImageReference,
    ) -> Result<Held<Image>, ApiError> {
        let found = match (reference.digest, reference.tag_or_default()) {
            (Some(digest), _) => {
                let prefix = keys::in_namespace("image", namespace);
                let is_it =
                    |image: &Image| image.repository == reference.repository && image.manifest == digest;
                self.context
                    .objects
                    .read(|view| view.images.under(&prefix).find(|held| is_it(&held.value)).cloned())
            }
            (None, Some(tag)) => {
                let key = keys::image(namespace, &reference.repository, tag);
                self.context.objects.load::<Image>(&key).await?
            }
            (None, None) => None,
        };
        found.ok_or_else(|| no_image(namespace, reference))
    }
}

/// The tag of a reference that must name one.
fn tag(reference: &ImageReference) -> Result<String, ApiError> {
    match (reference.digest, reference.tag_or_default()) {
        (None, Some(tag)) => Ok(tag.to_owned()),
        _ => Err(ApiError::invalid(format!("{reference} names a digest; name a tag, like \"hello:v1\""))),
    }
}

fn no_image(namespace: &Namespace, reference: &ImageReference) -> ApiError {
    ApiError::not_found(format!("there is no image {reference} in the namespace {namespace}; push it first"))
}

fn contended(reference: &ImageReference) -> ApiError {
    ApiError::new(skiff_api::ErrorCode::Unavailable, format!("others keep moving {reference}; try again"))
}
