//! `postern completions SHELL`.

use std::io::Write;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

/// Arguments of `postern completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, out: &mut dyn Write) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "postern", &mut script);
    u8::from(out.write_all(&script).is_err())
}
