//! A process that keeps a foreign program: it ends with all that it started, however that was started.
//!
//! A process group is not enough: `setsid` leaves it. The keeper is a *subreaper* (Linux): whatever the program starts, and
//! whatever that starts, stays among the keeper's descendants, also after everything in between has ended. When the program
//! ends, when the harness says so (SIGTERM) or when the harness is gone, the keeper kills them all and says what it found.
//! On other systems the program runs without one, and what it leaves behind stays.

use serde::{Deserialize, Serialize};

/// The mark of the keeper's report, the last line on the program's stderr.
#[cfg(target_os = "linux")]
const MARK: &str = "e2esm-keeper: ";

/// The status of a keeper whose program could not be started: a shell's for a command that is not found.
pub const NOT_STARTED: u8 = 127;

/// How the program ended, and what it left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its exit status, in words: `exit status: 0`, `signal: 6 (SIGABRT)`.
    pub status: String,
    /// The names of processes that were still there after it had ended by itself.
    pub left: Vec<String>,
}

/// Takes the keeper's report off the end of the program's stderr, if there is one.
pub fn split_report(stderr: &str) -> (&str, Option<Kept>) {
    #[cfg(target_os = "linux")]
    if let Some((said, report)) = stderr.rsplit_once(MARK)
        && let Ok(kept) = serde_json::from_str(report.trim_end())
    {
        return (said, Some(kept));
    }
    (stderr, None)
}

#[cfg(target_os = "linux")]
pub use linux::{adopt_strays, end_strays, keep, resident_bytes};

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::ffi::{OsStr, OsString};
    use std::io::Write;
    use std::process::{Command, ExitCode};
    use std::sync::mpsc::{Sender, channel};
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, set_child_subreaper, wait};

    use super::{Kept, MARK};

    /// How long what the program left behind may take to end by itself before it counts as left behind.
    const GRACE: Duration = Duration::from_millis(200);
    /// How often it is looked whether the harness is still there.
    const WATCH: Duration = Duration::from_millis(100);
    /// How long it is tried to end what does not end.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// What the keeper waits for.
    enum News {
        /// A descendant has ended.
        Ended(u32, WaitStatus),
        /// The harness, or whoever sits at the terminal, wants the end.
        Told,
    }

    /// Keeps a program: starts it with this process's stdin, stdout and stderr, and ends with it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn keep(program: &OsStr, arguments: &[OsString]) -> std::io::Result<ExitCode> {
        let (sender, news) = channel();
        let told = sender.clone();
        // Nobody listens any more only when the end has come anyway.
        ctrlc::set_handler(move || drop(told.send(News::Told))).map_err(std::io::Error::other)?;
        // Any process but none makes this one a subreaper: the number itself says nothing.
        set_child_subreaper(Some(Pid::INIT))?;
        let harness = rustix::process::getppid();
        let program = Command::new(program).args(arguments).spawn()?.id();
        // Only the program holds the pipes now: their end is its end.
        let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        rustix::stdio::dup2_stdout(&nothing)?;
        thread::spawn(move || reap(&sender));
        let ended = loop {
            match news.recv_timeout(WATCH) {
                Ok(News::Ended(pid, status)) if pid == program => break Some(status),
                Ok(News::Ended(..)) => {}
                Ok(News::Told) => break None,
                Err(_) if rustix::process::getppid() != harness => break None,
                Err(_) => {}
            }
        };
        let mut left = BTreeMap::new();
        if ended.is_some() {
            let begun = Instant::now();
            left = descendants(std::process::id());
            while begun.elapsed() < GRACE && !left.is_empty() {
                thread::sleep(Duration::from_millis(5));
                left = descendants(std::process::id());
            }
        }
        end_all();
        let status = ended.map_or_else(|| "killed".to_owned(), in_words);
        let kept = Kept { status, left: left.into_values().collect() };
        let report = serde_json::to_string(&kept).map_err(std::io::Error::other)?;
        // The harness may be gone; nobody is left to tell then.
        let _ = writeln!(std::io::stderr(), "\n{MARK}{report}");
        Ok(ExitCode::SUCCESS)
    }

    /// Takes leave of descendants as they end, until there are none.
    fn reap(sender: &Sender<News>) {
        loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) => {
                    let _ = sender.send(News::Ended(pid.as_raw_pid().unsigned_abs(), status));
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Kills all descendants, until there are none: who is killed cannot start more, and what was just started is seen next.
    fn end_all() -> BTreeMap<u32, String> {
        let begun = Instant::now();
        let mut all = BTreeMap::new();
        loop {
            let found = descendants(std::process::id());
            if found.is_empty() || begun.elapsed() > PATIENCE {
                return all;
            }
            for pid in found.keys() {
                if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                    // It may have ended meanwhile.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            all.extend(found);
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn in_words(status: WaitStatus) -> String {
        use std::os::unix::process::ExitStatusExt;
        std::process::ExitStatus::from_raw(status.as_raw()).to_string()
    }

    /// Makes the harness a subreaper too: a program whose keeper it killed comes to the harness.
    ///
    /// # Errors
    /// Those of the system.
    pub fn adopt_strays() -> std::io::Result<()> {
        Ok(set_child_subreaper(Some(Pid::INIT))?)
    }

    /// Kills whatever descends from this process, and names it. To be asked when all workers are gone.
    pub fn end_strays() -> Vec<String> {
        let names: std::collections::BTreeSet<_> = end_all().into_values().collect();
        names.into_iter().collect()
    }

    /// All living descendants of a process, with their names.
    fn descendants(root: u32) -> BTreeMap<u32, String> {
        let mut parents: BTreeMap<u32, Vec<(u32, String)>> = BTreeMap::new();
        let Ok(processes) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
        for process in processes.flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // Who has ended between the listing and this has ended.
            let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { continue };
            if let Some((parent, name)) = living(&stat) {
                parents.entry(parent).or_default().push((pid, name));
            }
        }
        let mut found = BTreeMap::new();
        let mut open = vec![root];
        while let Some(parent) = open.pop() {
            for (pid, name) in parents.remove(&parent).unwrap_or_default() {
                open.push(pid);
                found.insert(pid, name);
            }
        }
        found
    }

    /// Parent and name in a line of `/proc/PID/stat`; `None` for one that has ended and only waits to be reaped. The name
    /// stands in brackets and may itself hold any character.
    fn living(stat: &str) -> Option<(u32, String)> {
        let (head, rest) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then(|| (parent, name.to_owned()))
    }

    /// Resident memory of a process and all that descend from it, in bytes: the sum of their peaks.
    pub fn resident_bytes(root: u32) -> Option<u64> {
        let mut total = peak(root)?;
        let mut open = vec![root];
        while let Some(process) = open.pop() {
            for child in children(process) {
                total += peak(child).unwrap_or(0);
                open.push(child);
            }
        }
        Some(total)
    }

    fn peak(pid: u32) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// The children of a process, where the kernel lists them.
    fn children(pid: u32) -> Vec<u32> {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
        threads
            .flatten()
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
            .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect()
    }

    #[cfg(test)]
    mod tests {
        use super::living;

        #[test]
        fn names_may_hold_brackets_and_spaces() {
            assert_eq!(living("12 (a) b (c) S 7 12 12 0"), Some((7, "a) b (c".to_owned())));
            assert_eq!(living("12 (gone) Z 7 12 12 0"), None);
            assert_eq!(living("nonsense"), None);
        }
    }
}
