//! Each rule on a history that keeps it, and on histories that break it.

use super::*;
use crate::history::{Key, Owner, Sender};

const SESSION: SessionId = SessionId([7; 16]);
/// The browser with a bearer session, and the one with a bound session.
const BEARER: usize = 0;
const BOUND: usize = 1;

/// Makes up a history.
#[derive(Default)]
struct Story(History);

fn key(generation: u64) -> Key {
    Key { session: SESSION, generation, text: format!("key {generation}") }
}

impl Story {
    fn new() -> Self {
        let owner = |user: &str, bound| Owner { user: user.to_owned(), bound };
        Self(History { browsers: vec![owner("jane", false), owner("joe", true)], events: Vec::new() })
    }

    fn event(mut self, event: Event) -> Self {
        self.0.events.push(event);
        self
    }

    fn sends(self, by: Sender, connection: u64, request: Request) -> Self {
        let id = self.0.events.len() as u64;
        self.event(Event::Sent { id, by, connection, request })
    }

    /// The answer to what was sent last but `back`.
    fn gets_back(self, back: usize, answer: Answer) -> Self {
        let sent = self.0.events.iter().filter_map(|event| match event {
            Event::Sent { id, .. } => Some(*id),
            _ => None,
        });
        let id = sent.rev().nth(back).unwrap();
        self.event(Event::Answered { id, answer })
    }

    fn gets(self, answer: Answer) -> Self {
        self.gets_back(0, answer)
    }

    fn uses(self, by: Sender, connection: u64, generation: u64, attempt: &str) -> Self {
        self.sends(by, connection, Request::Use { key: key(generation), attempt: attempt.to_owned() })
    }

    fn logs_in(self, browser: usize) -> Self {
        self.sends(Sender::Owner(browser), 1, Request::Login).gets(Answer::Key(key(1)))
    }

    /// Two uses, each on a connection of its own.
    fn lives(self, browser: usize) -> Self {
        let story = self.logs_in(browser).uses(Sender::Owner(browser), 1, 1, "a").gets(Answer::Key(key(2)));
        story.uses(Sender::Owner(browser), 2, 2, "b").gets(Answer::Key(key(3)))
    }

    fn ends(self, browser: usize, reason: EndReason) -> Self {
        self.event(Event::Ended { browser, session: SESSION, reason })
    }

    /// All are in at the end; the complaints.
    fn complaints(self) -> Vec<String> {
        let at_last = |browser, user: &str| Event::AtLast { browser, user: Some(user.to_owned()) };
        check(&self.event(at_last(BEARER, "jane")).event(at_last(BOUND, "joe")).0)
    }

    /// The one complaint, which has these words.
    fn breaks(self, words: &str) {
        let complaints = self.complaints();
        assert!(complaints.len() == 1 && complaints[0].contains(words), "{complaints:#?}");
    }

    fn holds(self) {
        assert_eq!(self.complaints(), Vec::<String>::new());
    }
}

#[test]
fn an_honest_life_is_in_order() {
    Story::new().lives(BEARER).holds();
    Story::new().lives(BOUND).holds();
    Story::new().lives(BEARER).event(Event::LogsOut { browser: BEARER }).ends(BEARER, EndReason::LoggedOut).holds();
}

#[test]
fn a_logout_without_a_reason_is_found() {
    let ended = |reason| Story::new().lives(BEARER).ends(BEARER, reason);
    ended(EndReason::Refused).breaks("was logged out");
    ended(EndReason::LoggedOutElsewhere).breaks("was logged out");
    // Another's logout, and one's own of before, are no reason.
    let story = Story::new().event(Event::LogsOut { browser: BEARER }).lives(BEARER);
    story.event(Event::LogsOut { browser: BOUND }).ends(BEARER, EndReason::Refused).breaks("was logged out");
    // Nor is the theft of a bound session's key.
    let story = Story::new().lives(BOUND).uses(Sender::Thief(BOUND), 9, 1, "t").gets(Answer::Refused);
    story.ends(BOUND, EndReason::Refused).breaks("was logged out");
}

#[test]
fn a_used_key_that_is_accepted_is_found() {
    let used = |by, attempt| Story::new().lives(BEARER).uses(by, 9, 2, attempt).gets(Answer::Key(key(3)));
    used(Sender::Owner(BEARER), "c").breaks("a used key was accepted");
    used(Sender::Thief(BEARER), "t").breaks("a used key was accepted");
    // A retry is the same use, wherever it comes from; and a connection may use again what it has
    // used.
    used(Sender::Owner(BEARER), "b").holds();
    let story = Story::new().lives(BEARER).uses(Sender::Owner(BEARER), 2, 2, "c");
    story.gets(Answer::Key(key(3))).holds();
    let story = Story::new().lives(BOUND);
    story.uses(Sender::Thief(BOUND), 9, 3, "t").gets(Answer::Key(key(4))).breaks("a copied key of a bound session");
}

