//! Items of tables. Each key that a call names is judged by itself, a scan by its prefix.

use super::failures::of_table;
use super::{Answered, Asker, GuestCallsOfPlane};
use skiff_ports::guest_calls::{GuestAnswer, GuestCallError, GuestExpect, GuestItem, GuestWrite};
use skiff_ports::tables::{ITEMS_MAX, Item, ItemExpect, ItemWrite, SCAN_MAX, Scan, ScanPage};
use skiff_types::{AccessAction, AccessResource, Name, QualifiedName, ResourceId, ResourceKind};

impl GuestCallsOfPlane {
    pub(super) fn open_table(&self, asker: &Asker, table: Name) -> Answered {
        let name = asker.named(table);
        self.allow_to_open(asker, (ResourceKind::Table, AccessAction::TableRead), &name)?;
        self.table(&name)?;
        Ok(GuestAnswer::Done)
    }

    pub(super) async fn get_items(&self, asker: &Asker, table: Name, keys: Vec<String>) -> Answered {
        let table = self.table_of_items(asker, AccessAction::TableRead, table, keys.iter())?;
        let found = self.context.tables.get(table, keys).await.map_err(|error| of_table(&error))?;
        Ok(GuestAnswer::Items(found.into_iter().map(|item| item.map(guest_item)).collect()))
    }

    pub(super) async fn write_items(&self, asker: &Asker, table: Name, writes: Vec<GuestWrite>) -> Answered {
        let keys = writes.iter().map(|write| &write.key);
        let table = self.table_of_items(asker, AccessAction::TableWrite, table, keys)?;
        let now_ms = self.context.now_ms();
        let writes = writes.into_iter().map(|write| asked(write, now_ms)).collect::<Answered<Vec<_>>>()?;
        let versions = self.context.tables.write(table, writes).await.map_err(|error| of_table(&error))?;
        Ok(GuestAnswer::Versions(versions))
    }

    pub(super) async fn increment(&self, asker: &Asker, table: Name, key: String, delta: i64) -> Answered {
        let table = self.table_of_items(asker, AccessAction::TableWrite, table, std::iter::once(&key))?;
        let sum = self.context.tables.increment(table, key, delta).await.map_err(|error| of_table(&error))?;
        Ok(GuestAnswer::Sum(sum))
    }

    pub(super) async fn scan(
        &self,
        asker: &Asker,
        table: Name,
        (prefix, after, limit): (String, Option<String>, u32),
    ) -> Answered<ScanPage> {
        let name = asker.named(table);
        let listing = AccessResource::listing(ResourceKind::Table, name.clone(), prefix.as_str());
        self.allow(asker, AccessAction::TableRead, &listing)?;
        let table = self.table(&name)?;
        let scan = Scan { prefix, after, limit: limit.clamp(1, SCAN_MAX) };
        self.context.tables.scan(table, scan).await.map_err(|error| of_table(&error))
    }

    /// A table all of whose named items may be touched so.
    fn table_of_items<'a>(
        &self,
        asker: &Asker,
        action: AccessAction,
        table: Name,
        keys: impl ExactSizeIterator<Item = &'a String>,
    ) -> Answered<ResourceId> {
        // Before each of them is judged.
        if keys.len() > ITEMS_MAX {
            return Err(GuestCallError::Invalid(format!(
                "the call is about {} items; the most is {ITEMS_MAX}: make more calls",
                keys.len()
            )));
        }
        let name = asker.named(table);
        // Of no item, it is asked as for the table.
        if keys.len() == 0 {
            self.allow(asker, action, &AccessResource::new(ResourceKind::Table, name.clone()))?;
        }
        for key in keys {
            let item = AccessResource::at(ResourceKind::Table, name.clone(), key.as_str());
            self.allow(asker, action, &item)?;
        }
        self.table(&name)
    }

    fn table(&self, name: &QualifiedName) -> Answered<ResourceId> {
        let table = self.catalog.table(name).map(|table| table.id);
        table.ok_or_else(|| {
            GuestCallError::NotFound(format!(
                "there is no table {} in the namespace {}; make it with `skiff table create {}`",
                name.name, name.namespace, name.name
            ))
        })
    }
}

/// What a write means that comes now.
fn asked(write: GuestWrite, now_ms: u64) -> Answered<ItemWrite> {
    let GuestWrite { key, value, expires_in_ms, expect } = write;
    if value.is_none() && expires_in_ms.is_some() {
        return Err(GuestCallError::Invalid(format!(
            "{key:?} is deleted, and can't expire: leave the expiry out"
        )));
    }
    let expect = match expect {
        GuestExpect::Any => ItemExpect::Any,
        GuestExpect::Absent => ItemExpect::Absent,
        GuestExpect::Present => ItemExpect::Present,
        GuestExpect::Version(version) => ItemExpect::Version(version),
    };
    let expires_at_ms = expires_in_ms.map(|span_ms| now_ms.saturating_add(span_ms));
    Ok(ItemWrite { key, value, expires_at_ms, expect })
}

fn guest_item(item: Item) -> GuestItem {
    GuestItem { value: item.value, version: item.version }
}

/// A page as guests are told it.
pub(super) fn page(page: ScanPage) -> GuestAnswer {
    let items = page.items.into_iter();
    let items = items.map(|Item { key, value, version, .. }| (key, GuestItem { value, version }));
    GuestAnswer::Page(items.collect(), page.next)
}
