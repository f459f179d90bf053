//! RES protocol wire types.
