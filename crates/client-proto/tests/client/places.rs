//! The storage record in localStorage and in the log of a database: tabs that come between each
//! other's steps, and places that lose what they had or do not answer.

use std::collections::BTreeSet;

use proptest::prelude::*;
use relogin_client_proto::{
    Secret,
    storage::{Log, LogEntry, LogRemoval, RecordStorage, StorageAction, StorageInput, Unavailable},
};

use crate::login::{key, record};

type Text = Option<String>;

/// A browser's two places.
#[derive(Debug, Default)]
struct Places {
    local: Text,
    log: Log,
    appended: u64,
    /// How many databases there have been: a tab notices that its own is gone.
    databases: u32,
    is_silent: bool,
    takes_nothing: bool,
    is_local_refused: bool,
}

/// A tab, and the operation on them that it is in the middle of, if any.
#[derive(Debug, Default)]
struct Tab {
    storage: RecordStorage,
    action: Option<StorageAction>,
    database: u32,
}

fn secret(text: Option<&str>) -> Option<Secret> {
    text.map(|text| Secret::new(text.to_owned()))
}

fn text(secret: Option<Secret>) -> Text {
    secret.map(|secret| secret.expose().to_owned())
}

impl Places {
    fn answer(&mut self, tab: &mut Tab, action: StorageAction) -> StorageInput {
        let refused = |is_refused| if is_refused { Err(Unavailable) } else { Ok(()) };
        match action {
            StorageAction::ReadLocal => {
                StorageInput::Local(refused(self.is_local_refused).map(|()| secret(self.local.as_deref())))
            }
            StorageAction::WriteLocal(to) => StorageInput::LocalWritten(refused(self.is_local_refused).inspect(|()| {
                self.local = text(to);
            })),
            StorageAction::ReadLog => {
                tab.database = self.databases;
                StorageInput::Log(refused(self.is_silent).map(|()| self.log.clone()))
            }
            StorageAction::Append(append) => {
                if self.takes_nothing || self.is_silent || tab.database != self.databases {
                    return StorageInput::Appended(Err(Unavailable));
                }
                self.appended += 1;
                let name = append.text.as_ref().map(|_| format!("text {}", self.appended));
                self.log.texts.extend(name.clone().zip(append.text));
                let entry = LogEntry { at: self.appended, from: append.from, text: name, ended: append.ended };
                self.log.entries.push(entry);
                self.remove(&append.remove);
                StorageInput::Appended(Ok(self.appended))
            }
            StorageAction::Remove(removal) => {
                if tab.database == self.databases {
                    self.remove(&removal);
                }
                StorageInput::Removed
            }
            StorageAction::Settle => StorageInput::Settled,
            StorageAction::Done { .. } => unreachable!("it asks for nothing"),
        }
    }

    fn remove(&mut self, removal: &LogRemoval) {
        self.log.entries.retain(|entry| !removal.entries.contains(&entry.at));
        self.log.texts.retain(|(name, _)| !removal.texts.contains(name));
    }

    /// The user, or the browser, deletes the database.
    fn lose_log(&mut self) {
        self.log = Log::default();
        self.databases += 1;
    }

    fn logged(&self) -> Vec<&str> {
        self.log.texts.iter().map(|(_, text)| text.expose()).collect()
    }
}

impl Tab {
    fn begin(&mut self, input: StorageInput) {
        self.action = Some(self.storage.handle(input));
    }

    /// One step further; what it came to, once it is done.
    fn step(&mut self, places: &mut Places) -> Option<Text> {
        match self.action.take()? {
            StorageAction::Done { text: done, .. } => Some(text(done)),
            action => {
                let input = places.answer(self, action);
                self.begin(input);
                None
            }
        }
    }

    fn run(&mut self, places: &mut Places) -> Text {
        (0..100).find_map(|_| self.step(places)).expect("it ends")
    }

    fn read(&mut self, places: &mut Places) -> Text {
        self.begin(StorageInput::Read);
        self.run(places)
    }

    fn swap(&mut self, places: &mut Places, from: Option<&str>, to: Option<&str>) -> Text {
        self.begin(StorageInput::Swap { from: secret(from), to: secret(to) });
        self.run(places)
    }

