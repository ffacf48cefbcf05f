//! Tables: made, shown, removed; and their items, read and written.

use super::super::balancer::not_there;
use super::super::page::page;
use super::super::{Entrance, IfMatch};
use super::{check_room, unavailable};
use crate::catalog::table_ref;
use crate::error::ApiError;
use crate::keys;
use crate::model::{ItemTable, Kept};
use crate::view::{Held, View};
use skiff_api::{
    ErrorCode, GetItems, IncrementItem, IncrementedItem, Items, Page, PageQuery, PutTable, ScanQuery,
    ScannedItems, TableStatus, WriteItems, WrittenItems,
};
use skiff_ports::tables::{Item, ItemExpect, ItemWrite, SCAN_MAX, Scan, TableError};
use skiff_types::{Namespace, QualifiedName, ResourceId, TableSpec};
use tracing::info;

impl Entrance {
    /// Creates a table.
    pub(crate) async fn put_table(
        &self,
        name: &QualifiedName,
        request: PutTable,
        if_match: IfMatch,
    ) -> Result<skiff_api::Table, ApiError> {
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&TableSpec>| -> Result<TableSpec, ApiError> {
            if present.is_none() {
                let count = self.context.objects.read(|view| view.data.tables.all().count());
                check_room(count, "tables", "table")?;
            }
            Ok(request.to_domain(name.clone()))
        };
        let held = self.keep(&keys::table(name), if_match, spec).await?;
        info!(table = %name, "wanted");
        self.shown_table(&held).await
    }

    /// Lists tables by name; not what they hold.
    pub(crate) fn list_tables(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::Table>, ApiError> {
        self.context.objects.read(|view| {
            let tables = view.data.tables.under(&keys::in_namespace("table", namespace));
            let tables = tables.map(|held| (held.value.spec.spec.name.name.to_string(), held)).collect();
            page(tables, query.limit, query.cursor.as_deref(), |held| shown(held, None))
        })
    }

    /// Shows a table, and what it holds.
    pub(crate) async fn get_table(&self, name: &QualifiedName) -> Result<skiff_api::Table, ApiError> {
        let held = self
            .context
            .objects
            .read(|view| view.item_table(name).cloned().ok_or_else(|| no_table(view, name)))?;
        self.shown_table(&held).await
    }

    /// Removes a table with all its items.
    pub(crate) async fn delete_table(&self, name: &QualifiedName, if_match: IfMatch) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_table(view, name);
        self.withdraw::<Kept<TableSpec>>(&keys::table(name), if_match, missing, |_| Ok(())).await?;
        self.context.objects.wakes.data.notify_one();
        info!(table = %name, "the table is removed");
        Ok(())
    }

    /// Gets items by their keys.
    pub(crate) async fn get_items(&self, name: &QualifiedName, request: GetItems) -> Result<Items, ApiError> {
        let items = self.context.tables.get(self.table_id(name)?, request.keys).await?;
        Ok(Items { items: items.into_iter().map(|item| item.map(shown_item)).collect() })
    }

    /// Writes items, all or none.
    pub(crate) async fn write_items(
        &self,
        name: &QualifiedName,
        request: WriteItems,
    ) -> Result<WrittenItems, ApiError> {
        let table = self.table_id(name)?;
        let now_ms = self.context.now_ms();
        let writes = request.writes.into_iter().map(|write| asked(write, now_ms));
        let writes = writes.collect::<Result<Vec<ItemWrite>, ApiError>>()?;
        Ok(WrittenItems { versions: self.context.tables.write(table, writes).await? })
    }

    /// Adds to the number that an item is.
    pub(crate) async fn increment_item(
        &self,
        name: &QualifiedName,
        IncrementItem { key, delta }: IncrementItem,
    ) -> Result<IncrementedItem, ApiError> {
        let value = self.context.tables.increment(self.table_id(name)?, key, delta).await?;
        Ok(IncrementedItem { value })
    }

    /// Lists items by the bytes of their keys.
    pub(crate) async fn scan_items(
        &self,
        name: &QualifiedName,
        query: ScanQuery,
    ) -> Result<ScannedItems, ApiError> {
        let limit = query.limit.unwrap_or(PageQuery::LIMIT_DEFAULT);
        if !(1..=SCAN_MAX).contains(&limit) {
            return Err(ApiError::invalid(format!("limit is {limit}; it must be 1 to {SCAN_MAX}")));
        }
        let scan = Scan { prefix: query.prefix.unwrap_or_default(), after: query.after, limit };
        let page = self.context.tables.scan(self.table_id(name)?, scan).await?;
        Ok(ScannedItems { items: page.items.into_iter().map(shown_item).collect(), next: page.next })
    }

