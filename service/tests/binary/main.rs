//! The `relogin` program from outside: command line, environment, standard streams, sockets, signals.

mod program;
mod user;
