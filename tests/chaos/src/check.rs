//! The rules that a history must keep, each as a function (docs/protocol.md, sections 2 and 6).
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Answer, EndReason, Event, Exchange, History, Request, SessionId};

/// What is wrong with the history, a sentence for each fault; empty if nothing is.
#[must_use]
pub fn check(history: &History) -> Vec<String> {
    let facts = Facts::of(history);
    let rules: [fn(&Facts<'_>) -> Vec<String>; 7] = [
        nobody_honest_is_logged_out,
        no_used_key_is_accepted,
        rotations_are_a_line,
        what_was_acknowledged_holds,
        a_theft_ends_the_session,
        everybody_is_in_again,
        nobody_is_somebody_else,
    ];
    rules.iter().flat_map(|rule| rule(&facts)).collect()
}

/// A history, sorted for the rules.
struct Facts<'a> {
    history: &'a History,
    /// The uses of keys, by session.
    uses: BTreeMap<SessionId, Vec<Exchange<'a>>>,
    /// When the browser first asked for the session.
    begun: BTreeMap<SessionId, usize>,
    logouts: Vec<Exchange<'a>>,
}

impl<'a> Facts<'a> {
    fn of(history: &'a History) -> Self {
        let mut facts = Self { history, uses: BTreeMap::new(), begun: BTreeMap::new(), logouts: Vec::new() };
        for exchange in history.exchanges() {
            match exchange.request {
                Request::Login => {
                    if let Some((_, key)) = exchange.accepted() {
                        facts.begun.entry(key.session).or_insert(exchange.sent);
                    }
                }
                Request::Use { key, .. } => facts.uses.entry(key.session).or_default().push(exchange),
                Request::Logout(_) => facts.logouts.push(exchange),
            }
        }
        facts
    }

    fn is_bound(&self, browser: usize) -> bool {
        self.history.browsers[browser].bound
    }

    /// Whether the session may be over at `at`: its user has logged out, or somebody has used a
    /// copied key of it.
    fn may_be_over(&self, browser: usize, session: SessionId, at: usize) -> bool {
        let begun = self.begun.get(&session).copied().unwrap_or_default();
        let logged_out = self.history.events[begun..at].contains(&Event::LogsOut { browser });
        logged_out || self.robbed(session).is_some_and(|robbed| robbed < at)
    }

    /// When somebody first sent a copied key of this bearer session.
    fn robbed(&self, session: SessionId) -> Option<usize> {
        let mut thefts = self.uses.get(&session).into_iter().flatten().filter(|exchange| exchange.is_theft());
        thefts.find(|theft| !self.is_bound(theft.browser())).map(|theft| theft.sent)
    }

    fn calm(&self) -> Option<usize> {
        self.history.events.iter().position(|event| *event == Event::Calm)
    }
}

/// Only a logout or a theft ends a session.
fn nobody_honest_is_logged_out(facts: &Facts<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, event) in facts.history.events.iter().enumerate() {
        if let Event::Ended { browser, session, reason } = event
            && !facts.may_be_over(*browser, *session, at)
        {
            wrong.push(format!("browser {browser} was logged out of {session} at {at}: {reason:?}"));
        }
    }
    wrong
}

/// Of a bearer session each key is accepted for one attempt only, or on a connection that has used
/// it before. A copied key of a bound session is not accepted at all.
fn no_used_key_is_accepted(facts: &Facts<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (session, uses) in &facts.uses {
        for exchange in uses.iter().filter(|exchange| exchange.accepted().is_some()) {
            let Some((key, attempt)) = exchange.used() else { continue };
            let says = |why: &str| {
                format!("{why}: key {} of {session}, by {:?} at {}", key.generation, exchange.by, exchange.sent)
            };
            if facts.is_bound(exchange.browser()) {
                if exchange.is_theft() {
                    wrong.push(says("a copied key of a bound session was accepted"));
                }
                continue;
            }
            let others = |other: &&Exchange<'_>| other.used().is_some_and(|(used, by)| used == key && by != attempt);
            let is_ours = |other: &&Exchange<'_>| other.connection == exchange.connection && other.sent < exchange.sent;
            let accepted_before = uses
                .iter()
                .filter(others)
                .any(|other| other.accepted().is_some_and(|(answered, _)| answered < exchange.sent));
            if accepted_before && !uses.iter().filter(others).any(|other| is_ours(&other)) {
                wrong.push(says("a used key was accepted"));
            }
        }
    }
    wrong
}

