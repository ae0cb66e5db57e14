//! interfaces(5) of ifupdown and ifupdown-ng: which network devices are brought up at boot, and lines that no longer name one.

use super::lines::Lines;
use super::numbered;

/// A device that `auto` names: the boot waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auto {
    /// The device: `eth0`.
    pub device: String,
    /// Line number from 1.
    pub line: u32,
}

/// The devices of `auto` and `allow-auto` lines, but for patterns.
///
/// # Source
/// interfaces(5): "Lines beginning with the word auto are used to identify the physical interfaces to be brought up when ifup is run
/// with the -a option."
pub fn autos(text: &str) -> Vec<Auto> {
    numbered(text)
        .flat_map(|(line, content)| {
            let devices = words_of_auto(content).unwrap_or_default();
            devices.into_iter().map(move |device| Auto {
                device: device.to_owned(),
                line,
            })
        })
        .collect()
}

/// The words behind `auto`. Lines that go on in the next one are left alone.
fn words_of_auto(line: &str) -> Option<Vec<&str>> {
    let mut words = line.split_ascii_whitespace();
    if !matches!(words.next()?, "auto" | "allow-auto") || line.trim_end().ends_with('\\') {
        return None;
    }
    Some(
        words
            .filter(|word| !word.contains(['*', '/', '[']))
            .collect(),
    )
}

/// The text without a device among those that `auto` names. A line that names nothing else becomes a comment.
pub fn without_auto(text: &str, device: &str) -> String {
    let mut edited = Lines::parse(text);
    for number in 1..=edited.count() {
        let Some(line) = edited.get(number).map(str::to_owned) else {
            continue;
        };
        let names_it = words_of_auto(&line).is_some_and(|words| words.contains(&device));
        if !names_it {
            continue;
        }
        let rest: Vec<&str> = line
            .split_ascii_whitespace()
            .filter(|word| *word != device)
            .collect();
        if rest.len() > 1 {
            edited.replace(number, &rest.join(" "));
        } else {
            edited.comment(number);
        }
    }
    edited.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn autos_go_one_by_one() {
        let text = "auto lo eth0\r\niface eth0 inet dhcp\r\n  auto eth0\r\n#auto eth1\nauto /eth*\nauto eth0 \\\n eth9";
        let names: Vec<_> = autos(text)
            .into_iter()
            .map(|auto| (auto.device, auto.line))
            .collect();
        assert_eq!(
            names,
            [("lo".into(), 1), ("eth0".into(), 1), ("eth0".into(), 3)]
        );
        assert_eq!(
            without_auto(text, "eth0"),
            "auto lo\r\niface eth0 inet dhcp\r\n#  auto eth0\r\n#auto eth1\nauto /eth*\nauto eth0 \\\n eth9"
        );
    }

    proptest! {
        #[test]
        fn the_others_stay(text in "((auto|iface|#auto)( (lo|eth0|eth1)){0,3}\r?\n){0,8}") {
            let edited = without_auto(&text, "eth0");
            let left = |text: &str| autos(text).into_iter().filter(|auto| auto.device != "eth0").collect::<Vec<_>>();
            prop_assert_eq!(left(&edited), left(&text));
            prop_assert!(autos(&edited).iter().all(|auto| auto.device != "eth0"));
            if autos(&text).iter().all(|auto| auto.device != "eth0") {
                prop_assert_eq!(edited, text);
            }
        }
    }
}
