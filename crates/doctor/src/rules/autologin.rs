//! The wish that root is logged in on the console without being asked.

use super::{Case, Rule, RuleMeta, console_silent};
use crate::getty::GETTYS;
use crate::init::{self, Setup};
use crate::reading::{PROGRAM_DIRS, base_name, evidence};
use crate::{Result, View, edit};
use repot_model::{Change, Edit, Evidence, Finding, Getty, GettyKind, InitFacts, Remedy, Severity};
use repot_rootfs::format::lines::Lines;

#[derive(Debug)]
pub(crate) struct Autologin;

static META: RuleMeta = RuleMeta {
    id: "autologin",
    severity: Severity::Cosmetic,
    summary: "--autologin: root is to be logged in on the console without being asked",
    explain: "Not a fault: `--autologin` asks for it. Whoever sits at the machine's console is root then, without a password; `ssh` and \
further terminals ask as before.\n\n**What repot does**: it changes the command that listens on the console in the init's own \
configuration. agetty and mingetty get `--autologin root`, busybox' getty a program that runs `login -f root`; for systemd it is a drop-in \
for the unit, for OpenRC's agetty service its options in `/etc/conf.d`; else the line of the inittab, run script or service file.\n\n\
**By hand**: the same; agetty(8) `--autologin`.",
    sources: &[
        "agetty(8) --autologin, --login-options; mingetty(8) --autologin",
        "busybox loginutils/getty.c, -n and -l; login(1) -f",
        "systemd.unit(5), drop-ins; OpenRC agetty-guide.md",
    ],
};

/// What busybox' getty starts instead of login.
const WRAPPER: &str = "/usr/local/sbin/repot-autologin";

const WHY: &str = "root is to be logged in on the console without being asked";

impl Rule for Autologin {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(init) = case.facts.init.as_ref().filter(|_| case.wishes.autologin) else {
            return Ok(Vec::new());
        };
        let visible: Vec<&Getty> = init
            .gettys
            .iter()
            .filter(|getty| console_silent::is_seen(case.offers, &getty.tty))
            .filter(|getty| is_first(getty, init))
            .collect();
        if visible.iter().any(|getty| getty.kind != GettyKind::Login) {
            return Ok(Vec::new());
        }
        let mut work = Work {
            view: case.tree.clone(),
            edits: Vec::new(),
        };
        let mut seen: Vec<Evidence> = Vec::new();
        let mut helped = false;
        for getty in &visible {
            helped |= work.change(case, init, getty)?;
            seen.push(getty.evidence.clone());
        }
        if visible.is_empty() {
            helped = work.add(case, init)?;
        }
        if helped && work.edits.is_empty() {
            return Ok(Vec::new());
        }
        let mut finding = META.finding(
            "root is to be logged in on the console without being asked",
            "(none: it was asked for)",
        );
        finding.cause = "the getty there asks for a name".into();
        finding.evidence = seen;
        if helped {
            finding.remedy = Remedy::Asked;
            finding.edits = work.edits;
        } else {
            finding.summary =
                "root cannot be logged in on the console by a change of the tree's files".into();
            finding.cause = format!(
                "repot does not know how {}'s getty there is told so",
                init.name
            );
            finding.hint = Some("`repot login` needs no password either".into());
        }
        if finding.evidence.is_empty() {
            finding.evidence = vec![evidence("/etc", None, "nothing listens on the console")];
        }
        Ok(vec![finding])
    }
}

/// Where all virtual terminals are the console, a getty on the first is enough.
fn is_first(getty: &Getty, init: &InitFacts) -> bool {
    let is_further = getty
        .tty
        .strip_prefix("tty")
        .is_some_and(|number| number != "1");
    !is_further
        || !init
            .gettys
            .iter()
            .any(|other| matches!(other.tty.as_str(), "tty1" | "console" | "-"))
}

/// The edits so far, with the tree as they leave it.
struct Work<'a> {
    view: View<'a>,
    edits: Vec<Edit>,
}

