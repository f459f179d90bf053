//! Browsers without locks: tabs that see a key at the same moment do not use it at the same moment.

use crate::{
    login::{key, record},
    support::{Browser, Tab, ms},
};

/// When each of three tabs of a profile without locks, in which somebody has just logged in, sends
/// the key; in milliseconds.
fn moments(seed: usize) -> Vec<Option<u64>> {
    let profile = Browser::profile();
    profile.borrow_mut().no_locks = true;
    let mut tabs: Vec<Tab> = (0..3).map(|number| Tab::start_in(&profile, 3 * seed + number)).collect();
    for tab in &mut tabs {
        tab.connect();
        tab.answer_user(None);
    }
    profile.borrow_mut().write(99, Some(&record(&key(1, 1), 1)));
    let mut moments = vec![None; tabs.len()];
    for time in 0..1500 {
        for (tab, moment) in tabs.iter_mut().zip(&mut moments) {
            // What the others have written has not reached it: the browser lags.
            if moment.is_none() {
                profile.borrow_mut().storage = Some(record(&key(1, 1), 1));
                tab.pass(ms(1));
                *moment = tab.methods().contains(&"auth.session.relogin").then_some(time);
            }
        }
    }
    moments
}

#[test]
fn siblings_that_see_a_login_do_not_use_its_key_at_the_same_moment() {
    let are_apart = |moments: &[Option<u64>]| {
        let mut sorted: Vec<_> = moments.iter().map(|moment| moment.expect("each uses it at last")).collect();
        sorted.sort_unstable();
        assert!(sorted[2] <= 1010, "{sorted:?}");
        sorted.windows(2).all(|two| two[1] - two[0] > 20)
    };
    let count = (0..50).filter(|seed| are_apart(&moments(*seed))).count();
    assert!(count >= 35, "only in {count} of 50 profiles");
}
