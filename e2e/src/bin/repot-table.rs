//! `repot-table [--trees A,B] [--before] [--out DIR]`: every tree of the kit that has an init, tried in every container system.
//!
//! Runs `repot try --json` on each tree as its packages leave it, root locked, with daemons that are started for this alone;
//! prints the table, and with `--out` writes it as `compatibility.md`. Fails if root got in nowhere where it was tried, or a stop
//! was not clean. `REPOT_BIN` names the program; `cargo xtask table` builds it and starts this.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use repot_e2e::daemon::Daemon;
use repot_e2e::trees::{self, Compression, Tree};
use repot_e2e::user::User;
use repot_e2e::{incus, lxd, process};
use serde_json::Value;

const USAGE: &str = "usage: repot-table [--trees A,B] [--before] [--out DIR]";

/// One tree in all engines, with both ways.
const LIMIT: Duration = Duration::from_secs(1800);

/// Has no init, so that there is nothing to boot.
const WITHOUT_INIT: &str = "bookworm-noinit";

#[derive(Debug, Default)]
struct Options {
    trees: Vec<String>,
    before: bool,
    out: Option<PathBuf>,
}

/// What was seen, by tree and engine, in the order of the engines.
type Table = Vec<(String, Vec<Value>)>;

fn main() -> ExitCode {
    match options().and_then(|options| table(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("repot-table: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        let mut value = || args.next().with_context(|| format!("{option}\n{USAGE}"));
        match option.as_str() {
            "--trees" => options.trees = value()?.split(',').map(str::to_owned).collect(),
            "--before" => options.before = true,
            "--out" => options.out = Some(value()?.into()),
            _ => bail!("{option}: unknown\n{USAGE}"),
        }
    }
    Ok(options)
}

fn table(options: &Options) -> Result<()> {
    let program = std::env::var_os("REPOT_BIN").context("REPOT_BIN must name the program")?;
    let program = Path::new(&program).canonicalize()?;
    let id = format!("rt{}", std::process::id());
    let dir = PathBuf::from(format!("/var/tmp/repot-table-{id}"));
    fs::create_dir(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let result = fill(options, &program, &dir, &id);
    fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    let table = result?;
    let text = page(&table, options.before);
    println!("{text}");
    let failed: Vec<String> = table.iter().flat_map(failures).collect();
    ensure!(failed.is_empty(), "not all are in: {}", failed.join(", "));
    Ok(())
}

fn write(options: &Options, table: &Table) -> Result<()> {
    if let Some(out) = &options.out {
        let text = page(table, options.before);
        fs::write(out.join("compatibility.md"), text).context("writing the page")?;
    }
    Ok(())
}

/// Cells that were tried, are no login with a clean stop, and about which repot has not said so before.
fn failures((tree, cells): &(String, Vec<Value>)) -> Vec<String> {
    cells
        .iter()
        .filter(|cell| cell["result"] != "unavailable" && foretold(cell).is_none())
        .filter(|cell| cell["result"] != "login" || cell["stop_clean"] != true)
        .map(|cell| format!("{tree} in {}", cell["engine"]))
        .collect()
}

fn fill(options: &Options, program: &Path, dir: &Path, id: &str) -> Result<Table> {
    let daemons = [
        Daemon::docker(dir, id)?,
        Daemon::containerd(dir, id)?,
        Daemon::podman(dir)?,
    ];
    let lxd = lxd::start(&dir.join("lxd"))?;
    let incus = incus::start(&dir.join("incus"))?;
    let guest = Guest::new(&dir.join("user"), program)?;
    let mut env: BTreeMap<String, String> = lxd.env().into_iter().chain(incus.env()).collect();
    for daemon in &daemons {
        env.extend(
            daemon
                .env()
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
    }
    let mut table = Vec::new();
    for recipe in trees::recipes().filter(|recipe| recipe.name != WITHOUT_INIT) {
        if !options.trees.is_empty() && !options.trees.iter().any(|name| name == recipe.name) {
            continue;
        }
        let tree = Tree::named(recipe.name)?.ensure()?;
        let mut command = Command::new(program);
        command
            .arg("try")
            .arg(&tree)
            .args(["--json", "--timeout", "60"]);
        command.args(options.before.then_some("--before"));
        command
            .envs(&env)
            .env("REPOT_DATA_DIR", dir.join("data"))
            .env("REPOT_RUN_DIR", dir.join("run"));
        let done = process::run(&mut command, b"", LIMIT)?;
        ensure!(done.code <= 1, "{}: {done}", recipe.name);
        let mut cells = serde_json::from_str::<Vec<Value>>(&done.out())
            .with_context(|| format!("reading what was said of {}", recipe.name))?;
        cells.extend(guest.cells(&Tree::named(recipe.name)?)?);
        eprintln!("{}: {}", recipe.name, summary(&cells));
        table.push((recipe.name.to_owned(), cells));
        // A long run: what there is so far is worth something.
        write(options, &table)?;
    }
    drop((lxd, incus));
    for daemon in daemons {
        daemon.end()?;
    }
    Ok(table)
}

/// A user without privileges.
struct Guest {
    user: User,
    dir: PathBuf,
    program: PathBuf,
}

impl Guest {
    /// With a home in `dir`.
    fn new(dir: &Path, program: &Path) -> Result<Guest> {
        let user = User::with_subordinate_ids()?;
        for place in [dir.to_owned(), dir.join("home"), dir.join("xdg")] {
            fs::create_dir(&place).with_context(|| format!("creating {}", place.display()))?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o700))?;
            chown(&place, Some(user.uid), Some(user.gid)).context("giving a directory away")?;
        }
        let copy = dir.join("repot");
        fs::copy(program, &copy).context("copying repot")?;
        Ok(Guest {
            user,
            dir: dir.to_owned(),
            program: copy,
        })
    }

    fn repot(&self, words: &[&str]) -> Result<process::Done> {
        let mut command = Command::new("/usr/bin/setpriv");
        command
            .arg(format!("--reuid={}", self.user.uid))
            .arg(format!("--regid={}", self.user.gid))
            .arg("--clear-groups")
            .arg("--")
            .arg(&self.program)
            .args(words)
            .current_dir(&self.dir)
            .env("HOME", self.dir.join("home"))
            .env("XDG_RUNTIME_DIR", self.dir.join("xdg"))
            .env("REPOT_DATA_DIR", self.dir.join("data"))
            .env("REPOT_RUN_DIR", self.dir.join("run"));
        process::run(&mut command, b"", LIMIT)
    }

    /// What is root's for a user, too: the native runtime and Podman.
    fn cells(&self, tree: &Tree) -> Result<Vec<Value>> {
        let tarball = tree.tarball(Compression::Zstd)?;
        let tarball = tarball.to_str().context("reading a path")?;
        let imported = self.repot(&["import", tarball])?;
        ensure!(imported.code == 0, "{tarball}: {imported}");
        let image = imported.out().trim().to_owned();
        let words = [
            "try",
            &image,
            "--on",
            "native,podman",
            "--json",
            "--timeout",
            "60",
        ];
        let done = self.repot(&words)?;
        ensure!(done.code <= 1, "{tarball}: {done}");
        let mut cells = serde_json::from_str::<Vec<Value>>(&done.out())
            .with_context(|| format!("reading what was said of {tarball}"))?;
        for cell in &mut cells {
            cell["engine"] = format!("{}, no root", text(&cell["engine"])).into();
        }
        let removed = self.repot(&["images", "--rm", &image])?;
        ensure!(removed.code == 0, "{removed}");
        Ok(cells)
    }
}

fn summary(cells: &[Value]) -> String {
    let words: Vec<String> = cells
        .iter()
        .map(|cell| {
            let note = cell["note"].as_str().unwrap_or_default();
            format!("{} {} {note}", text(&cell["engine"]), text(&cell["result"]))
        })
        .collect();
    words.join("; ")
}

/// The rule by which `repot doctor` has said that a tree that did not start would not.
fn foretold(cell: &Value) -> Option<&str> {
    let mut findings = cell["findings"].as_array()?.iter();
    let found = findings.find(|finding| {
        finding["severity"] == "no-boot"
            && finding["remedy"] == "manual"
            && finding["certainty"] == "certain"
    });
    found
        .filter(|_| cell["result"] == "failed")
        .map(|finding| text(&finding["rule"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// The page: with repot, and, if that was looked at, each engine by itself.
fn page(table: &Table, before: bool) -> String {
    let option = if before { " --before" } else { "" };
    let mut page = format!(
        "# Compatibility\n\nEvery tree of the test kit that has an init, as Debian's packages leave it (root is locked), booted by `repot try` in every\n\
         container system that runs here: prompt, login of root with a password that the trial makes up, a command, power-off. Seconds\n\
         until the prompt on a machine with two cores. Made by `cargo xtask table{option} --out docs`.\n\n",
    );
    let Some((_, first)) = table.first() else {
        return page;
    };
    let engines: Vec<&Value> = first
        .iter()
        .filter(|cell| cell["result"] != "unavailable")
        .collect();
    let names: Vec<&str> = engines.iter().map(|cell| text(&cell["engine"])).collect();
    let versions: Vec<String> = engines
        .iter()
        .map(|cell| format!("{} {}", text(&cell["engine"]), text(&cell["version"])))
        .collect();
    let _ = writeln!(page, "{}\n\n## With repot\n", versions.join(", "));
    rows(&mut page, table, &names, with_repot);
    let all = table.iter().flat_map(|(_, cells)| cells);
    let tried: Vec<&Value> = all
        .filter(|cell| cell["result"] != "unavailable" && foretold(cell).is_none())
        .collect();
    let clean = |cell: &&&Value| cell["result"] == "login" && cell["stop_clean"] == true;
    let _ = writeln!(
        page,
        "\nLogin and clean stop: {} of {}. \"no\" is refused before anything is made, and leads to the rule by which `repot doctor` says why.",
        tried.iter().filter(clean).count(),
        tried.len()
    );
    if before {
        page.push_str(
            "\n## By itself\n\nThe same trees with each engine's own obvious command (`systemd-nspawn --boot`, `lxc-start` with its common settings, \
             `docker create -it IMAGE /sbin/init`). Root is locked, so that a prompt is the most that can be reached.\n\n",
        );
        rows(&mut page, table, &names, by_itself);
    }
    page
}

fn rows(page: &mut String, table: &Table, names: &[&str], cell: impl Fn(&Value) -> String) {
    let _ = writeln!(page, "| tree | {} |", names.join(" | "));
    let _ = writeln!(page, "| --- |{}", " --- |".repeat(names.len()));
    for (tree, cells) in table {
        let shown: Vec<String> = names
            .iter()
            .map(|name| {
                let found = cells.iter().find(|cell| cell["engine"] == *name);
                found.map_or_else(|| "-".to_owned(), &cell)
            })
            .collect();
        let _ = writeln!(page, "| `{tree}` | {} |", shown.join(" | "));
    }
}

fn with_repot(cell: &Value) -> String {
    if let Some(rule) = foretold(cell) {
        return format!("[no](rules/{rule}.md)");
    }
    let seconds = cell["seconds_to_prompt"]
        .as_f64()
        .map_or_else(String::new, |seconds| format!(" {seconds:.1}"));
    let stop = if cell["stop_clean"] == false {
        ", killed"
    } else {
        ""
    };
    format!("{}{seconds}{stop}", text(&cell["result"]))
}

fn by_itself(cell: &Value) -> String {
    text(&cell["before"]["result"]).to_owned()
}
