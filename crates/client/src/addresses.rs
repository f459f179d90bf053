//! Where gateways are, as a program says it: one address or several. Must not depend on how they
//! are tried.

/// One or more addresses of gateways that have the same sessions.
///
/// A client begins with any of them. It keeps the one that works, also for reconnects, and goes on
/// to the next when that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(Vec<String>);

impl Addresses {
    /// The addresses. There is at least one; of an empty list, the empty one.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        if self.0.is_empty() { vec![String::new()] } else { self.0 }
    }
}

impl From<String> for Addresses {
    fn from(address: String) -> Self {
        Self(vec![address])
    }
}

impl From<&String> for Addresses {
    fn from(address: &String) -> Self {
        Self(vec![address.clone()])
    }
}

impl From<&str> for Addresses {
    fn from(address: &str) -> Self {
        Self(vec![address.to_owned()])
    }
}

impl<T: Into<String>> From<Vec<T>> for Addresses {
    fn from(addresses: Vec<T>) -> Self {
        Self(addresses.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<String>, const N: usize> From<[T; N]> for Addresses {
    fn from(addresses: [T; N]) -> Self {
        Self(addresses.into_iter().map(Into::into).collect())
    }
}

impl<T: Clone + Into<String>> From<&[T]> for Addresses {
    fn from(addresses: &[T]) -> Self {
        addresses.to_vec().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_in_many_ways() {
        let of = |addresses: Addresses| addresses.into_vec();
        assert_eq!(of("ws://a".into()), ["ws://a"]);
        assert_eq!(of("ws://a".to_owned().into()), ["ws://a"]);
        assert_eq!(of((&"ws://a".to_owned()).into()), ["ws://a"]);
        assert_eq!(of(["ws://a", "ws://b"].into()), ["ws://a", "ws://b"]);
        assert_eq!(of(vec!["ws://a".to_owned()].into()), ["ws://a"]);
        assert_eq!(of(["ws://a", "ws://b"][..1].into()), ["ws://a"]);
        assert_eq!(of(Vec::<String>::new().into()), [""]);
    }
}
