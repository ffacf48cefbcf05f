//! What a program with a network is to do: one script of the few that both generations of WASI know, with its words.
//!
//! A target is `HOST:PORT`, where the host may be a name, an address, or an IPv6 address in brackets.

/// The scripts, each with what it takes.
pub const KNOWN_SCRIPTS: &str = "\
echo PORT [CONNECTIONS]   gives back what each connection sends, all of them at once
mute PORT BACKLOG         listens, and accepts nobody
glance PORT               waits until somebody has connected, and ends without accepting
reject PORT               accepts, reads a byte, and drops the connection
sink PORT                 reads each connection to its end, one after the other
source PORT BYTES         sends so much on each connection, one after the other
connect TARGET            connects, and that is all
send TARGET TEXT          sends a text, closes its half, and reads to the end
stay TARGET               sends a text, reads it back, and then waits for the end
wait TARGET MS            waits for data for so long
many TARGET COUNT         has so many connections at once, and uses each
pour TARGET BYTES         sends so much
drain TARGET              reads to the end
loop TARGET               learns its address from a connection, listens there, and connects to itself
bind ADDRESS...           listens on each, and keeps them all
options                   reads and writes the options of a socket
udp-echo PORT             gives each datagram back
udp TARGET TEXT MS        sends a datagram, and waits for an answer for so long
resolve NAME              looks a name up";

/// A script and its words.
pub struct Script {
    name: String,
    words: Vec<String>,
}

impl Script {
    /// From the arguments of a program; a service's tasks have none, and so theirs is in a variable of the environment.
    pub fn new(arguments: Vec<String>, variable: Option<String>) -> Self {
        let from_variable = || variable.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let mut words: Vec<String> = if arguments.is_empty() { from_variable() } else { arguments };
        let name = if words.is_empty() { String::new() } else { words.remove(0) };
        Self { name, words }
    }

    /// Which one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All its words.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// A word; empty if it is not there.
    pub fn text(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// A word that is a number.
    pub fn number(&self, index: usize) -> Option<u64> {
        self.text(index).parse().ok()
    }

    /// The first word as a port.
    pub fn port(&self) -> u16 {
        self.text(0).parse().unwrap_or_else(|_| panic!("{:?} is no port", self.text(0)))
    }

    /// The first word as a host and a port.
    pub fn target(&self) -> (String, u16) {
        let text = self.text(0);
        let (host, port) = text.rsplit_once(':').unwrap_or_else(|| panic!("{text:?} is no HOST:PORT"));
        let port = port.parse().unwrap_or_else(|_| panic!("{text:?} has no port"));
        (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)
    }
}
