//! Each rule that is broken on purpose is noticed: the check finds a way to a state that must not
//! be. The worlds are those of `holds.rs`, or smaller.

#![expect(clippy::print_stderr, reason = "how each is caught is what these tests are read for")]

use std::time::Duration;

use relogin_model::{
    budget::{Budget, Config},
    mutant::Mutant,
    properties::{
        LOGOUT_IS_FINAL, NOBODY_AFTER_THEFT, NOBODY_IS_LOGGED_OUT, NOT_TWO_HOLDERS, NOTHING_FOR_THIEVES, WAY_BACK,
    },
    run::run,
};

fn bearer(mutant: Mutant, budget: Budget) -> Config {
    Config { budget, mutant: Some(mutant), ..Config::CALM }
}

/// The check must find that one of `broken` does not hold.
fn is_caught(config: &Config, broken: &[&'static str]) {
    let found = run(config, broken, Duration::from_secs(300));
    let is_broken = |(what, _): &&(&str, String)| broken.contains(what);
    let (what, trace) = found.failures.iter().find(is_broken).expect("a mutant that the check does not notice");
    let steps: Vec<_> = trace.lines().filter_map(|line| line.strip_prefix("=> Some(")?.strip_suffix(')')).collect();
    eprintln!("{:?}: {}\nbroken: {what}\n{}", config.mutant, found.line(), steps.join(", "));
}

#[test]
fn a_retry_without_a_look_at_the_attempt() {
    let budget = Budget { copies: 1, uses: 1, timers: 1, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::RetryWithoutAttempt, budget), &[NOBODY_AFTER_THEFT]);
}

#[test]
fn a_reused_key_that_is_only_refused() {
    let budget = Budget { copies: 1, uses: 1, timers: 1, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::ReuseIsRefused, budget), &[NOBODY_AFTER_THEFT]);
}

#[test]
fn a_bearer_session_that_catches_up() {
    let budget = Budget { copies: 1, uses: 1, timers: 1, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::CatchUpForBearer, budget), &[NOBODY_AFTER_THEFT]);
}

#[test]
fn a_late_request_that_is_taken_for_theft() {
    let budget = Budget { doubled: 1, timers: 2, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::StaleRetryIsReuse, budget), &[NOBODY_IS_LOGGED_OUT, WAY_BACK]);
}

#[test]
fn a_retry_that_does_not_move_the_use() {
    let budget = Budget { copies: 1, uses: 1, timers: 1, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::RetryMovesNothing, budget), &[NOT_TWO_HOLDERS]);
}

#[test]
fn a_reply_before_the_write() {
    let budget = Budget { crashes: 1, timers: 1, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::ReplyBeforeWrite, budget), &[NOBODY_IS_LOGGED_OUT, WAY_BACK]);
}

#[test]
fn a_proof_that_is_not_verified() {
    let budget = Budget { copies: 1, uses: 1, ..Budget::NOTHING };
    is_caught(&Config { bound: true, ..bearer(Mutant::AnyProofWill, budget) }, &[NOTHING_FOR_THIEVES]);
}

#[test]
fn a_logout_that_names_nothing() {
    let budget = Budget { logouts: 1, logins: 1, doubled: 1, timers: 1, ..Budget::NOTHING };
    is_caught(&Config { tabs: 1, ..bearer(Mutant::LogoutNamesNothing, budget) }, &[LOGOUT_IS_FINAL]);
}

#[test]
fn a_logout_that_ends_nothing_and_says_that_it_did() {
    let budget = Budget { copies: 1, uses: 1, logouts: 1, timers: 1, ..Budget::NOTHING };
    is_caught(&Config { tabs: 1, ..bearer(Mutant::LogoutElsewhereIsDone, budget) }, &[LOGOUT_IS_FINAL]);
}

#[test]
fn an_attempt_that_is_not_written_before_it_is_sent() {
    let budget = Budget { mute: 1, reloads: 1, timers: 1, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::AttemptNotWritten, budget), &[NOBODY_IS_LOGGED_OUT, WAY_BACK]);
}

