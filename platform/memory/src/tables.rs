//! Tables.

use crate::MemoryData;
use async_trait::async_trait;
use skiff_ports::tables::{Item, ItemExpect, ItemWrite, Scan, ScanPage, TableError, TableStats, Tables};
use skiff_types::ResourceId;
use std::collections::BTreeMap;

#[async_trait]
impl Tables for MemoryData {
    async fn get(&self, table: ResourceId, keys: Vec<String>) -> Result<Vec<Option<Item>>, TableError> {
        let kept = self.kept();
        let items = kept.tables.get(&table);
        Ok(keys.iter().map(|key| items?.get(key).cloned()).collect())
    }

    async fn write(&self, table: ResourceId, writes: Vec<ItemWrite>) -> Result<Vec<u64>, TableError> {
        let kept = &mut *self.kept();
        let items = kept.tables.entry(table).or_default();
        for ItemWrite { key, expect, .. } in &writes {
            let actual = items.get(key).map(|item| item.version);
            let holds = match expect {
                ItemExpect::Any => true,
                ItemExpect::Absent => actual.is_none(),
                ItemExpect::Present => actual.is_some(),
                ItemExpect::Version(version) => actual == Some(*version),
            };
            if !holds {
                return Err(TableError::Conflict { key: key.clone(), actual });
            }
        }
        let version = &mut kept.version;
        let done = writes.into_iter().map(|ItemWrite { key, value, expires_at_ms, .. }| match value {
            Some(value) => {
                *version += 1;
                items.insert(key.clone(), Item { key, value, version: *version, expires_at_ms });
                *version
            }
            None => {
                items.remove(&key);
                0
            }
        });
        Ok(done.collect())
    }

    async fn increment(&self, table: ResourceId, key: String, delta: i64) -> Result<i64, TableError> {
        let found = Tables::get(self, table, vec![key.clone()]).await?.remove(0);
        let number: i64 = match found {
            None => 0,
            Some(item) => std::str::from_utf8(&item.value)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(TableError::NotANumber { key: key.clone(), why: "it is a word".to_owned() })?,
        };
        let sum = number + delta;
        let value = Some(sum.to_string().into());
        let write = ItemWrite { key, value, expires_at_ms: None, expect: ItemExpect::Any };
        self.write(table, vec![write]).await?;
        Ok(sum)
    }

    async fn scan(&self, table: ResourceId, scan: Scan) -> Result<ScanPage, TableError> {
        let kept = self.kept();
        let items = kept.tables.get(&table).into_iter().flat_map(BTreeMap::values);
        let is_such = |item: &&Item| {
            item.key.starts_with(&scan.prefix) && scan.after.as_ref().is_none_or(|after| item.key > *after)
        };
        let mut items: Vec<Item> = items.filter(is_such).cloned().collect();
        let has_more = items.len() > scan.limit as usize;
        items.truncate(scan.limit as usize);
        let next = items.last().filter(|_| has_more).map(|item| item.key.clone());
        Ok(ScanPage { items, next })
    }

    async fn stats(&self, table: ResourceId) -> Result<TableStats, TableError> {
        let kept = self.kept();
        let items = kept.tables.get(&table);
        let bytes = |item: &Item| (item.key.len() + item.value.len()) as u64;
        Ok(items.map_or_else(TableStats::default, |items| TableStats {
            items: items.len() as u64,
            bytes: items.values().map(bytes).sum(),
        }))
    }

    async fn drop_table(&self, table: ResourceId) -> Result<(), TableError> {
        self.kept().tables.remove(&table);
        Ok(())
    }

    async fn tables(&self) -> Result<Vec<ResourceId>, TableError> {
        Ok(self.kept().tables.keys().copied().collect())
    }
}
