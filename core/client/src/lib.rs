//! A RES client and session keeper, as state machines.
