//! The curve over the number of machines, as a table and as a picture.

use std::fmt::Write;
use std::time::Duration;

/// What was seen when the machine of that number had become ready.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) machines: usize,
    pub(crate) init: &'static str,
    pub(crate) ready: Duration,
    pub(crate) list: Duration,
    pub(crate) supervisor_kib: u64,
}

pub(crate) fn csv(points: &[Point]) -> String {
    let mut text = "machines,init,ready_ms,list_ms,supervisor_pss_kib\n".to_owned();
    for point in points {
        let _ = writeln!(
            text,
            "{},{},{:.0},{:.1},{}",
            point.machines,
            point.init,
            point.ready.as_secs_f64() * 1e3,
            point.list.as_secs_f64() * 1e3,
            point.supervisor_kib
        );
    }
    text
}

const WIDTH: usize = 720;
const HEIGHT: f64 = 160.0;

/// Three diagrams, one above the other: time until ready, time of `list`, memory of a supervisor.
pub(crate) fn svg(points: &[Point]) -> String {
    type Value = fn(&Point) -> f64;
    let diagrams: [(&str, Value); 3] = [
        ("ms until ready", |point| point.ready.as_secs_f64() * 1e3),
        ("ms for `repot list`", |point| {
            point.list.as_secs_f64() * 1e3
        }),
        ("KiB Pss of its supervisor", |point| {
            f64::from(u32::try_from(point.supervisor_kib).unwrap_or(u32::MAX))
        }),
    ];
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"620\" font-family=\"sans-serif\" font-size=\"12\">\n",
        WIDTH + 40
    );
    let mut top = 20.0;
    for (title, value) in diagrams {
        let most = points.iter().map(value).fold(1.0, f64::max);
        let _ = writeln!(
            text,
            "<text x=\"20\" y=\"{top}\">{title}, by number of machines; the top is {most:.0}</text>\n\
             <rect x=\"20\" y=\"{}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#999\"/>",
            top + 6.0
        );
        for (number, point) in points.iter().enumerate() {
            let colour = match point.init {
                "busybox" => "#1b6ca8",
                "runit" => "#2a9d5c",
                _ => "#c0392b",
            };
            let _ = writeln!(
                text,
                "<circle cx=\"{}\" cy=\"{:.1}\" r=\"2\" fill=\"{colour}\"><title>{} {}: {:.0}</title></circle>",
                20 + number * WIDTH / points.len(),
                top + 6.0 + HEIGHT * (1.0 - value(point) / most),
                point.machines,
                point.init,
                value(point)
            );
        }
        top += HEIGHT + 40.0;
    }
    text.push_str(
        "<text x=\"20\" y=\"614\">blue: busybox, green: runit, red: systemd</text>\n</svg>\n",
    );
    text
}