#[test]
fn rotations_out_of_line_are_found() {
    let then = |browser, used, made| {
        let story = Story::new().lives(browser).uses(Sender::Owner(browser), 2, used, "c");
        story.gets(Answer::Key(made))
    };
    then(BEARER, 3, key(5)).breaks("made 5");
    then(BOUND, 3, key(3)).breaks("made 3");
    then(BEARER, 3, Key { text: "another".to_owned(), ..key(4) }).holds();
    let other = then(BEARER, 3, Key { text: "another".to_owned(), ..key(4) });
    other.uses(Sender::Owner(BEARER), 2, 4, "d").gets(Answer::Key(key(5))).breaks("has two keys");
    let other = Key { session: SessionId([8; 16]), ..key(4) };
    then(BEARER, 3, other).breaks("made 4 of");
    // A bound session catches up with the newest, and with nothing older.
    then(BOUND, 1, key(3)).holds();
    then(BOUND, 1, key(2)).breaks("after Some(3)");
    // Two that cross may be answered in either order.
    let story = Story::new().lives(BOUND).uses(Sender::Owner(BOUND), 2, 3, "c").uses(Sender::Owner(BOUND), 3, 4, "d");
    story.gets(Answer::Key(key(5))).gets_back(1, Answer::Key(key(4))).holds();
}

#[test]
fn an_acknowledged_write_that_is_lost_is_found() {
    let story = Story::new().lives(BEARER).event(Event::LogsOut { browser: BEARER });
    let story = story.sends(Sender::Owner(BEARER), 2, Request::Logout(SESSION)).gets(Answer::Done);
    story.uses(Sender::Owner(BEARER), 2, 3, "c").gets(Answer::Key(key(4))).breaks("was logged out at");
    let refused = |browser, generation| {
        Story::new().lives(browser).uses(Sender::Owner(browser), 9, generation, "c").gets(Answer::Refused)
    };
    refused(BEARER, 3).breaks("key 3 of");
    refused(BOUND, 1).breaks("key 1 of");
    // A bearer's stale retry is refused, even if it was sent first, and what has ended is.
    refused(BEARER, 1).holds();
    let story = Story::new().logs_in(BEARER).uses(Sender::Owner(BEARER), 1, 1, "a");
    let story = story.uses(Sender::Owner(BEARER), 2, 1, "a").gets(Answer::Key(key(2)));
    story.uses(Sender::Owner(BEARER), 2, 2, "b").gets_back(2, Answer::Refused).holds();
    let story = Story::new().lives(BEARER).event(Event::LogsOut { browser: BEARER });
    story.uses(Sender::Owner(BEARER), 9, 3, "c").gets(Answer::Refused).holds();
}

#[test]
fn a_theft_without_an_end_is_found() {
    let theft = |story: Story| story.uses(Sender::Thief(BEARER), 9, 2, "t").gets(Answer::Refused);
    let stolen = theft(Story::new().lives(BEARER));
    stolen.uses(Sender::Owner(BEARER), 2, 3, "c").gets(Answer::Key(key(4))).breaks("was stolen at");
    theft(Story::new().lives(BEARER)).ends(BEARER, EndReason::Refused).holds();
    // Nor does a thief stay who was faster.
    let story = Story::new().lives(BEARER).uses(Sender::Thief(BEARER), 9, 3, "t").gets(Answer::Key(key(4)));
    let story = story.uses(Sender::Owner(BEARER), 2, 3, "c").gets(Answer::Refused);
    story.uses(Sender::Thief(BEARER), 9, 4, "u").gets(Answer::Key(key(5))).breaks("was stolen at");
    // Where nothing disturbs it, the owner learns why.
    theft(Story::new().lives(BEARER).event(Event::Calm)).ends(BEARER, EndReason::Refused).breaks("was not told");
    theft(Story::new().lives(BEARER).event(Event::Calm)).ends(BEARER, EndReason::Stolen).holds();
}

#[test]
fn a_browser_that_stays_out_is_found() {
    let at_last = |user: Option<&str>| Event::AtLast { browser: BEARER, user: user.map(str::to_owned) };
    Story::new().lives(BEARER).event(at_last(None)).breaks("browser 0 shows None");
    Story::new().event(at_last(Some("joe"))).breaks("browser 0 shows Some(\"joe\")");
    let missing = check(&Story::new().event(at_last(Some("jane"))).0);
    assert_eq!(missing, ["at last, these browsers are missing: {1}"]);
}

#[test]
fn a_tab_that_shows_another_user_is_found() {
    let shows = |user: &str| Story::new().event(Event::Shows { browser: BEARER, user: user.to_owned() });
    shows("joe").breaks("browser 0 shows joe");
    shows("jane").holds();
}
