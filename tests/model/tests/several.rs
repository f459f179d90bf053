//! Several instances on one store: what holds in every state of these worlds, and that breaking any
//! rule on purpose is noticed.

#![expect(clippy::print_stderr, reason = "how much was seen is what these tests are read for")]
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use relogin_model::{
    run::explore,
    several::{
        Absence::{Gone, Silent},
        Config,
        Edit::{Password, Removal, Role},
        Mutant,
        properties::{
            ABSENT_LEAVE, AS_STORED, NO_USED_KEY, NOBODY_IS_REFUSED, NOT_LESS, NOT_STOLEN, ON_ONE_SESSION,
            OUT_WITH_THE_OLD, OVERDUE_GO, PRESENT_STAY, PUBLISHED_ONCE, ROLE_IS_KNOWN, WITHIN_CAP,
        },
        scripts::Ask,
    },
};

const fn relogin(on: &'static str, attempt: u8) -> Ask {
    Ask::Relogin { on, attempt }
}

const fn login(on: &'static str) -> Ask {
    Ask::Login { on, attempt: None }
}

/// With an attempt id, so that it can be taken twice.
const LOGIN_AGAIN: Ask = Ask::Login { on: "c", attempt: Some(5) };

const OUT: Ask = Ask::Logout { on: "a" };
const WHO: Ask = Ask::Get { on: "a" };

/// A page that goes on, is loaded again, and comes back.
const USES: &[Ask] = &[relogin("a", 2), relogin("b", 3)];
const THREE_USES: &[Ask] = &[relogin("a", 2), relogin("b", 3), relogin("a", 4)];
const ONE_USE: &[Ask] = &[relogin("a", 2)];
const MOVES: &[Ask] = &[relogin("b", 2)];
const COMES_BACK: &[Ask] = &[relogin("b", 2), relogin("a", 3)];

/// Somebody else, as long as they need not be.
const LOGS_IN: &[Ask] = &[login("c")];
const LOGS_IN_AND_GOES_ON: &[Ask] = &[login("c"), relogin("c", 7)];

fn holds(name: &str, config: Config) {
    let found = explore(config, &[], limit());
    eprintln!("{name}: {}", found.line());
    if let Some((what, trace)) = found.failures.first() {
        panic!("{trace}\ndoes not hold: {what}");
    }
    assert!(found.is_exhausted, "there was no time to see all of it");
}

macro_rules! holds {
    ($($name:ident: $scripts:expr, {$($what:ident: $value:expr),*})*) => {$(
        #[test]
        fn $name() {
            const SCRIPTS: &[&[Ask]] = $scripts;
            holds(stringify!($name), Config { scripts: SCRIPTS, $($what: $value,)* ..Config::CALM });
        }
    )*};
}

