//! Machines: the record behind a name, the plan for a start.

use crate::args::{Environment, NetworkArg, UserNamespace, Writes};
use crate::mending::Mending;
use crate::sources::Tree;
use crate::{adapt, emulation, limits, policy, sessions};
use anyhow::{Context, bail};
use repot_model::{
    BindMount, BootSpec, Decision, Facts, Handler, HintExt, IdMap, Limits, MachineName,
    MachineRecord, Network, Overlay, Policy, RECORD_VERSION, TmpfsMount,
};
use repot_rootfs::RootRead;
use repot_runtime::file_server::{self, Missing};
use repot_runtime::idmap::{self, MountKind, NoUserNamespace};
use repot_runtime::plan::{Payload, Request, cgroup_wish, plan};
use repot_runtime::registry::{self, MachineLock};
use repot_runtime::{Dirs, lxcfs_files};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A machine that may be started: its record, and whether that is new.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) record: MachineRecord,
    pub(crate) is_new: bool,
}

impl Candidate {
    /// Takes the user's wishes over. Whether its record has to be written.
    pub(crate) fn take_wishes(&mut self, environment: &Environment) -> anyhow::Result<bool> {
        let has_new_policy = environment.policy.apply(&mut self.record)?;
        let has_new_limits = environment.limits.apply(&mut self.record);
        Ok(has_new_policy || has_new_limits || self.is_new)
    }
}

/// The machine for a tree: the one that SOURCE or `--name` means, the one made of the same tree before, or a new one.
pub(crate) fn candidate(
    dirs: &Dirs,
    tree: &Tree,
    name: Option<&MachineName>,
    writes: &Writes,
    engine: Option<&str>,
) -> anyhow::Result<Candidate> {
    if let (Some(record), None) = (&tree.machine, name) {
        return Ok(Candidate {
            record: record.clone(),
            is_new: false,
        });
    }
    let fresh = |name: MachineName| -> anyhow::Result<Candidate> {
        let created_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_secs());
        let record = MachineRecord {
            version: RECORD_VERSION,
            name,
            source: tree.source.clone(),
            base: tree.base.clone(),
            uuid: new_uuid()?,
            created_s,
            limits: None,
            policy: Policy::default(),
            hand_over: None,
        };
        Ok(Candidate {
            record,
            is_new: true,
        })
    };
    if let Some(name) = name {
        return match registry::record(dirs, name)? {
            None => fresh(name.clone()),
            Some(record) if record.base == tree.base => Ok(Candidate {
                record,
                is_new: false,
            }),
            Some(record) => Err(anyhow::anyhow!(
                "machine {name} exists already and was made from {}",
                record.source
            ))
            .hint(format!("choose another --name, or `repot rm {name}`"))
            .map_err(Into::into),
        };
    }
    // Without a name: the same tree means the same machine; a throw-away machine is always another one.
    for number in 1..1000 {
        let name = if number == 1 {
            tree.default_name.clone()
        } else {
            MachineName::new(&format!("{}-{number}", tree.default_name))?
        };
        let is_running = registry::supervised(dirs, &name).is_some();
        match registry::record(dirs, &name)? {
            None if !is_running => return fresh(name),
            Some(record)
                if record.base == tree.base && !writes.ephemeral && fits(&record, engine) =>
            {
                return Ok(Candidate {
                    record,
                    is_new: false,
                });
            }
            None | Some(_) => {}
        }
    }
    bail!(
        "there are a thousand machines called {} already: choose a --name",
        tree.default_name
    )
}

/// Whether a machine runs in the engine that the user named, if one was named.
fn fits(record: &MachineRecord, engine: Option<&str>) -> bool {
    engine.is_none_or(|engine| engine == crate::handing::engine_of(record))
}

/// A name for a machine that nobody will ask for again.
pub(crate) fn throw_away_name(of: &MachineName) -> anyhow::Result<MachineName> {
    let stem: String = of.as_str().chars().take(48).collect();
    Ok(MachineName::new(&format!("{stem}-{}", std::process::id()))?)
}

