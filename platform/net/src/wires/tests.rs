//! Wires between two workers, both in this process.

use super::*;
use skiff_ledger::{Ledger, MemoryClaim};
use std::cell::Cell;
use tokio::sync::Notify;
use tokio::task::LocalSet;

fn charge() -> Rc<Charge> {
    let slot = Ledger::create(1).unwrap().0.task(0);
    Rc::new(Charge::new(MemoryClaim::new(slot, 0, 1 << 20)))
}

/// The wires of workers that can all reach each other.
fn joined<const WORKERS: usize>() -> [Wires; WORKERS] {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let inboxes: [_; WORKERS] =
        std::array::from_fn(|_| socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap());
    let peers = || inboxes.iter().map(|(send, _)| send.try_clone().unwrap()).collect();
    std::array::from_fn(|worker| {
        Wires::new(inboxes[worker].1.try_clone().unwrap(), peers(), worker as u32).unwrap()
    })
}

fn sender() -> TaskId {
    TaskId::from_parts(1, [1; 10])
}

fn opening(number: u16) -> Opening {
    Opening {
        from: Opener::Task(sender()),
        local: ([10, 64, 0, 16], number).into(),
        remote: ([0xfd73, 0x6b69, 0x6666, 0, 0, 0, 0, 17], 80).into(),
    }
}

fn datagram(bytes: impl Into<Bytes>) -> Datagram {
    let Opening { local, remote, .. } = opening(53);
    Datagram { from: sender(), local, remote, bytes: bytes.into() }
}

/// What a worker does with who calls.
#[derive(Debug, Clone, Copy)]
enum Manners {
    Accepts,
    Refuses,
    Denies,
    LetsGo,
}

struct Desk {
    manners: Cell<Manners>,
    openings: RefCell<Vec<Opening>>,
    lines: RefCell<Vec<Line>>,
    datagrams: RefCell<Vec<Datagram>>,
    news: Notify,
}

impl Desk {
    fn start(wires: &Wires) -> Rc<Self> {
        let desk = Rc::new(Self {
            manners: Cell::new(Manners::Accepts),
            openings: RefCell::default(),
            lines: RefCell::default(),
            datagrams: RefCell::default(),
            news: Notify::new(),
        });
        wires.start(Rc::downgrade(&desk));
        desk
    }

    async fn has_datagrams(&self, count: usize) {
        while self.datagrams.borrow().len() < count {
            self.news.notified().await;
        }
    }
}

impl Receiver for Desk {
    fn opening(&self, opening: Opening, caller: Caller) {
        self.openings.borrow_mut().push(opening);
        match self.manners.get() {
            Manners::Accepts => self.lines.borrow_mut().push(caller.accept(charge()).unwrap()),
            Manners::Refuses => caller.refuse(),
            Manners::Denies => caller.deny("a rule is missing"),
            Manners::LetsGo => drop(caller),
        }
    }

    fn datagram(&self, datagram: Datagram) {
        self.datagrams.borrow_mut().push(datagram);
        self.news.notify_one();
    }
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

#[tokio::test]
async fn who_opens_a_line_gets_an_answer() {
    local(async {
        let [one, other] = joined();
        let desk = Desk::start(&other);
        for (manners, expected) in [
            (Manners::Accepts, Ok(())),
            (Manners::Refuses, Err(NetError::Refused)),
            (Manners::Denies, Err(NetError::Denied("a rule is missing".into()))),
            (Manners::LetsGo, Err(NetError::Refused)),
        ] {
            desk.manners.set(manners);
            let opened = one.open(1, opening(7), charge()).await;
            assert_eq!(opened.as_ref().map(|_| ()).map_err(Clone::clone), expected, "{manners:?}");
            assert_eq!(desk.openings.take(), [opening(7)]);
            if let Ok(line) = opened {
                let theirs = desk.lines.borrow_mut().pop().unwrap();
                poll_fn(|cx| line.poll_writable(cx)).await.unwrap();
                line.write(Bytes::from("through the line")).unwrap();
                let read = poll_fn(|cx| theirs.poll_read(cx, 100)).await;
                assert_eq!(read.unwrap(), "through the line");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_is_reached_where_no_worker_is() {
    local(async {
        let [one, _other] = joined();
        for (wires, worker) in [(&one, 0), (&one, 2), (&Wires::alone(), 0), (&Wires::alone(), 1)] {
            let opened = wires.open(worker, opening(7), charge()).await;
            assert_eq!(opened.err(), Some(NetError::Unreachable));
            assert!(!wires.send(worker, &datagram("lost")));
        }
    })
    .await;
}

#[tokio::test]
async fn datagrams_arrive_as_they_were_sent() {
    local(async {
        let [one, other] = joined();
        let desk = Desk::start(&other);
        let sent = [datagram(""), datagram("short"), datagram(vec![7; 65_507])];
        for (index, datagram) in sent.iter().enumerate() {
            assert!(one.send(1, datagram));
            desk.has_datagrams(index + 1).await;
        }
        assert_eq!(*desk.datagrams.borrow(), sent);
        assert!(!one.send(1, &datagram(vec![7; DATAGRAM_BYTES_MAX + 1])), "longer than any can be");
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_datagrams_leaves_room_for_openings() {
    local(async {
        let [one, other] = joined();
        let mut sent = 0;
        while one.send(1, &datagram("flood")) {
            sent += 1;
        }
        assert!(sent > 10, "{sent} fit");
        let mut opened = Box::pin(one.open(1, opening(7), charge()));
        for _ in 0..3 {
            assert!(futures::poll!(opened.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        let desk = Desk::start(&other);
        opened.await.unwrap();
        assert_eq!(desk.datagrams.borrow().len(), sent);
        assert!(one.send(1, &datagram("there is room again")));
    })
    .await;
}

#[tokio::test]
async fn openings_wait_where_an_inbox_is_full() {
    const OPENINGS: u16 = 320;
    local(async {
        let [one, other] = joined();
        let openings = (0..OPENINGS).map(|number| one.open(1, opening(number), charge()));
        let mut opened = Box::pin(futures::future::join_all(openings));
        for _ in 0..3 {
            assert!(futures::poll!(opened.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        let desk = Desk::start(&other);
        assert!(opened.await.iter().all(Result::is_ok));
        let mut numbers: Vec<u16> =
            desk.openings.borrow().iter().map(|opening| opening.local.port()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..OPENINGS).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn who_has_given_up_leaves_nothing_behind() {
    local(async {
        let [one, other] = joined();
        let mut opened = Box::pin(one.open(1, opening(7), charge()));
        for _ in 0..3 {
            assert!(futures::poll!(opened.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        drop(opened);
        let desk = Desk::start(&other);
        desk.manners.set(Manners::Denies);
        assert!(one.send(1, &datagram("after it")));
        desk.has_datagrams(1).await;
        assert_eq!(
            *desk.openings.borrow(),
            [opening(7)],
            "the answer had nobody to go to, and harmed nobody"
        );
    })
    .await;
}
