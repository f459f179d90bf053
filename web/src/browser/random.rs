//! Random values from the browser's cryptographic generator, and the moments that have some.

use std::{cell::RefCell, time::Duration};

use relogin_client_proto::Moment;
use relogin_session::SessionId;

use super::{Exception, global, now};

/// Whether the browser has a generator.
///
/// # Errors
/// If it has none.
pub(super) fn check() -> Result<(), Exception> {
    fill(&mut [0])
}

/// Now, and random values for it.
pub(crate) fn moment() -> Moment {
    moment_at(now())
}

/// A moment of time, and random values for it.
pub(crate) fn moment_at(now: Duration) -> Moment {
    /// So many are drawn at once, for the browser takes as long for one.
    const DRAWN: usize = 80;
    thread_local! {
        /// Random values for moments to come, and how many of them there are.
        static RANDOM: RefCell<([[u8; 24]; DRAWN], usize)> = const { RefCell::new(([[0; 24]; DRAWN], 0)) };
    }
    let random = RANDOM.with_borrow_mut(|(drawn, left)| {
        if *left == 0 {
            // A browser does not lose its generator.
            fill(drawn.as_flattened_mut()).expect("the generator answered when the driver started");
            *left = DRAWN;
        }
        *left -= 1;
        // What is used stays nowhere.
        std::mem::take(&mut drawn[*left])
    });
    Moment { now, random }
}

/// As many as an id has.
pub(super) fn id() -> [u8; 16] {
    *moment().random.first_chunk().expect("a moment has 24 bytes")
}

/// A name that nobody else draws.
pub(super) fn name() -> String {
    SessionId(id()).to_text()
}

fn fill(bytes: &mut [u8]) -> Result<(), Exception> {
    global().crypto()?.get_random_values_with_u8_array(bytes)?;
    Ok(())
}

#[cfg(test)]
#[cfg(target_arch = "wasm32")]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test]
    fn no_two_moments_have_the_same_values() {
        check().unwrap();
        let mut values: Vec<_> = (0..200).map(|_| moment().random).collect();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), 200);
    }
}
