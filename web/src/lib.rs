//! The Relogin client for browsers.