holds! {
    keys_are_used_at_either: &[THREE_USES], {doubled: 1}
    keys_are_used_and_writes_get_no_answer: &[USES], {unknown: 1, doubled: 1}
    keys_are_used_and_one_is_killed: &[USES], {kills: 1, doubled: 1}
    keys_are_used_and_one_starts: &[USES], {starts: true, doubled: 1}
    keys_are_used_while_a_secret_is_rotated: &[USES], {rotates: true}
    a_key_is_used_by_two: &[ONE_USE, &[relogin("t", 9)]], {doubled: 1}
    a_key_is_used_by_two_and_a_write_gets_no_answer: &[ONE_USE, &[relogin("t", 9)]], {unknown: 1}
    a_key_is_used_and_the_user_logs_out: &[MOVES, &[OUT]], {doubled: 1}
    a_key_is_used_the_user_logs_out_and_a_write_gets_no_answer: &[MOVES, &[OUT]], {unknown: 1}
    a_key_is_used_the_user_logs_out_and_one_is_killed: &[MOVES, &[OUT]], {kills: 1}
    a_user_is_read: &[MOVES, &[WHO]], {doubled: 1}
    a_key_is_used_where_the_token_is_and_the_user_logs_out: &[ONE_USE, &[OUT]], {unknown: 1}
    a_user_is_read_while_a_client_logs_out: &[&[OUT], &[WHO]], {doubled: 1}
    two_log_in_on_one_connection: &[&[], &[login("c")], &[login("c")]], {}
    a_login_is_taken_by_both: &[&[], &[LOGIN_AGAIN]], {doubled: 1}
    a_login_is_taken_by_both_and_its_key_is_used: &[&[], &[LOGIN_AGAIN, relogin("c", 6)]], {doubled: 1}
    a_login_is_taken_by_both_and_one_is_killed: &[&[], &[LOGIN_AGAIN]], {doubled: 1, kills: 1}
    a_login_is_taken_by_both_and_a_write_gets_no_answer: &[&[], &[LOGIN_AGAIN]], {doubled: 1, unknown: 1, lands_at_once: true}
    a_login_is_repeated_while_another_one_takes_it: &[&[], &[LOGIN_AGAIN, LOGIN_AGAIN, relogin("c", 6)]], {doubled: 1}
    a_login_is_taken_by_one_that_began_later: &[&[], &[LOGIN_AGAIN]], {starts: true, doubled: 1}
    two_log_in_and_two_may_be: &[&[], &[login("c")], &[login("d")]], {cap: Some(2)}
    two_log_in_and_one_may_be: &[&[], &[login("c")], &[login("d")]], {cap: Some(1)}
    a_session_expires: &[&[]], {ends: true}
    a_session_expires_and_one_is_killed: &[&[]], {ends: true, kills: 1}
    a_session_expires_while_its_key_is_used: &[MOVES], {ends: true}
    a_bearer_session_s_bucket_goes_back: &[USES], {losses: 1}
    a_bound_session_s_bucket_goes_back: &[USES], {losses: 1, is_bound: true}
    a_bound_session_s_bucket_goes_back_and_a_write_gets_no_answer: &[ONE_USE], {losses: 1, is_bound: true, unknown: 1}
    a_bucket_goes_back_while_another_session_is_made: &[&[], LOGS_IN], {losses: 1}
    a_bucket_goes_back_under_a_bound_login: &[&[], LOGS_IN_AND_GOES_ON], {losses: 1, is_bound: true}
    a_bucket_goes_back_while_the_user_logs_out: &[&[OUT]], {losses: 1, is_bound: true}
    a_bucket_goes_back_while_a_login_waits: &[&[], LOGS_IN_AND_GOES_ON], {losses: 1, is_bound: true, waits: true}
    a_bearer_session_s_bucket_goes_back_while_a_used_key_waits: &[USES], {losses: 1, waits: true}
    a_bucket_goes_back_while_a_used_key_waits: &[USES], {losses: 1, is_bound: true, waits: true}
    a_bucket_goes_back_while_a_logout_waits: &[MOVES, &[OUT]], {losses: 1, is_bound: true, waits: true}
    a_bearer_session_s_bucket_goes_back_quietly: &[USES], {losses: 1, is_quiet: true}
    a_bound_session_s_bucket_goes_back_quietly: &[USES], {losses: 1, is_bound: true, is_quiet: true}
    a_password_changes: &[&[], LOGS_IN], {edit: Some(Password)}
    a_password_changes_and_one_is_killed: &[&[], LOGS_IN], {edit: Some(Password), kills: 1}
    a_role_changes: &[MOVES], {edit: Some(Role)}
    a_role_changes_and_one_is_killed: &[MOVES], {edit: Some(Role), kills: 1}
    a_user_is_removed: &[MOVES], {edit: Some(Removal)}
    a_connection_is_gone: &[USES], {probe: Some(Gone)}
    a_connection_does_not_answer_and_comes_back: &[COMES_BACK], {probe: Some(Silent)}
    a_session_expires_or_outlives_all_who_could_end_it: &[&[]], {ends: true, has_ttl: true, kills: 2}
}

