//! Colours and progress, where there is a terminal that wants them.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use console::{Term, style};
use e2esm::report::story::{Mood, Story};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Whether stdout is a terminal that wants colours (`NO_COLOR` is respected).
pub(crate) fn colour() -> bool {
    console::colors_enabled()
        && Term::stdout().is_term()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A line on stdout. Whoever has stopped reading (`| head`) has had enough: that is no error.
pub(crate) fn say(line: impl Display) {
    static NOBODY_READS: AtomicBool = AtomicBool::new(false);
    if NOBODY_READS.load(Ordering::Relaxed) {
        return;
    }
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => {}
        // The exit code still says how it went.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => NOBODY_READS.store(true, Ordering::Relaxed),
        Err(error) => {
            eprintln!("e2esm: writing to stdout: {error}");
            std::process::exit(i32::from(super::MISUSE));
        }
    }
}

/// A bar on stderr, hidden where stderr is no terminal.
pub(crate) fn progress(total: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}  {elapsed} elapsed, about {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A bar on stderr for work whose pieces weigh differently, hidden where stderr is no terminal.
pub(crate) fn work(total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = "{bar:30} {percent}%  {elapsed} elapsed, about {eta} left  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Prints a story, coloured where colours are wanted.
pub(crate) fn tell(story: &Story) {
    let colour = colour();
    for (mood, line) in story {
        if !colour {
            say(line);
            continue;
        }
        match mood {
            Mood::Heading => say(style(line).bold()),
            Mood::Plain => say(line),
            Mood::Faint => say(style(line).dim()),
            Mood::Good => say(style(line).green()),
            Mood::Bad => say(style(line).red()),
            Mood::Notable => say(style(line).yellow()),
        }
    }
}

/// Something turning on stderr while a step of unknown length runs, hidden where stderr is no terminal.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
        spinner.set_style(style);
    }
    spinner.set_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}
