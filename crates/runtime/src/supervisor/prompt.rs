//! Recognises a prompt in console output: the sign of readiness of every init that has no better one.

/// What the current line of the console says, escape sequences removed.
#[derive(Debug, Default)]
pub(crate) struct PromptWatch {
    line: Vec<u8>,
    escape: Escape,
    /// A login prompt that was written over by later output, such as an init's report that the getty has started.
    covered: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Start,
    /// In a control sequence, until its final byte (ECMA-48, 5.4).
    Control,
    /// In an operating system command or the like, until BEL or ESC \ (ECMA-48, 5.6).
    Text,
    /// A charset or similar designation: one more byte.
    One,
}

/// What a prompt asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// A user name.
    Login(String),
    /// Anything else that waits for a person: a key press, a shell command, a rescue password.
    Other(String),
}

impl PromptWatch {
    /// Takes in console output.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.escape = match (self.escape, byte) {
                (Escape::None | Escape::Text, 0x1b) => Escape::Start,
                (Escape::None, b'\n' | b'\r' | 0x0c) => {
                    self.cover();
                    self.line.clear();
                    Escape::None
                }
                (Escape::None, 0x08 | 0x7f) => {
                    self.line.pop();
                    Escape::None
                }
                (Escape::None, byte) => {
                    if *byte >= b' ' && self.line.len() < 256 {
                        self.line.push(*byte);
                    }
                    Escape::None
                }
                (Escape::Start, b'[') => Escape::Control,
                (Escape::Start, b']' | b'P' | b'X' | b'^' | b'_') => Escape::Text,
                (Escape::Start, b' '..=b'/') => Escape::One,
                (Escape::Control, 0x20..=0x3f) => Escape::Control,
                (Escape::Text, 0x07) => Escape::None,
                (Escape::Text, _) => Escape::Text,
                (Escape::Start | Escape::Control | Escape::One, _) => Escape::None,
            };
        }
    }

    /// A line ends: a prompt in the middle of it is remembered.
    fn cover(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        if let Some((before, _)) = text.split_once(" login: ")
            && before != "Last"
        {
            self.covered = Some(format!("{before} login:"));
        }
    }

    /// A login prompt that is no longer on the current line.
    pub(crate) fn covered(&self) -> Option<&str> {
        self.covered.as_deref()
    }

    /// The prompt on the current line, if it looks like one. The caller waits for a moment of silence before it believes.
    pub(crate) fn prompt(&self) -> Option<Prompt> {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        if lower.ends_with("login:") || lower.ends_with("username:") {
            return Some(Prompt::Login(text.to_owned()));
        }
        let asks_for_key = lower.contains("press enter")
            || lower.contains("press control-d")
            || lower.contains("ctrl-d");
        let is_shell = text.len() < 80 && (text.ends_with('#') || text.ends_with('$'));
        (asks_for_key || is_shell).then(|| Prompt::Other(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(output: &str) -> Option<Prompt> {
        let mut watch = PromptWatch::default();
        watch.feed(output.as_bytes());
        watch.prompt()
    }

    #[test]
    fn login_prompts_are_seen() {
        for output in [
            "\r\nDebian GNU/Linux 12 vm console\r\n\r\nvm login: ",
            "\x1b[1;32mvm\x1b[0m login: ",
            "\x1b]0;title\x07vm login: ",
            "\x1b(B\x1b[mlogin:",
        ] {
            assert!(matches!(seen(output), Some(Prompt::Login(_))), "{output:?}");
        }
    }

    #[test]
    fn a_prompt_may_be_written_over() {
        let mut watch = PromptWatch::default();
        watch.feed(b"vm login: shepherd[1]: Service term-tty1 started.\r\n");
        assert_eq!(watch.prompt(), None);
        assert_eq!(watch.covered(), Some("vm login:"));
        let mut watch = PromptWatch::default();
        watch.feed(b"Last login: Mon Nov 23 on console\r\n");
        assert_eq!(watch.covered(), None);
    }

    #[test]
    fn other_prompts_are_told_apart() {
        for output in [
            "Please press Enter to activate this console. ",
            "/ # ",
            "root@vm:~# ",
            "sh-5.2$ ",
        ] {
            assert!(matches!(seen(output), Some(Prompt::Other(_))), "{output:?}");
        }
        for output in [
            "",
            "Starting login: done\r\n",
            "[  OK  ] Reached target login",
            "Last login: yesterday",
        ] {
            assert_eq!(seen(output), None, "{output:?}");
        }
    }
}
