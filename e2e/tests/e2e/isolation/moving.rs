//! A tree whose links change while it is started: what repot looks up in it never leads out.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::sandbox::{LONG, Sandbox, utf8};

/// Directories of the tree, each exchanged all the time with a link of the same name to a directory of the host.
const PLACES: [&str; 4] = ["run", "mnt", "etc", "dev"];

#[test]
fn links_that_change_lead_nowhere() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let tree = sandbox.dir().join("tree");
    let mut copy = Command::new("cp");
    copy.arg("-a")
        .arg(Tree::named("bookworm-busybox")?.ensure()?)
        .arg(&tree);
    let done = process::run(&mut copy, b"", LONG)?;
    ensure!(done.code == 0, "{done}");
    let outside = sandbox.dir().join("outside");
    fs::create_dir(&outside)?;
    let secret = sandbox.dir().join("bound");
    fs::create_dir(&secret)?;
    for place in PLACES {
        fs::create_dir_all(tree.join(place))?;
        symlink(&outside, tree.join(format!("{place}-link")))?;
    }
    let (tree_arg, bind) = (utf8(&tree)?, format!("{}:/mnt/bound", utf8(&secret)?));
    let is_over = AtomicBool::new(false);
    let (worked, refused) = std::thread::scope(|scope| -> Result<(u32, u32)> {
        let mover = scope.spawn(|| -> Result<()> {
            while !is_over.load(Ordering::Relaxed) {
                for place in PLACES {
                    let link = tree.join(format!("{place}-link"));
                    renameat_with(CWD, tree.join(place), CWD, &link, RenameFlags::EXCHANGE)?;
                }
                std::thread::yield_now();
            }
            Ok(())
        });
        let rounds = || -> Result<(u32, u32)> {
            let (mut worked, mut refused) = (0, 0);
            for number in 0..40 {
                let options: &[&str] = match number % 2 {
                    0 => &["run", "--in-place", "--bind", &bind],
                    _ => &["run", "--bind", &bind],
                };
                let script = ": >/run/mark; : >/etc/mark; : >/mnt/mark; true";
                let done = sandbox.repot(&[options, &[&tree_arg, "sh", "-c", script]].concat())?;
                match done.code {
                    0 => worked += 1,
                    _ => refused += 1,
                }
            }
            Ok((worked, refused))
        };
        let counts = rounds();
        is_over.store(true, Ordering::Relaxed);
        mover.join().map_err(|_| anyhow!("the mover panicked"))??;
        counts
    })?;
    ensure!(worked > 0, "none of {refused} runs got through");
    let found: Vec<_> = fs::read_dir(&outside)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    ensure!(
        found.is_empty(),
        "{worked} runs worked, {refused} did not; outside is {found:?}"
    );
    sandbox.finish()
}
