//! The bounded, fair queue of logins that wait for their password check. Must not depend on
//! passwords or RES.
//!
//! Those who wait are *parties*: a remote address, or a connection where addresses say nothing.
//! Parties take turns, one login each, and each has a limited share of the queue, so guesses from
//! one address delay others by one check at most. Users at a place where they have logged in before
//! are in a ring of their own, which gets every other check: even guesses from thousands of
//! addresses leave them half of the machine.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Party {
    /// What distinguishes it from others.
    pub(super) key: u64,
    /// Whether it is a user at a place where they have logged in before.
    pub(super) is_known: bool,
    /// How many of its logins may wait.
    pub(super) share: usize,
}

/// Hands out turns.
#[derive(Debug)]
pub(super) struct Queue {
    at_once: usize,
    most: usize,
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    running: usize,
    strangers: Ring,
    known: Ring,
    /// Whose turn is next, if both wait.
    is_for_known: bool,
    /// The id of the next waiter.
    number: u64,
}

/// Parties that wait, each with its logins in order.
#[derive(Debug, Default)]
struct Ring {
    order: VecDeque<u64>,
    waiters: HashMap<u64, VecDeque<Waiter>>,
    count: usize,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    go: oneshot::Sender<Turn>,
}

/// The outcome of entering the queue.
#[derive(Debug)]
pub(super) enum Entered {
    /// Nobody was waiting.
    Turn(Turn),
    /// It waits.
    Waiting(Waiting),
    /// The share of the party, or the queue, is full.
    Full,
}

/// A place among the logins whose passwords are checked, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<Queue>>);

/// A place in the queue, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    queue: Arc<Queue>,
    party: Party,
    number: u64,
    turn: oneshot::Receiver<Turn>,
}

/// How many may wait for each running check: at about 20 ms per check they are done within
/// [`DEADLINE`].
const WAITING_PER_RUNNING: usize = 512;

/// The most that wait in either ring, however many run. Both together are fewer than all logins
/// that are accepted.
pub(super) const MOST: usize = 896;

/// The longest wait of a login: less than the 15 s for which its gateway is asked.
const DEADLINE: Duration = Duration::from_secs(14);

impl Queue {
    /// Allows `at_once` turns at a time.
    pub(super) fn new(at_once: usize) -> Arc<Self> {
        Self::bounded(at_once, (at_once * WAITING_PER_RUNNING).min(MOST))
    }

    fn bounded(at_once: usize, most: usize) -> Arc<Self> {
        Arc::new(Self { at_once, most, state: Mutex::default() })
    }

    /// Asks for a turn.
    pub(super) fn enter(self: &Arc<Self>, party: Party) -> Entered {
        let mut state = self.lock();
        if state.running < self.at_once {
            state.running += 1;
            return Entered::Turn(Turn(Some(Arc::clone(self))));
        }
        let number = state.number;
        state.number += 1;
        let ring = state.ring(party.is_known);
        if ring.waiters.get(&party.key).is_some_and(|waiters| waiters.len() >= party.share) {
            return Entered::Full;
        }
        // The party with the most waiting logins makes room. Dropping the waiter refuses it.
        let displaced = if ring.count < self.most { None } else { ring.displace() };
        if ring.count >= self.most {
            return Entered::Full;
        }
        let (go, turn) = oneshot::channel();
        ring.push(party.key, Waiter { number, go });
        drop(state);
        drop(displaced);
        Entered::Waiting(Waiting { queue: Arc::clone(self), party, number, turn })
    }

    /// How many have their turn, and how many wait.
    pub(super) fn len(&self) -> (usize, usize) {
        let state = self.lock();
        (state.running, state.strangers.count + state.known.count)
    }

    /// A turn has ended: the next login gets it.
    fn pass_on(self: Arc<Self>) {
        let mut turn = Turn(None);
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.next();
                if next.is_none() {
                    state.running -= 1;
                }
                next
            };
            let Some(waiter) = next else { return };
            turn.0 = Some(Arc::clone(&self));
            match waiter.go.send(turn) {
                Ok(()) => return,
                // It has just left.
                Err(back) => turn = back,
            }
            turn.0 = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Waits for the turn. None if it had to make room for somebody else, or waited too long.
    pub(super) async fn turn(mut self) -> Option<Turn> {
        timeout(DEADLINE, &mut self.turn).await.ok()?.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.queue.lock().ring(self.party.is_known).remove(self.party.key, self.number);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.pass_on();
        }
    }
}

impl QueueState {
    fn ring(&mut self, is_known: bool) -> &mut Ring {
        if is_known { &mut self.known } else { &mut self.strangers }
    }

    fn next(&mut self) -> Option<Waiter> {
        let first = self.is_for_known;
        self.is_for_known = !first;
        self.ring(first).pop().or_else(|| self.ring(!first).pop())
    }
}

impl Ring {
    fn push(&mut self, party: u64, waiter: Waiter) {
        let waiters = self.waiters.entry(party).or_default();
        if waiters.is_empty() {
            self.order.push_back(party);
        }
        waiters.push_back(waiter);
        self.count += 1;
    }

