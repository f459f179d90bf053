//! A RES gateway, as a state machine.
