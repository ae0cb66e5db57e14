//! `repot-density [--busybox N] [--systemd M] [--out DIR]`: many machines at once.
//!
//! Boots N machines of busybox and runit, in turns, and M of systemd, one after the other with all before still running, and
//! notes for each how long it took to be ready, and for a growing number of machines what a supervisor holds of the
//! memory and how long `repot list` takes. All must be ready and answer; then `stop --all`, and nothing may be left.
//! `--out` writes the curve as `density.csv` and `density.svg`. `REPOT_BIN` names the program; `cargo xtask density` builds
//! it and starts this.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

mod curve;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use curve::Point;
use repot_e2e::process;
use repot_e2e::subject::Subject;
use repot_e2e::trees::Tree;

const USAGE: &str = "usage: repot-density [--busybox N] [--systemd M] [--out DIR]";

struct Options {
    small: usize,
    systemd: usize,
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    match options().and_then(|options| density(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("repot-density: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        small: 200,
        systemd: 30,
        out: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        let value = args.next();
        let value = value.with_context(|| format!("{option} wants a value\n{USAGE}"))?;
        match option.as_str() {
            "--busybox" => options.small = value.parse().context(USAGE)?,
            "--systemd" => options.systemd = value.parse().context(USAGE)?,
            "--out" => options.out = Some(value.into()),
            _ => bail!("{option}: unknown\n{USAGE}"),
        }
    }
    Ok(options)
}

fn density(options: &Options) -> Result<()> {
    let subject = Subject::new("density")?;
    let result = measure(&subject, options);
    // Also after a failure: so many machines must not stay.
    for name in subject.list()?.keys() {
        subject.run(&["rm", "--force", name])?;
    }
    subject.remove()?;
    let points = result?;
    if let Some(out) = &options.out {
        fs::write(out.join("density.csv"), curve::csv(&points)).context("writing the curve")?;
        fs::write(out.join("density.svg"), curve::svg(&points)).context("writing the curve")?;
    }
    Ok(())
}

fn measure(subject: &Subject, options: &Options) -> Result<Vec<Point>> {
    let tree = |name: &str| -> Result<String> {
        let path = Tree::named(name)?.ensure()?;
        Ok(path.to_str().context("reading a path")?.to_owned())
    };
    let small = [tree("bookworm-busybox")?, tree("bookworm-runit")?];
    let systemd = tree("bookworm-systemd")?;
    let mut points = Vec::new();
    let mut names = Vec::new();
    for number in 0..options.small + options.systemd {
        let (init, tree) = match number {
            number if number >= options.small => ("systemd", &systemd),
            number if number % 2 == 0 => ("busybox", &small[0]),
            _ => ("runit", &small[1]),
        };
        let name = format!("density{}n{number}", std::process::id());
        let began = Instant::now();
        subject
            .ok(&["boot", tree.as_str(), "-d", "-n", &name])
            .with_context(|| format!("machine {} ({init})", number + 1))?;
        let ready = began.elapsed();
        let began = Instant::now();
        let listed = subject.list()?;
        let list = began.elapsed();
        ensure!(listed.len() == number + 1, "{} are listed", listed.len());
        points.push(Point {
            machines: number + 1,
            init,
            ready,
            list,
            supervisor_kib: supervisor_kib(subject, &name)?,
        });
        names.push(name);
    }
    for name in &names {
        let said = subject.ok(&["exec", name, "/bin/echo", "here"])?;
        ensure!(said == "here\n", "{name} said {said:?}");
    }
    // What they came to be after all had started.
    let mut kib = Vec::new();
    for name in &names {
        kib.push(supervisor_kib(subject, name)?);
    }
    kib.sort_unstable();
    for init in ["busybox", "runit", "systemd"] {
        report(init, &points);
    }
    println!(
        "supervisors at the end, Pss: median {} KiB, largest {} KiB, all {} KiB",
        kib.get(kib.len() / 2).unwrap_or(&0),
        kib.last().unwrap_or(&0),
        kib.iter().sum::<u64>()
    );
    let began = Instant::now();
    subject.ok(&["stop", "--all"])?;
    println!(
        "stop --all of {} machines: {:.1} s",
        names.len(),
        began.elapsed().as_secs_f64()
    );
    for name in &names {
        subject.ok(&["rm", name])?;
        let mut left = Vec::new();
        process::until("nothing is left", Duration::from_secs(60), || {
            left = subject.leftovers(name)?;
            Ok(left.is_empty())
        })
        .with_context(|| format!("{left:#?}"))?;
    }
    println!("nothing is left of {} machines", names.len());
    Ok(points)
}

/// First and last tenth of the machines with that init: what is flat has the same in both.
fn report(init: &str, points: &[Point]) {
    let of_init: Vec<&Point> = points.iter().filter(|point| point.init == init).collect();
    let tenth = of_init.len().div_ceil(10);
    let median = |points: &[&Point], value: fn(&Point) -> Duration| {
        let mut values: Vec<Duration> = points.iter().map(|point| value(point)).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    if of_init.is_empty() {
        return;
    }
    let (first, last) = (&of_init[..tenth], &of_init[of_init.len() - tenth..]);
    println!(
        "{init}: {} machines; ready after (median of the first and of the last tenth) {:.0} and {:.0} ms; list {:.0} and {:.0} ms",
        of_init.len(),
        median(first, |point| point.ready).as_secs_f64() * 1e3,
        median(last, |point| point.ready).as_secs_f64() * 1e3,
        median(first, |point| point.list).as_secs_f64() * 1e3,
        median(last, |point| point.list).as_secs_f64() * 1e3,
    );
}

/// The proportional set size of a machine's supervisor, in KiB (proc_pid_smaps(5)).
fn supervisor_kib(subject: &Subject, name: &str) -> Result<u64> {
    let workers = subject.workers(name, None)?;
    let supervisor = workers.iter().find(|worker| worker.is_supervisor);
    let pid = supervisor.context("finding the supervisor")?.pid;
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = smaps.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.context("reading Pss")?.parse().context("reading Pss")
}
