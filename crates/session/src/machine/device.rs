//! Registers the key of a browser's device with a session whose relogin key travels in a cookie
//! (Device Bound Session Credentials). Must not know signatures: who gets here has signed.

use super::{Decision, Next, Outcome, Write};
use crate::{Denied, Device, DeviceKey, Record, Timestamp};

/// A device that has signed a fresh challenge of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenDevice {
    /// The key that it signed with.
    pub key: DeviceKey,
    /// Whether it was offered to register this key with the session.
    pub is_registered: bool,
}

/// The first key that is proven is the session's from then on. It is not when it was registered:
/// the browser may not have received the answer to that, and would be locked out.
pub(super) fn prove(record: Option<&Record>, proven: &ProvenDevice, now: Timestamp) -> Decision {
    let record = record.filter(|record| record.in_cookie && !record.is_expired(now));
    match record.map(|record| (record, record.device.public_key)) {
        Some((_, Some(key))) if key == proven.key => Decision::keep(Ok(None), Outcome::DeviceProven),
        Some((record, None)) if proven.is_registered => {
            let device = Device { public_key: Some(proven.key), ..record.device.clone() };
            let next = Record { device, ..record.clone() };
            let (effects, next_step) = (Vec::new(), Next::Reply(Ok(None)));
            Decision { write: Write::Replace(next), effects, next: next_step, outcome: Outcome::DeviceBound }
        }
        Some(_) => Decision::keep(Err(Denied::InvalidReloginKey), Outcome::ProofMissing),
        None => Decision::keep(Err(Denied::InvalidReloginKey), Outcome::Refused),
    }
}
