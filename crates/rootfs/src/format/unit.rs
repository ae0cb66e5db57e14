//! systemd unit files, as far as an inspection needs them (systemd.syntax(7)): sections, keys, values.
//!
//! No specifiers, no drop-ins, no meaning: a list of settings in the order of the file.

use super::continued;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Section, without brackets.
    pub section: String,
    /// Key.
    pub key: String,
    /// Value; empty resets a list.
    pub value: String,
    /// Line number from 1, of the first line if it is continued.
    pub line: u32,
}

/// Parses a unit file. Settings outside of any section are left out, as systemd does.
pub fn parse(text: &str) -> Vec<Setting> {
    let is_comment = |line: &str| line.trim_start().starts_with(['#', ';']);
    let mut section = None;
    let mut settings = Vec::new();
    for (line, content) in continued(text, is_comment) {
        let content = content.trim();
        if let Some(name) = content
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = Some(name.to_owned());
        } else if let (Some(section), Some((key, value))) = (&section, content.split_once('=')) {
            settings.push(Setting {
                section: section.clone(),
                key: key.trim_end().to_owned(),
                value: value.trim_start().to_owned(),
                line,
            });
        }
    }
    settings
}

/// The last value of a key that is not a list.
pub fn get<'a>(settings: &'a [Setting], section: &str, key: &str) -> Option<&'a Setting> {
    settings
        .iter()
        .rev()
        .find(|known| known.section == section && known.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_continuation() {
        let text = "stray=1\n[Unit]\nDescription=Console \\\n# not this\n  Getty\n;c\n[Service]\nExecStart=-/sbin/agetty -o '-p -- \\\\u' - $TERM\nType = idle\n";
        let settings = parse(text);
        assert_eq!(settings.len(), 3);
        assert_eq!(
            get(&settings, "Unit", "Description").unwrap().value,
            "Console    Getty"
        );
        assert_eq!(get(&settings, "Service", "Type").unwrap().value, "idle");
        assert_eq!(get(&settings, "Service", "ExecStart").unwrap().line, 8);
        assert_eq!(get(&settings, "Unit", "Type"), None);
    }
}
