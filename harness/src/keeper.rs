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
    /// The names of processes that were still there after it had ended by itself, and of any that could not be ended; each
    /// name once, and of many the first and how many more.
    pub left: Vec<String>,
}

/// Takes the keeper's report off the end of the program's stderr, if there is one.
pub fn split_report(stderr: &str) -> (&str, Option<Kept>) {
    #[cfg(target_os = "linux")]
    if let Some((said, report)) = stderr.rsplit_once(MARK)
        // Somebody who could not be ended may have written on.
        && let Ok(kept) = serde_json::from_str(report.lines().next().unwrap_or_default())
    {
        return (said, Some(kept));
    }
    (stderr, None)
}

/// So many names that a report of them is never longer than the end of stderr that is kept.
#[cfg(any(target_os = "linux", test))]
fn few(names: std::collections::BTreeSet<String>) -> Vec<String> {
    const FEW: usize = 20;
    let more = names.len().saturating_sub(FEW);
    let rest = (more > 0).then(|| format!("and {more} more"));
    names.into_iter().take(FEW).chain(rest).collect()
}

#[cfg(target_os = "linux")]
pub use linux::{adopt_strays, end_strays, keep, resident_bytes};

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{BTreeMap, BTreeSet};
    use std::ffi::{OsStr, OsString};
    use std::io::Write;
    use std::path::{Path, PathBuf};
    use std::process::{Command, ExitCode};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::io::Errno;
    use rustix::process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getppid, kill_process, set_child_subreaper, wait,
        waitid, waitpid,
    };

    use super::{Kept, MARK, few};
    use crate::worker::harmless;

    /// How long what the program left behind may take to end by itself before it counts as left behind.
    const GRACE: Duration = Duration::from_millis(200);
    /// How often it is looked whether the harness is still there.
    const WATCH: Duration = Duration::from_millis(100);
    /// How long it is tried to end what does not end.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// What stands for a process that is there and cannot be caught long enough to be asked for its name.
    const NAMELESS: &str = "(a process that starts others faster than they can be named)";

    /// What the keeper waits for.
    enum News {
        /// A descendant has ended, and waits to be reaped.
        Ended,
        /// The harness, or whoever sits at the terminal, wants the end.
        Told,
    }

    /// Keeps a program: starts it with this process's stdin, stdout and stderr, and ends with it. `harness` is the process
    /// that wants it kept: who is another process's child, and so came too late, starts nothing.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn keep(harness: u32, program: &OsStr, arguments: &[OsString]) -> std::io::Result<ExitCode> {
        let (sender, news) = channel();
        let told = sender.clone();
        // Nobody listens any more only when the end has come anyway.
        ctrlc::set_handler(move || drop(told.send(News::Told))).map_err(std::io::Error::other)?;
        // Any process but none makes this one a subreaper: the number itself says nothing.
        set_child_subreaper(Some(Pid::INIT))?;
        // Who asks only now for the parent cannot know whether it is still the one that started this.
        let orphaned = || getppid().is_none_or(|parent| number(parent) != harness);
        if orphaned() {
            return Ok(ExitCode::SUCCESS);
        }
        let program = Command::new(program).args(arguments).spawn()?.id();
        // Only the program holds the pipes now: their end is its end.
        let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        rustix::stdio::dup2_stdout(&nothing)?;
        let (reaped, next) = channel();
        thread::spawn(move || announce(&sender, &next));
        let mut alone = false;
        let ended = loop {
            // Before every wait: whoever ends all the time must not keep this from being seen.
            if orphaned() {
                break None;
            }
            match news.recv_timeout(WATCH) {
                Ok(News::Ended) => {
                    let status;
                    (status, alone) = reap(program);
                    if status.is_some() {
                        break status;
                    }
                    // The other end is gone only when there is nobody left, and then it has been told.
                    let _ = reaped.send(());
                }
                Ok(News::Told) => break None,
                Err(_) => {}
            }
        };
        let mut left = BTreeSet::new();
        if ended.is_some() {
            let begun = Instant::now();
            while !alone && begun.elapsed() < GRACE {
                thread::sleep(Duration::from_millis(2));
                alone = reap(program).1;
            }
            if !alone {
                left.extend(descendants(std::process::id()).into_values());
            }
        }
        let end = end_all(&BTreeSet::new());
        if ended.is_some() && !alone {
            left.extend(end.killed);
            if left.is_empty() {
                left.insert(NAMELESS.to_owned());
            }
        }
        left.extend(end.remaining);
        let status = ended.map_or_else(|| "killed".to_owned(), in_words);
        let kept = Kept { status, left: few(left) };
        let report = serde_json::to_string(&kept).map_err(std::io::Error::other)?;
        // The harness may be gone; nobody is left to tell then.
        let _ = writeln!(std::io::stderr(), "\n{MARK}{report}");
        Ok(ExitCode::SUCCESS)
    }

    fn number(pid: Pid) -> u32 {
        pid.as_raw_pid().unsigned_abs()
    }

    fn process(number: u32) -> Option<Pid> {
        i32::try_from(number).ok().and_then(Pid::from_raw)
    }

    /// Tells whenever somebody has ended, and leaves the reaping to who is told: as long as a process is not reaped its number
    /// is nobody else's, and the one who kills must know that.
    fn announce(sender: &Sender<News>, next: &Receiver<()>) {
        loop {
            match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) if sender.send(News::Ended).is_ok() && next.recv().is_ok() => {}
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    }

    /// Takes leave of all who have ended: how the program did, if it is one of them, and whether nobody is left at all.
    fn reap(program: u32) -> (Option<WaitStatus>, bool) {
        let mut ended = None;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if number(pid) == program => ended = Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return (ended, false),
                Err(_) => return (ended, true),
            }
        }
    }

    /// What came of ending everybody.
    struct End {
        /// The names of those that were killed.
        killed: BTreeSet<String>,
        /// The names of those that could not be ended.
        remaining: BTreeSet<String>,
    }

    /// Kills and reaps all descendants, until there are none. Whoever loses its parent becomes a child of this process, so the
    /// system's word that there is no child is the end; that a listing shows nobody is not, for who starts another and ends
    /// at once can be in none. `spared` are children that somebody else may be waiting for: they are killed, and not reaped.
    fn end_all(spared: &BTreeSet<u32>) -> End {
        let own = std::process::id();
        let begun = Instant::now();
        let mut killed = BTreeSet::new();
        let mut known = BTreeSet::new();
        // Those of the spared that have ended: there may be thousands, and one look at each is enough.
        let mut dead = BTreeSet::new();
        loop {
            // Also an interruption or somebody who has just ended is no end: only that there is no child.
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if matches!(waitid(WaitId::All, look), Err(Errno::CHILD)) {
                return End { killed, remaining: BTreeSet::new() };
            }
            let mut fresh = Vec::new();
            let mut alive = false;
            // The newest first: it is the one that may be about to start another.
            for child in direct_children(own).into_iter().rev() {
                let Some(pid) = process(child).filter(|_| !dead.contains(&child)) else { continue };
                let gone = if spared.contains(&child) {
                    let gone = look_at(child).is_none_or(|found| !found.living);
                    if gone {
                        dead.insert(child);
                    }
                    gone
                } else {
                    matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(Some(_)) | Err(Errno::CHILD))
                };
                if gone {
                    known.remove(&child);
                    continue;
                }
                alive = true;
                let _ = kill_process(pid, Signal::KILL);
                if known.insert(child) {
                    fresh.push(child);
                }
            }
            if !alive && !spared.is_empty() {
                return End { killed, remaining: BTreeSet::new() };
            }
            // Not reaped yet, they still have their names.
            killed.extend(fresh.iter().filter_map(|child| look_at(*child)).map(|found| found.name));
            if begun.elapsed() > PATIENCE {
                let mut remaining: BTreeSet<_> = descendants(own).into_values().collect();
                if remaining.is_empty() {
                    remaining.insert(NAMELESS.to_owned());
                }
                return End { killed, remaining };
            }
            // No pause while there is somebody new: it may be starting the next one.
            if fresh.is_empty() {
                for (descendant, name) in descendants(own) {
                    // It may have ended meanwhile.
                    if process(descendant).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok()) {
                        killed.insert(name);
                    }
                }
                thread::sleep(Duration::from_millis(1));
            }
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

    /// Kills whatever descends from this process, and names it. To be asked when all workers are gone and nobody starts
    /// processes any more.
    pub fn end_strays() -> Vec<String> {
        let own = std::process::id();
        // Which of them somebody still holds a handle of cannot be told; who appears from now on is nobody's.
        let owned = processes().into_iter().filter(|(_, found)| found.parent == own).map(|(pid, _)| pid).collect();
        let End { mut killed, remaining } = end_all(&owned);
        killed.extend(remaining);
        few(killed)
    }

    /// What the system tells of a process.
    #[derive(Debug, PartialEq, Eq)]
    struct Found {
        parent: u32,
        name: String,
        /// Whether any of its threads is.
        living: bool,
    }

    /// All processes. Who has ended between the listing and the look at it is none of them.
    fn processes() -> BTreeMap<u32, Found> {
        let Ok(processes) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
        processes
            .flatten()
            .filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok())
            .filter_map(|pid| Some((pid, look_at(pid)?)))
            .collect()
    }

    /// All living descendants of a process, with their names.
    fn descendants(root: u32) -> BTreeMap<u32, String> {
        let mut families: BTreeMap<u32, Vec<(u32, Found)>> = BTreeMap::new();
        for (pid, process) in processes() {
            families.entry(process.parent).or_default().push((pid, process));
        }
        let mut found = BTreeMap::new();
        let mut open = vec![root];
        while let Some(parent) = open.pop() {
            for (pid, process) in families.remove(&parent).unwrap_or_default() {
                // Whatever its state: what it has started is looked at too.
                open.push(pid);
                if process.living {
                    found.insert(pid, process.name);
                }
            }
        }
        found
    }

    fn look_at(pid: u32) -> Option<Found> {
        parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// A line of `/proc/PID/stat`. The name stands in brackets and may itself hold any character, and bytes that are none.
    fn parse(stat: &[u8]) -> Option<Found> {
        let stat = String::from_utf8_lossy(stat);
        let (head, rest) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        // The 20th field of all. A process whose first thread has ended is a zombie while the others go on.
        let threads: u32 = fields.nth(15).and_then(|threads| threads.parse().ok()).unwrap_or(0);
        let living = match state {
            "X" => false,
            "Z" => threads > 1,
            _ => true,
        };
        Some(Found { parent, name: harmless(name).replace('\n', "\\n"), living })
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

    /// The most that a process has had; of one whose first thread has ended, another thread knows.
    fn peak(pid: u32) -> Option<u64> {
        let read = |path: &Path| {
            let status = std::fs::read(path.join("status")).ok()?;
            let status = String::from_utf8_lossy(&status);
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            Some(kilobytes * 1024)
        };
        let process = PathBuf::from(format!("/proc/{pid}"));
        read(&process).or_else(|| {
            let threads = std::fs::read_dir(process.join("task")).ok()?;
            threads.flatten().find_map(|thread| read(&thread.path()))
        })
    }

    /// The children of a process, the newest last, also those that have ended and were not reaped.
    fn direct_children(pid: u32) -> Vec<u32> {
        let listed = children(pid);
        if !listed.is_empty() {
            return listed;
        }
        // The kernel may have been built without that list.
        processes().into_iter().filter(|(_, found)| found.parent == pid).map(|(pid, _)| pid).collect()
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
        use super::{Found, parse};

        fn found(parent: u32, name: &str, living: bool) -> Option<Found> {
            Some(Found { parent, name: name.to_owned(), living })
        }

        #[test]
        fn names_may_hold_brackets_spaces_and_anything_else() {
            assert_eq!(parse(b"12 (a) b (c) S 7 12 12 0"), found(7, "a) b (c", true));
            assert_eq!(parse(b"12 (\xff\x1b[1m\n) S 7 12 12 0"), found(7, "\u{fffd}\\u{1b}[1m\\n", true));
            assert_eq!(parse(b"nonsense"), None);
        }

        #[test]
        fn a_zombie_lives_as_long_as_another_of_its_threads() {
            let zombie = |threads| format!("12 (gone) Z 7 12 12 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 99");
            assert_eq!(parse(zombie(1).as_bytes()), found(7, "gone", false));
            assert_eq!(parse(zombie(2).as_bytes()), found(7, "gone", true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept, few, split_report};

    #[test]
    fn many_names_are_few_and_a_number() {
        let names = |count: u32| (100..100 + count).map(|number| number.to_string()).collect();
        assert_eq!(few(names(20)).len(), 20);
        assert_eq!(few(names(23))[19..], ["119", "and 3 more"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_report_is_the_last_one_and_ends_with_its_line() {
        let said = "e2esm-keeper: {\"status\":\"mine\",\"left\":[]}\n";
        let report = "e2esm-keeper: {\"status\":\"killed\",\"left\":[\"x\"]}\nsomebody who outlived it";
        let kept = Kept { status: "killed".to_owned(), left: vec!["x".to_owned()] };
        assert_eq!(split_report(&format!("{said}{report}")), (said, Some(kept)));
    }
}
