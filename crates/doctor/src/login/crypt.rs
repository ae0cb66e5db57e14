//! Which password hashes the tree's crypt(3) can check: its library is looked at, not run.

use crate::reading::{evidence, optional};
use crate::{Result, View};
use repot_model::{Evidence, Facts, Libc, LoginStack};
use repot_rootfs::contains;

/// A libcrypt has some 200 KB, a static busybox 2 MB.
const LIBRARY_BYTES: u64 = 8 << 20;

/// Whether a kind of hash can be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Support {
    /// It can, as far as one knows.
    Yes,
    /// It cannot, seen there.
    No(Evidence),
}

/// Hashes that each crypt(3) has had since about 2008, and the prefixes by which libxcrypt's table names the others.
///
/// # Source
/// crypt(5); glibc `crypt/crypt-entry.c` (descrypt, md5crypt, sha256crypt, sha512crypt); musl `src/crypt/crypt_r.c` (those and
/// bcrypt); libxcrypt `lib/hashes.conf`; busybox `libbb/pw_encrypt.c`.
const PREFIXES: &[(&str, &str)] = &[
    ("yescrypt", "$y$"),
    ("gost-yescrypt", "$gy$"),
    ("scrypt", "$7$"),
    ("bcrypt", "$2b$"),
    ("sha1crypt", "$sha1"),
    ("sunmd5", "$md5"),
    ("nt", "$3$"),
];

/// Whether the login of this tree can check hashes of that kind (as `Hash::kind` names it).
pub(crate) fn supports(view: &View<'_>, facts: &Facts, kind: &str) -> Result<Support> {
    let Some((_, prefix)) = PREFIXES.iter().find(|(name, _)| *name == kind) else {
        return Ok(Support::Yes);
    };
    let root = view.root();
    let login = facts.login.login.as_deref();
    if let (LoginStack::Busybox, Some(login)) = (facts.login.stack, login) {
        let content = optional(root.read_head(login, LIBRARY_BYTES))?.unwrap_or_default();
        if !contains(&content, "libcrypt.so") && !contains(&content, "libpam.so") {
            // Linked statically with libxcrypt (Debian), or with crypt(3) of its own, which has none of these.
            return Ok(match contains(&content, prefix) {
                true => Support::Yes,
                false => Support::No(evidence(login, None, "a busybox with its own crypt(3)")),
            });
        }
    }
    for dir in library_dirs(view)? {
        for name in ["libcrypt.so.2", "libcrypt.so.1"] {
            let path = format!("{dir}/{name}");
            let Some(end) = view.resolve(&path).filter(|_| view.is_file(&path)) else {
                continue;
            };
            let content = optional(root.read_head(&end, LIBRARY_BYTES))?.unwrap_or_default();
            return Ok(match contains(&content, prefix) {
                true => Support::Yes,
                false => Support::No(evidence(&end, None, "a libcrypt without that method")),
            });
        }
    }
    let musl = facts.libc == Some(Libc::Musl);
    if musl && kind != "bcrypt" {
        let seen = "musl, whose crypt(3) has no such method";
        return Ok(Support::No(evidence("/lib", None, seen)));
    }
    Ok(Support::Yes)
}

/// Where libraries may be: the usual directories and those of Debian's multiarch (`/usr/lib/x86_64-linux-gnu`).
pub(crate) fn library_dirs(view: &View<'_>) -> Result<Vec<String>> {
    let mut dirs: Vec<String> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for top in ["/lib64", "/usr/lib64", "/lib", "/usr/lib"] {
        let Some(end) = view.resolve(top).filter(|_| view.is_dir(top)) else {
            continue;
        };
        if seen.contains(&end) {
            continue;
        }
        for name in view.names(&end)? {
            if name.contains("-linux-") || name.ends_with("-linux") {
                dirs.push(format!("{end}/{name}"));
            }
        }
        dirs.push(end.clone());
        seen.push(end);
    }
    Ok(dirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Tree;

    fn supported(tree: &Tree, kind: &str) -> bool {
        let root = tree.root();
        let view = View::new(&root);
        supports(&view, &tree.facts(), kind).unwrap() == Support::Yes
    }

    #[test]
    fn by_library_and_login() {
        let glibc = Tree::new().file("/lib/x86_64-linux-gnu/libcrypt.so.1", "$1$ $5$ $6$");
        assert!(!supported(&glibc, "yescrypt") && supported(&glibc, "sha512crypt"));
        let libxcrypt = Tree::new().file("/usr/lib64/libcrypt.so.2", "$y$ $gy$ $2b$");
        assert!(supported(&libxcrypt, "yescrypt") && !supported(&libxcrypt, "nt"));
        let musl = Tree::new()
            .elf("/lib/ld-musl-x86_64.so.1", "")
            .dynamic_elf("/bin/sh", "/lib/ld-musl-x86_64.so.1");
        assert!(!supported(&musl, "yescrypt") && supported(&musl, "bcrypt"));
        let busybox = Tree::new().elf("/bin/login", "BusyBox v1.36.1");
        assert!(!supported(&busybox, "yescrypt") && supported(&busybox, "md5crypt"));
        assert!(supported(&Tree::new(), "yescrypt"));
    }
}
