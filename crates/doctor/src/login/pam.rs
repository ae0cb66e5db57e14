//! The PAM stack of `login`: every module line in effect, includes followed.
//!
//! Read through a function, so that the inspection reads the tree and rules read it with their edits.

use crate::reading::{evidence, text};
use crate::{Result, View};
use repot_model::{Evidence, Facts, PamFacts};
use repot_rootfs::RootRead;
use repot_rootfs::format::pam::{What, parse};

/// How deep includes are followed; Linux-PAM stops at 16 as well (`PAM_MAX_SUBSTACK` is 16).
const DEPTH: usize = 16;

/// The most module lines that are listed. Real stacks have some 30.
const MODULES: usize = 512;

/// A module line in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// The file that it stands in.
    pub(crate) path: String,
    /// Line number from 1.
    pub(crate) line: u32,
    /// `auth`, `account`, `password`, `session`.
    pub(crate) kind: String,
    /// Whether it is not logged if the module is missing.
    pub(crate) optional: bool,
    /// `required`, `[...]`, ...
    pub(crate) control: String,
    /// The module as written: a name or an absolute path.
    pub(crate) module: String,
    /// Its arguments.
    pub(crate) args: Vec<String>,
}

impl Module {
    /// Whether it is the module of that file name, wherever its line looks for it.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.module.rsplit('/').next() == Some(name)
    }

    /// Whether the stack fails where this module returns `code` (as pam.d(5) names it: `session_err`, `module_unknown`).
    pub(crate) fn is_fatal(&self, code: &str) -> bool {
        let Some(actions) = self.control.strip_prefix('[') else {
            return matches!(self.control.as_str(), "required" | "requisite");
        };
        let action = |wanted: &str| {
            actions
                .trim_end_matches(']')
                .split_ascii_whitespace()
                .filter_map(|pair| pair.split_once('='))
                .find(|(value, _)| *value == wanted)
                .map(|(_, action)| action)
        };
        // What is not listed counts as `bad`.
        let action = action(code).or_else(|| action("default")).unwrap_or("bad");
        matches!(action, "bad" | "die")
    }

    /// Where it stands.
    pub(crate) fn evidence(&self) -> Evidence {
        let dash = if self.optional { "-" } else { "" };
        let mut seen = format!("{dash}{} {} {}", self.kind, self.control, self.module);
        for arg in &self.args {
            seen.push(' ');
            seen.push_str(arg);
        }
        evidence(&self.path, Some(self.line), &seen)
    }
}

/// An include of a file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokenInclude {
    /// The file with the include.
    pub(crate) path: String,
    /// Line number from 1.
    pub(crate) line: u32,
    /// The type that is included, or `None` for all.
    pub(crate) kind: Option<String>,
    /// The file that is missing, as written.
    pub(crate) file: String,
}

/// Everything in effect for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stack {
    /// The service file.
    pub(crate) file: String,
    /// Its modules and those of its includes, in order.
    pub(crate) modules: Vec<Module>,
    /// Includes that lead nowhere.
    pub(crate) broken: Vec<BrokenInclude>,
}

/// Reads a text file, if there is one.
type Read<'a> = &'a dyn Fn(&str) -> Result<Option<String>>;

/// Finds and reads the service file of `login`.
pub(crate) fn detect(root: &RootRead, system: Option<&str>) -> Result<Option<PamFacts>> {
    let stack = find(&|path| text(root, path), system)?;
    Ok(stack.map(|stack| PamFacts {
        file: stack.file,
        modules: stack.modules.iter().map(Module::evidence).collect(),
    }))
}

/// The same in a tree with edits, if its login uses PAM.
pub(crate) fn stack(view: &View<'_>, facts: &Facts) -> Result<Option<Stack>> {
    if facts.login.pam.is_none() {
        return Ok(None);
    }
    let system = facts.init.as_ref().and_then(crate::init::system_dir);
    find(&|path| view.text(path), system.as_deref())
}

/// # Source
/// pam.d(5) and Linux-PAM's vendor directory (`--enable-vendordir`): `/etc/pam.d` before `/usr/lib/pam.d`;
/// openSUSE's login asks for the services `remote` and `login`, only the latter matters on a terminal.
fn find(read: Read<'_>, system: Option<&str>) -> Result<Option<Stack>> {
    let mut dirs = vec!["/etc/pam.d".to_owned()];
    dirs.extend(system.map(|system| format!("{system}/etc/pam.d")));
    dirs.extend(["/usr/lib/pam.d", "/usr/share/pam.d", "/usr/etc/pam.d"].map(str::to_owned));
    for dir in &dirs {
        // Without a file for it, Linux-PAM uses the service `other`.
        for service in ["login", "other"] {
            let path = format!("{dir}/{service}");
            if let Some(content) = read(&path)? {
                let mut stack = Stack {
                    file: path.clone(),
                    modules: Vec::new(),
                    broken: Vec::new(),
                };
                collect(read, &dirs, (&path, &content), None, DEPTH, &mut stack)?;
                return Ok(Some(stack));
            }
        }
    }
    Ok(None)
}

/// Adds the lines of one file; `only` limits them to one type, as `include` and `substack` do.
fn collect(
    read: Read<'_>,
    dirs: &[String],
    (path, content): (&str, &str),
    only: Option<&str>,
    depth: usize,
    stack: &mut Stack,
) -> Result<()> {
    for line in parse(content) {
        if stack.modules.len() >= MODULES || stack.broken.len() >= MODULES {
            return Ok(());
        }
        let wanted = |kind: &str| only.is_none_or(|only| only == kind);
        let (file, only) = match line.what {
            What::Module {
                kind,
                optional,
                control,
                module,
            } => {
                let mut words = module.into_iter();
                if let (true, Some(module)) = (wanted(&kind), words.next()) {
                    stack.modules.push(Module {
                        path: path.to_owned(),
                        line: line.line,
                        kind,
                        optional,
                        control,
                        module,
                        args: words.collect(),
                    });
                }
                continue;
            }
            What::IncludeAll { file } => (file, only.map(str::to_owned)),
            What::Include { kind, file } if wanted(&kind) => (file, Some(kind)),
            What::Include { .. } => continue,
        };
        if depth == 0 {
            continue;
        }
        let places: Vec<String> = match file.starts_with('/') {
            true => vec![file.clone()],
            false => dirs.iter().map(|dir| format!("{dir}/{file}")).collect(),
        };
        let mut found = None;
        for place in places {
            if let Some(content) = read(&place)? {
                found = Some((place, content));
                break;
            }
        }
        match found {
            Some((place, content)) => {
                let of = (place.as_str(), content.as_str());
                collect(read, dirs, of, only.as_deref(), depth - 1, stack)?;
            }
            None => stack.broken.push(BrokenInclude {
                path: path.to_owned(),
                line: line.line,
                kind: only,
                file,
            }),
        }
    }
    Ok(())
}
