//! The commands: which there are, what each takes, and what becomes of a request.
//!
//! Each answers once, in full or with an error.

mod connection;
mod hashes;
mod keys;
mod lists;
mod sets;
mod strings;

use crate::Server;
use crate::database::Database;
use crate::reply::Replies;
use std::fmt;

/// What becomes of a connection after a request.
pub(crate) enum Then {
    GoOn,
    End,
}

/// Why a request is not carried out; printed as the answer's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    Unknown(String),
    Arguments(&'static str),
    WrongKind,
    OutOfMemory,
    TooLarge,
    NoInteger,
    Overflow,
    NoSuchDatabase,
    NoSuchProtocol,
    Syntax,
}

type Outcome = Result<(), Problem>;

/// A command.
struct Command {
    name: &'static str,
    /// How many arguments it takes, its name among them; if negative, at least so many (Redis, "COMMAND").
    arity: i32,
    run: fn(&mut Call<'_>) -> Outcome,
}

/// A request for a command.
struct Call<'a> {
    server: &'a Server,
    database: &'a mut Database,
    client: u64,
    /// Without the command's name.
    arguments: &'a [&'a [u8]],
    reply: &'a mut Replies,
}

const fn command(name: &'static str, arity: i32, run: fn(&mut Call<'_>) -> Outcome) -> Command {
    Command { name, arity, run }
}

/// All of them, those first that are asked for most.
const COMMANDS: [Command; 44] = [
    command("get", 2, strings::get),
    command("set", -3, strings::set),
    command("incr", 2, strings::incr),
    command("mget", -2, strings::mget),
    command("mset", -3, strings::mset),
    command("lpush", -3, lists::lpush),
    command("rpush", -3, lists::rpush),
    command("lpop", -2, lists::lpop),
    command("rpop", -2, lists::rpop),
    command("sadd", -3, sets::sadd),
    command("hset", -4, hashes::hset),
    command("hget", 3, hashes::hget),
    command("ping", -1, connection::ping),
    command("setnx", 3, strings::setnx),
    command("append", 3, strings::append),
    command("strlen", 2, strings::strlen),
    command("decr", 2, strings::decr),
    command("incrby", 3, strings::incrby),
    command("decrby", 3, strings::decrby),
    command("llen", 2, lists::llen),
    command("lindex", 3, lists::lindex),
    command("lrange", 4, lists::lrange),
    command("srem", -3, sets::srem),
    command("sismember", 3, sets::sismember),
    command("scard", 2, sets::scard),
    command("smembers", 2, sets::smembers),
    command("hmset", -4, hashes::hmset),
    command("hmget", -3, hashes::hmget),
    command("hdel", -3, hashes::hdel),
    command("hexists", 3, hashes::hexists),
    command("hlen", 2, hashes::hlen),
    command("hgetall", 2, hashes::hgetall),
    command("del", -2, keys::del),
    command("exists", -2, keys::exists),
    command("type", 2, keys::kind),
    command("dbsize", 1, keys::dbsize),
    command("flushall", -1, keys::flush),
    command("flushdb", -1, keys::flush),
    command("echo", 2, connection::echo),
    command("hello", -1, connection::hello),
    command("select", 2, connection::select),
    command("client", -2, connection::client),
    command("config", -2, connection::config),
    command("info", -1, connection::info),
];

/// Carries out a request of a client.
pub(crate) fn run(server: &Server, client: u64, arguments: &[&[u8]], replies: &mut Replies) -> Then {
    let [name, arguments @ ..] = arguments else { return Then::GoOn };
    server.commands.set(server.commands.get() + 1);
    replies.begin();
    if name.eq_ignore_ascii_case(b"quit") {
        replies.simple("OK");
        return Then::End;
    }
    let outcome = if name.eq_ignore_ascii_case(b"command") {
        describe(arguments, replies);
        Ok(())
    } else {
        let mut database = server.database.borrow_mut();
        let database = &mut *database;
        find(name, arguments).and_then(|command| {
            (command.run)(&mut Call { server, database, client, arguments, reply: replies })
        })
    };
    replies.end(outcome);
    Then::GoOn
}

/// The command of that name, if the arguments are as many as it takes.
fn find(name: &[u8], arguments: &[&[u8]]) -> Result<&'static Command, Problem> {
    let command = COMMANDS.iter().find(|command| command.name.as_bytes().eq_ignore_ascii_case(name));
    let command = command.ok_or_else(|| Problem::Unknown(shown(name)))?;
    let (count, wanted) = (arguments.len() + 1, command.arity.unsigned_abs() as usize);
    let fits = if command.arity < 0 { count >= wanted } else { count == wanted };
    if fits { Ok(command) } else { Err(Problem::Arguments(command.name)) }
}

/// What `redis-cli` asks at its start, to help who types.
fn describe(arguments: &[&[u8]], replies: &mut Replies) {
    match arguments {
        [] => {
            replies.array(COMMANDS.len());
            for Command { name, arity, .. } in COMMANDS {
                replies.array(6);
                replies.bulk(name.as_bytes());
                replies.integer(arity.into());
                replies.array(0);
                // Where its keys are says nothing to who has one node to ask.
                (0..3).for_each(|_| replies.integer(0));
            }
        }
        [what, ..] if what.eq_ignore_ascii_case(b"count") => replies.count(COMMANDS.len()),
        _ => replies.array(0),
    }
}

/// A client's word in an error: short, on one line.
fn shown(word: &[u8]) -> String {
    const BYTES_MAX: usize = 128;
    word[..word.len().min(BYTES_MAX)].escape_ascii().to_string()
}

/// A whole number.
fn integer(text: &[u8]) -> Result<i64, Problem> {
    let text = std::str::from_utf8(text).map_err(|_| Problem::NoInteger)?;
    // What Redis writes is what it reads: no sign but a minus, no zeros in front.
    let number: i64 = text.parse().map_err(|_| Problem::NoInteger)?;
    if number.to_string() == text { Ok(number) } else { Err(Problem::NoInteger) }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "ERR unknown command '{name}'"),
            Self::Arguments(name) => write!(f, "ERR wrong number of arguments for '{name}' command"),
            Self::WrongKind => {
                f.write_str("WRONGTYPE Operation against a key holding the wrong kind of value")
            }
            Self::OutOfMemory => f.write_str("OOM command not allowed when used memory > 'maxmemory'."),
            Self::TooLarge => {
                f.write_str("ERR the answer would be larger than 2 MiB; ask for less at a time")
            }
            Self::NoInteger => f.write_str("ERR value is not an integer or out of range"),
            Self::Overflow => f.write_str("ERR increment or decrement would overflow"),
            Self::NoSuchDatabase => f.write_str("ERR DB index is out of range"),
            Self::NoSuchProtocol => f.write_str("NOPROTO unsupported protocol version"),
            Self::Syntax => f.write_str("ERR syntax error"),
        }
    }
}
