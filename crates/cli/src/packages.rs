//! What a distribution's own package manager is told to install an init, a login program or a getty: one table.
//!
//! The names of packages are those of the distributions that use the manager; they are run in a machine of the tree, by the user's
//! word only (`repot fix --install`).

use repot_model::Facts;
use repot_rootfs::RootRead;

/// What a tree may lack that a package brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A program for PID 1.
    Init,
    /// login(1).
    Login,
    /// A program that asks for a name on a terminal.
    Getty,
}

impl Missing {
    /// For people.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Login => "login program",
            Self::Getty => "getty",
        }
    }
}

/// A package manager.
#[derive(Debug)]
pub(crate) struct Manager {
    /// Its program, as an absolute path in the tree.
    program: &'static str,
    /// How its lists are brought up to date, if that is a command of its own.
    update: Option<&'static [&'static str]>,
    /// How packages are installed, without questions; their names follow.
    install: &'static [&'static str],
    /// Variables that keep it from asking.
    env: &'static [(&'static str, &'static str)],
    init: &'static str,
    login: &'static str,
    getty: &'static str,
}

/// The first whose program is in the tree is used, so those that stand on others' shoulders come first.
///
/// Sources: apt-get(8); apk-tools doc/apk.8.scd; dnf(8); microdnf(8); pacman(8); zypper(8); xbps-install(1); emerge(1); the
/// distributions' package indices.
pub(crate) static MANAGERS: &[Manager] = &[
    Manager {
        program: "/usr/bin/apt-get",
        update: Some(&["apt-get", "update"]),
        install: &[
            "apt-get",
            "install",
            "--yes",
            "--no-install-recommends",
            "--reinstall",
        ],
        env: &[("DEBIAN_FRONTEND", "noninteractive")],
        init: "systemd-sysv",
        login: "login",
        getty: "util-linux",
    },
    Manager {
        program: "/sbin/apk",
        update: None,
        install: &["apk", "add", "--update-cache"],
        env: &[],
        init: "alpine-base",
        login: "shadow-login",
        getty: "agetty",
    },
    Manager {
        program: "/usr/bin/dnf",
        update: None,
        install: &[
            "dnf",
            "install",
            "--assumeyes",
            "--setopt=install_weak_deps=False",
        ],
        env: &[],
        init: "systemd",
        login: "util-linux",
        getty: "util-linux",
    },
    Manager {
        program: "/usr/bin/microdnf",
        update: None,
        install: &["microdnf", "install", "--assumeyes"],
        env: &[],
        init: "systemd",
        login: "util-linux",
        getty: "util-linux",
    },
    Manager {
        program: "/usr/bin/yum",
        update: None,
        install: &["yum", "install", "--assumeyes"],
        env: &[],
        init: "systemd",
        login: "util-linux",
        getty: "util-linux",
    },
    Manager {
        program: "/usr/bin/pacman",
        update: None,
        // Without the upgrade of all the rest, it would be a partial one, which Arch does not support.
        install: &[
            "pacman",
            "--sync",
            "--refresh",
            "--sysupgrade",
            "--needed",
            "--noconfirm",
        ],
        env: &[],
        init: "systemd-sysvcompat",
        login: "util-linux",
        getty: "util-linux",
    },
    Manager {
        program: "/usr/bin/zypper",
        update: None,
        install: &["zypper", "--non-interactive", "install", "--no-recommends"],
        env: &[],
        init: "systemd",
        login: "util-linux",
        getty: "util-linux",
    },
    Manager {
        program: "/usr/bin/xbps-install",
        update: None,
        install: &["xbps-install", "--sync", "--yes"],
        env: &[],
        init: "runit-void",
        login: "util-linux",
        getty: "util-linux",
    },
    Manager {
        program: "/usr/bin/emerge",
        update: Some(&["emerge", "--sync", "--quiet"]),
        install: &["emerge", "--noreplace", "--quiet"],
        env: &[],
        init: "sys-apps/sysvinit",
        login: "sys-apps/shadow",
        getty: "sys-apps/util-linux",
    },
];

/// Distributions whose system is built from a configuration as a whole: a program of theirs, and what builds it anew. Nothing is
/// installed into them one by one, so this is for people.
pub(crate) static BUILDERS: &[(&str, &str)] = &[
    (
        "/run/current-system/profile/bin/guix",
        "guix system reconfigure /etc/config.scm",
    ),
    ("/nix/var/nix/profiles/system", "nixos-rebuild boot"),
];

/// What the tree lacks.
pub(crate) fn missing(facts: &Facts) -> Vec<Missing> {
    [
        (facts.init.is_none(), Missing::Init),
        (facts.login.login.is_none(), Missing::Login),
        (facts.login.gettys.is_empty(), Missing::Getty),
    ]
    .into_iter()
    .filter_map(|(is_missing, what)| is_missing.then_some(what))
    .collect()
}

/// The package manager of a tree.
pub(crate) fn manager(root: &RootRead) -> Option<&'static Manager> {
    MANAGERS
        .iter()
        .find(|manager| root.is_executable(manager.program))
}

/// For a tree without one: what a person can do.
pub(crate) fn builder(root: &RootRead) -> Option<&'static str> {
    BUILDERS
        .iter()
        .find(|(sign, _)| root.symlink_metadata(sign).is_ok())
        .map(|(_, command)| *command)
}

impl Manager {
    /// The commands that bring what is missing, in order.
    pub(crate) fn commands(&self, missing: &[Missing]) -> Vec<Vec<&'static str>> {
        let mut packages = Vec::new();
        for what in missing {
            let package = match what {
                Missing::Init => self.init,
                Missing::Login => self.login,
                Missing::Getty => self.getty,
            };
            if !packages.contains(&package) {
                packages.push(package);
            }
        }
        let install = [self.install, &packages].concat();
        self.update
            .map(<[&str]>::to_vec)
            .into_iter()
            .chain([install])
            .collect()
    }

    /// Variables that it gets.
    pub(crate) fn env(&self) -> &'static [(&'static str, &'static str)] {
        self.env
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn tree(program: &str) -> (tempfile::TempDir, RootRead) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(program.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let root = RootRead::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn every_manager_is_found_by_its_program() {
        for manager in MANAGERS {
            let (_dir, root) = tree(manager.program);
            let found = super::manager(&root).unwrap();
            assert_eq!(found.program, manager.program);
            let commands = found.commands(&[Missing::Init, Missing::Login, Missing::Getty]);
            let install = commands.last().unwrap();
            // What runs in the machine is what was found.
            assert!(
                manager.program.ends_with(&format!("/{}", install[0])),
                "{install:?}"
            );
            assert!(install.contains(&manager.init) && install.contains(&manager.login));
        }
        assert!(super::manager(&tree("/bin/sh").1).is_none());
    }

    #[test]
    fn a_package_is_named_once() {
        let apk = &MANAGERS[1];
        assert_eq!(
            apk.commands(&[Missing::Login]),
            [["apk", "add", "--update-cache", "shadow-login"]]
        );
        let dnf = &MANAGERS[2];
        let both = dnf.commands(&[Missing::Login, Missing::Getty]);
        assert_eq!(
            both[0].iter().filter(|word| **word == "util-linux").count(),
            1
        );
    }

    #[test]
    fn systems_that_are_built_as_a_whole_are_known() {
        let (_dir, root) = tree("/nix/var/nix/profiles/system");
        assert_eq!(builder(&root), Some("nixos-rebuild boot"));
    }
}
