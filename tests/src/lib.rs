//! End-to-end tests on real parts: nats-server, Resgate, Chromium.
