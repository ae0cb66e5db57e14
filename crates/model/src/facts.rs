//! What an inspection found out about a tree, each statement with its evidence.

use crate::{Arch, CgroupVersion, InitId, Libc};
use serde::{Deserialize, Serialize};

/// Where a fact was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Absolute path inside the tree.
    pub path: String,
    /// Line number from 1, for text files.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
    /// What stood there, shortened to one printable line.
    pub seen: String,
}

/// The result of an inspection: everything that later stages may know of a tree without reading it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Which distribution.
    pub distribution: Distribution,
    /// Architecture of the init; without one, of the shell or C library. `None`: no ELF program was found.
    pub arch: Option<Arch>,
    /// C library of the same program.
    pub libc: Option<Libc>,
    /// The init, or `None` for an application image.
    pub init: Option<InitFacts>,
    /// Programs that look like an init but cannot run, with the reason (not executable, broken link, ...).
    pub rejected_inits: Vec<Evidence>,
    /// Who lets a user in.
    pub login: LoginFacts,
    /// The account of root.
    pub root: Account,
    /// `/etc/machine-id` if it holds a valid one (32 hexadecimal digits).
    pub machine_id: Option<String>,
    /// Whether `/usr` exists in the tree.
    pub has_usr: bool,
    /// Files that would have told more but could not be read, with the reason: what depends on them is a guess.
    #[serde(default)]
    pub unread: Vec<Evidence>,
}

/// The distribution, from os-release or from what else tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// `ID=` of os-release(5), or repot's own guess in the same form; `linux` if unknown.
    pub id: String,
    /// `ID_LIKE=`, split at blanks.
    pub like: Vec<String>,
    /// `VERSION_ID=`.
    pub version: Option<String>,
    /// `PRETTY_NAME=`, or a name made from the rest.
    pub name: String,
    /// Where that was read.
    pub evidence: Vec<Evidence>,
}

/// An init system that would be PID 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitFacts {
    /// Which init.
    pub id: InitId,
    /// A second service manager on top, such as OpenRC under sysvinit or busybox.
    pub on_top: Option<InitId>,
    /// Name for people, such as `systemd` or `OpenRC on sysvinit`.
    pub name: String,
    /// Version as the init states it.
    pub version: Option<String>,
    /// The program to execute: an absolute path inside the tree as a user would write it, such as `/sbin/init`.
    pub path: String,
    /// The same after all symlinks.
    pub resolved: String,
    /// Arguments after `argv[0]` that it must be given (Guix System, s6).
    pub args: Vec<String>,
    /// Variables that it must be given.
    pub env: Vec<(String, String)>,
    /// The ELF facts of `resolved`, or of its interpreter if it is a script.
    pub elf: Option<ElfFacts>,
    /// cgroup versions that it can use, best first. Empty: it does not care.
    pub cgroups: Vec<CgroupVersion>,
    /// What would run a login prompt or shell on a terminal, and where.
    pub gettys: Vec<Getty>,
    /// Requests for such a prompt that cannot work, with the reason: program missing, unit masked, ...
    #[serde(default)]
    pub broken_gettys: Vec<Evidence>,
    /// Programs of the tree that end or restart the machine or talk to its init (`/sbin/poweroff`), and the files
    /// that ask the init for it (`/run/runit.stopit`): absolute paths, only what was found.
    #[serde(default)]
    pub control: Vec<String>,
    /// How that was found.
    pub evidence: Vec<Evidence>,
}

/// What the header of an ELF file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElfFacts {
    /// CPU architecture.
    pub arch: Arch,
    /// The dynamic loader that the program asks for.
    pub interpreter: Option<String>,
    /// Its C library, told from the loader.
    pub libc: Libc,
}

/// Something that listens on a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Getty {
    /// Name of the terminal below `/dev`: `tty1`, `console`, `ttyS0`, `pts/0`.
    pub tty: String,
    /// What answers there.
    pub kind: GettyKind,
    /// The file and line that ask for it.
    pub evidence: Evidence,
}

/// What answers on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GettyKind {
    /// A getty: `login:` prompt.
    Login,
    /// A getty that logs somebody in without asking.
    Autologin,
    /// A shell, after a key press or at once (busybox `askfirst`, sulogin).
    Shell,
}

/// Who lets a user in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginFacts {
    /// `login` program inside the tree.
    pub login: Option<String>,
    /// Which implementation that is.
    pub stack: LoginStack,
    /// getty programs inside the tree, best first (`agetty`, `getty`, `mingetty`, ...).
    pub gettys: Vec<String>,
    /// PAM configuration of `login`, if login uses PAM.
    pub pam: Option<PamFacts>,
    /// Lines of `/etc/securetty`, or `None` if there is no such file.
    pub securetty: Option<Vec<String>>,
    /// Where that was read.
    pub evidence: Vec<Evidence>,
}

/// Which login program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginStack {
    /// util-linux' login.
    UtilLinux,
    /// shadow-utils' login.
    Shadow,
    /// busybox' applet.
    Busybox,
    /// toybox' applet.
    Toybox,
    /// A login program that was not recognised.
    Unknown,
    /// There is no login program.
    None,
}

/// The PAM service that login uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PamFacts {
    /// The file, such as `/etc/pam.d/login`.
    pub file: String,
    /// Every module line in effect, includes followed: where, and what (`auth required pam_securetty.so`).
    pub modules: Vec<Evidence>,
}

/// An account of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Whether a password lets one in. The hash itself is never part of the facts.
    pub password: PasswordState,
    /// Login shell.
    pub shell: Option<String>,
    /// Home directory.
    pub home: Option<String>,
    /// Where that was read.
    pub evidence: Vec<Evidence>,
}

/// The state of a password, from the second field of shadow(5) or passwd(5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum PasswordState {
    /// A hash, with its kind as crypt(5) names it: `sha512crypt`, `yescrypt`, `md5crypt`, ...
    Set {
        /// Kind of hash.
        kind: String,
    },
    /// Empty: no password is needed where the login program allows that.
    Empty,
    /// `*`, `!`, `!!`, `*LK*`, ...: no password can be right.
    Locked,
    /// A hash whose account or password has expired (chage).
    Expired,
    /// The file with the hash may not be read by the user who inspects.
    Unreadable,
    /// There is no such account (yet: Guix System and NixOS make them at first boot).
    Missing,
}
