//! Queues do what a list with a clock does, whatever is asked of them and whenever they are opened again.

use super::*;
use proptest::prelude::*;

const GROUPS: u8 = 3;

#[derive(Debug, Clone)]
enum Step {
    Send {
        group: u8,
        delay_ms: u64,
    },
    Receive {
        max: usize,
        visibility_ms: u64,
    },
    /// Of the receives so far, this one, modulo their number.
    Delete(usize),
    Change(usize, u64),
    GiveBack(usize),
    Advance(u64),
    Purge,
    Reopen,
    LookAfter,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..GROUPS, prop_oneof![Just(0), Just(500_u64)])
            .prop_map(|(group, delay_ms)| Step::Send { group, delay_ms }),
        6 => (1_usize..5, prop_oneof![Just(0), Just(1_000_u64), Just(5_000)])
            .prop_map(|(max, visibility_ms)| Step::Receive { max, visibility_ms }),
        4 => any::<usize>().prop_map(Step::Delete),
        2 => (any::<usize>(), prop_oneof![Just(0), Just(2_000_u64)]).prop_map(|(index, ms)| Step::Change(index, ms)),
        2 => any::<usize>().prop_map(Step::GiveBack),
        4 => (1_u64..3_000).prop_map(Step::Advance),
        1 => Just(Step::Purge),
        1 => Just(Step::Reopen),
        1 => Just(Step::LookAfter),
    ]
}

#[derive(Debug)]
struct Modelled {
    sequence: u64,
    group: u8,
    until_ms: u64,
    receives: u32,
    /// The receipt that holds it.
    receipt: Option<Receipt>,
}

struct Model {
    is_fifo: bool,
    messages: Vec<Modelled>,
    next: u64,
    now_ms: u64,
}

impl Model {
    fn settle(&mut self) {
        for message in &mut self.messages {
            if message.until_ms <= self.now_ms {
                message.receipt = None;
            }
        }
    }

    fn is_first(&self, message: &Modelled) -> bool {
        !self.messages.iter().any(|other| other.group == message.group && other.sequence < message.sequence)
    }

    fn may_be_given(&self, message: &Modelled) -> bool {
        message.until_ms <= self.now_ms && (!self.is_fifo || self.is_first(message))
    }

    fn holding(&mut self, receipt: &Receipt) -> Option<&mut Modelled> {
        self.messages.iter_mut().find(|message| message.receipt.as_ref() == Some(receipt))
    }

    fn stats(&self) -> (u64, u64, u64) {
        let count =
            |test: &dyn Fn(&Modelled) -> bool| self.messages.iter().filter(|m| test(m)).count() as u64;
        let is_hidden = |message: &Modelled| message.until_ms > self.now_ms;
        (
            count(&|message| !is_hidden(message)),
            count(&|message| is_hidden(message) && message.receipt.is_some()),
            count(&|message| is_hidden(message) && message.receipt.is_none()),
        )
    }
}

struct Run {
    fixture: Fixture,
    queue: QueueRef,
    model: Model,
    receipts: Vec<(u64, Receipt)>,
}

