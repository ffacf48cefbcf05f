//! The versions of a database's schema, and the way from each to the next.
//!
//! `PRAGMA user_version` says how many of the migrations a database has seen. All that are due are done in one transaction, or
//! none.

use crate::OpenError;
use rusqlite::{Connection, TransactionBehavior};

/// Refuses a database that was written by a newer program; changes nothing.
pub(crate) fn refuse_newer(connection: &Connection, migrations: &[&str]) -> Result<(), OpenError> {
    let found = version(connection)?;
    let known = migrations.len() as u32;
    if found > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    Ok(())
}

/// Brings a database to the newest version.
pub(crate) fn upgrade(connection: &mut Connection, migrations: &[&str]) -> Result<(), OpenError> {
    refuse_newer(connection, migrations)?;
    let found = version(connection)? as usize;
    if found == migrations.len() {
        return Ok(());
    }
    let known = migrations.len() as u32;
    run(connection, &migrations[found..], known)?;
    if found > 0 {
        let path = connection.path().unwrap_or_default();
        tracing::info!(path, from = found, to = known, "a database's schema was upgraded");
    }
    Ok(())
}

fn run(connection: &mut Connection, due: &[&str], known: u32) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in due {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()
}

/// How many migrations the database has seen.
fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE thing (name TEXT); INSERT INTO thing VALUES ('a');";
    const SECOND: &str = "ALTER TABLE thing ADD COLUMN size INTEGER NOT NULL DEFAULT 7;";
    const THIRD: &str = "UPDATE thing SET size = size + 1;";

    #[test]
    fn an_older_database_is_upgraded_and_keeps_its_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        upgrade(&mut connection, &[FIRST]).unwrap();
        connection.execute("INSERT INTO thing VALUES ('b')", []).unwrap();
        upgrade(&mut connection, &[FIRST, SECOND, THIRD]).unwrap();
        upgrade(&mut connection, &[FIRST, SECOND, THIRD]).unwrap();
        let total: i64 = connection.query_row("SELECT sum(size) FROM thing", [], |row| row.get(0)).unwrap();
        assert_eq!((version(&connection).unwrap(), total), (3, 16));
    }

    #[test]
    fn an_upgrade_is_done_whole_or_not_at_all() {
        let mut connection = Connection::open_in_memory().unwrap();
        upgrade(&mut connection, &[FIRST]).unwrap();
        let broken = [FIRST, SECOND, "UPDATE nothing SET size = 1;"];
        assert!(matches!(upgrade(&mut connection, &broken), Err(OpenError::Sqlite(_))));
        assert_eq!(version(&connection).unwrap(), 1);
        assert!(connection.prepare("SELECT size FROM thing").is_err(), "half of the upgrade was done");
        upgrade(&mut connection, &[FIRST, SECOND]).unwrap();
    }

    #[test]
    fn a_newer_database_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        upgrade(&mut connection, &[FIRST, SECOND]).unwrap();
        let refused = upgrade(&mut connection, &[FIRST]);
        assert!(matches!(refused, Err(OpenError::NewerSchema { found: 2, known: 1 })), "{refused:?}");
    }
}
