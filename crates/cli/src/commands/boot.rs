//! `repot boot`: SOURCE to a running machine, attached to its console or ready in the background.

use crate::args::{Boot, UserNamespace};
use crate::commands::doctor;
use crate::engines::native;
use crate::machines::{self, Candidate, Mapping, Purpose, Start};
use crate::mending::{self, Mending};
use crate::{emulation, exit, handing, output, policy, sources};
use anyhow::{anyhow, bail};
use repot_engines::Host;
use repot_model::{
    BootSpec, Facts, GettyKind, HintExt, Hinted, IdMap, MachineName, MachineRecord, Needs,
    PasswordState, Pid1, Status,
};
use repot_runtime::plan::Payload;
use repot_runtime::registry::MachineLock;
use repot_runtime::{Connection, Dirs, SessionEnd, Waited, attach, registry, start};
use std::path::Path;
use std::time::Duration;

pub(crate) fn run(mut args: Boot) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let tree = sources::resolve(&dirs, &args.source)?;
    let mut candidate = machines::candidate(
        &dirs,
        &tree,
        args.name.as_ref(),
        &args.writes,
        args.on.as_deref(),
    )?;
    let is_changed = candidate.take_wishes(&args.environment)?;
    let record = &candidate.record;
    let purpose = args
        .init
        .as_deref()
        .map_or(Purpose::Boot, Purpose::BootWith);
    let (root, facts) = machines::inspect(&record.base, purpose)?;
    let emulator = emulation::check(&root, &facts)?;
    let mut elsewhere = handing::choose(args.on.as_deref(), record, candidate.is_new)?;
    elsewhere
        .iter_mut()
        .for_each(|elsewhere| elsewhere.is_unaided = args.unaided);
    let network = args.environment.network;
    let mending = match (&elsewhere, args.no_fix) {
        (_, true) => Mending::nothing(),
        (Some(elsewhere), false) => Mending::new(elsewhere.offers_of_boot(network)),
        (None, false) => Mending::new(native(&Host::look(), network)),
    };
    let asks = args.wishes.autologin
        || args.wishes.root_password.is_some()
        || args.wishes.root_password_hash.is_some();
    if asks && args.writes.in_place {
        return Err(anyhow!(
            "--in-place lays nothing over the tree, so it cannot give root a password or log it in"
        ))
        .hint("`repot fix` with the same options writes it into the tree first")
        .map_err(Into::into);
    }
    let mut mending = Mending {
        wishes: mending::wishes(&args.wishes)?,
        ..mending
    };
    let is_adapted = args.init.is_none() && !args.writes.in_place;
    let looked = is_adapted
        .then(|| mending.look_again(&root, &facts))
        .flatten();
    let (root, facts) = looked
        .as_ref()
        .map_or((&root, &facts), |looked| (&looked.root, &looked.facts));
    mending.check_wishes(root, facts)?;
    let payload = payload(&mut args, facts, &tree.source, emulator.is_some())?;
    let make_start = |payload| Start {
        dirs: &dirs,
        record,
        root,
        facts,
        writes: &args.writes,
        environment: &args.environment,
        payload,
        mending: &mending,
        mapping: Mapping::Tried,
        emulator: emulator.as_ref(),
    };
    if let Some(elsewhere) = &elsewhere {
        if args.as_pid2 {
            bail!("--as-pid2: the stub init is of repot's own runtime; leave --on out");
        }
        let start = make_start(payload);
        if args.dry_run {
            let spec = handing::spec(start, elsewhere, false)?;
            return handing::show(&spec, args.json);
        }
        let lock =
            registry::lock(&dirs, &record.name).map_err(|error| busy(error, &record.name))?;
        let mut spec = handing::spec(start, elsewhere, true)?;
        let is_kept = !args.writes.ephemeral;
        // A new one's is written once the engine has it.
        if is_changed && is_kept && !candidate.is_new {
            registry::write_record(&dirs, record)?;
        }
        let mut record = record.clone();
        let connection = handing::set_up(&dirs, &mut record, &mut spec, facts, is_kept)
            .and_then(|()| start_it(&dirs, &spec, lock));
        if connection.is_err() && candidate.is_new {
            record
                .hand_over
                .iter()
                .for_each(repot_runtime::forget_in_engine);
            forget(&dirs, &record);
        }
        let facts = facts.clone();
        drop(looked);
        let connection = connection.map_err(|error| started_before(error, &candidate))?;
        return go_on(&dirs, &args, &connection, &record, &facts, &spec);
    }
    if args.dry_run {
        let spec = pid1(machines::spec(make_start(payload), None)?, args.as_pid2);
        return crate::commands::run::show(&dirs, &spec, args.json);
    }
    let mut lock =
        registry::lock(&dirs, &record.name).map_err(|error| busy(error, &record.name))?;
    let spec = pid1(
        machines::spec(make_start(payload), Some(&mut lock))?,
        args.as_pid2,
    );
    if is_changed && !args.writes.ephemeral {
        registry::write_record(&dirs, record)?;
    }
    if let Some(warning) = policy::warning(record, &spec.idmap) {
        output::note(warning);
    }
    let started = start_it(&dirs, &spec, lock);
    let facts = facts.clone();
    drop(looked);
    if started.is_err() && candidate.is_new {
        forget(&dirs, record);
    }
    let connection = started?;
    if let (IdMap::Host { reason }, UserNamespace::Auto) = (&spec.idmap, args.environment.userns) {
        output::note(format!(
            "repot: {} runs without a user namespace, root in it is the host's root: {reason}",
            record.name
        ));
    }
    go_on(&dirs, &args, &connection, record, &facts, &spec)
}

