//! The limit of file descriptors of this process. Must not know what they are used for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and returns the limit.
pub fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let reached = if current == maximum || setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    reached.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// How many of this many descriptors are reserved for the store, the log and the bus; connections
/// of clients may use the rest.
#[must_use]
pub fn kept_back(limit: usize) -> usize {
    (limit / 8).clamp(32, 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert_eq!(limit, maximum.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap()));
    }

    #[test]
    fn some_descriptors_are_always_kept_back() {
        assert_eq!([64, 1024, 4096, 1 << 20].map(kept_back), [32, 128, 512, 1024]);
    }
}
