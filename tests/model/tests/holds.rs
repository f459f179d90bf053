//! What the shipped rules and the shipped client promise holds in every state of these worlds. Each
//! test says how many states its world has, and how far the farthest lies (`--nocapture`).

#![expect(clippy::print_stderr, reason = "how much was seen is what these tests are read for")]
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use relogin_model::{
    budget::{Budget, Config},
    run::run,
};

macro_rules! holds {
    ($($(#[$doc:meta])* $name:ident: {$($what:ident: $value:expr),*} $budget:tt)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            holds!(@check stringify!($name), Config { $($what: $value,)* budget: holds!(@budget $budget), ..Config::CALM });
        }
    )*};
    (@budget {$($what:ident: $count:expr),*}) => { Budget { $($what: $count,)* ..Budget::NOTHING } };
    (@check $name:expr, $config:expr) => { check($name, &$config) };
}

fn check(name: &str, config: &Config) {
    let found = run(config, &[], limit());
    eprintln!("{name}: {}", found.line());
    if let Some((what, trace)) = found.failures.first() {
        panic!("{trace}\ndoes not hold: {what}");
    }
    assert!(found.is_exhausted, "there was no time to see all of it");
}

holds! {
    a_connection_is_lost: {} {drops: 1, timers: 2}
    connections_are_lost_twice: {} {drops: 2, timers: 2}
    a_tab_is_loaded_anew: {} {reloads: 1, timers: 1}
    the_service_crashes: {} {crashes: 1, timers: 2}
    the_service_crashes_and_a_connection_is_lost: {} {crashes: 1, drops: 1, timers: 2}
    a_reply_is_lost: {} {mute: 1, timers: 2}
    a_request_is_doubled: {} {doubled: 1, timers: 2}
    a_request_is_lost_and_one_doubled: {} {lost: 1, doubled: 1, timers: 2}
    a_tab_is_loaded_anew_and_a_request_doubled: {} {reloads: 1, doubled: 1, timers: 1}
    there_is_a_lock_and_a_reply_is_lost: {locks: true} {mute: 1, timers: 2}
    there_is_a_lock_and_a_tab_is_loaded_anew: {locks: true} {reloads: 1, timers: 1}
    there_is_a_lock_and_the_service_crashes: {locks: true} {crashes: 1, drops: 1, timers: 2}
    one_tab_and_everything_goes_wrong: {tabs: 1} {drops: 1, mute: 1, doubled: 1, crashes: 1, timers: 4}
    a_bound_session_and_everything_goes_wrong: {bound: true} {drops: 1, mute: 1, doubled: 1, crashes: 1, timers: 2}
    a_reply_is_lost_and_a_connection: {} {mute: 1, drops: 1, timers: 2}
    a_thief: {} {copies: 1, uses: 2, timers: 1}
    a_thief_and_a_crash: {} {copies: 1, uses: 2, crashes: 1}
    a_thief_and_a_lost_reply: {} {copies: 1, uses: 1, mute: 1, timers: 1}
    a_thief_and_a_lost_connection: {} {copies: 1, uses: 1, drops: 1, timers: 1}
    a_thief_a_lost_connection_and_a_crash: {tabs: 1} {copies: 1, uses: 2, drops: 1, crashes: 1, timers: 2}
    a_thief_of_a_bound_session: {bound: true} {copies: 1, uses: 2, timers: 2}
    a_thief_of_a_bound_session_and_a_crash: {bound: true} {copies: 1, uses: 1, drops: 1, crashes: 1, timers: 1}
    a_logout: {} {logouts: 1, doubled: 1, timers: 1}
    a_thief_and_a_logout: {} {copies: 1, uses: 1, logouts: 1}
    a_thief_a_logout_and_a_lost_connection: {tabs: 1} {copies: 1, uses: 2, logouts: 1, drops: 1, timers: 2}
    a_thief_a_logout_a_lost_reply_and_a_crash: {tabs: 1} {copies: 1, uses: 2, logouts: 1, mute: 1, crashes: 1, timers: 2}
    a_thief_a_logout_and_requests_lost_and_doubled: {tabs: 1} {copies: 1, uses: 2, logouts: 1, doubled: 1, lost: 1, timers: 2}
    a_thief_of_a_bound_session_and_a_logout: {tabs: 1, bound: true} {copies: 1, uses: 2, logouts: 1, drops: 1, mute: 1, timers: 2}
    a_logout_and_a_lost_connection: {} {logouts: 1, drops: 1, timers: 1}
    a_logout_and_a_page_that_is_closed: {tabs: 1} {logouts: 1, reloads: 2, lost: 1, timers: 1}
    a_logout_of_two_tabs_and_a_page_that_is_closed: {} {logouts: 1, reloads: 1, lost: 1}
    a_logout_a_closed_page_and_a_crash: {tabs: 1} {logouts: 1, reloads: 1, lost: 1, crashes: 1, timers: 1}
    a_logout_of_a_bound_session_and_a_page_that_is_closed: {tabs: 1, bound: true} {logouts: 1, reloads: 2, lost: 1, mute: 1, timers: 1}
    a_thief_a_logout_and_a_page_that_is_closed: {tabs: 1} {copies: 1, uses: 2, logouts: 1, reloads: 1, lost: 1}
    a_logout_a_closed_page_and_a_login: {tabs: 1} {logouts: 1, logins: 1, reloads: 1, lost: 1, timers: 1}
    a_logout_and_a_login: {tabs: 1} {logouts: 1, logins: 1, doubled: 1, timers: 1}
    a_logout_a_login_and_a_crash: {tabs: 1} {logouts: 1, logins: 1, crashes: 1, timers: 2}
    two_places_and_two_tabs: {places: true} {timers: 2}
    two_places_and_a_lost_reply: {places: true} {mute: 1, timers: 1}
    two_places_and_a_tab_that_is_closed_between_them: {places: true} {reloads: 1, timers: 1}
    two_places_and_local_storage_is_cleared: {places: true} {local_losses: 1, timers: 1}
    two_places_and_the_database_is_deleted: {places: true} {log_losses: 1, timers: 1}
    two_places_a_deleted_database_and_a_lost_reply: {places: true, tabs: 1} {log_losses: 1, mute: 1, reloads: 1, timers: 2}
    two_places_and_a_browser_that_crashes: {places: true, tabs: 1} {reverts: 1, reloads: 1, mute: 1, timers: 2}
    two_places_a_crash_and_a_logout: {places: true, tabs: 1} {logouts: 1, reverts: 1, reloads: 1, timers: 2}
    two_places_a_crash_a_logout_and_a_login: {places: true, tabs: 1} {logouts: 1, logins: 1, reverts: 1, reloads: 1, timers: 1}
    two_places_and_a_silent_database: {places: true, tabs: 1} {silences: 1, reloads: 1, mute: 1, timers: 2}
    two_places_a_silent_database_and_a_logout: {places: true, tabs: 1} {silences: 1, logouts: 1, reloads: 1, timers: 1}
}

fn limit() -> Duration {
    Duration::from_secs(
        std::env::var("MODEL_SECONDS").ok().map_or(600, |text| text.parse().expect("a number of seconds")),
    )
}