/// What else may be the reason where a machine's container was made before.
fn started_before(error: anyhow::Error, candidate: &Candidate) -> anyhow::Error {
    let record = &candidate.record;
    let is_hinted = error.chain().any(|cause| cause.is::<Hinted>());
    if is_hinted || candidate.is_new || !handing::keeps_writes(record) {
        return error;
    }
    let (name, engine) = (&record.name, handing::engine_of(record));
    Hinted {
        hint: format!(
            "if its container was removed in {engine}, what it wrote is gone: `repot rm {name}` forgets the machine, and its tree boots anew"
        ),
        source: error.into(),
    }
    .into()
}

fn start_it(dirs: &Dirs, spec: &BootSpec, lock: MachineLock) -> anyhow::Result<Connection> {
    Ok(start(dirs, spec, lock)?)
}

/// Waits until the machine is ready, or shows its console.
fn go_on(
    dirs: &Dirs,
    args: &Boot,
    connection: &Connection,
    record: &MachineRecord,
    facts: &Facts,
    spec: &BootSpec,
) -> anyhow::Result<u8> {
    if args.detach {
        return wait(dirs, connection, record, Duration::from_secs(args.timeout));
    }
    for hint in hints(&record.name, facts, spec) {
        output::note(hint);
    }
    let end = attach(connection, b"")?;
    if let SessionEnd::Ended(Status::Exited(1..) | Status::Killed(_)) = end {
        tell_cause(dirs, record);
    }
    Ok(after(&record.name, end))
}

/// The init to start and what it needs.
fn payload(
    args: &mut Boot,
    facts: &Facts,
    source: &str,
    is_emulated: bool,
) -> anyhow::Result<Payload> {
    if let Some(path) = args.init.as_ref().filter(|path| !path.starts_with('/')) {
        bail!("--init {path}: write the absolute path that the program has in the tree");
    }
    let needs = repot_doctor::needs(facts).ok_or_else(|| no_init(facts, source))?;
    let needs = if is_emulated { needs.emulated() } else { needs };
    let extra = std::mem::take(&mut args.init_args);
    let argv = (!extra.is_empty()).then(|| needs.argv.iter().cloned().chain(extra).collect());
    Ok(init(needs, argv))
}

fn init(needs: Needs, argv: Option<Vec<String>>) -> Payload {
    Payload::Init {
        needs: Box::new(needs),
        argv,
    }
}

fn no_init(facts: &Facts, source: &str) -> anyhow::Error {
    let mut text = format!(
        "{} in {source} has no init that could be booted",
        facts.distribution.name
    );
    for rejected in &facts.rejected_inits {
        text.push_str(&format!("; {}: {}", rejected.path, rejected.seen));
    }
    let below = Path::new(source).join("rootfs");
    let hint = if below.is_dir() && facts.rejected_inits.is_empty() {
        format!("there is {} in it: that may be the tree", below.display())
    } else {
        format!(
            "`repot run {source}` opens a shell in it; to boot it, install an init there (in Debian: apt-get install systemd-sysv), or name one with --init"
        )
    };
    Hinted {
        hint,
        source: anyhow!(text).into(),
    }
    .into()
}

fn pid1(mut spec: BootSpec, as_pid2: bool) -> BootSpec {
    if as_pid2 {
        spec.pid1 = Pid1::Stub;
    }
    spec
}

fn busy(error: repot_runtime::Error, name: &MachineName) -> anyhow::Error {
    use repot_runtime::Error;
    let hint = if matches!(error, Error::AlreadyRunning(_)) {
        format!(
            "`repot attach {name}` shows its console, `repot login {name}` logs in; --name starts another machine"
        )
    } else if matches!(error, Error::Busy(_)) {
        format!("`repot status {name}` tells more")
    } else {
        return error.into();
    };
    Hinted {
        hint,
        source: error.into(),
    }
    .into()
}

