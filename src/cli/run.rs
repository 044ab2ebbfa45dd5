//! `postern run`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{ConfigArgs, complain};
use crate::config::Options;
use crate::run::{self, Error};

/// Arguments of `postern run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Written, as a whole, once everything listens
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(super) fn run(args: &RunArgs, err: &mut dyn Write) -> u8 {
    let loaded = match args.config.load(Options::ONLINE) {
        Ok(loaded) => loaded,
        Err(text) => {
            complain(err, &text);
            return 2;
        }
    };
    let options = run::Options {
        file: args.config.path().ok(),
        sets: args.config.set.clone(),
        ready_file: args.ready_file.clone(),
        on_ready: Box::new(|_| {}),
    };
    finish(run::run(loaded, options), err)
}

/// The exit code of a gateway that has ended.
pub(super) fn finish(result: Result<(), Error>, err: &mut dyn Write) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            complain(err, &error.to_string());
            match error {
                Error::Configuration(_) => 2,
                Error::Start(_) => 1,
            }
        }
    }
}
