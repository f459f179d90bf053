//! What answers of the bus are known by. Must not depend on what they answer.

/// Names a bus subscription or a bus request between machine and driver. Chosen by the machine,
/// never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);