/// A machine that never ran leaves no record.
fn forget(dirs: &Dirs, record: &MachineRecord) {
    let dir = dirs.machine(&record.name);
    if let Some((parent, name)) = dir.parent().zip(dir.file_name()) {
        let _ = crate::commands::rm::remove_dir(parent, name);
    }
}

/// `--detach`: until ready, and how that was known.
fn wait(
    dirs: &Dirs,
    connection: &Connection,
    record: &MachineRecord,
    timeout: Duration,
) -> anyhow::Result<u8> {
    let name = &record.name;
    match connection.wait_ready(Some(timeout))? {
        Waited::Ready(ready) => {
            output::line(format!(
                "{name} is ready after {}.{:01} s: {}",
                ready.after_ms / 1000,
                ready.after_ms % 1000 / 100,
                ready.how
            ));
            Ok(0)
        }
        Waited::Ended(status) => {
            let (cause, remedy) = cause(dirs, record);
            Err(anyhow!(
                "{name} {} before it was ready{cause}",
                ended(status)
            ))
            .hint(format!(
                "{remedy}`repot logs {name}` shows what its console said"
            ))
            .map_err(Into::into)
        }
        Waited::TimedOut => {
            let (cause, remedy) = cause(dirs, record);
            Err(anyhow!("{name} is not ready after {} s: neither READY=1 from its init nor a prompt on its console; it goes on running{cause}", timeout.as_secs()))
                .hint(format!("{remedy}`repot logs {name}` shows what its console said, `repot login {name}` may work all the same"))
                .map_err(Into::into)
        }
    }
}

/// What the console's log says of why: for the error, and for its hint. Empty where nothing is known.
fn cause(dirs: &Dirs, record: &MachineRecord) -> (String, String) {
    match doctor::probable_cause(&doctor::console_log(dirs, &record.name)) {
        Some((cause, remedy)) => (format!(", {cause}"), format!("{remedy}; ")),
        None => Default::default(),
    }
}

/// After a console that ended badly in front of the user.
fn tell_cause(dirs: &Dirs, record: &MachineRecord) {
    let log = doctor::console_log(dirs, &record.name);
    if let Some((cause, remedy)) = doctor::probable_cause(&log) {
        output::note(format!("\r\nrepot: it ended {cause}\r\n       {remedy}"));
    }
}

/// What a user should know before the console takes over.
fn hints(name: &MachineName, facts: &Facts, spec: &BootSpec) -> Vec<String> {
    let mut hints = vec![format!(
        "repot: booting {} as {name}; detach with ^] three times within a second",
        facts.distribution.name
    )];
    let gettys = facts
        .init
        .as_ref()
        .map_or(&[][..], |init| init.gettys.as_slice());
    let asks = spec.console_login || gettys.iter().any(|getty| getty.kind == GettyKind::Login);
    let how = match facts.root.password {
        PasswordState::Locked => "root has no password that could be right",
        PasswordState::Expired => "root's password has expired",
        PasswordState::Missing
        | PasswordState::Unreadable
        | PasswordState::Set { .. }
        | PasswordState::Empty => return hints,
    };
    if asks {
        hints.push(format!("repot: in this tree {how}: `repot login {name}` from another terminal gets you in without one"));
    }
    hints
}

/// The end of an attached session, in words and as exit code.
pub(crate) fn after(name: &MachineName, end: SessionEnd) -> u8 {
    match end {
        SessionEnd::Detached => {
            output::note(format!(
                "\r\nrepot: detached; {name} goes on running. `repot attach {name}` brings it back, `repot stop {name}` ends it"
            ));
            0
        }
        SessionEnd::Ended(status) => {
            output::note(format!("\r\nrepot: {name} {}", ended(status)));
            match status {
                Status::PoweredOff | Status::Rebooted | Status::Exited(0) => 0,
                Status::Exited(_) | Status::Killed(_) => exit::FAILURE,
            }
        }
        SessionEnd::Closed => {
            output::note(format!("\r\nrepot: the supervisor of {name} has gone"));
            exit::FAILURE
        }
        SessionEnd::Signal(signal) => u8::try_from(128 + signal).unwrap_or(255),
    }
}

/// How a machine ended, in words.
pub(crate) fn ended(status: Status) -> String {
    match status {
        Status::PoweredOff => "has powered off".into(),
        Status::Rebooted => "kept restarting and was ended".into(),
        Status::Exited(code) => format!("has ended: its init exited with status {code}"),
        Status::Killed(signal) => format!("has ended: its init was killed by signal {signal}"),
    }
}
