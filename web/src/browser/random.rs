//! Random values from the browser's cryptographic generator, and moments that contain them. Must
//! not depend on what they are used for.

use std::{cell::RefCell, time::Duration};

use relogin_client_proto::Moment;
use relogin_session::SessionId;

use super::{Exception, global, now};

/// Checks that the browser has a generator.
///
/// # Errors
/// If it does not.
pub(super) fn check() -> Result<(), Exception> {
    fill(&mut [0])
}

/// The current moment, with random values.
pub(crate) fn moment() -> Moment {
    moment_at(now())
}

/// The moment at the time `now`, with random values.
pub(crate) fn moment_at(now: Duration) -> Moment {
    /// How many are drawn at once: the browser takes as long for one.
    const DRAWN: usize = 80;
    thread_local! {
        /// Random values for later moments, and how many of them are left.
        static RANDOM: RefCell<([[u8; 24]; DRAWN], usize)> = const { RefCell::new(([[0; 24]; DRAWN], 0)) };
    }
    let random = RANDOM.with_borrow_mut(|(drawn, left)| {
        if *left == 0 {
            // A browser does not lose its generator.
            fill(drawn.as_flattened_mut()).expect("the generator answered when the driver started");
            *left = DRAWN;
        }
        *left -= 1;
        // Used values are not kept.
        std::mem::take(&mut drawn[*left])
    });
    Moment { now, random }
}

/// Random bytes for an id.
pub(super) fn id() -> [u8; 16] {
    *moment().random.first_chunk().expect("a moment has 24 bytes")
}

/// A random name that nobody else has.
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