/// Each generation has one key; a use makes the next one; what was answered before a use was sent
/// is not newer than its answer.
fn rotations_are_a_line(facts: &Facts<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (session, uses) in &facts.uses {
        let mut texts: BTreeMap<u64, &str> = BTreeMap::new();
        let mut answered: Vec<(usize, u64)> = Vec::new();
        for exchange in uses {
            let (Some((used, _)), Some((at, made))) = (exchange.used(), exchange.accepted()) else { continue };
            for key in [used, made] {
                if *texts.entry(key.generation).or_insert(&key.text) != key.text {
                    wrong.push(format!("generation {} of {session} has two keys", key.generation));
                }
            }
            let next = used.generation + 1;
            let catches_up = facts.is_bound(exchange.browser()) && made.generation > next;
            if made.session != *session || made.generation != next && !catches_up {
                wrong.push(format!(
                    "a use of key {} of {session} made {} of {}",
                    used.generation, made.generation, made.session
                ));
            }
            let before = answered.iter().filter(|(answered, _)| *answered < exchange.sent).map(|(_, made)| *made).max();
            if before > Some(made.generation) {
                wrong.push(format!(
                    "{session}: a use sent at {} made {}, after {before:?}",
                    exchange.sent, made.generation
                ));
            }
            answered.push((at, made.generation));
        }
    }
    wrong
}

/// What ended by a logout that was answered stays ended; and a key that was handed out opens its
/// session, as long as that has not ended.
fn what_was_acknowledged_holds(facts: &Facts<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for logout in &facts.logouts {
        let (Request::Logout(session), Some((done, Answer::Done))) = (logout.request, logout.answer) else { continue };
        let uses = facts.uses.get(session).into_iter().flatten();
        for exchange in uses.filter(|exchange| exchange.sent > done && exchange.accepted().is_some()) {
            wrong.push(format!("{session} was logged out at {done}, and opened at {}", exchange.sent));
        }
    }
    for (session, uses) in &facts.uses {
        let mut seen = BTreeSet::new();
        // A message that comes when the next key was used already is a stale retry, and means
        // nothing.
        let is_overtaken = |generation: u64, by: usize| {
            let earlier = uses.iter().filter(|exchange| exchange.sent < by);
            earlier.filter_map(Exchange::used).any(|(key, _)| key.generation > generation)
        };
        for exchange in uses.iter().filter(|exchange| !exchange.is_theft()) {
            let Some((key, _)) = exchange.used() else { continue };
            let is_first = seen.insert(key.generation);
            let Some(refused) = exchange.refused() else { continue };
            let browser = exchange.browser();
            let has_to_open = is_first && !is_overtaken(key.generation, refused) || facts.is_bound(browser);
            if has_to_open && !facts.may_be_over(browser, *session, refused) {
                wrong
                    .push(format!("key {} of {session} was refused to browser {browser} at {refused}", key.generation));
            }
        }
    }
    wrong
}

/// Once a thief and the owner have both used a key of a bearer session, nobody holds the session;
/// where nothing disturbs it, the owner's page says why.
fn a_theft_ends_the_session(facts: &Facts<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (session, uses) in &facts.uses {
        for theft in uses.iter().filter(|exchange| exchange.is_theft() && !facts.is_bound(exchange.browser())) {
            let Some(refused) = theft.refused().or_else(|| noticed(uses, theft)) else { continue };
            for exchange in uses.iter().filter(|exchange| exchange.sent > refused && exchange.accepted().is_some()) {
                wrong.push(format!("{session} was stolen at {refused}, and opened at {}", exchange.sent));
            }
            let mut reasons = facts.history.events.iter().filter_map(|event| match event {
                Event::Ended { session: ended, reason, .. } if ended == session => Some(*reason),
                _ => None,
            });
            let is_calm = facts.calm().is_some_and(|calm| calm < theft.sent);
            if is_calm && !reasons.any(|reason| reason == EndReason::Stolen) {
                wrong.push(format!("{session} was stolen at {refused}, and its owner was not told"));
            }
        }
    }
    wrong
}

/// When its owner was refused a key that a thief has used.
fn noticed(uses: &[Exchange<'_>], theft: &Exchange<'_>) -> Option<usize> {
    let (stolen, _) = theft.used().filter(|_| theft.accepted().is_some())?;
    let owners = uses.iter().filter(|exchange| !exchange.is_theft());
    owners.filter(|exchange| exchange.used().is_some_and(|(key, _)| key == stolen)).find_map(Exchange::refused)
}

/// At the end each browser shows its user.
fn everybody_is_in_again(facts: &Facts<'_>) -> Vec<String> {
    let mut missing: BTreeSet<usize> = (0..facts.history.browsers.len()).collect();
    let mut wrong = Vec::new();
    for event in &facts.history.events {
        if let Event::AtLast { browser, user } = event {
            missing.remove(browser);
            if user.as_ref() != Some(&facts.history.browsers[*browser].user) {
                wrong.push(format!("at last, browser {browser} shows {user:?}"));
            }
        }
    }
    if !missing.is_empty() {
        wrong.push(format!("at last, these browsers are missing: {missing:?}"));
    }
    wrong
}

/// No tab ever shows another user than its own.
fn nobody_is_somebody_else(facts: &Facts<'_>) -> Vec<String> {
    let events = facts.history.events.iter();
    let shown = events.filter_map(|event| match event {
        Event::Shows { browser, user } => Some((*browser, user)),
        _ => None,
    });
    let others = shown.filter(|(browser, user)| facts.history.browsers[*browser].user != **user);
    others.map(|(browser, user)| format!("browser {browser} shows {user}")).collect()
}

#[cfg(test)]
mod tests;