    fn table_id(&self, name: &QualifiedName) -> Result<ResourceId, ApiError> {
        self.context.objects.read(|view| {
            let table = table_ref(view, name).ok_or_else(|| no_table(view, name))?;
            Ok(table.id)
        })
    }

    async fn shown_table(&self, held: &Held<ItemTable>) -> Result<skiff_api::Table, ApiError> {
        let stats = self.context.tables.stats(held.value.spec.id).await?;
        Ok(shown(held, Some(TableStatus { items: stats.items, bytes: stats.bytes })))
    }
}

fn shown(held: &Held<ItemTable>, status: Option<TableStatus>) -> skiff_api::Table {
    let ItemTable { spec, created_at_ms, updated_at_ms } = &*held.value;
    skiff_api::Table {
        name: spec.spec.name.name.clone(),
        namespace: spec.spec.name.namespace.clone(),
        revision: held.revision,
        status,
        created_at_ms: *created_at_ms,
        updated_at_ms: *updated_at_ms,
    }
}

fn shown_item(item: Item) -> skiff_api::Item {
    skiff_api::Item::new(item.key, &item.value, item.version, item.expires_at_ms)
}

/// What a write of the API means.
fn asked(write: skiff_api::ItemWrite, now_ms: u64) -> Result<ItemWrite, ApiError> {
    let value = write.bytes().map_err(ApiError::invalid)?;
    let skiff_api::ItemWrite { key, delete, expires_in, expires_at_ms, .. } = write;
    if value.is_some() == delete {
        return Err(ApiError::invalid(format!(
            "{key:?} has to be given a value, or to be deleted: say one of them"
        )));
    }
    let expires_at_ms = match (expires_in, expires_at_ms) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("expires_in and expires_at_ms are both given: give one of them"));
        }
        (Some(span), None) => Some(now_ms.saturating_add(span.ms())),
        (None, at_ms) => at_ms,
    };
    if delete && expires_at_ms.is_some() {
        return Err(ApiError::invalid(format!("{key:?} is deleted, and can't expire: leave the expiry out")));
    }
    let expect = match (write.if_absent, write.if_present, write.if_version) {
        (false, false, None) => ItemExpect::Any,
        (true, false, None) => ItemExpect::Absent,
        (false, true, None) => ItemExpect::Present,
        (false, false, Some(version)) => ItemExpect::Version(version),
        _ => return Err(ApiError::invalid("give one of if_absent, if_present and if_version at most")),
    };
    Ok(ItemWrite { key, value, expires_at_ms, expect })
}

impl From<TableError> for ApiError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Conflict { .. } => Self::new(ErrorCode::PreconditionFailed, error.to_string()),
            TableError::Invalid(_) => Self::invalid(error),
            TableError::NotANumber { .. } => Self::not_now(error.to_string()),
            TableError::Full => Self::disk_full(),
            TableError::Storage(_) => {
                unavailable("the tables' storage failed; see the platform's log", error)
            }
        }
    }
}

fn no_table(view: &View, name: &QualifiedName) -> ApiError {
    let QualifiedName { namespace, name: table } = name;
    let missing = format!(
        "there is no table {table} in the namespace {namespace}; make it with `skiff table create {table}`, `skiff table ls` \
         lists those that there are"
    );
    not_there(view, &keys::table(name), missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: serde_json::Value) -> Result<ItemWrite, ApiError> {
        asked(serde_json::from_value(body).unwrap(), 1_000)
    }

    #[test]
    fn a_write_says_one_value_one_expiry_and_one_expectation() {
        let write = read(json!({ "key": "a", "value": "x", "expires_in": "5s", "if_version": 7 })).unwrap();
        assert_eq!((write.expires_at_ms, write.expect), (Some(6_000), ItemExpect::Version(7)));
        let delete = read(json!({ "key": "a", "delete": true, "if_present": true })).unwrap();
        assert_eq!((delete.value, delete.expect), (None, ItemExpect::Present));
        let binary = read(json!({ "key": "a", "value_base64": "/w==" })).unwrap();
        assert_eq!(binary.value.as_deref(), Some(&[0xff][..]));
        for bad in [
            json!({ "key": "a" }),
            json!({ "key": "a", "value": "x", "delete": true }),
            json!({ "key": "a", "value": "x", "value_base64": "/w==" }),
            json!({ "key": "a", "value": "x", "expires_in": "5s", "expires_at_ms": 7 }),
            json!({ "key": "a", "delete": true, "expires_in": "5s" }),
            json!({ "key": "a", "value": "x", "if_absent": true, "if_present": true }),
            json!({ "key": "a", "value": "x", "if_absent": true, "if_version": 1 }),
        ] {
            assert_eq!(read(bad).unwrap_err().code, ErrorCode::InvalidArgument);
        }
    }
}
