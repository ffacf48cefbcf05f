//! The table of ways to misbehave: which guest does it, what its client gets, what is counted, and what its user reads.
//!
//! Data alone, because two read it: the test beside it, and `cargo xtask bench adversary`, which measures what the
//! neighbour feels.

use Client::{BreaksOff, Gets, GetsOrAll, GetsOrBreaksOff};
use Counted::{Nothing, OutOfMemory, Timeouts, Traps};

/// How each of these services is deployed: with a timeout that ends what has no end, and a quarter of a core.
pub(crate) const LIMITS: [&str; 4] = ["--timeout", "2s", "--cpu", "256"];

/// A service that misbehaves.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) component: &'static str,
    /// What else its deployment says.
    pub(crate) arguments: &'static [&'static str],
}

/// All of them. Their memory is soon used up, but for those that need much to do harm.
#[rustfmt::skip]
pub(crate) const SERVICES: &[Service] = &[
    service(P2, "misbehave", &["--memory", "32MiB"]),
    service(P3, "misbehave-p3", &["--memory", "32MiB"]),
    service(TABLES, "tables.wat", &["--memory", "4MiB"]),
    service(COPIES, "misbehave", &["--memory", "300MiB"]),
    service(COPIES_P3, "misbehave-p3", &["--memory", "300MiB"]),
    service("start-spin", "misbehave-start", &["--memory", "32MiB", "--env", "AT_START=spin"]),
    service("start-sleep", "misbehave-start", &["--memory", "32MiB", "--env", "AT_START=sleep"]),
    service("start-recurse", "misbehave-start", &["--memory", "32MiB", "--env", "AT_START=recurse"]),
    service("start-grow", "misbehave-start", &["--memory", "32MiB", "--env", "AT_START=grow"]),
    service("start-trap", "misbehave-start", &["--memory", "32MiB", "--env", "AT_START=trap"]),
    service("start-flood", "misbehave-start", &["--memory", "32MiB", "--env", "AT_START=flood"]),
    service("start-spin-p3", "misbehave-start-p3", &["--memory", "32MiB", "--env", "AT_START=spin"]),
    service("start-sleep-p3", "misbehave-start-p3", &["--memory", "32MiB", "--env", "AT_START=sleep"]),
    service("start-recurse-p3", "misbehave-start-p3", &["--memory", "32MiB", "--env", "AT_START=recurse"]),
    service("start-grow-p3", "misbehave-start-p3", &["--memory", "32MiB", "--env", "AT_START=grow"]),
    service("start-trap-p3", "misbehave-start-p3", &["--memory", "32MiB", "--env", "AT_START=trap"]),
    service("start-flood-p3", "misbehave-start-p3", &["--memory", "32MiB", "--env", "AT_START=flood"]),
];

const fn service(name: &'static str, component: &'static str, arguments: &'static [&'static str]) -> Service {
    Service { name, component, arguments }
}

const P2: &str = "misbehave";
const P3: &str = "misbehave-p3";
const TABLES: &str = "tables";
const COPIES: &str = "copies";
const COPIES_P3: &str = "copies-p3";
const BOTH: &[&str] = &[P2, P3];

/// One way to misbehave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// For people.
    pub(crate) what: &'static str,
    /// The services that do it: one for each generation of WASI that can.
    pub(crate) services: &'static [&'static str],
    pub(crate) path: &'static str,
    /// Bytes of a body that comes with the request.
    pub(crate) sends_bytes: usize,
    pub(crate) client: Client,
    pub(crate) counted: Counted,
    /// Is in a line of the service's log; nothing where it has done no wrong.
    pub(crate) log: &'static str,
}

/// What the client gets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Client {
    /// A whole answer with this status, and with this in its body.
    Gets(u16, &'static str),
    /// A status of 200 with this in the first bytes of a body that then breaks off.
    BreaksOff(&'static str),
    /// As `Gets` has it; or, where the guest had to pause before what is wrong with its answer showed, a status of 200 with no
    /// more than the last in a body that then breaks off, of which the log says nothing.
    GetsOrBreaksOff(u16, &'static str, &'static str),
    /// As `Gets` has it; or, where all that was promised had gone out before what is wrong with the answer showed, a status of
    /// 200 with just the last as its body, of which the log need say nothing.
    GetsOrAll(u16, &'static str, &'static str),
}

/// What the task's metrics must show one more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Nothing,
    Timeouts,
    Traps,
    OutOfMemory,
}

impl Counted {
    /// The metric's name.
    pub(crate) fn metric(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Timeouts => Some("skiff_timeouts_total"),
            Self::Traps => Some("skiff_traps_total"),
            Self::OutOfMemory => Some("skiff_out_of_memory_total"),
        }
    }
}

