//! `repot top`: what the machines that run use, once or again and again.

use crate::args::Top;
use crate::output;
use repot_model::{Bytes, HintExt, Limits, MachineName, MachineState, RuntimeState};
use repot_runtime::{
    Dirs, Error, RawMode, Usage, disk_usage, registry, usage, wait_for_key, window_size,
};
use serde::Serialize;
use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two looks at the machines.
const REFRESH: Duration = Duration::from_secs(2);

/// Between the two looks that a single table needs for its percentages.
const ONCE: Duration = Duration::from_millis(500);

/// How long a figure for the disk holds: it needs a look at every file that a machine has written.
const DISK_REFRESH: Duration = Duration::from_secs(20);

/// One machine in `repot top --json`.
#[derive(Debug, Serialize)]
struct Row {
    name: MachineName,
    state: MachineState,
    /// Of one processor, between the last two looks.
    cpu_percent: Option<f64>,
    #[serde(flatten)]
    usage: Usage,
    oom_kills: u64,
    limits: Limits,
}

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    machines: Vec<Row>,
}

/// What has to be remembered of a machine from one look to the next.
#[derive(Debug)]
struct Before {
    at: Instant,
    cpu_us: Option<u64>,
    /// Which boot that was: the next one counts from 0.
    leader_start: u64,
    disk: (Instant, Option<u64>),
}

/// Looks at machines again and again.
#[derive(Debug)]
struct Watch<'a> {
    dirs: &'a Dirs,
    /// Which; all if empty.
    names: &'a [MachineName],
    before: HashMap<MachineName, Before>,
}

pub(crate) fn run(args: &Top) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    for name in &args.names {
        if registry::running(&dirs, name).is_none() {
            return Err(Error::NotRunning(name.clone()))
                .hint("`repot list` shows what there is")
                .map_err(Into::into);
        }
    }
    let mut watch = Watch {
        dirs: &dirs,
        names: &args.names,
        before: HashMap::new(),
    };
    let is_live = !args.once && !args.json && std::io::stdout().is_terminal();
    if is_live {
        return live(&mut watch);
    }
    if !watch.look().is_empty() {
        std::thread::sleep(ONCE);
    }
    let machines = watch.look();
    if args.json {
        output::json(&Document {
            version: output::JSON_VERSION,
            machines,
        })?;
    } else {
        output::table(&table(&machines));
    }
    Ok(0)
}

/// The alternate screen of the user's terminal, without a cursor (xterm's control sequences, "DECSET 1049" and "25").
#[derive(Debug)]
struct Screen;

impl Screen {
    fn enter() -> Self {
        output::raw(b"\x1b[?1049h\x1b[?25l");
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        output::raw(b"\x1b[?25h\x1b[?1049l");
    }
}

/// Until `q` or `^C` is pressed.
fn live(watch: &mut Watch<'_>) -> anyhow::Result<u8> {
    let _raw = RawMode::enter();
    let _screen = Screen::enter();
    let mut wait = ONCE;
    loop {
        draw(&table(&watch.look()));
        let refresh = Instant::now() + wait;
        loop {
            let left = refresh.saturating_duration_since(Instant::now());
            match wait_for_key(left)? {
                Some(b'q' | b'Q' | 0x03) => return Ok(0),
                Some(_) => {}
                None => break,
            }
        }
        wait = REFRESH;
    }
}

/// Shows a table from the upper left corner on, as much of it as fits.
fn draw(rows: &[Vec<String>]) {
    let (height, width) = window_size().map_or((24, 80), |size| (size.ws_row, size.ws_col));
    let mut lines = output::table_lines(rows);
    lines.insert(1, String::new());
    lines.truncate(usize::from(height).saturating_sub(2));
    lines.extend([String::new(), "q: quit".to_owned()]);
    let shown: Vec<String> = lines
        .iter()
        .map(|line| line.chars().take(usize::from(width)).collect())
        .collect();
    // Each line cleared to its end, the rest of the screen as well: nothing flickers.
    let text = format!("\x1b[H{}\x1b[K\x1b[J", shown.join("\x1b[K\r\n"));
    output::raw(text.as_bytes());
}

impl Watch<'_> {
    fn look(&mut self) -> Vec<Row> {
        let names = match self.names {
            [] => registry::names(self.dirs),
            names => names.to_vec(),
        };
        let running: Vec<RuntimeState> = names
            .iter()
            .filter_map(|name| registry::running(self.dirs, name))
            .collect();
        self.before
            .retain(|name, _| running.iter().any(|state| state.spec.name == *name));
        running.into_iter().map(|state| self.row(state)).collect()
    }

    fn row(&mut self, state: RuntimeState) -> Row {
        let name = state.spec.name.clone();
        let mut usage = usage(&state.spec);
        let at = Instant::now();
        let before = self.before.get(&name);
        let disk = before
            .map(|before| before.disk)
            .filter(|(since, _)| at.duration_since(*since) < DISK_REFRESH)
            .unwrap_or_else(|| (at, disk_usage(&state.spec)));
        usage.disk_bytes = disk.1;
        let same_boot = before.filter(|before| before.leader_start == state.leader_start);
        let cpu_percent = same_boot
            .zip(usage.cpu_us)
            .and_then(|(before, cpu_us)| percent(before, at, cpu_us));
        let now = Before {
            at,
            cpu_us: usage.cpu_us,
            leader_start: state.leader_start,
            disk,
        };
        self.before.insert(name.clone(), now);
        Row {
            name,
            state: state.state,
            cpu_percent,
            usage,
            oom_kills: state.oom_kills,
            limits: state.spec.limits,
        }
    }
}

/// Of one processor, to a tenth.
fn percent(before: &Before, at: Instant, cpu_us: u64) -> Option<f64> {
    let used = Duration::from_micros(cpu_us.saturating_sub(before.cpu_us?));
    let passed = at.duration_since(before.at);
    (!passed.is_zero()).then(|| (used.as_secs_f64() / passed.as_secs_f64() * 1000.0).round() / 10.0)
}

fn table(rows: &[Row]) -> Vec<Vec<String>> {
    let header = [
        "NAME",
        "STATE",
        "CPU %",
        "CPU TIME",
        "MEMORY",
        "PROCESSES",
        "DISK",
        "READ",
        "WRITTEN",
    ];
    let mut table = vec![header.map(str::to_owned).to_vec()];
    table.extend(rows.iter().map(|row| {
        let Row { usage, limits, .. } = row;
        let bytes = |bytes: Option<u64>| shown(bytes.map(Bytes));
        vec![
            row.name.to_string(),
            row.state.to_string(),
            shown(row.cpu_percent.map(|percent| format!("{percent:.1}"))),
            shown(usage.cpu_us.map(output::cpu_time)),
            output::of_limit(bytes(usage.memory_bytes), limits.memory_bytes.map(Bytes)),
            output::of_limit(shown(usage.processes), limits.pids),
            bytes(usage.disk_bytes),
            bytes(usage.io_read_bytes),
            bytes(usage.io_write_bytes),
        ]
    }));
    table
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_of_one_processor() {
        let at = Instant::now();
        let before = Before {
            at,
            cpu_us: Some(1_000_000),
            leader_start: 1,
            disk: (at, None),
        };
        let later = at + Duration::from_secs(2);
        assert_eq!(percent(&before, later, 4_000_000), Some(150.0));
        assert_eq!(percent(&before, later, 0), Some(0.0));
        assert_eq!(percent(&before, at, 4_000_000), None);
    }
}
