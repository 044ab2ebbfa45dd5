//! Reading a configuration: file, overrides, interpolation, types, validation, in this order, with
//! all problems collected.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use toml::de::DeTable;

use super::assignment::Assignment;
use super::interpolate::{Interpolated, Outside, State, interpolate, overlap};
use super::permission::{PermissionError, configuration_file};
use super::problem::{Problem, Problems};
use super::shape::{self, Declared};
use super::source::Source;
use super::{Config, validate};

/// The largest configuration file.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Syntax errors reported; behind the first few they are echoes.
const SYNTAX_ERRORS_MAX: usize = 5;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What reading a configuration may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether `${file:PATH}` is read. Without, a value that needs one is an error where its text
    /// matters, and the text `unread` where it does not.
    pub read_files: bool,
}

impl Options {
    /// For a gateway that is about to run.
    pub const ONLINE: Self = Self { read_files: true };

    /// For verbs that judge a configuration from a stranger (design: "must not run code in CI").
    pub const OFFLINE: Self = Self { read_files: false };
}

/// A configuration without a problem, as far as can be told without opening other files.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What it was read from, for problems found later and for the list of interpolated values.
    pub source: Source,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum Failure {
    /// The file could not be read, or is not to be trusted.
    File(String),
    /// The configuration is wrong.
    Invalid {
        /// What it was read from.
        source: Box<Source>,
        /// What is wrong with it; at least one.
        problems: Problems,
    },
}

impl fmt::Display for Failure {
    /// One line for a file; all problems, each ending with a line break, for a configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(why) => writeln!(f, "{why}"),
            Self::Invalid { source, problems } => f.write_str(&problems.render(source)),
        }
    }
}

impl std::error::Error for Failure {}

/// Reads a configuration file. `sets` are the arguments of `--set`.
///
/// # Errors
///
/// [`Failure`], with every problem that can be found without opening other files.
pub fn load(
    path: &Path,
    sets: &[String],
    environment: Environment<'_>,
    options: Options,
) -> Result<Loaded, Failure> {
    let text = read(path)?;
    let dir =
        path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    parse(Source::new(path.display().to_string(), dir, text), sets, environment, options)
}

/// As [`load`], for a text in memory.
///
/// # Errors
///
/// [`Failure::Invalid`], with every problem that can be found without opening other files.
pub fn parse(
    mut source: Source,
    sets: &[String],
    environment: Environment<'_>,
    options: Options,
) -> Result<Loaded, Failure> {
    let (mut problems, mut later) = (Problems::new(), Problems::new());
    let config = understand(&mut source, sets, environment, options, (&mut problems, &mut later));
    later.filter_map(|problem| judged(problem, source.interpolated()));
    problems.extend(later);
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, source }),
        _ => {
            if problems.is_empty() {
                problems.push(Problem::new("the configuration could not be understood"));
            }
            Err(Failure::Invalid { source: Box::new(source), problems })
        }
    }
}

/// The way from text to types. Problems of the types and of validation come in the second
/// collector: they may be echoes of an interpolation that failed.
fn understand(
    source: &mut Source,
    sets: &[String],
    environment: Environment<'_>,
    options: Options,
    (problems, later): (&mut Problems, &mut Problems),
) -> Option<Config> {
    let text = source.text().to_owned();
    let (mut root, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
            let problem = Problem::new(format!("not TOML: {}", error.message()));
            problems.push(Problem { span: error.span(), ..problem });
        }
        return None;
    }
    let (assignments, wrong) = Assignment::all(sets, environment, source);
    wrong.into_iter().for_each(|problem| problems.push(problem));
    for assignment in &assignments {
        if let Err(problem) = assignment.apply(root.get_mut()) {
            problems.push(problem);
        }
    }
    let dir = source.dir().to_owned();
    let outside = Outside { environment, dir: &dir, read_files: options.read_files };
    source.set_interpolated(interpolate(root.get_mut(), &outside, problems));
    let shaped = shape::read(&root, later)?;
    let mut found = Problems::new();
    validate::validate(&shaped.config, &Declared::of(root.get_ref()), &mut found);
    let is_echo = |problem: &Problem| problem.span.as_ref().is_some_and(|s| shaped.cut.contains(s));
    found.filter_map(|problem| (!is_echo(&problem)).then_some(problem));
    later.extend(found);
    Some(shaped.config)
}

/// A problem in the light of what was interpolated where it points: a value that failed has been
/// reported already, and one that was not read is wrong for that reason alone.
fn judged(problem: Problem, interpolated: &[Interpolated]) -> Option<Problem> {
    let Some(span) = &problem.span else { return Some(problem) };
    let Some(value) = interpolated.iter().find(|value| overlap(&value.span, span)) else {
        return Some(problem);
    };
    // A problem of a whole table that happens to hold such a value is none of its own.
    let within = value.span.start <= span.start && span.end <= value.span.end;
    match value.state {
        State::Failed if within => None,
        State::Unread if within => Some(
            Problem::at(value.span.clone(), "this value needs a file, and none is read here")
                .help("give --allow-commands to let this verb read files and run commands"),
        ),
        State::Failed | State::Filled | State::Unread => Some(problem),
    }
}

/// Reads the file, which nobody else may be able to change.
fn read(path: &Path) -> Result<String, Failure> {
    let failure = |error: PermissionError| Failure::File(error.to_string());
    let unreadable = |error| failure(PermissionError::Unreadable(path.to_owned(), error));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(Failure::File(format!("{} is a directory", path.display())));
    }
    configuration_file(&metadata, path).map_err(failure)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(Failure::File(format!("{} is larger than 8 MiB", path.display())));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = line.filter(|byte| **byte == b'\n').count() + 1;
        Failure::File(format!("{}:{line}: not UTF-8 text", path.display()))
    })
}