const fn case(
    what: &'static str,
    services: &'static [&'static str],
    path: &'static str,
    client: Client,
    counted: Counted,
    log: &'static str,
) -> Case {
    Case { what, services, path, sends_bytes: 0, client, counted, log }
}

impl Case {
    const fn sending(self, sends_bytes: usize) -> Self {
        Self { sends_bytes, ..self }
    }
}

const TIMED_OUT: Client = Gets(504, "within 2000 ms (its timeout)");
const TIMEOUT: &str = "within 2000 ms (its timeout)";
const BROKE_OFF_OR_ALL_THAT_WAS_PROMISED: Client = GetsOrAll(502, "broke off", "fo");
const BROKE_OFF_SOONER_OR_LATER: Client = GetsOrBreaksOff(502, "broke off", "four");
const DROPPED_SOONER_OR_LATER: Client = GetsOrBreaksOff(502, "broke off", "the first bytes\n");
const FULL: Client = Gets(502, TOO_MANY);
const TOO_MANY: &str = "as many handles as a sandbox may hold";
const MEMORY: Client = Gets(502, "out of memory");

/// All of them.
#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    // Time.
    case("endless loop in the handler", BOTH, "/spin", TIMED_OUT, Timeouts, TIMEOUT),
    case("endless loop of host calls", BOTH, "/spin-in-host-calls", TIMED_OUT, Timeouts, TIMEOUT),
    case("endless loop that pauses before each slice ends", BOTH, "/spin-and-pause", TIMED_OUT, Timeouts, TIMEOUT),
    case("endless loop of copies of all memory", &[COPIES, COPIES_P3], "/copy-forever?mib=256", TIMED_OUT, Timeouts, TIMEOUT),
    case("endless loop in start-up", &["start-spin", "start-spin-p3"], "/", TIMED_OUT, Timeouts, TIMEOUT),
    case("endless loop in a destructor", BOTH, "/destructor/spin", TIMED_OUT, Timeouts, TIMEOUT),
    case("sleep for ever", BOTH, "/sleep", TIMED_OUT, Timeouts, TIMEOUT),
    case("sleep for ever in start-up", &["start-sleep", "start-sleep-p3"], "/", TIMED_OUT, Timeouts, TIMEOUT),
    // Stack.
    case("recursion without end", BOTH, "/stack", Gets(502, "trapped"), Traps, "trapped"),
    case("recursion without end in start-up", &["start-recurse", "start-recurse-p3"], "/", Gets(502, "trapped"), Traps, "trapped"),
    case("recursion without end in a destructor", BOTH, "/destructor/recurse", Gets(502, "trapped"), Traps, "trapped"),
    // Memory.
    case("memory without end", BOTH, "/grow-forever", MEMORY, OutOfMemory, "out of memory"),
    case("memory without end in start-up", &["start-grow", "start-grow-p3"], "/", MEMORY, OutOfMemory, "out of memory"),
    case("memory without end in a destructor", BOTH, "/destructor/grow", MEMORY, OutOfMemory, "out of memory"),
    case("tables without end", &[TABLES], "/", MEMORY, OutOfMemory, "out of memory"),
    // Traps.
    case("trap in the handler", BOTH, "/trap", Gets(502, "unreachable"), Traps, "unreachable"),
    case("trap in start-up", &["start-trap", "start-trap-p3"], "/", Gets(502, "unreachable"), Traps, "unreachable"),
    case("trap in a destructor", BOTH, "/destructor/trap", Gets(502, "unreachable"), Traps, "unreachable"),
    case("drop of a handle that others depend on", BOTH, "/drop-parent", Gets(502, "has children"), Traps, "has children"),
    case("drop of a handle twice", &[P3], "/drop-twice", Gets(502, "the guest"), Traps, "the guest"),
    // Handles.
    case("fields without end", BOTH, "/hoard/fields", FULL, Traps, TOO_MANY),
    case("requests without end", BOTH, "/hoard/requests", FULL, Traps, TOO_MANY),
    case("responses without end", BOTH, "/hoard/responses", FULL, Traps, TOO_MANY),
    case("bodies without end", BOTH, "/hoard/bodies", FULL, Traps, TOO_MANY),
    case("request options without end", BOTH, "/hoard/options", FULL, Traps, TOO_MANY),
    case("futures without end", BOTH, "/hoard/futures", FULL, Traps, TOO_MANY),
    case("resources of its own without end", BOTH, "/hoard/own", Gets(502, "handle limit"), Traps, "handle limit"),
    case("input streams without end", &[P2], "/hoard/input-streams", FULL, Traps, TOO_MANY),
    case("output streams without end", &[P2], "/hoard/output-streams", FULL, Traps, TOO_MANY),
    case("pollables without end", &[P2], "/hoard/pollables", FULL, Traps, TOO_MANY),
    case("timers without end", &[P2], "/hoard/timers", FULL, Traps, TOO_MANY),
    case("streams without end", &[P3], "/hoard/streams", FULL, Traps, TOO_MANY),
    case("streams to the host without end", &[P3], "/hoard/outputs", FULL, Traps, TOO_MANY),
    case("subtasks without end", &[P3], "/hoard/subtasks", FULL, Traps, TOO_MANY),
    case("waitable sets without end", &[P3], "/hoard/waitable-sets", FULL, Traps, TOO_MANY),
    // Answers.
    case("no answer", &[P2], "/never", Gets(502, "without an answer"), Nothing, "without an answer"),
    case("a wait for what can't happen", &[P3], "/never", Gets(502, "unreachable"), Traps, "unreachable"),
    case("two answers", &[P2], "/twice", Gets(502, "the guest"), Traps, "the guest"),
    case("two answers", &[P3], "/twice", Gets(502, "more than once"), Traps, "more than once"),
    case("headers without end", &[P2], "/answer/headers", Gets(502, "exceeds limit"), Traps, "exceeds limit"),
    case("headers without end", &[P3], "/answer/headers", Gets(200, "headers, then"), Nothing, ""),
    case("trailers without end", &[P2], "/answer/trailers", Gets(502, "exceeds limit"), Traps, "exceeds limit"),
    case("trailers without end", &[P3], "/answer/trailers", Gets(200, "trailers follow"), Nothing, ""),
    case("a body without end", BOTH, "/answer/endless", BreaksOff("xxx"), Nothing, "larger than"),
    case("a body never finished", BOTH, "/answer/unfinished", BreaksOff("the first bytes"), Timeouts, TIMEOUT),
    case("endless loop amid the body", BOTH, "/answer/spinning", BreaksOff("the first bytes"), Timeouts, TIMEOUT),
    case("a body dropped halfway", BOTH, "/answer/dropped", DROPPED_SOONER_OR_LATER, Nothing, "broke off"),
    case("a body whose trailers never come", &[P3], "/answer/no-trailers", BreaksOff("all there is"), Timeouts, TIMEOUT),
    case("a body finished long after its last byte", BOTH, "/answer/late", Gets(200, "late"), Nothing, ""),
    case("a body shorter than promised", BOTH, "/answer/shorter", BROKE_OFF_SOONER_OR_LATER, Nothing, "broke off"),
    case("a body longer than promised", BOTH, "/answer/longer", BROKE_OFF_OR_ALL_THAT_WAS_PROMISED, Nothing, "broke off"),
    case("trap amid the body", BOTH, "/answer/trapped", BreaksOff("the first bytes"), Traps, "unreachable"),
    case("a request's body never read", BOTH, "/", Gets(200, "misbehave"), Nothing, "").sending(8 << 20),
    case("a request's body never read, no answer either", BOTH, "/sleep", TIMED_OUT, Timeouts, TIMEOUT).sending(8 << 20),
    // After the answer.
    case("endless loop after the last byte", BOTH, "/answer/and-spin", Gets(200, "spin"), Timeouts, TIMEOUT),
    case("endless loop after a body of any length", BOTH, "/answer/end-and-spin", Gets(200, "spin"), Timeouts, TIMEOUT),
    case("endless loop beside the handler", &[P3], "/outlive/spin", TIMED_OUT, Timeouts, TIMEOUT),
    case("subtasks that outlive the answer", &[P3], "/outlive/subtasks", Gets(200, "answered"), Nothing, ""),
    case("subtasks within each other that outlive the answer", &[P3], "/outlive/deep", Gets(200, "answered"), Nothing, ""),
    case("streams that outlive the answer", &[P3], "/outlive/streams", Gets(200, "answered"), Nothing, ""),
    case("futures that outlive the answer", &[P3], "/outlive/futures", Gets(200, "answered"), Nothing, ""),
    // Floods.
    // More than a guest may have resources at once, and few enough for a slow machine's two seconds.
    case("outgoing requests by thousands", BOTH, "/outgoing-many?requests=3000", Gets(200, "3000 of 3000 refused"), Nothing, "denied"),
    case("1 GiB to stdout", BOTH, "/flood", TIMED_OUT, Timeouts, "dropped"),
    case("1 GiB to stdout in start-up", &["start-flood", "start-flood-p3"], "/", TIMED_OUT, Timeouts, "dropped"),
];