    /// The first login of the party whose turn it is. The party moves to the end.
    fn pop(&mut self) -> Option<Waiter> {
        let party = self.order.pop_front()?;
        let waiters = self.waiters.get_mut(&party)?;
        let waiter = waiters.pop_front()?;
        self.count -= 1;
        if waiters.is_empty() {
            self.waiters.remove(&party);
        } else {
            self.order.push_back(party);
        }
        Some(waiter)
    }

    /// Removes the last login of the party with the most waiting, if it has more than one.
    fn displace(&mut self) -> Option<Waiter> {
        let longest = self.waiters.values_mut().max_by_key(|waiters| waiters.len())?;
        if longest.len() < 2 {
            return None;
        }
        self.count -= 1;
        longest.pop_back()
    }

    fn remove(&mut self, party: u64, number: u64) {
        let Some(waiters) = self.waiters.get_mut(&party) else { return };
        let Some(at) = waiters.iter().position(|waiter| waiter.number == number) else { return };
        waiters.remove(at);
        self.count -= 1;
        if waiters.is_empty() {
            self.waiters.remove(&party);
            self.order.retain(|other| *other != party);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(key: u64) -> Party {
        Party { key, is_known: false, share: 3 }
    }

    fn known(key: u64) -> Party {
        Party { is_known: true, ..stranger(key) }
    }

    fn waiting(queue: &Arc<Queue>, party: Party) -> Waiting {
        match queue.enter(party) {
            Entered::Waiting(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    }

    /// The turn, if it has come.
    fn turn(waiting: &mut Waiting) -> Option<Turn> {
        waiting.turn.try_recv().ok()
    }

    fn first(queue: &Arc<Queue>) -> Turn {
        let Entered::Turn(turn) = queue.enter(stranger(0)) else { panic!("somebody is before the first") };
        turn
    }

    /// Lets one after the other go, and says whose turns they were.
    fn order(mut running: Turn, mut all: Vec<Waiting>) -> Vec<u64> {
        let mut order = Vec::new();
        while !all.is_empty() {
            drop(running);
            let (at, turn) = all.iter_mut().enumerate().find_map(|(at, waiting)| Some((at, turn(waiting)?))).unwrap();
            order.push(all.remove(at).party.key);
            running = turn;
        }
        order
    }

    #[test]
    fn parties_take_turns_however_many_of_one_wait() {
        let queue = Queue::bounded(1, 100);
        let running = first(&queue);
        let all = [1, 1, 1, 2, 3, 2].map(|key| waiting(&queue, stranger(key)));
        assert!(matches!(queue.enter(stranger(1)), Entered::Full), "its share is taken");
        assert_eq!(order(running, all.into()), [1, 2, 3, 1, 2, 1]);
        let state = queue.lock();
        assert_eq!((state.running, state.strangers.count), (0, 0));
    }

    #[test]
    fn every_other_turn_is_for_those_who_are_known() {
        let queue = Queue::bounded(1, 100);
        let running = first(&queue);
        let mut all: Vec<_> = (1..7).map(|key| waiting(&queue, stranger(key))).collect();
        all.extend([11, 12].map(|key| waiting(&queue, known(key))));
        assert_eq!(order(running, all), [1, 11, 2, 12, 3, 4, 5, 6]);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_the_party_with_most_in_it() {
        let queue = Queue::bounded(1, 5);
        let running = first(&queue);
        let mut greedy: Vec<_> = (0..3).map(|_| waiting(&queue, stranger(1))).collect();
        let mut others: Vec<_> = [2, 3, 4, 5].map(|key| waiting(&queue, stranger(key))).into();
        assert!(greedy.pop().unwrap().turn().await.is_none(), "two of it made room");
        assert!(greedy.pop().unwrap().turn().await.is_none());
        assert!(matches!(queue.enter(stranger(6)), Entered::Full), "nobody has more than one");
        others.push(waiting(&queue, known(7)));
        others.insert(0, greedy.pop().unwrap());
        assert_eq!(order(running, others), [1, 7, 2, 3, 4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_or_waits_too_long_is_out_of_the_queue() {
        let queue = Queue::bounded(1, 2);
        let running = first(&queue);
        let (left, mut right) = (waiting(&queue, stranger(1)), waiting(&queue, stranger(2)));
        drop(left);
        let late = waiting(&queue, stranger(3));
        assert!(late.turn().await.is_none());
        assert_eq!(queue.lock().strangers.count, 1);
        drop(running);
        let running = turn(&mut right).unwrap();
        // A turn that comes in the moment in which somebody leaves goes on to the next.
        let (leaving, mut next) = (waiting(&queue, stranger(4)), waiting(&queue, stranger(5)));
        let mut got = leaving;
        drop(running);
        got.turn.close();
        drop(got);
        assert!(turn(&mut next).is_some());
        drop(next);
        assert_eq!(queue.lock().running, 0);
    }
}