impl Run {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Send { group, delay_ms } => self.send(group, delay_ms).await,
            Step::Receive { max, visibility_ms } => self.receive(max, visibility_ms).await,
            Step::Delete(index) if !self.receipts.is_empty() => self.delete(index).await,
            Step::Change(index, ms) if !self.receipts.is_empty() => self.change(index, ms).await,
            Step::GiveBack(index) if !self.receipts.is_empty() => self.give_back(index).await,
            Step::Delete(_) | Step::Change(..) | Step::GiveBack(_) => {}
            Step::Advance(ms) => {
                self.fixture.clock.advance(ms);
                self.model.now_ms += ms;
                self.model.settle();
            }
            Step::Purge => {
                let purged = self.fixture.queues.purge(&self.queue).await.unwrap();
                assert_eq!(purged, self.model.messages.len() as u64);
                self.model.messages.clear();
            }
            Step::Reopen => self.fixture.reopen().await,
            Step::LookAfter => {
                let engine = self.fixture.queues.engine.clone();
                tokio::task::spawn_blocking(move || engine.look_after()).await.unwrap().unwrap();
            }
        }
        let stats = self.fixture.queues.stats(&self.queue);
        assert_eq!((stats.visible, stats.in_flight, stats.delayed), self.model.stats());
    }

    async fn send(&mut self, group: u8, delay_ms: u64) {
        // Larger than a receipt's record, so that segments fill up.
        let body = format!("{:0>700}", self.model.next);
        let message = if self.model.is_fifo {
            grouped(&group.to_string(), &body)
        } else {
            NewMessage { delay: Some(Duration::from_millis(delay_ms)), ..text(&body) }
        };
        let delay_ms = if self.model.is_fifo { 0 } else { delay_ms };
        let sent = self.fixture.send(&self.queue, message).await;
        assert_eq!(sent.sequence, self.model.next);
        self.model.messages.push(Modelled {
            sequence: sent.sequence,
            group,
            until_ms: self.model.now_ms + delay_ms,
            receives: 0,
            receipt: None,
        });
        self.model.next += 1;
    }

    async fn receive(&mut self, max: usize, visibility_ms: u64) {
        let visibility = Some(Duration::from_millis(visibility_ms));
        let got = self.fixture.queues.receive(&self.queue, max, visibility, Duration::ZERO).await.unwrap();
        let model = &self.model;
        let given: Vec<_> =
            model.messages.iter().filter(|m| model.may_be_given(m)).map(|m| m.sequence).collect();
        assert_eq!(got.len(), given.len().min(max), "{got:?}");
        let now_ms = model.now_ms;
        for message in got {
            assert!(given.contains(&message.sequence));
            assert_eq!(message.body, format!("{:0>700}", message.sequence));
            let modelled =
                self.model.messages.iter_mut().find(|other| other.sequence == message.sequence).unwrap();
            modelled.receives += 1;
            assert_eq!(message.receives, modelled.receives);
            modelled.until_ms = now_ms + visibility_ms;
            modelled.receipt = (visibility_ms > 0).then(|| message.receipt.clone());
            self.receipts.push((message.sequence, message.receipt));
        }
    }

    async fn delete(&mut self, index: usize) {
        let (sequence, receipt) = self.receipts[index % self.receipts.len()].clone();
        let outcome = self.fixture.queues.delete(&self.queue, vec![receipt.clone()]).await.unwrap().remove(0);
        let is_held = self.model.holding(&receipt).is_some();
        let is_there = self.model.messages.iter().any(|message| message.sequence == sequence);
        assert_eq!(outcome, if is_there && !is_held { Err(MessageError::Stale) } else { Ok(()) });
        if is_held {
            self.model.messages.retain(|message| message.sequence != sequence);
        }
    }

    async fn change(&mut self, index: usize, ms: u64) {
        let (_, receipt) = self.receipts[index % self.receipts.len()].clone();
        let change = vec![(receipt.clone(), Duration::from_millis(ms))];
        let outcome = self.fixture.queues.change_visibility(&self.queue, change).await.unwrap().remove(0);
        let now_ms = self.model.now_ms;
        let held = self.model.holding(&receipt);
        assert_eq!(outcome.is_ok(), held.is_some());
        if let Some(message) = held {
            message.until_ms = now_ms + ms;
        }
        self.model.settle();
    }

    async fn give_back(&mut self, index: usize) {
        let (_, receipt) = self.receipts[index % self.receipts.len()].clone();
        let given_back = vec![(receipt.clone(), Duration::ZERO)];
        let outcome = self.fixture.queues.give_back(&self.queue, given_back).await.unwrap().remove(0);
        let now_ms = self.model.now_ms;
        let held = self.model.holding(&receipt);
        assert_eq!(outcome.is_ok(), held.is_some());
        if let Some(message) = held {
            message.until_ms = now_ms;
            message.receives -= 1;
        }
        self.model.settle();
    }
}

async fn run(is_fifo: bool, steps: Vec<Step>) {
    let queue = if is_fifo { fifo() } else { standard() };
    let model = Model { is_fifo, messages: Vec::new(), next: 1, now_ms: START_MS };
    let mut run = Run { fixture: Fixture::new(), queue, model, receipts: Vec::new() };
    for step in steps {
        run.step(step).await;
    }
    run.fixture.queues.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn queues_do_what_the_model_does(is_fifo in any::<bool>(), steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(is_fifo, steps));
    }
}
