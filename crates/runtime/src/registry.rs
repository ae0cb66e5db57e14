//! Which machines there are and which run: records on disk, run-time state, locks; and the collection of what a crash left.

use crate::cgroup;
use crate::dirs::Dirs;
use crate::error::{At, Error, Result};
use crate::handed_over;
use crate::idmap;
use crate::leader::Leader;
use repot_model::{
    CgroupVersion, HandOver, IdMap, MachineName, MachineRecord, Overlay, RECORD_VERSION,
    RuntimeState, STATE_VERSION, Signal, StateHeader, Status,
};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How a machine last ended: `machines/NAME/last.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// How it ended.
    pub status: Status,
    /// Seconds since the epoch.
    pub ended_s: u64,
    /// Processes that were killed for want of memory while it ran.
    #[serde(default)]
    pub oom_kills: u64,
    /// What it could not go on without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a machine's record is called in its directory.
const RECORD: &str = "machine.json";

/// What is being made of a machine in an engine, as long as no record tells of it.
const SET_UP: &str = "set-up.json";

/// `set-up.json`
#[derive(Debug, Serialize, Deserialize)]
struct SetUp {
    version: u32,
    plan: HandOver,
}

/// An exclusive claim on a machine's name and on its range of IDs, held until dropped, and by the supervisor for as long
/// as the machine runs.
#[derive(Debug)]
pub struct MachineLock {
    pub(crate) name: OwnedFd,
    pub(crate) ids: Option<OwnedFd>,
}

impl MachineLock {
    /// Chooses the machine's mapping of IDs and claims its range against all other machines of this host.
    ///
    /// # Errors
    /// As [`idmap::choose`].
    pub fn claim_ids(&mut self, name: &MachineName) -> Result<IdMap> {
        // An earlier claim would only stand in the way of the same range.
        self.ids = None;
        let (idmap, ids) = idmap::claim(name)?;
        self.ids = ids;
        Ok(idmap)
    }
}

/// Creates a directory and its parents, for the owner only.
pub fn make_private_dir(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .at("creating", path)
}

/// How long a machine is waited for that somebody holds without running it: a supervisor that is about to end, a command that
/// looks for what crashes have left.
const DYING: Duration = Duration::from_secs(3);

/// Claims a machine, and removes what a crash has left of it.
///
/// # Errors
/// [`Error::AlreadyRunning`] or [`Error::Busy`] when somebody else has it.
pub fn lock(dirs: &Dirs, name: &MachineName) -> Result<MachineLock> {
    let deadline = Instant::now() + DYING;
    loop {
        if let Some(lock) = try_lock(dirs, name)? {
            sweep(dirs, name)?;
            return Ok(lock);
        }
        if supervised(dirs, name).is_some() {
            return Err(Error::AlreadyRunning(name.clone()));
        }
        if Instant::now() >= deadline {
            return Err(Error::Busy(name.clone()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn try_lock(dirs: &Dirs, name: &MachineName) -> Result<Option<MachineLock>> {
    let path = dirs.lock_file(name);
    if let Some(parent) = path.parent() {
        make_private_dir(parent)?;
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).at("opening", &path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(MachineLock {
            name: file,
            ids: None,
        })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno).at("locking", path),
    }
}

/// Writes a document to a temporary name, then renames it: readers see the old one or the new one.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let text = serde_json::to_vec_pretty(value).map_err(|error| Error::State {
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::rename(&temporary, path))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&temporary);
        })
        .at("writing", path)
}

/// Reads a document of ours. `None`: there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path, known_version: u32) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("reading", path),
    };
    let damaged = |error: serde_json::Error| Error::State {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let found = serde_json::from_slice::<Versioned>(&text)
        .map_err(damaged)?
        .version;
    if found != u64::from(known_version) {
        return Err(Error::StateVersion {
            path: path.to_owned(),
            found,
            known: known_version,
        });
    }
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

/// The record of a machine, if there is one.
pub fn record(dirs: &Dirs, name: &MachineName) -> Result<Option<MachineRecord>> {
    read_json(&dirs.machine(name).join(RECORD), RECORD_VERSION)
}

/// Keeps the record of a machine.
pub fn write_record(dirs: &Dirs, record: &MachineRecord) -> Result<()> {
    let dir = dirs.machine(&record.name);
    make_private_dir(&dir)?;
    write_json(&dir.join(RECORD), record)
}

/// Notes what is about to be made of a machine in an engine. If its maker is killed before a record is written, the next command
/// takes it back.
pub fn begin_set_up(dirs: &Dirs, name: &MachineName, plan: &HandOver) -> Result<()> {
    let dir = dirs.machine(name);
    make_private_dir(&dir)?;
    let set_up = SetUp {
        version: RECORD_VERSION,
        plan: plan.clone(),
    };
    write_json(&dir.join(SET_UP), &set_up)
}

/// Forgets that note: a record tells of it now, or nothing is left of it.
pub fn end_set_up(dirs: &Dirs, name: &MachineName) {
    let _ = std::fs::remove_file(dirs.machine(name).join(SET_UP));
}

/// How a machine last ended, if that is known.
pub fn last_run(dirs: &Dirs, name: &MachineName) -> Option<LastRun> {
    serde_json::from_slice(&std::fs::read(dirs.machine(name).join("last.json")).ok()?).ok()
}

/// The state of a machine that runs now, under a supervisor of this version.
pub fn running(dirs: &Dirs, name: &MachineName) -> Option<RuntimeState> {
    let state: RuntimeState =
        read_json(&dirs.running(name).join("state.json"), STATE_VERSION).ok()??;
    (start_time(state.supervisor_pid)? == state.supervisor_start).then_some(state)
}

/// What all versions of repot say of a machine that runs now.
pub fn supervised(dirs: &Dirs, name: &MachineName) -> Option<StateHeader> {
    let header = header(dirs, name)?;
    (start_time(header.supervisor_pid)? == header.supervisor_start).then_some(header)
}

/// The same of a machine whose state this version cannot read.
pub fn foreign(dirs: &Dirs, name: &MachineName) -> Option<StateHeader> {
    let header = supervised(dirs, name)?;
    running(dirs, name).is_none().then_some(header)
}

fn header(dirs: &Dirs, name: &MachineName) -> Option<StateHeader> {
    serde_json::from_slice(&std::fs::read(dirs.running(name).join("state.json")).ok()?).ok()
}

/// Why a machine cannot be worked with: it does not run, or under a supervisor of another version.
pub fn not_running(dirs: &Dirs, name: &MachineName) -> Error {
    match foreign(dirs, name) {
        None => Error::NotRunning(name.clone()),
        Some(header) => Error::OtherVersion {
            name: name.clone(),
            found: header.version,
            known: STATE_VERSION,
        },
    }
}

/// All machines with a record or a run-time state, by name.
pub fn names(dirs: &Dirs) -> Vec<MachineName> {
    let mut names: Vec<MachineName> = [dirs.machines(), dirs.run.clone()]
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flat_map(|entries| {
            entries
                .flatten()
                .filter_map(|entry| MachineName::new(entry.file_name().to_str()?).ok())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// When a process started, in clock ticks since boot (proc_pid_stat(5), field 22). `None`: there is no such process.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    start_time_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The same from the text of the file.
pub(crate) fn start_time_in(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // A zombie holds its number, but it is over.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Cleans up after supervisors that were killed: processes, cgroups, run-time state. Machines that somebody holds are
/// left alone.
///
/// # Errors
/// The locks cannot be used.
pub fn collect_garbage(dirs: &Dirs) -> Result<()> {
    let mut names = entries(&dirs.run);
    names.extend(cgroup::children(&cgroup_folder(dirs)));
    // What was made for a machine before its record was.
    let mut without_record = entries(&dirs.machines());
    without_record.retain(|name| !dirs.machines().join(name).join(RECORD).exists());
    names.append(&mut without_record);
    names.sort();
    names.dedup();
    for name in names.iter().filter_map(|name| MachineName::new(name).ok()) {
        if let Some(lock) = try_lock(dirs, &name)? {
            // What cannot be removed (a process in an uninterruptible sleep) must not stand in the way of other machines; the
            // next command tries again.
            let _ = sweep(dirs, &name);
            drop(lock);
        }
    }
    Ok(())
}

/// What [`collect_garbage`] does, for a machine that was seen to have no supervisor: it may have been killed since the command has
/// begun, and nobody is to hear that a machine has stopped of which something still runs.
pub fn collect_orphan(dirs: &Dirs, name: &MachineName) {
    if dirs.running(name).exists()
        && let Ok(Some(_lock)) = try_lock(dirs, name)
    {
        let _ = sweep(dirs, name);
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Removes the run-time state of a machine whose lock the caller holds, whatever still runs of it, and what was made for it
/// if it has no record.
fn sweep(dirs: &Dirs, name: &MachineName) -> Result<()> {
    // As any version of repot has left it.
    let header = header(dirs, name);
    if let Some(header) = &header
        && let Some(leader) = Leader::of_process(header.leader_pid, header.leader_start)
    {
        let _ = leader.send(Signal::KILL);
        thaw(dirs, name);
    }
    cgroup::remove_everywhere(&format!("{}/{name}", cgroup_folder(dirs)))?;
    let dir = dirs.running(name);
    let state = read_json::<RuntimeState>(&dir.join("state.json"), STATE_VERSION);
    if let Ok(Some(state)) = state {
        // It dies with its supervisor; whatever has kept it from that.
        signal_server(&state, Signal::KILL);
        // A cgroup that was delegated lies elsewhere, and only the state tells where.
        if let Some(path) = &state.spec.cgroup.path {
            cgroup::remove_everywhere(path)?;
        }
        if let Some(plan) = &state.spec.hand_over {
            handed_over::end_by_force(plan, header.as_ref());
            if state.spec.root.overlay == Overlay::Ephemeral {
                handed_over::forget(plan);
            }
        }
    }
    take_set_up_back(dirs, name);
    forget_ephemeral(dirs, name);
    handed_over::remove_run_dir(&dir)
}

/// What was made for a machine in an engine by a command that was killed. One whose record tells of it has it by now.
fn take_set_up_back(dirs: &Dirs, name: &MachineName) {
    let note = dirs.machine(name).join(SET_UP);
    let Ok(Some(SetUp { plan, .. })) = read_json(&note, RECORD_VERSION) else {
        return;
    };
    let is_kept =
        record(dirs, name).is_ok_and(|record| record.is_some_and(|it| it.hand_over.is_some()));
    if !is_kept {
        handed_over::forget(&plan);
    }
    let _ = std::fs::remove_file(note);
}

/// Lets a machine that was killed die, if somebody has frozen it, or has stopped what serves its files: until that has answered,
/// the kernel lets nobody die who waits for it.
pub(crate) fn thaw(dirs: &Dirs, name: &MachineName) {
    cgroup::thaw(&format!("{}/{name}", cgroup_folder(dirs)));
    let state = dirs.running(name).join("state.json");
    let Ok(Some(state)) = read_json::<RuntimeState>(&state, STATE_VERSION) else {
        return;
    };
    if let Some(path) = &state.spec.cgroup.path {
        cgroup::thaw(path);
    }
    signal_server(&state, Signal::CONT);
}

fn signal_server(state: &RuntimeState, signal: Signal) {
    if let Some(server) = state.file_server
        && let Some(server) = Leader::of_process(server.pid, server.start)
    {
        let _ = server.send(signal);
    }
}

/// Removes cgroups of that path that an earlier machine left.
pub(crate) fn cgroup_leftovers(path: &str) -> Result<()> {
    cgroup::remove_everywhere(path)
}

/// Removes what was made for an ephemeral machine. One that has a record is kept: it was only started so this time.
pub(crate) fn forget_ephemeral(dirs: &Dirs, name: &MachineName) {
    let dir = dirs.machine(name);
    if !dir.join(RECORD).exists() {
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// Where a machine's cgroup goes, below the root of each hierarchy: `repot/NAME`, or the same below the cgroup that was
/// delegated to the caller. Run-time directories in other places, whose machines may have the same names, have their own
/// folder. `None`: the caller may make no cgroup.
pub fn cgroup_path(dirs: &Dirs, name: &MachineName, version: CgroupVersion) -> Option<String> {
    let place = cgroup::writable_place(version)?;
    let folder = cgroup_folder(dirs);
    Some(match place.as_str() {
        "" => format!("{folder}/{name}"),
        place => format!("{place}/{folder}/{name}"),
    })
}

fn cgroup_folder(dirs: &Dirs) -> String {
    if dirs.run == Path::new("/run/repot") {
        return "repot".into();
    }
    use std::os::unix::ffi::OsStrExt;
    // FNV-1a: short, and the same in every command.
    let hash = dirs
        .run
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("repot-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use repot_model::{CommandLine, Delivery, EngineId, HostFile, ImageFormat, LeaderProbe};

    fn plan(place: &Path) -> HandOver {
        HandOver {
            engine: EngineId("x".into()),
            delivery: Delivery::Image {
                format: ImageFormat::Tar,
                file: place.join("image"),
            },
            files: vec![HostFile {
                path: place.join("file"),
                mode: 0o600,
                text: String::new(),
            }],
            setup: Vec::new(),
            start: CommandLine::new(["true"]),
            console: None,
            leader: LeaderProbe::Descendant,
            restarts_itself: false,
            reboot_status: None,
            stays_in_cgroup: false,
            kill: Vec::new(),
            remove: vec![CommandLine::new([
                "touch".to_owned(),
                place.join("removed").display().to_string(),
            ])],
            by_hand: Vec::new(),
        }
    }

    fn machine_record(name: &MachineName, plan: &HandOver) -> MachineRecord {
        MachineRecord {
            version: RECORD_VERSION,
            name: name.clone(),
            source: "/tree".into(),
            base: "/tree".into(),
            uuid: "0".repeat(32),
            created_s: 0,
            limits: None,
            policy: repot_model::Policy::default(),
            hand_over: Some(plan.clone()),
        }
    }

    #[test]
    fn a_machine_whose_supervisor_has_just_been_killed_is_ended() {
        let place = tempfile::tempdir().unwrap();
        let dirs = Dirs {
            data: place.path().join("data"),
            run: place.path().join("run"),
        };
        let name = MachineName::new("web").unwrap();
        collect_orphan(&dirs, &name);
        assert!(!dirs.lock_file(&name).exists());
        make_private_dir(&dirs.running(&name)).unwrap();
        let lock = try_lock(&dirs, &name).unwrap();
        collect_orphan(&dirs, &name);
        assert!(dirs.running(&name).exists(), "somebody has it");
        drop(lock);
        collect_orphan(&dirs, &name);
        assert!(!dirs.running(&name).exists());
    }

    #[test]
    fn what_a_killed_command_made_in_an_engine_is_taken_back() {
        for is_recorded in [false, true] {
            let place = tempfile::tempdir().unwrap();
            let dirs = Dirs {
                data: place.path().join("data"),
                run: place.path().join("run"),
            };
            let name = MachineName::new("web").unwrap();
            let plan = plan(place.path());
            begin_set_up(&dirs, &name, &plan).unwrap();
            std::fs::write(place.path().join("file"), "").unwrap();
            if is_recorded {
                write_record(&dirs, &machine_record(&name, &plan)).unwrap();
                // Of the machine itself, whose start was killed later.
                make_private_dir(&dirs.running(&name)).unwrap();
            }
            collect_garbage(&dirs).unwrap();
            let is_there = |path: &str| place.path().join(path).exists();
            assert_eq!(is_there("removed"), !is_recorded);
            assert_eq!(is_there("file"), is_recorded);
            assert_eq!(is_there("data/machines/web"), is_recorded);
            assert!(!is_there("data/machines/web/set-up.json"));
        }
    }
}
