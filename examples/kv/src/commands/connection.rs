//! What clients ask of the connection and of the daemon itself.

use super::{Call, Outcome, Problem, integer};
use crate::CLIENTS_MAX;

/// Whose commands it knows: some clients look.
const REDIS_VERSION: &str = "7.0.0";

pub(super) fn ping(call: &mut Call<'_>) -> Outcome {
    match call.arguments {
        [] => call.reply.simple("PONG"),
        [text] => call.reply.bulk(text),
        _ => return Err(Problem::Arguments("ping")),
    }
    Ok(())
}

pub(super) fn echo(call: &mut Call<'_>) -> Outcome {
    call.reply.bulk(call.arguments[0]);
    Ok(())
}

/// Only the protocol is heard; a client that wants the third version is told to stay with the second.
pub(super) fn hello(call: &mut Call<'_>) -> Outcome {
    if call.arguments.first().is_some_and(|version| *version != b"2") {
        return Err(Problem::NoSuchProtocol);
    }
    call.reply.array(12);
    for (key, value) in
        [("server", "skiff-kv"), ("version", REDIS_VERSION), ("mode", "standalone"), ("role", "master")]
    {
        call.reply.bulk(key.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    call.reply.bulk(b"proto");
    call.reply.integer(2);
    call.reply.bulk(b"id");
    call.reply.integer(call.client as i64);
    Ok(())
}

pub(super) fn select(call: &mut Call<'_>) -> Outcome {
    if integer(call.arguments[0])? != 0 {
        return Err(Problem::NoSuchDatabase);
    }
    call.reply.simple("OK");
    Ok(())
}

/// What libraries say of themselves is taken, and forgotten.
pub(super) fn client(call: &mut Call<'_>) -> Outcome {
    match call.arguments[0].to_ascii_lowercase().as_slice() {
        b"id" => call.reply.integer(call.client as i64),
        b"getname" => call.reply.bulk_or_null(None),
        b"setname" | b"setinfo" => call.reply.simple("OK"),
        _ => return Err(Problem::Syntax),
    }
    Ok(())
}

/// What it is set to can be read only.
pub(super) fn config(call: &mut Call<'_>) -> Outcome {
    let [what, wanted @ ..] = call.arguments else { return Err(Problem::Syntax) };
    if !what.eq_ignore_ascii_case(b"get") || wanted.is_empty() {
        return Err(Problem::Syntax);
    }
    let (memory, clients) = (call.database.bytes_max().to_string(), CLIENTS_MAX.to_string());
    let port = call.server.port.to_string();
    let settings = [
        ("save", ""),
        ("appendonly", "no"),
        ("databases", "1"),
        ("maxmemory", &memory),
        ("maxclients", &clients),
        ("port", &port),
    ];
    let is_wanted = |name: &str| {
        wanted.iter().any(|wanted| *wanted == b"*" || wanted.eq_ignore_ascii_case(name.as_bytes()))
    };
    let told: Vec<_> = settings.iter().filter(|(name, _)| is_wanted(name)).collect();
    call.reply.array(2 * told.len());
    for (name, value) in told {
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    Ok(())
}

pub(super) fn info(call: &mut Call<'_>) -> Outcome {
    let (server, database) = (call.server, &call.database);
    let text = format!(
        "# Server\r\nserver_name:skiff-kv\r\nredis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\ntcp_port:{}\r\n\
         \r\n# Clients\r\nconnected_clients:{}\r\nmaxclients:{CLIENTS_MAX}\r\n\
         \r\n# Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\nbuffered_memory:{}\r\n\
         \r\n# Stats\r\ntotal_connections_received:{}\r\ntotal_commands_processed:{}\r\n\
         \r\n# Keyspace\r\ndb0:keys={}\r\n",
        server.port,
        server.clients.get(),
        database.used_bytes(),
        database.bytes_max(),
        server.buffered_bytes.get(),
        server.clients_ever.get(),
        server.commands.get(),
        database.len(),
    );
    call.reply.bulk(text.as_bytes());
    Ok(())
}