/// 128 random bits as a machine-id (machine-id(5)): 32 hexadecimal digits, marked as a version 4 UUID.
fn new_uuid() -> anyhow::Result<String> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("reading random bytes")?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a tree is looked at for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// To boot it: the init that it has.
    Boot,
    /// To boot it with this program as its init.
    BootWith(&'a str),
    /// To run a command in it.
    Command,
}

/// Looks at a tree.
pub(crate) fn inspect(base: &Path, purpose: Purpose<'_>) -> anyhow::Result<(RootRead, Facts)> {
    let root = RootRead::open(base).with_context(|| format!("opening {}", base.display()))?;
    let facts = match purpose {
        Purpose::Boot => repot_doctor::inspect(&root),
        Purpose::BootWith(path) => repot_doctor::inspect_init(&root, path),
        Purpose::Command => repot_doctor::inspect_for_command(&root),
    };
    let facts = facts.with_context(|| format!("inspecting {}", base.display()))?;
    Ok((root, facts))
}

/// Whether an ID mapping is tried before it is planned with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// A trial, which takes a process of its own.
    Tried,
    /// Taken for possible: the start itself will show it.
    Assumed,
}

/// What a start consists of.
#[derive(Debug, Clone)]
pub(crate) struct Start<'a> {
    pub(crate) dirs: &'a Dirs,
    pub(crate) record: &'a MachineRecord,
    pub(crate) root: &'a RootRead,
    pub(crate) facts: &'a Facts,
    pub(crate) writes: &'a Writes,
    pub(crate) environment: &'a Environment,
    pub(crate) payload: Payload,
    pub(crate) mending: &'a Mending,
    pub(crate) mapping: Mapping,
    /// What executes the tree's programs, where the processor does not.
    pub(crate) emulator: Option<&'a Handler>,
}

/// Plans a start. For one that is meant, and has the machine's `lock`, makes the directories that the plan names and claims
/// its range of IDs.
pub(crate) fn spec(start: Start<'_>, lock: Option<&mut MachineLock>) -> anyhow::Result<BootSpec> {
    let make = lock.is_some();
    let Start {
        dirs,
        record,
        root,
        facts,
        writes,
        environment,
        ref payload,
        mapping,
        ..
    } = start;
    let name = &record.name;
    // Before anything is made that a refusal would leave behind.
    let limits = limits::of(record)?;
    let cgroup_path = cgroup(dirs, name, payload, &limits)?;
    let overlay = overlay(dirs, record, writes);
    if make && let Overlay::Kept { dir } = &overlay {
        registry::make_private_dir(dir)?;
    }
    let (layers, notes) = layers(&start, &overlay, make)?;
    let emulation = start.emulator.map(|it| emulation::decision(it, facts));
    let binds = binds(environment)?;
    // What has to be ID-mapped. Not all is made yet on a dry run; it will lie on the file system of the state directory.
    let trees = std::iter::once(&record.base).chain(&layers);
    let mut mounts: Vec<(&Path, MountKind)> = trees
        .map(|path| (path.as_path(), MountKind::Layer))
        .collect();
    if let Overlay::Kept { dir } = &overlay {
        mounts.push((dir, MountKind::Layer));
    }
    mounts.retain(|(path, _)| path.exists());
    mounts.extend(
        binds
            .iter()
            .map(|bind| (bind.host_path.as_path(), MountKind::Bind)),
    );
    let idmap = choose_idmap(lock, &record.name, &mounts, environment.userns, mapping)?;
    // fuse-overlayfs takes the writes where an overlay of the kernel does not.
    if make && let Overlay::Kept { dir } = &overlay {
        let lacks = file_server::may_serve(&idmap).then(file_server::missing);
        if lacks != Some(None) {
            check_writes(dir, lacks.flatten())?;
        }
    }
    policy::check(&record.policy, &idmap)?;
    let request = Request {
        name: name.clone(),
        uuid: record.uuid.clone(),
        base: record.base.clone(),
        layers,
        overlay,
        cgroup_path,
        idmap,
        limits,
        lxcfs: lxcfs_files(),
        network: network(environment),
        binds,
        tmpfs: all_tmpfs(environment)?,
        policy: record.policy.clone(),
        env: variables(environment)?,
        term: sessions::term(root),
    };
    let mut spec = plan(request, facts, start.payload);
    if let Some(hostname) = &environment.hostname {
        spec.hostname.clone_from(hostname);
    }
    spec.decisions.extend(emulation);
    spec.decisions.extend(notes);
    Ok(spec)
}