impl Work<'_> {
    fn take(&mut self, edit: Edit) {
        self.view.apply(&edit);
        self.edits.push(edit);
    }

    /// Makes a getty log root in. `false`: it is not known how.
    fn change(&mut self, case: &Case<'_>, init: &InitFacts, getty: &Getty) -> Result<bool> {
        let path = &getty.evidence.path;
        if init.id.0 == "systemd" {
            let tty = match getty.tty.as_str() {
                "-" => "console",
                tty => tty,
            };
            return self.drop_in(path, tty);
        }
        if init.id.0 == "openrc" {
            return self.conf_d(&getty.tty);
        }
        if init.id.0 == "finit" {
            return self.finit(case, getty);
        }
        let Some(line) = getty.evidence.line else {
            return Ok(false);
        };
        let text = self.view.text(path)?.unwrap_or_default();
        let mut lines = Lines::parse(&text);
        let Some(new) = lines
            .get(line)
            .and_then(|old| self.with_autologin(case, old))
        else {
            return Ok(false);
        };
        lines.replace(line, &new);
        let edit = edit::rewrite(&self.view, path, WHY, |_| lines.to_string())?;
        if let Some(edit) = edit {
            self.take(edit);
        }
        self.wrapper(case, &new);
        Ok(true)
    }

    /// Nothing listens on the console: the init is made to, and the getty then logs root in.
    fn add(&mut self, case: &Case<'_>, init: &InitFacts) -> Result<bool> {
        let console = &case.offers.console.device;
        if console.is_empty() {
            return Ok(false);
        }
        // `console-silent` may have made it listen already: then those lines are changed, and not added again.
        let untouched = View::new(case.tree.root());
        let setup = |tree| Setup {
            tree,
            facts: case.facts,
            init,
        };
        let added = init::system(init).listen(&setup(&untouched), console)?;
        if added.is_empty() && matches!(init.id.0.as_str(), "systemd" | "openrc") {
            return Ok(false);
        }
        let again = init::system(init).listen(&setup(case.tree), console)?;
        for (at, edit) in added.iter().enumerate() {
            let Change::Write { text, .. } = &edit.change else {
                if self.view.symlink_kind(&edit.path).is_none() {
                    self.take(edit.clone());
                }
                continue;
            };
            let old = untouched.text(&edit.path)?.unwrap_or_default();
            let new: Vec<&str> = text
                .lines()
                .filter(|line| !old.lines().any(|known| known == *line))
                .collect();
            let now = self.view.text(&edit.path)?.unwrap_or_default();
            let is_there = |line: &&str| now.lines().any(|known| known == *line);
            let mut edit = match new.iter().all(is_there) {
                true => edit::write(&self.view, &edit.path, now, WHY),
                false => again.get(at).unwrap_or(edit).clone(),
            };
            if let Change::Write { text, .. } = &mut edit.change {
                let mut lines = Lines::parse(text);
                let changed: Vec<(u32, String)> = lines
                    .iter()
                    .filter(|(_, line)| new.contains(line))
                    .filter_map(|(number, line)| Some((number, self.with_autologin(case, line)?)))
                    .collect();
                for (number, line) in &changed {
                    lines.replace(*number, line);
                    self.wrapper(case, line);
                }
                *text = lines.to_string();
            }
            self.take(edit);
        }
        match init.id.0.as_str() {
            "systemd" => {
                let dirs = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
                let unit = dirs
                    .map(|dir| format!("{dir}/console-getty.service"))
                    .into_iter()
                    .find(|path| self.view.is_file(path));
                match unit {
                    Some(unit) => self.drop_in(&unit, console),
                    None => Ok(false),
                }
            }
            "openrc" => self.conf_d(console),
            _ => Ok(self.edits.iter().any(|edit| matches!(&edit.change, Change::Write { text, .. } if text.contains("autologin")))),
        }
    }

    /// The program that busybox' getty needs, once.
    fn wrapper(&mut self, case: &Case<'_>, line: &str) {
        if line.contains(WRAPPER) && !self.view.is_executable(WRAPPER) {
            let login = case.facts.login.login.as_deref().unwrap_or("/bin/login");
            let text = format!("#!/bin/sh\nexec {login} -f root\n");
            let edit = edit::script(&self.view, WRAPPER, text, WHY);
            self.take(edit);
        }
    }

    /// A line with a getty's command, changed so that it logs root in. One that does already stays as it is.
    fn with_autologin(&self, case: &Case<'_>, line: &str) -> Option<String> {
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ';' | ':' | '=');
        let mut start = 0;
        for word in line.split(is_end) {
            let end = start + word.len();
            if GETTYS.contains(&base_name(word)) {
                let options = self.options(case, word)?;
                if line.contains("autologin") {
                    return Some(line.to_owned());
                }
                let (before, after) = line.split_at_checked(end)?;
                // With login options of its own, agetty adds nothing (agetty(8), --login-options).
                let after = after
                    .replace("-- \\\\u", "-f -- \\\\u")
                    .replace("-- \\u", "-f -- \\u");
                return Some(format!("{before} {options}{after}"));
            }
            start = end + line.get(end..)?.chars().next().map_or(0, char::len_utf8);
        }
        None
    }

    fn options(&self, case: &Case<'_>, program: &str) -> Option<String> {
        let name = base_name(program);
        let path = match program.starts_with('/') {
            true => Some(program.to_owned()),
            false => PROGRAM_DIRS
                .iter()
                .map(|dir| format!("{dir}/{name}"))
                .find(|path| self.view.is_executable(path)),
        }?;
        let end = self.view.resolve(&path)?;
        let end = base_name(&end);
        if name == "agetty" || end.starts_with("agetty") || name == "mingetty" {
            Some("--autologin root".to_owned())
        } else if end.starts_with("busybox") && case.facts.login.login.is_some() {
            Some(format!("-n -l {WRAPPER}"))
        } else {
            None
        }
    }

    /// systemd: the unit's own command with the option, in a drop-in.
    fn drop_in(&mut self, unit: &str, tty: &str) -> Result<bool> {
        let text = self.view.text(unit)?.unwrap_or_default();
        let mut commands = text
            .lines()
            .filter(|line| line.trim_start().starts_with("ExecStart="));
        let Some(command) = commands.find(|line| line.contains("agetty")) else {
            return Ok(false);
        };
        let Some(at) = command.find("agetty").map(|at| at + "agetty".len()) else {
            return Ok(false);
        };
        let (before, after) = command.split_at(at);
        let after = after.replace("-- \\\\u", "-f -- \\\\u");
        let option = if after.contains("--autologin") {
            ""
        } else {
            " --autologin root"
        };
        let name = base_name(unit).replace("@.service", &format!("@{tty}.service"));
        let path = format!("/etc/systemd/system/{name}.d/50-repot-autologin.conf");
        let wanted = format!(
            "[Service]\nExecStart=\n{}{option}{after}\n",
            before.trim_start()
        );
        if self.view.text(&path)?.as_ref() != Some(&wanted) {
            let edit = edit::write(&self.view, &path, wanted, WHY);
            self.take(edit);
        }
        Ok(true)
    }

    /// OpenRC's agetty service reads its options there.
    fn conf_d(&mut self, tty: &str) -> Result<bool> {
        let path = format!("/etc/conf.d/agetty.{tty}");
        let old = self.view.text(&path)?;
        let text = old.clone().unwrap_or_default();
        let wanted = repot_rootfs::format::assignments::set(
            &text,
            "agetty_options",
            "\"--autologin root --noclear\"",
        );
        if !text.contains("autologin") {
            let edit = match old {
                Some(_) => edit::rewrite(&self.view, &path, WHY, |_| wanted)?,
                None => Some(edit::write(&self.view, &path, wanted, WHY)),
            };
            edit.into_iter().for_each(|edit| self.take(edit));
        }
        Ok(true)
    }

    /// finit's own getty has no such option: an agetty of the tree takes its place (finit doc/config.md, `tty ... CMD`).
    fn finit(&mut self, case: &Case<'_>, getty: &Getty) -> Result<bool> {
        let gettys = &case.facts.login.gettys;
        let Some(agetty) = gettys.iter().find(|path| base_name(path) == "agetty") else {
            return Ok(false);
        };
        let (path, Some(line)) = (&getty.evidence.path, getty.evidence.line) else {
            return Ok(false);
        };
        let mut lines = Lines::parse(&self.view.text(path)?.unwrap_or_default());
        let Some(old) = lines.get(line).map(str::to_owned) else {
            return Ok(false);
        };
        if old.contains("autologin") {
            return Ok(true);
        }
        let levels = old
            .split_ascii_whitespace()
            .find(|word| word.starts_with('['))
            .unwrap_or("[2345]");
        let new = format!(
            "tty {levels} {agetty} --autologin root --noclear --keep-baud {} 38400 linux noclear nowait",
            getty.tty
        );
        lines.replace(line, &new);
        let edit = edit::rewrite(&self.view, path, WHY, |_| lines.to_string())?;
        let done = edit.is_some();
        edit.into_iter().for_each(|edit| self.take(edit));
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_with, mends, offers};
    use crate::rules::Wishes;
    use repot_model::{Change, Remedy};

    fn wish() -> Wishes {
        Wishes {
            autologin: true,
            ..Wishes::default()
        }
    }

    fn written(tree: &Tree) -> String {
        let found = diagnose_with(tree, &offers(), &wish(), "autologin");
        let texts = found[0].edits.iter().map(|edit| {
            let Change::Write { text, .. } = &edit.change else {
                return edit.path.clone();
            };
            format!("{}\n{text}", edit.path)
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    fn with_agetty(tree: Tree) -> Tree {
        tree.elf("/sbin/agetty", "")
            .link("/sbin/getty", "agetty")
            .elf("/bin/login", "util-linux")
    }

    #[test]
    fn lines_of_an_inittab() {
        let tree = with_agetty(Tree::new().elf("/sbin/init", "SysV init version")).file(
            "/etc/inittab",
            "id:2:initdefault:\r\n1:2345:respawn:/sbin/getty --noclear 38400 tty1\r\n2:23:respawn:/sbin/getty 38400 tty2\r\n",
        );
        assert!(written(&tree).contains("1:2345:respawn:/sbin/getty --autologin root --noclear 38400 tty1\r\n2:23:respawn:/sbin/getty 38400 tty2\r\n"));
        mends(&tree, &offers(), &wish(), "autologin");
        assert!(diagnose_with(&tree, &offers(), &Wishes::default(), "autologin").is_empty());
    }

    #[test]
    fn busybox_gets_a_program() {
        let tree = Tree::new()
            .elf("/bin/busybox", "BusyBox v1.36.1\0/etc/inittab")
            .link("/sbin/init", "/bin/busybox")
            .link("/sbin/getty", "/bin/busybox")
            .link("/bin/login", "/bin/busybox")
            .link("/bin/sh", "/bin/busybox")
            .file("/etc/inittab", "tty1::respawn:/sbin/getty 38400 tty1\n");
        let text = written(&tree);
        assert!(text.contains(
            "tty1::respawn:/sbin/getty -n -l /usr/local/sbin/repot-autologin 38400 tty1\n"
        ));
        assert!(text.contains("#!/bin/sh\nexec /bin/login -f root\n"));
        mends(&tree, &offers(), &wish(), "autologin");
    }

    #[test]
    fn units_get_a_drop_in() {
        let unit = "[Service]\nExecStart=-/sbin/agetty -o '-p -- \\\\u' --noclear --keep-baud - 115200,38400,9600 $TERM\n";
        let tree =
            with_agetty(Tree::new().elf("/usr/lib/systemd/systemd", "systemd 252 running in"))
                .link("/sbin/init", "/usr/lib/systemd/systemd")
                .file("/usr/lib/systemd/system/console-getty.service", unit)
                .file("/usr/lib/systemd/system/getty.target", "[Unit]\n")
                .file("/usr/lib/systemd/system/multi-user.target", "[Unit]\n")
                .link(
                    "/usr/lib/systemd/system/multi-user.target.wants/getty.target",
                    "../getty.target",
                )
                .elf(
                    "/usr/lib/systemd/system-generators/systemd-getty-generator",
                    "",
                );
        let text = written(&tree);
        assert!(text.contains("/etc/systemd/system/console-getty.service.d/50-repot-autologin.conf\n[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root -o '-p -f -- \\\\u' --noclear"), "{text}");
        mends(&tree, &offers(), &wish(), "autologin");
    }

    #[test]
    fn a_silent_console_is_made_to_listen() {
        let tree = with_agetty(Tree::new().elf("/sbin/init", "SysV init version"))
            .file("/etc/inittab", "id:2:initdefault:\n");
        for serves in [true, false] {
            let mut offers = offers();
            offers.serves_silent_console = serves;
            let found = diagnose_with(&tree, &offers, &wish(), "autologin");
            let Change::Write { text, .. } = &found[0].edits[0].change else {
                panic!("{found:?}")
            };
            let gettys: Vec<&str> = text.lines().filter(|line| line.contains("getty")).collect();
            assert!(
                gettys.len() == 1 && gettys[0].contains("--autologin root"),
                "{text}"
            );
            mends(&tree, &offers, &wish(), "autologin");
        }
    }

    #[test]
    fn run_scripts_and_gettys_that_are_not_known() {
        let runit = |line: &str| {
            with_agetty(
                Tree::new()
                    .elf("/sbin/runit", "")
                    .elf("/sbin/runit-init", "runit"),
            )
            .link("/sbin/init", "runit-init")
            .script("/etc/runit/1", "#!/bin/sh\n")
            .script("/etc/runit/2", "#!/bin/sh\n")
            .script("/etc/runit/3", "#!/bin/sh\n")
            .elf("/sbin/fgetty", "")
            .script("/etc/sv/getty-tty1/run", &format!("#!/bin/sh\n{line}\n"))
            .link(
                "/etc/runit/runsvdir/default/getty-tty1",
                "/etc/sv/getty-tty1",
            )
            .dir("/etc/service")
        };
        let tree = runit("exec chpst -P getty 38400 tty1 linux");
        assert!(written(&tree).contains("/etc/sv/getty-tty1/run\n#!/bin/sh\nexec chpst -P getty --autologin root 38400 tty1 linux\n"));
        mends(&tree, &offers(), &wish(), "autologin");
        let found = diagnose_with(&runit("exec fgetty tty1"), &offers(), &wish(), "autologin");
        assert_eq!(found[0].remedy, Remedy::Manual);
    }
}
