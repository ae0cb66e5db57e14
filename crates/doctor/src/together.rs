//! Tests only: all rules at once, on trees with many faults.

use crate::diagnose;
use crate::fake::{Tree, offers};
use crate::rules::{Diagnosis, Wishes};
use repot_model::{Demand, Demanded, Edit, Offers, ProgramOffer, Remedy};

fn strict() -> Offers {
    let mut strict = offers();
    strict.console.login_name = "pts/0".into();
    strict.tty1_is_console = false;
    strict.serves_silent_console = false;
    strict.program = ProgramOffer::Fixed {
        path: "/sbin/init".into(),
    };
    (strict.raises_limits, strict.sets_loginuid) = (false, false);
    strict.keyrings = repot_model::Keyrings::Refused;
    for what in [Demanded::OsRelease, Demanded::Usr, Demanded::MountPoints] {
        strict.demands.push(Demand {
            what,
            message: "refused".into(),
            source: "test".into(),
        });
    }
    strict
}

fn wishes() -> Wishes {
    Wishes {
        root_password_hash: Some("$6$salt$hash".into()),
        autologin: true,
    }
}

/// A Debian as somebody has ruined it.
fn ruined(init: &str) -> Tree {
    let pam = "auth required pam_securetty.so\n@include common-auth\naccount required pam_nologin.so\n\
               session required pam_loginuid.so\nsession required pam_limits.so\nsession required pam_gone.so\n\
               session required pam_keyinit.so force\nsession required pam_namespace.so\n";
    let modules = [
        "unix",
        "securetty",
        "nologin",
        "loginuid",
        "limits",
        "keyinit",
        "namespace",
    ];
    let tree = modules.iter().fold(Tree::new(), |tree, name| {
        tree.file(&format!("/usr/lib/security/pam_{name}.so"), "")
    });
    tree.elf("/usr/sbin/init", init)
        .mode("/usr/sbin/init", 0o644)
        .elf("/usr/bin/sh", "")
        .elf("/usr/bin/login", "util-linux\0libpam.so.0")
        .elf("/usr/sbin/agetty", "")
        .elf("/usr/bin/su", "")
        .elf("/usr/bin/passwd", "")
        .file("/etc/pam.d/login", pam)
        .file("/etc/securetty", "tty1\n")
        .file("/etc/nologin", "going down\n")
        .file("/etc/security/limits.conf", "root - nproc unlimited\n")
        .file("/etc/selinux/config", "SELINUX=enforcing\n")
        .file("/etc/mtab", "/dev/sda1 / ext4 rw 0 0\n")
        .file("/.autorelabel", "")
        .file("/etc/passwd", "root:x:0:0:root:/root:/bin/zsh\n")
        .file("/etc/shadow", "root:!:19000:0:99999:7:::\n")
        .file(
            "/etc/inittab",
            "id:2:initdefault:\n1:2345:respawn:/sbin/agetty tty1\n",
        )
}

fn diagnosis(tree: &Tree, offers: &Offers, wishes: &Wishes) -> Diagnosis {
    diagnose(&tree.root(), &tree.facts(), offers, wishes, &|_| true)
}

#[test]
fn a_tree_with_many_faults_is_mended_and_stays_so() {
    for (init, wishes) in [
        (
            "SysV init version 3.06\0Unable to load SELinux Policy",
            wishes(),
        ),
        ("SysV init version 3.06", Wishes::default()),
        ("BusyBox v1.36.1\0/etc/inittab", wishes()),
    ] {
        let tree = ruined(init);
        let found = diagnosis(&tree, &strict(), &wishes);
        let edits: Vec<Edit> = found.wished().cloned().collect();
        tree.apply(&edits);
        // Mended, the tree has an init, and what that wants is seen only now.
        let again = diagnosis(&tree, &strict(), &wishes);
        let more: Vec<Edit> = again.wished().cloned().collect();
        tree.apply(&more);
        let mut rules: Vec<&str> = found
            .findings
            .iter()
            .chain(&again.findings)
            .map(|found| found.rule.0.as_str())
            .collect();
        rules.sort_unstable();
        rules.dedup();
        assert!(rules.len() >= 16, "{rules:?}");
        let last = diagnosis(&tree, &strict(), &wishes);
        assert!(last.unchecked.is_empty());
        for finding in &last.findings {
            assert!(finding.edits.is_empty(), "{init}: {finding:#?}");
            assert_ne!(finding.remedy, Remedy::Automatic, "{finding:#?}");
        }
        assert_eq!(tree.facts().init.unwrap().path, "/sbin/init");
    }
}

#[test]
fn what_an_engine_gives_is_no_finding() {
    let healthy = Tree::new()
        .elf("/sbin/init", "SysV init version 3.06")
        .elf("/bin/sh", "")
        .elf("/bin/login", "util-linux")
        .elf("/sbin/agetty", "")
        .dir("/dev")
        .dir("/proc")
        .dir("/sys")
        .dir("/run")
        .dir("/tmp")
        .dir("/usr")
        .file("/etc/hosts", "127.0.0.1 localhost\n")
        .file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        .file("/etc/shadow", "root:$6$a$b:19000:0:99999:7:::\n")
        .file(
            "/etc/inittab",
            "id:2:initdefault:\n1:2345:respawn:/sbin/agetty tty1\n",
        );
    let found = diagnosis(&healthy, &offers(), &Wishes::default());
    let bad: Vec<_> = found
        .findings
        .iter()
        // Run by somebody else than root, the tree is not root's.
        .filter(|found| found.rule.0 != "owners")
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