#[test]
fn an_attempt_that_is_drawn_again_for_each_try() {
    let budget = Budget { mute: 1, timers: 1, drops: 1, ..Budget::NOTHING };
    is_caught(&Config { tabs: 1, ..bearer(Mutant::AttemptDrawnAgain, budget) }, &[NOBODY_IS_LOGGED_OUT, WAY_BACK]);
}

#[test]
fn a_refused_key_that_gets_no_second_look() {
    let budget = Budget { doubled: 1, timers: 2, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::NoSecondLook, budget), &[NOBODY_IS_LOGGED_OUT, WAY_BACK]);
}

#[test]
fn a_successor_that_is_written_over_a_newer_key() {
    let budget = Budget { timers: 3, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::SuccessorOverAnything, budget), &[NOBODY_IS_LOGGED_OUT, WAY_BACK]);
}

#[test]
fn a_successor_that_is_not_written() {
    let budget = Budget { timers: 1, reloads: 1, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::SuccessorNotWritten, budget), &[NOBODY_IS_LOGGED_OUT, WAY_BACK]);
}

#[test]
fn a_logout_that_leaves_nothing_for_the_next_page_to_finish() {
    let budget = Budget { logouts: 1, reloads: 1, lost: 1, ..Budget::NOTHING };
    is_caught(&Config { tabs: 1, ..bearer(Mutant::LogoutLeavesNothing, budget) }, &[LOGOUT_IS_FINAL]);
}

#[test]
fn a_rotation_that_is_not_announced() {
    let budget = Budget { copies: 1, uses: 1, timers: 1, drops: 1, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::RotationNotAnnounced, budget), &[NOT_TWO_HOLDERS]);
}

/// A crash between the two leaves a thief with a token and an owner who does not know.
#[test]
fn a_rotation_that_is_announced_after_the_token() {
    let budget = Budget { copies: 1, uses: 1, timers: 1, drops: 1, crashes: 1, ..Budget::NOTHING };
    is_caught(&bearer(Mutant::AnnouncedAfterToken, budget), &[NOT_TWO_HOLDERS]);
}

fn places(mutant: Mutant, tabs: usize, budget: Budget) -> Config {
    Config { tabs, places: true, ..bearer(mutant, budget) }
}

#[test]
fn turns_that_local_storage_settles() {
    let budget = Budget { timers: 2, ..Budget::NOTHING };
    is_caught(&places(Mutant::LogNotAsked, 2, budget), &[NOBODY_IS_LOGGED_OUT, WAY_BACK]);
}

#[test]
fn a_removal_that_is_taken_for_a_loss() {
    let budget = Budget { logouts: 1, reverts: 1, reloads: 1, ..Budget::NOTHING };
    is_caught(&places(Mutant::RemovalIsLoss, 1, budget), &[LOGOUT_IS_FINAL]);
}

#[test]
fn a_loss_that_is_taken_for_a_removal() {
    let budget = Budget { log_losses: 1, timers: 1, ..Budget::NOTHING };
    is_caught(&places(Mutant::LossIsRemoval, 1, budget), &[NOBODY_IS_LOGGED_OUT, WAY_BACK]);
}

#[test]
fn a_removal_without_a_mark_while_the_log_is_silent() {
    let budget = Budget { silences: 1, logouts: 1, reloads: 1, ..Budget::NOTHING };
    is_caught(&places(Mutant::RemovalNotMarked, 1, budget), &[LOGOUT_IS_FINAL]);
}

#[test]
fn an_attempt_that_only_the_log_has() {
    let budget = Budget { log_losses: 1, mute: 1, reloads: 1, timers: 1, ..Budget::NOTHING };
    is_caught(&places(Mutant::ClaimNotInLocal, 1, budget), &[NOBODY_IS_LOGGED_OUT, WAY_BACK]);
}
