//! `repot command`: what one types, and writes, to boot a tree in another container system without repot.

use crate::args::{ByHand, NetworkArg, Writes};
use crate::handing::Elsewhere;
use crate::machines::{self, Mapping, Purpose, Start};
use crate::mending::Mending;
use crate::{emulation, engines, handing, output, shell_mode, sources};
use anyhow::anyhow;
use repot_engines::{Usable, engine_name};
use repot_model::{
    CommandLine, Decision, Delivery, Edit, HandOver, HintExt, HostFile, ImageFormat, shell_word,
};
use repot_runtime::Dirs;
use repot_runtime::plan::Payload;
use serde::Serialize;

/// `repot command --json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    engine: &'a str,
    available: bool,
    /// What the tree needs first.
    edits: &'a [Edit],
    prepare: Vec<Line<'a>>,
    files: &'a [HostFile],
    setup: Vec<Line<'a>>,
    start: Line<'a>,
    then: Vec<Line<'a>>,
    remove: Vec<Line<'a>>,
}

/// A command, as words and as one types it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    what: &'a str,
    argv: &'a [String],
    env: &'a [(String, String)],
    shell: String,
}

impl<'a> Line<'a> {
    fn new(what: &'a str, command: &'a CommandLine) -> Self {
        Self {
            what,
            argv: &command.argv,
            env: &command.env,
            shell: command.to_string(),
        }
    }

    fn all(what: &'a str, commands: &'a [CommandLine]) -> Vec<Self> {
        commands
            .iter()
            .map(|command| Self::new(what, command))
            .collect()
    }
}

pub(crate) fn run(args: &ByHand) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    let tree = sources::resolve(&dirs, &args.source)?;
    let writes = Writes {
        ephemeral: false,
        in_place: false,
    };
    let mut candidate = machines::candidate(
        &dirs,
        &tree,
        args.name.as_ref(),
        &writes,
        Some(&args.engine),
    )?;
    candidate.take_wishes(&args.environment)?;
    let record = &candidate.record;
    let purpose = args
        .init
        .as_deref()
        .map_or(Purpose::Boot, Purpose::BootWith);
    let (root, facts) = machines::inspect(&record.base, purpose)?;
    let elsewhere = Elsewhere {
        is_by_hand: true,
        ..Elsewhere::imagined(engines::other(&args.engine)?)
    };
    // By hand, nobody of repot's is there to answer on a silent console.
    let network = args.environment.network;
    let mut offers = engines::on_network(elsewhere.offers.clone(), network);
    offers.serves_silent_console = false;
    let mut mending = Mending::new(offers);
    let looked = mending.look_again(&root, &facts);
    let (root, facts) = looked
        .as_ref()
        .map_or((&root, &facts), |looked| (&looked.root, &looked.facts));
    let payload = match repot_doctor::needs(facts) {
        // Where nothing boots, a shell is what there can be.
        _ if !elsewhere.offers.is_pid1 => Payload::Command {
            argv: vec![super::run::shell(root, facts.root.shell.as_deref())?],
            terminal: true,
        },
        Some(needs) => Payload::Init {
            needs: Box::new(needs),
            argv: None,
        },
        None => {
            return Err(anyhow!("{} has no init that could be booted", tree.source))
                .hint(format!("`repot doctor {}` tells more", args.source))
                .map_err(Into::into);
        }
    };
    let edits = mending.edits(root, facts);
    let emulator = emulation::check(root, facts).unwrap_or_else(|error| {
        output::note(format!("repot: {error:#}"));
        None
    });
    let start = Start {
        dirs: &dirs,
        record,
        root,
        facts,
        writes: &writes,
        environment: &args.environment,
        payload,
        mending: &mending,
        mapping: Mapping::Assumed,
        emulator: emulator.as_ref(),
    };
    let spec = match elsewhere.offers.is_pid1 {
        true => handing::spec(start, &elsewhere, false)?,
        false => shell_mode::spec(start, &elsewhere, false)?,
    };
    let plan = spec
        .hand_over
        .ok_or_else(|| anyhow!("{} needs no handing over", args.engine))?;
    let mut plan = on_the_tree(plan, &record.base.display().to_string());
    let prepare = preparation(
        &plan,
        &args.source,
        &args.engine,
        &engine_name(&record.name),
        network,
        !edits.is_empty(),
    );
    let has_image = matches!(plan.delivery, Delivery::Image { .. });
    let dir = dirs.by_hand(&record.name);
    if has_image || plan.files.iter().any(|file| file.path.starts_with(&dir)) {
        let dir = dir.display().to_string();
        plan.remove.push(CommandLine::new(["rm", "-r", &dir]));
    }
    let is_available = elsewhere.found.state == Usable::Yes;
    if args.json {
        let by_hand = plan.by_hand.iter();
        output::json(&Document {
            version: output::JSON_VERSION,
            engine: &args.engine,
            available: is_available,
            edits: &edits,
            prepare: prepare
                .iter()
                .map(|(what, command)| Line::new(what, command))
                .collect(),
            files: &plan.files,
            setup: Line::all("before the first start", &plan.setup),
            start: Line::new("start", &plan.start),
            then: by_hand
                .map(|(what, command)| Line::new(what, command))
                .collect(),
            remove: Line::all("remove", &plan.remove),
        })?;
        return Ok(0);
    }
    let notes: Vec<Decision> = edits.iter().map(crate::adapt::decision).collect();
    show(&plan, &notes, &prepare);
    if !is_available {
        output::note(format!("repot: {} is not usable on this host", args.engine));
    }
    Ok(0)
}

