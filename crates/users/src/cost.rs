//! The cost of a password hash: Argon2id's parameters. Must not depend on passwords or users.

use std::{fmt, str::FromStr};

use argon2::Params;
use thiserror::Error;

/// The cost of making or checking a password hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// KiB of memory.
    memory: u32,
    /// Passes over that memory.
    passes: u32,
    /// Lanes that could be computed in parallel; here they are computed one after the other.
    lanes: u32,
}

/// Invalid costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CostError {
    /// Not of the form `m=…,t=…,p=…`.
    #[error("is not of the form m=19456,t=2,p=1 (KiB of memory, passes, lanes)")]
    Form,
    /// Argon2 does not support it.
    #[error("is below Argon2's minimum of 1 pass, 1 lane and 8 KiB per lane")]
    OutOfRange,
    /// More memory than [`Cost::MAX_MEMORY`].
    #[error("asks for {0} KiB of memory per check; at most {max} are allowed", max = Cost::MAX_MEMORY)]
    Memory(u32),
}

impl Cost {
    /// The most memory that one check may take, in KiB. A typing error must not take the machine
    /// down.
    pub const MAX_MEMORY: u32 = 1024 * 1024;

    /// The recommendation of OWASP's password storage cheat sheet.
    pub const OWASP: Self = Self { memory: 19_456, passes: 2, lanes: 1 };

    /// A cost that Argon2 supports.
    ///
    /// # Errors
    /// [`CostError`] if Argon2 does not support it, or it is not allowed here.
    pub fn new(memory: u32, passes: u32, lanes: u32) -> Result<Self, CostError> {
        if memory > Self::MAX_MEMORY {
            return Err(CostError::Memory(memory));
        }
        Params::new(memory, passes, lanes, None).map_err(|_| CostError::OutOfRange)?;
        Ok(Self { memory, passes, lanes })
    }

    pub(crate) fn params(self) -> Params {
        Params::new(self.memory, self.passes, self.lanes, None).expect("they were taken by Params::new before")
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::OWASP
    }
}

impl FromStr for Cost {
    type Err = CostError;

    fn from_str(text: &str) -> Result<Self, CostError> {
        let mut numbers = [0; 3];
        let mut parts = text.split(',').map(str::trim);
        for (number, name) in numbers.iter_mut().zip(["m=", "t=", "p="]) {
            let digits = parts.next().and_then(|part| part.strip_prefix(name)).ok_or(CostError::Form)?;
            *number = digits.parse().map_err(|_| CostError::Form)?;
        }
        let [memory, passes, lanes] = numbers;
        if parts.next().is_some() { Err(CostError::Form) } else { Self::new(memory, passes, lanes) }
    }
}

impl fmt::Display for Cost {
    /// In the form of a hash's own text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={},t={},p={}", self.memory, self.passes, self.lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_written_as_it_is_read_and_bounded() {
        assert_eq!("m=19456,t=2,p=1".parse(), Ok(Cost::OWASP));
        assert_eq!("m=8, t=1, p=1".parse::<Cost>().unwrap().to_string(), "m=8,t=1,p=1");
        for (text, error) in [
            ("", CostError::Form),
            ("19456,2,1", CostError::Form),
            ("t=2,m=19456,p=1", CostError::Form),
            ("m=19456,t=2", CostError::Form),
            ("m=19456,t=2,p=1,x=1", CostError::Form),
            ("m=-1,t=2,p=1", CostError::Form),
            ("m=7,t=1,p=1", CostError::OutOfRange),
            ("m=8,t=0,p=1", CostError::OutOfRange),
            ("m=8,t=1,p=2", CostError::OutOfRange),
            ("m=1048577,t=1,p=1", CostError::Memory(1_048_577)),
        ] {
            assert_eq!(text.parse::<Cost>(), Err(error), "{text}");
        }
    }
}
