//! The versions of the store's schema, and the way from each to the next. A published migration never changes; a change of the
//! schema is one more at the list's end. [`skiff_sqlite`] does what is due.

/// Each brings a database from the version that is its index to the next one.
pub(crate) const MIGRATIONS: &[&str] = &[
    // A row is a key's latest write: its revision is the row's id, a NULL value says that it was a delete.
    // `compacted.revision` is the newest delete that is no longer kept as a row.
    "CREATE TABLE object (
        revision INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        value BLOB
    ) STRICT;
    CREATE TABLE compacted (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        revision INTEGER NOT NULL
    ) STRICT;
    INSERT INTO compacted (id, revision) VALUES (0, 0);",
];