/// What takes the machine's writes.
pub(crate) fn overlay(dirs: &Dirs, record: &MachineRecord, writes: &Writes) -> Overlay {
    match (writes.ephemeral, writes.in_place) {
        (true, _) => Overlay::Ephemeral,
        (_, true) => Overlay::InPlace,
        (false, false) => Overlay::Kept {
            dir: dirs.machine(&record.name).join("writes"),
        },
    }
}

/// Makes the directory for them.
pub(crate) fn make_writes(dir: &Path) -> anyhow::Result<()> {
    registry::make_private_dir(dir)?;
    check_writes(dir, None)
}

/// What is laid over the tree, and why. Written anew if it is meant.
pub(crate) fn layers(
    start: &Start<'_>,
    overlay: &Overlay,
    make: bool,
) -> anyhow::Result<(Vec<PathBuf>, Vec<Decision>)> {
    let Start {
        dirs,
        record,
        root,
        facts,
        environment,
        payload,
        mending,
        ..
    } = start;
    let adaptations = adapt::edits(root, facts, environment, payload, mending)?;
    let mut layers = Vec::new();
    let mut notes = Vec::new();
    if !adaptations.is_empty() {
        notes = adaptations.iter().map(adapt::decision).collect();
        if *overlay == Overlay::InPlace {
            notes.iter_mut().for_each(|note| {
                note.why
                    .push_str("; left out, since --in-place changes nothing by itself")
            });
        } else {
            let layer = dirs.machine(&record.name).join("adapted");
            if make {
                repot_rootfs::layer::write(root, &adaptations, &layer)
                    .with_context(|| format!("writing {}", layer.display()))?;
            }
            layers.push(layer);
        }
    }
    Ok((layers, notes))
}

/// The network wanted.
pub(crate) fn network(environment: &Environment) -> Network {
    match environment.network {
        NetworkArg::None => Network::None,
        NetworkArg::Host => Network::Host,
    }
}

/// The tmpfs mounts wanted.
pub(crate) fn all_tmpfs(environment: &Environment) -> anyhow::Result<Vec<TmpfsMount>> {
    environment.tmpfs.iter().map(|text| tmpfs(text)).collect()
}

/// The variables wanted.
pub(crate) fn variables(environment: &Environment) -> anyhow::Result<Vec<(String, String)>> {
    environment.env.iter().map(|text| variable(text)).collect()
}

/// Refuses a place for writes that the kernel would refuse with nothing but EINVAL: in a machine or another container, the
/// state directory is on an overlay itself. `lacks`: what fuse-overlayfs would need that could take it.
fn check_writes(dir: &Path, lacks: Option<Missing>) -> anyhow::Result<()> {
    /// `OVERLAYFS_SUPER_MAGIC` (linux/magic.h).
    const OVERLAY: u32 = 0x794c_7630;
    let on = rustix::fs::statfs(dir).with_context(|| format!("looking at {}", dir.display()))?;
    if u32::try_from(on.f_type) != Ok(OVERLAY) {
        return Ok(());
    }
    let instead = lacks.map_or_else(String::new, |missing| {
        format!("; or by fuse-overlayfs ({missing}): {}", missing.hint)
    });
    Err(anyhow::anyhow!(
        "{} is on an overlay, which cannot take the writes of another one",
        dir.display()
    ))
    .hint(format!(
        "--ephemeral keeps writes in memory; REPOT_DATA_DIR may name a directory on another file system, such as a tmpfs{instead}"
    ))
    .map_err(Into::into)
}

