//! `relogin man`: the manual pages of all commands, from what clap knows of them. Must not know any
//! command by name.

use std::{fs, io, path::Path};

use clap::CommandFactory as _;

use super::Cli;

/// Writes a page for `relogin` and for each subcommand into `folder`, which is made if there is
/// none.
///
/// # Errors
/// If a file cannot be written.
pub fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder)
}
