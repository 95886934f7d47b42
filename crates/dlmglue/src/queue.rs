//! Users of this node that wait for a level, in the order in which they came.

use std::collections::VecDeque;
use std::task::Waker;

use dlm::Errno;

use crate::Level;

/// Why a user did not get a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It would have had to wait, and did not want to.
    WouldWait,
    /// The lock manager refused.
    Refused(Errno),
    /// Membership is lost, or the cluster was left.
    Lost,
}

/// What a waiter is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Those who wait, and the outcomes that were not fetched yet.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    tickets: u64,
    waiting: VecDeque<Waiter>,
    settled: Vec<(Ticket, Result<(), Failure>)>,
    /// To be woken once the resource's mutex is let go of.
    wakers: Vec<Waker>,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    level: Level,
    /// Whether the lock manager may make it wait for another node.
    patient: bool,
    waker: Waker,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The level that is next, and whether it may wait for another node.
    pub(crate) fn front(&self) -> Option<(Level, bool)> {
        self.waiting.front().map(|waiter| (waiter.level, waiter.patient))
    }

    /// Whether anybody wants more than that.
    pub(crate) fn wants_above(&self, level: Level) -> bool {
        self.waiting.iter().any(|waiter| waiter.level > level)
    }

    pub(crate) fn push(&mut self, level: Level, patient: bool, waker: Waker) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.push_back(Waiter { ticket, level, patient, waker });
        ticket
    }

    /// The outcome of a waiter, which is then forgotten; or `None`, and from then on `waker` is
    /// woken.
    pub(crate) fn fetch(&mut self, ticket: Ticket, waker: &Waker) -> Option<Result<(), Failure>> {
        if let Some(outcome) = self.take_settled(ticket) {
            return Some(outcome);
        }
        if let Some(waiter) = self.waiting.iter_mut().find(|waiter| waiter.ticket == ticket) {
            waiter.waker.clone_from(waker);
        }
        None
    }

    /// Takes a waiter out, with its outcome if that has come.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Result<(), Failure>> {
        self.waiting.retain(|waiter| waiter.ticket != ticket);
        self.take_settled(ticket)
    }

    /// Lets the first one have what it wants.
    pub(crate) fn settle_front(&mut self) {
        if let Some(waiter) = self.waiting.pop_front() {
            self.settle(waiter, Ok(()));
        }
    }

    /// Turns away those who want more than `level`: all, or only the impatient.
    pub(crate) fn fail_above(&mut self, level: Level, only_impatient: bool, failure: Failure) {
        let turned_away =
            |waiter: &Waiter| waiter.level > level && !(only_impatient && waiter.patient);
        let (away, stay): (VecDeque<_>, _) = self.waiting.drain(..).partition(turned_away);
        self.waiting = stay;
        for waiter in away {
            self.settle(waiter, Err(failure));
        }
    }

    /// Has somebody else woken with those whose outcome has come.
    pub(crate) fn wake(&mut self, waker: Waker) {
        self.wakers.push(waker);
    }

    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }

    fn settle(&mut self, waiter: Waiter, outcome: Result<(), Failure>) {
        self.settled.push((waiter.ticket, outcome));
        self.wakers.push(waiter.waker);
    }

    fn take_settled(&mut self, ticket: Ticket) -> Option<Result<(), Failure>> {
        let at = self.settled.iter().position(|(settled, _)| *settled == ticket)?;
        Some(self.settled.swap_remove(at).1)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn queue(levels: &[(Level, bool)]) -> (Queue, Vec<Ticket>) {
        let mut queue = Queue::default();
        let tickets = levels
            .iter()
            .map(|&(level, patient)| queue.push(level, patient, Waker::noop().clone()));
        let tickets = tickets.collect();
        (queue, tickets)
    }

    #[test]
    fn who_came_first_is_served_first_and_fetches_the_outcome_once() {
        let (mut queue, tickets) = queue(&[(Level::EX, true), (Level::PR, true)]);
        assert_eq!(queue.front(), Some((Level::EX, true)));
        queue.settle_front();
        assert_eq!(queue.front(), Some((Level::PR, true)));
        assert_eq!(queue.fetch(tickets[0], Waker::noop()), Some(Ok(())));
        assert_eq!(queue.fetch(tickets[0], Waker::noop()), None);
        assert_eq!(queue.take_wakers().len(), 1);
        assert_eq!(queue.remove(tickets[1]), None);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_refusal_reaches_those_who_want_more_than_is_held() {
        let wanted = [(Level::EX, false), (Level::PR, true), (Level::EX, true)];
        let (mut queue, tickets) = queue(&wanted);
        queue.fail_above(Level::PR, true, Failure::WouldWait);
        assert_eq!(queue.fetch(tickets[0], Waker::noop()), Some(Err(Failure::WouldWait)));
        assert!(queue.wants_above(Level::PR));
        queue.fail_above(Level::PR, false, Failure::Lost);
        assert_eq!(queue.remove(tickets[2]), Some(Err(Failure::Lost)));
        assert_eq!(queue.front(), Some((Level::PR, true)));
    }
}