    /// What storage really has.
    fn look(&mut self, places: &mut Places) -> Text {
        self.swap(places, None, None)
    }
}

fn begun(session: u8, generation: u64) -> String {
    let record = record(&key(session, generation), generation);
    record.replace('}', r#","attempt":"AQEBAQEBAQEBAQEBAQEBAQ"}"#)
}

fn a(generation: u64) -> String {
    record(&key(1, generation), generation)
}

fn b(generation: u64) -> String {
    record(&key(2, generation), generation)
}

/// As a tab writes it to localStorage while the log does not take it.
fn unlogged(text: &str) -> String {
    text.replacen('{', r#"{"unlogged":"","#, 1)
}

fn with(text: &str) -> (Places, Tab) {
    let (mut places, mut tab) = (Places::default(), Tab::default());
    assert_eq!(tab.swap(&mut places, None, Some(text)).as_deref(), Some(text));
    (places, tab)
}

#[test]
fn both_places_have_the_text_and_nothing_of_the_one_before() {
    let (mut places, mut tab) = with(&a(1));
    for (from, to) in [(a(1), begun(1, 1)), (begun(1, 1), a(2)), (a(2), b(1))] {
        assert_eq!(tab.swap(&mut places, Some(&from), Some(&to)), Some(to.clone()));
        assert_eq!((places.local.as_ref(), places.logged()), (Some(&to), vec![to.as_str()]));
    }
    assert_eq!(tab.swap(&mut places, Some(&b(1)), None), None);
    assert_eq!((&places.local, places.logged()), (&None, vec![]), "no key outlives the swap that removed it");
    assert_eq!(Tab::default().swap(&mut places, Some(&b(1)), Some(&b(2))), None);
}

#[test]
fn local_storage_answers_at_once_and_where_it_has_nothing_the_log_does() {
    let (mut places, _) = with(&a(1));
    places.is_silent = true;
    assert_eq!(Tab::default().read(&mut places), Some(a(1)));
    (places.is_silent, places.local) = (false, None);
    assert_eq!(Tab::default().read(&mut places), Some(a(1)));
    assert_eq!(places.local, Some(a(1)));
}

#[test]
fn what_one_place_lost_the_other_restores() {
    let (mut places, mut tab) = with(&a(1));
    places.lose_log();
    assert_eq!(tab.look(&mut places), Some(a(1)));
    assert_eq!(places.logged(), [a(1)]);
    places.local = None;
    assert_eq!(tab.swap(&mut places, Some(&a(1)), Some(&a(2))), Some(a(2)));
    assert_eq!(places.local, Some(a(2)));
    places.local = Some(a(1));
    assert_eq!(Tab::default().look(&mut places), Some(a(2)), "an older text");
    assert_eq!(places.local, Some(a(2)));
}

/// WebKit, whose network process ends: with the databases it takes what it has not yet written to
/// disk of localStorage.
#[test]
fn what_local_storage_loses_with_its_database_an_open_page_knows() {
    let (mut places, mut tab) = with(&a(4));
    tab.swap(&mut places, Some(&a(4)), Some(&a(5)));
    places.is_silent = true;
    for lost in [None, Some(a(4))] {
        places.local.clone_from(&lost);
        assert_eq!(tab.look(&mut places), Some(a(5)), "{lost:?}");
        assert_eq!(tab.swap(&mut places, lost.as_deref(), Some(&a(9))), Some(a(5)), "{lost:?} is not what counts");
    }
    assert_eq!(tab.swap(&mut places, Some(&a(5)), Some(&begun(1, 5))), Some(begun(1, 5)));
    places.local = Some(a(5));
    assert_eq!(tab.look(&mut places), Some(begun(1, 5)), "an attempt that may have been sent");
    assert_eq!(tab.swap(&mut places, Some(&begun(1, 5)), Some(&a(6))), Some(a(6)));
    places.local = None;
    assert_eq!(tab.look(&mut places), Some(a(6)), "what the log never had");
    assert_eq!(Tab::default().look(&mut places), None, "nobody else knows it");

    // What is no loss counts: a newer key, another session, a logout.
    for (local, counts) in [
        (a(7), Some(a(7))),
        (b(1), Some(b(1))),
        (r#"{"unlogged":"x=1"}"#.to_owned(), None),
        (r#"{"more":1}"#.to_owned(), Some(r#"{"more":1}"#.to_owned())),
    ] {
        places.local = Some(local);
        assert_eq!(tab.look(&mut places), counts);
    }
    assert_eq!(tab.swap(&mut places, Some(r#"{"more":1}"#), Some(&a(8))), Some(a(8)));
    assert_eq!(tab.swap(&mut places, Some(&a(8)), None), None);
    places.local = None;
    assert_eq!(tab.look(&mut places), None, "its own logout");

    // Where there never was a database, clearing localStorage clears everything.
    let (mut places, mut tab) = (Places { is_silent: true, ..Places::default() }, Tab::default());
    tab.swap(&mut places, None, Some(&a(1)));
    places.local = None;
    assert_eq!(tab.look(&mut places), None);
}

/// The database comes back while the page is open, as old as it was, and localStorage has not kept
/// what was written meanwhile.
#[test]
fn what_local_storage_loses_until_the_database_is_back_an_open_page_knows() {
    for lost in [None, Some(a(4)), Some(a(5))] {
        let (mut places, mut tab) = with(&a(4));
        places.is_silent = true;
        assert_eq!(tab.swap(&mut places, Some(&a(4)), Some(&a(5))), Some(a(5)));
        assert_eq!(tab.swap(&mut places, Some(&a(5)), Some(&begun(1, 6))), Some(begun(1, 6)));
        places.local.clone_from(&lost);
        places.is_silent = false;
        assert_eq!(tab.swap(&mut places, lost.as_deref(), Some(&a(9))), Some(begun(1, 6)), "{lost:?}");
        assert_eq!(places.logged(), [begun(1, 6)], "{lost:?}");
        assert_eq!(Tab::default().look(&mut places), Some(begun(1, 6)), "{lost:?}");
    }

    // What others have done with the database meanwhile counts.
    for (from, counts) in [(a(7), Some(a(7))), (b(1), Some(b(1)))] {
        let (mut places, mut tab) = with(&a(4));
        places.is_silent = true;
        tab.swap(&mut places, Some(&a(4)), Some(&a(5)));
        places.is_silent = false;
        places.local = Some(a(4));
        Tab::default().swap(&mut places, Some(&a(4)), Some(&from));
        places.local = None;
        assert_eq!(tab.swap(&mut places, None, Some(&a(9))), counts);
    }
    let (mut places, mut tab) = with(&a(4));
    places.is_silent = true;
    tab.swap(&mut places, Some(&a(4)), Some(&a(5)));
    places.is_silent = false;
    places.local = Some(a(4));
    assert_eq!(Tab::default().swap(&mut places, Some(&a(4)), None), None);
    places.local = None;
    assert_eq!(tab.look(&mut places), None, "a logout that the log has");

    // Somebody has cleared both.
    let (mut places, mut tab) = with(&a(4));
    places.is_silent = true;
    tab.swap(&mut places, Some(&a(4)), Some(&a(5)));
    places.is_silent = false;
    places.local = None;
    places.lose_log();
    assert_eq!(tab.look(&mut places), None);
}

#[test]
fn a_database_that_goes_between_look_and_swap_loses_nothing() {
    let (mut places, mut tab) = with(&a(1));
    tab.begin(StorageInput::Swap { from: secret(Some(&a(1))), to: secret(Some(&a(2))) });
    while !matches!(tab.action, Some(StorageAction::Append(_))) {
        assert_eq!(tab.step(&mut places), None);
    }
    places.lose_log();
    assert_eq!(tab.run(&mut places), Some(a(2)));
    assert_eq!((places.logged(), &places.local), (vec![a(2).as_str()], &Some(a(2))));
}

#[test]
fn no_older_text_brings_back_what_was_removed() {
    let (mut places, mut tab) = with(&a(1));
    tab.swap(&mut places, Some(&a(1)), None);
    for older in [a(1), a(9), b(1), unlogged(&a(1))] {
        places.local = Some(older.clone());
        assert_eq!(Tab::default().look(&mut places), None, "{older}");
        assert_eq!(places.local, None);
    }
}

#[test]
fn what_the_log_did_not_take_moves_in_once_it_answers() {
    let (mut places, mut tab) = with(&a(1));
    for is_full in [false, true] {
        let (before, after) = if is_full { (a(3), a(5)) } else { (a(1), a(3)) };
        (places.is_silent, places.takes_nothing) = (!is_full, is_full);
        let middle = if is_full { a(4) } else { a(2) };
        assert_eq!(tab.swap(&mut places, Some(&before), Some(&middle)), Some(middle.clone()));
        assert_eq!(tab.swap(&mut places, Some(&middle), Some(&after)), Some(after.clone()));
        assert_eq!(places.logged(), [before.as_str()]);
        (places.is_silent, places.takes_nothing) = (false, false);
        assert_eq!(
            Tab::default().look(&mut places).map(|text| text.contains(&key(1, if is_full { 5 } else { 3 }))),
            Some(true)
        );
        assert_eq!(places.logged().len(), 1);
        assert_eq!(tab.swap(&mut places, Some(&after), Some(&after)), places.local);
    }
}

/// A sibling sees the mark in localStorage, and is the first to put the text into the log. Who
/// swaps knows that it has succeeded by the text, so that is the same to the letter.
#[test]
fn a_swap_that_a_sibling_has_finished_succeeds_to_the_letter() {
    let (mut places, mut tab) = with(&a(1));
    let pending = format!(r#"{{"pendingLogouts":[{}]}}"#, begun(1, 1));
    tab.begin(StorageInput::Swap { from: secret(Some(&a(1))), to: secret(Some(&pending)) });
    while !matches!(tab.action, Some(StorageAction::ReadLog)) {
        assert_eq!(tab.step(&mut places), None);
    }
    assert_eq!(Tab::default().look(&mut places).as_ref(), Some(&pending));
    assert_eq!(tab.run(&mut places).as_ref(), Some(&pending));
    assert_eq!(places.logged(), [pending]);
}

#[test]
fn a_logout_or_login_that_the_log_did_not_take_counts_later() {
    let (mut places, mut tab) = with(&a(1));
    places.is_silent = true;
    assert_eq!(tab.swap(&mut places, Some(&a(1)), None), None);
    assert!(!places.local.as_ref().unwrap().contains("key"));
    let mut next = Tab::default();
    assert_eq!(next.read(&mut places), None);
    places.is_silent = false;
    assert_eq!(next.read(&mut places), None, "the log has the older one still");
    assert_eq!((places.logged(), &places.local), (vec![], &None));
    places.is_silent = true;
    assert_eq!(next.swap(&mut places, None, Some(&b(1))), Some(b(1)));
    places.is_silent = false;
    assert!(next.look(&mut places).unwrap().contains(&key(2, 1)), "later than the removal");
}

#[test]
fn a_page_that_goes_right_after_a_logout_has_noted_it() {
    let (mut places, mut tab) = with(&a(1));
    tab.begin(StorageInput::Swap { from: secret(Some(&a(1))), to: None });
    while !matches!(tab.action, Some(StorageAction::ReadLog)) {
        assert_eq!(tab.step(&mut places), None);
    }
    assert!(!places.local.as_ref().unwrap().contains("key"), "before the log was asked");
    assert_eq!(Tab::default().read(&mut places), None);
    assert_eq!((places.logged(), &places.local), (vec![], &None));
}

#[test]
fn a_removal_spares_a_newer_key() {
    let (mut places, mut tab) = with(&a(1));
    tab.begin(StorageInput::Swap { from: secret(Some(&a(1))), to: None });
    while !matches!(tab.action, Some(StorageAction::ReadLog)) {
        assert_eq!(tab.step(&mut places), None);
    }
    let note = places.local.replace(a(1));
    assert_eq!(Tab::default().swap(&mut places, Some(&a(1)), Some(&a(2))), Some(a(2)));
    places.local = note;
    assert_eq!(tab.run(&mut places), Some(a(2)));
    assert_eq!((places.logged(), &places.local), (vec![a(2).as_str()], &Some(a(2))));
}

#[test]
fn a_claim_that_the_log_did_not_take_is_not_forgotten() {
    let (mut places, mut tab) = with(&a(1));
    places.is_silent = true;
    tab.swap(&mut places, Some(&a(1)), Some(&begun(1, 1)));
    places.is_silent = false;
    assert!(Tab::default().look(&mut places).unwrap().contains("attempt"));
}

#[test]
fn without_a_log_of_tabs_that_swap_at_once_all_see_the_last() {
    let mut places = Places { is_silent: true, local: Some(a(1)), ..Places::default() };
    let mut tabs = [Tab::default(), Tab::default()];
    let other = begun(1, 1).replace("AQEB", "AgIC");
    for (tab, attempt) in tabs.iter_mut().zip([begun(1, 1), other.clone()]) {
        tab.begin(StorageInput::Swap { from: secret(Some(&a(1))), to: secret(Some(&attempt)) });
        while !matches!(tab.action, Some(StorageAction::WriteLocal(_))) {
            assert_eq!(tab.step(&mut places), None);
        }
    }
    for tab in &mut tabs {
        assert_eq!(tab.step(&mut places), None);
        assert_eq!(tab.action, Some(StorageAction::Settle), "the other may write at this moment");
    }
    let [first, last] = tabs.map(|mut tab| tab.run(&mut places).unwrap());
    assert_eq!(last, other, "to the letter");
    let attempt = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["attempt"].clone();
    assert_eq!(attempt(&first), attempt(&last));
}

#[test]
fn without_local_storage_the_log_is_enough_and_without_both_memory() {
    let mut places = Places { is_local_refused: true, ..Places::default() };
    let mut tab = Tab::default();
    assert_eq!(tab.swap(&mut places, None, Some(&a(1))), Some(a(1)));
    assert_eq!(Tab::default().read(&mut places), Some(a(1)));
    places.is_silent = true;
    assert_eq!(tab.read(&mut places), Some(a(1)), "a database that died is no reason to log anybody out");
    assert_eq!(tab.swap(&mut places, Some(&a(1)), Some(&a(2))), Some(a(2)));
    assert_eq!(tab.read(&mut places), Some(a(2)));
    assert_eq!(Tab::default().read(&mut places), None);
    places.is_silent = false;
    assert!(tab.look(&mut places).unwrap().contains(&key(1, 2)));
    assert!(Tab::default().read(&mut places).unwrap().contains(&key(1, 2)));
}

#[test]
fn a_lost_swap_leaves_no_text_behind() {
    let (mut places, mut one) = with(&a(1));
    let mut other = Tab::default();
    one.begin(StorageInput::Swap { from: secret(Some(&a(1))), to: secret(Some(&begun(1, 1))) });
    while !matches!(one.action, Some(StorageAction::Append(_))) {
        one.step(&mut places);
    }
    assert_eq!(other.swap(&mut places, Some(&a(1)), Some(&a(2))), Some(a(2)));
    assert_eq!(one.run(&mut places), Some(a(2)));
    assert_eq!(places.logged(), [a(2)]);
    assert_eq!(places.local, Some(a(2)));
}

#[test]
fn a_late_lost_swap_is_not_taken_for_the_first_text_of_the_log() {
    let (mut places, mut late) = with(&a(1));
    late.begin(StorageInput::Swap { from: secret(Some(&a(1))), to: secret(Some(&a(2))) });
    while !matches!(late.action, Some(StorageAction::Append(_))) {
        late.step(&mut places);
    }
    let mut tab = Tab::default();
    tab.swap(&mut places, Some(&a(1)), None);
    tab.swap(&mut places, None, Some(&b(1)));
    tab.swap(&mut places, Some(&b(1)), None);
    late.step(&mut places);
    assert_eq!(Tab::default().look(&mut places), None, "frozen before it removes what it wrote");
    assert_eq!(late.run(&mut places), None);
    assert_eq!((places.logged(), &places.local), (vec![], &None));
}

#[test]
fn what_other_tabs_write_to_local_storage_is_news_unless_the_log_has_it() {
    let (_, tab) = with(&a(1));
    let unlogged = unlogged(&a(1));
    for (storage, entry, is_news) in [
        (&tab.storage, Some(a(2)), false),
        (&tab.storage, None, true),
        (&tab.storage, Some(unlogged), true),
        (&RecordStorage::default(), Some(a(2)), true),
    ] {
        assert_eq!(storage.is_news(secret(entry.as_deref())), is_news, "{entry:?}");
    }
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// A tab makes its next step.
    Step(usize),
    /// A tab is closed in the middle of what it does.
    Close(usize),
    LoseLocal,
    LoseLog,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        60 => (0..3_usize).prop_map(Happening::Step),
        1 => (0..3_usize).prop_map(Happening::Close),
    ]
}

proptest! {
    /// Each tab counts the generation up. Whatever the order of steps, whoever is closed, and
    /// whichever place is lost: the text is never gone, no tab sees it go back, and of two swaps
    /// from one text only one succeeds. (The database is not deleted between the moment in which a
    /// swap is settled and that in which localStorage has it for good; an operation that is under
    /// way when it is deleted may see an older text once; and two may succeed then.)
    #[test]
    fn swaps_are_linearizable(
        mut happenings in prop::collection::vec(happening(), 20..600),
        at in 0..600_usize,
        is_local_lost in any::<bool>(),
    ) {
        let loss = if is_local_lost { Happening::LoseLocal } else { Happening::LoseLog };
        happenings.insert(at.min(happenings.len()), loss);
        let (mut places, _) = with(&a(1));
        let mut tabs: Vec<Tab> = (0..3).map(|_| Tab::default()).collect();
        let (mut made, mut seen, mut wanted) = (BTreeSet::new(), [1; 3], [const { None::<(Text, Text)> }; 3]);
        let (mut is_log_to_go, mut is_excused) = (false, [false; 3]);
        for happening in happenings {
            let newest = places.logged().into_iter().filter_map(generation).max();
            let is_in_step = places.local.as_deref().and_then(generation) >= newest;
            let is_writing = tabs.iter().any(|tab| matches!(tab.action, Some(StorageAction::WriteLocal(_))));
            if is_log_to_go && is_in_step && !is_writing {
                places.lose_log();
                is_log_to_go = false;
                is_excused = [0, 1, 2].map(|tab: usize| tabs[tab].action.is_some());
            }
            let tab = match happening {
                Happening::LoseLocal => {
                    places.local = None;
                    continue;
                }
                Happening::LoseLog => {
                    is_log_to_go = true;
                    continue;
                }
                Happening::Close(tab) => {
                    (tabs[tab], wanted[tab], is_excused[tab]) = (Tab::default(), None, false);
                    continue;
                }
                Happening::Step(tab) => tab,
            };
            if tabs[tab].action.is_none() {
                let (from, to) = wanted[tab].clone().unwrap_or_default();
                tabs[tab].begin(StorageInput::Swap { from: secret(from.as_deref()), to: secret(to.as_deref()) });
            }
            let Some(there) = tabs[tab].step(&mut places) else { continue };
            let generation = there.as_deref().and_then(generation);
            let is_excused = std::mem::take(&mut is_excused[tab]);
            prop_assert!(
                generation.is_some_and(|generation| is_excused || generation >= seen[tab]),
                "{generation:?} after {seen:?}"
            );
            seen[tab] = seen[tab].max(generation.unwrap_or_default());
            if is_local_lost && wanted[tab].as_ref().is_some_and(|(_, to)| *to == there) {
                prop_assert!(made.insert(generation), "two tabs have made {generation:?}");
            }
            let next = record(&key(1, seen[tab] + 1), seen[tab] + 1).replace('}', &format!(r#","by":{tab}}}"#));
            wanted[tab] = Some((there, Some(next)));
        }
    }
}

fn generation(text: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(text).ok()?["generation"].as_u64()
}