/// The same on the tree itself, where repot would mount it with its layers.
fn on_the_tree(mut plan: HandOver, base: &str) -> HandOver {
    let Delivery::Overlay { at } = &plan.delivery else {
        return plan;
    };
    let at = at.display().to_string();
    let replace = |text: &mut String| *text = text.replace(&at, base);
    for file in &mut plan.files {
        replace(&mut file.text);
    }
    let lists = [&mut plan.setup, &mut plan.remove];
    let commands = lists.into_iter().flatten();
    let commands = commands
        .chain([&mut plan.start])
        .chain(plan.by_hand.iter_mut().map(|(_, command)| command));
    for command in commands {
        command.argv.iter_mut().for_each(replace);
    }
    plan
}

/// What has to be done to the tree first, by repot too.
fn preparation(
    plan: &HandOver,
    source: &str,
    engine: &str,
    image: &str,
    network: NetworkArg,
    has_edits: bool,
) -> Vec<(&'static str, CommandLine)> {
    let on_network = |command: CommandLine| match network {
        NetworkArg::None => command,
        NetworkArg::Host => command.arg("--network=host"),
    };
    match &plan.delivery {
        Delivery::Overlay { .. } if has_edits => vec![(
            "write the changes that it needs there into the tree; repot fix --undo takes them back",
            on_network(CommandLine::new(["repot", "fix", source, "--for", engine])),
        )],
        Delivery::Overlay { .. } => Vec::new(),
        Delivery::Image { file, format } => {
            let form = match format {
                ImageFormat::OciArchive => "oci-archive",
                ImageFormat::DockerArchive => "docker-archive",
                ImageFormat::LxdUnified => "lxd",
                ImageFormat::Tar => "tar",
            };
            let export = CommandLine::new(["repot", "export", source]);
            let dir = file.parent().unwrap_or(file).display().to_string();
            vec![
                (
                    "a place for files",
                    CommandLine::new(["mkdir", "-p", dir.as_str()]),
                ),
                (
                    "make an image of the tree, with the changes that it needs there",
                    on_network(
                        export
                            .arg(file.display().to_string())
                            .arg(format!("--to={form}"))
                            .arg(format!("--for={engine}"))
                            .arg(format!("--name={image}")),
                    ),
                ),
            ]
        }
    }
}

/// As a shell script, so that it can be read, and mostly also run.
fn show(plan: &HandOver, notes: &[Decision], prepare: &[(&str, CommandLine)]) {
    let comment = |text: &str| output::line(commented("# ", text));
    let for_later = |command: &CommandLine| {
        output::line(commented("#   ", &command.to_string()));
    };
    for note in notes {
        comment(&format!("{}: {}", note.what, note.why));
    }
    for (what, command) in prepare {
        comment(what);
        output::line(command.to_string());
    }
    for file in &plan.files {
        let path = shell_word(&file.path.display().to_string());
        comment("a file that it wants");
        if let Some(parent) = file.path.parent() {
            let parent = shell_word(&parent.display().to_string());
            output::line(format!("mkdir -p {parent}"));
        }
        output::line(format!("cat >{path} <<'END'"));
        output::line(file.text.trim_end_matches('\n'));
        output::line("END");
        output::line(format!("chmod {:04o} {path}", file.mode));
    }
    if !plan.setup.is_empty() {
        comment("once, before the first start");
    }
    for command in &plan.setup {
        output::line(command.to_string());
    }
    comment("start it, on this terminal");
    output::line(plan.start.to_string());
    for (what, command) in &plan.by_hand {
        comment(what);
        for_later(command);
    }
    if !plan.remove.is_empty() {
        comment("forget it");
    }
    plan.remove.iter().for_each(for_later);
}

/// A text as a comment, which names from a tree with a line break in them do not end.
fn commented(sign: &str, text: &str) -> String {
    let lines: Vec<String> = text
        .split(['\n', '\r'])
        .map(|line| format!("{sign}{line}"))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use repot_model::{EngineId, LeaderProbe};

    #[test]
    fn a_name_ends_no_comment() {
        assert_eq!(commented("# ", "/a\ntouch b\rc"), "# /a\n# touch b\n# c");
    }

    #[test]
    fn the_tree_stands_where_repot_would_mount_it() {
        let plan = HandOver {
            engine: EngineId("x".into()),
            delivery: Delivery::Overlay {
                at: "/run/m/root".into(),
            },
            files: vec![HostFile {
                path: "/f".into(),
                mode: 0o600,
                text: "rootfs = dir:/run/m/root\n".into(),
            }],
            setup: Vec::new(),
            start: CommandLine::new(["x", "--directory=/run/m/root"]),
            console: None,
            leader: LeaderProbe::Descendant,
            restarts_itself: false,
            reboot_status: None,
            stays_in_cgroup: false,
            kill: Vec::new(),
            remove: Vec::new(),
            by_hand: Vec::new(),
        };
        let plan = on_the_tree(plan, "/srv/tree");
        assert_eq!(plan.files[0].text, "rootfs = dir:/srv/tree\n");
        assert_eq!(plan.start.argv[1], "--directory=/srv/tree");
        assert!(preparation(&plan, "t", "x", "repot-t", NetworkArg::None, false).is_empty());
        for (network, wanted) in [
            (NetworkArg::None, "repot fix t --for x"),
            (NetworkArg::Host, "repot fix t --for x --network=host"),
        ] {
            let prepare = preparation(&plan, "t", "x", "repot-t", network, true);
            assert_eq!(prepare[0].1.to_string(), wanted);
        }
    }
}