/// The check must find that one of `broken` does not hold.
fn is_caught(mutant: Mutant, broken: &[&'static str], config: &Config) {
    let found = explore(Config { mutant: Some(mutant), ..config.clone() }, broken, limit());
    let is_broken = |(what, _): &&(&str, String)| broken.contains(what);
    let (what, trace) = found.failures.iter().find(is_broken).expect("a mutant that nobody misses");
    let steps: Vec<_> = trace.lines().filter_map(|line| line.strip_prefix("=> Some(")?.strip_suffix(')')).collect();
    eprintln!("{mutant:?}: {}\nbroken: {what}\n{}", found.line(), steps.join(", "));
}

macro_rules! caught {
    ($($name:ident: $mutant:ident, $broken:expr, $scripts:expr, {$($what:ident: $value:expr),*})*) => {$(
        #[test]
        fn $name() {
            const SCRIPTS: &[&[Ask]] = $scripts;
            is_caught(Mutant::$mutant, &$broken, &Config { scripts: SCRIPTS, $($what: $value,)* ..Config::CALM });
        }
    )*};
}

caught! {
    a_verdict_on_a_stale_record: StaleVerdict, [NOBODY_IS_REFUSED], &[&[], &[login("c"), relogin("c", 2)]], {}
    an_answer_from_a_stale_replica: StaleAnswer, [NOT_LESS], &[&[relogin("b", 2), Ask::Get { on: "b" }]], {}
    an_answer_that_is_not_checked: NoCheckAfterAnswer, [AS_STORED], &[MOVES, &[Ask::Get { on: "b" }]], {}
    an_instance_that_is_ready_too_early: ReadyTooEarly, [NOBODY_IS_REFUSED], &[USES], {starts: true}
    events_that_are_not_checked: NoCheck, [AS_STORED], &[MOVES, &[Ask::Logout { on: "b" }]], {}
    events_that_are_checked_too_early: StaleCheck, [AS_STORED], &[MOVES, &[Ask::Logout { on: "b" }]], {}
    a_connection_that_stays_on_two_sessions: NoSettling, [ON_ONE_SESSION], &[&[], &[login("c")], &[login("c")]], {}
    a_login_that_one_that_began_later_takes_for_another: LoginIsAnother, [ON_ONE_SESSION], &[&[], &[LOGIN_AGAIN]], {starts: true, doubled: 1}
    a_later_login_that_stays: LaterLoginStays, [ON_ONE_SESSION], &[&[], &[LOGIN_AGAIN]], {doubled: 1}
    a_connection_that_was_sent_another_one: SentIsForgotten, [AS_STORED], &[&[], &[LOGIN_AGAIN, relogin("c", 6)]], {doubled: 1}
    a_login_without_an_answer_that_is_forgotten: CreationIsForgotten, [ON_ONE_SESSION], &[&[], &[LOGIN_AGAIN]], {doubled: 1, unknown: 1, lands_at_once: true}
    a_login_that_is_withdrawn_by_halves: ApartUnchecked, [AS_STORED], &[&[], &[LOGIN_AGAIN]], {doubled: 1, unknown: 1, lands_at_once: true}
    a_login_that_is_repeated_and_withdrawn: WithdrawnIsRepeated, [NOBODY_IS_REFUSED], &[&[], &[LOGIN_AGAIN, LOGIN_AGAIN, relogin("c", 6)]], {doubled: 1}
    an_end_that_is_not_marked: EndIsNotMarked, [PUBLISHED_ONCE], &[&[]], {ends: true}
    an_end_that_the_loser_publishes_too: LoserPublishesToo, [PUBLISHED_ONCE], &[&[]], {ends: true}
    writes_that_name_no_revision: NoCompare, [NO_USED_KEY], &[ONE_USE, &[relogin("t", 9)]], {}
    an_unanswered_write_that_is_taken_for_done: UnansweredIsDone, [NOBODY_IS_REFUSED], &[USES], {unknown: 1}
    events_of_a_killed_instance_that_are_not_sent_again: NoResend, [AS_STORED], &[MOVES, &[Ask::Logout { on: "b" }]], {kills: 1}
    a_user_shown_by_a_refresh_that_is_not_checked: NoCheckAfterRefresh, [AS_STORED], &[ONE_USE, &[OUT]], {}
    a_failed_check_that_is_forgotten: FailedCheckIsForgotten, [AS_STORED], &[MOVES, &[Ask::Logout { on: "b" }]], {unknown: 1}
    a_limit_that_counts_one_s_own: CapOfOwn, [WITHIN_CAP], &[&[], &[login("c")], &[login("d")]], {cap: Some(2)}
    a_limit_that_ends_later_logins: CapOfAll, [WITHIN_CAP], &[&[], &[login("c")], &[login("d")]], {cap: Some(1)}
    a_secret_that_signs_too_early: SignsTooEarly, [NOBODY_IS_REFUSED], &[USES], {rotates: true}
    a_replica_that_goes_on_in_another_history: HistoryGoesOn, [NOBODY_IS_REFUSED], &[&[], LOGS_IN_AND_GOES_ON], {losses: 1, is_bound: true}
    a_revision_that_outlives_its_history: RevisionsOutliveHistories, [AS_STORED], &[MOVES, &[OUT]], {losses: 1, is_bound: true, waits: true}
    a_loss_that_looks_like_a_theft: LossLooksLikeTheft, [NOT_STOLEN], &[USES], {losses: 1}
    a_login_that_is_not_checked_again: NoSecondCheck, [OUT_WITH_THE_OLD], &[&[], LOGS_IN], {edit: Some(Removal)}
    a_password_change_that_is_not_notified_again: NotNotifiedAgain, [OUT_WITH_THE_OLD], &[&[], LOGS_IN], {edit: Some(Password), kills: 1}
    a_role_change_that_is_not_notified_again: NotNotifiedAgain, [ROLE_IS_KNOWN], &[MOVES], {edit: Some(Role), kills: 1}
    a_probe_whose_answers_go_anywhere: ProbeAnsweredToAny, [ABSENT_LEAVE], &[MOVES], {probe: Some(Gone)}
    silence_that_counts_after_a_relogin: SilenceCounts, [PRESENT_STAY], &[COMES_BACK], {probe: Some(Silent)}
    one_who_was_to_leave_and_is_not_checked: LeftUnchecked, [AS_STORED], &[COMES_BACK], {probe: Some(Silent)}
    one_who_leaves_and_is_cleared_once: ClearedOnce, [AS_STORED], &[USES], {probe: Some(Gone)}
    a_bucket_that_keeps_what_is_overdue: NoTimeToLive, [OVERDUE_GO], &[&[]], {ends: true, has_ttl: true, kills: 2}
    a_time_to_live_that_is_too_short: TimeToLiveTooShort, [AS_STORED], &[&[]], {ends: true, has_ttl: true}
}

fn limit() -> Duration {
    Duration::from_secs(
        std::env::var("MODEL_SECONDS").ok().map_or(600, |text| text.parse().expect("a number of seconds")),
    )
}