/// Where the machine's cgroup goes. Most inits do without one of their own; limits do not.
pub(crate) fn cgroup(
    dirs: &Dirs,
    name: &MachineName,
    payload: &Payload,
    limits: &Limits,
) -> anyhow::Result<Option<String>> {
    let needs = match payload {
        Payload::Init { needs, .. } => Some(needs.as_ref()),
        Payload::Command { .. } => None,
    };
    let (version, insists) = cgroup_wish(needs);
    let path = registry::cgroup_path(dirs, name, version);
    let who = match (insists, limits.are_asked_for()) {
        (true, _) => "this init needs",
        (_, true) => "limits need",
        (false, false) => return Ok(path),
    };
    if path.is_none() {
        return Err(anyhow::anyhow!(
            "{who} a cgroup that may be written to, and none is delegated to you"
        ))
        .hint(repot_runtime::delegation_hint(version))
        .map_err(Into::into);
    }
    Ok(path)
}

fn choose_idmap(
    lock: Option<&mut MachineLock>,
    name: &MachineName,
    mounts: &[(&Path, MountKind)],
    wish: UserNamespace,
    mapping: Mapping,
) -> anyhow::Result<IdMap> {
    if wish == UserNamespace::No {
        if !idmap::is_initial_namespace() {
            return Err(anyhow::anyhow!(
                "--userns no: this is a user namespace already, and a machine needs one of its own in it"
            ))
            .hint("as root of the host, outside of machines, it is possible")
            .map_err(Into::into);
        }
        return Ok(IdMap::Host {
            reason: "asked for with --userns no".into(),
        });
    }
    let idmap = match lock {
        Some(lock) => lock.claim_ids(name)?,
        None => idmap::choose(name)?,
    };
    if mapping == Mapping::Assumed {
        return Ok(idmap);
    }
    match idmap::probe(&idmap, mounts) {
        Ok(()) => Ok(idmap),
        Err(NoUserNamespace::Impossible(reason))
            if wish == UserNamespace::Auto && idmap::is_initial_namespace() =>
        {
            Ok(IdMap::Host { reason })
        }
        Err(reason) => bail!("no user namespace is possible: {reason}"),
    }
}

pub(crate) fn binds(environment: &Environment) -> anyhow::Result<Vec<BindMount>> {
    let parse = |text: &String, read_only| -> anyhow::Result<BindMount> {
        let (host, guest) = text.split_once(':').unwrap_or((text, text));
        let host_path = Path::new(host)
            .canonicalize()
            .with_context(|| format!("binding {host}"))?;
        let guest_path = if guest == host {
            host_path.display().to_string()
        } else {
            guest.to_owned()
        };
        if !guest_path.starts_with('/') {
            bail!("binding {host}: {guest_path:?} must be an absolute path in the machine");
        }
        Ok(BindMount {
            host_path,
            guest_path,
            read_only,
        })
    };
    let writable = environment.bind.iter().map(|text| parse(text, false));
    writable
        .chain(environment.bind_ro.iter().map(|text| parse(text, true)))
        .collect()
}

fn tmpfs(text: &str) -> anyhow::Result<TmpfsMount> {
    let (path, options) = text.split_once(':').unwrap_or((text, "mode=1777"));
    if !path.starts_with('/') {
        bail!("--tmpfs {text}: {path:?} must be an absolute path in the machine");
    }
    Ok(TmpfsMount {
        guest_path: path.to_owned(),
        options: options.to_owned(),
    })
}

/// `NAME=VALUE`, or `NAME` for the caller's own value.
pub(crate) fn variable(text: &str) -> anyhow::Result<(String, String)> {
    match text.split_once('=') {
        Some(("", _)) => bail!("--env {text}: the name is missing"),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Ok((
            text.to_owned(),
            std::env::var(text).with_context(|| format!("--env {text}: it is not set here"))?,
        )),
    }
}
