//! The console driver against `sh`: no trees, no root, nothing that sleeps.

use std::time::Duration;

use super::*;

const SOON: Duration = Duration::from_secs(60);

fn sh(script: &str) -> Console {
    Console::spawn(Command::new("sh").args(["-c", script])).unwrap()
}

fn regex(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

#[test]
fn the_program_has_a_controlling_terminal_of_the_given_size() {
    let script = "stty size; ps -o tty= -p $$; : > /dev/tty && echo ours";
    let mut console =
        Console::spawn_sized(Command::new("sh").args(["-c", script]), 30, 100).unwrap();
    console.expect("30 100", SOON).unwrap();
    console.expect("pts/", SOON).unwrap();
    console.expect("ours", SOON).unwrap();
    assert!(console.wait_exit(SOON).unwrap().success());
}

#[test]
fn exit_status_signal_and_missing_program_are_told() {
    assert_eq!(sh("exit 42").wait_exit(SOON).unwrap().code(), Some(42));
    assert_eq!(
        sh("kill -TERM $$").wait_exit(SOON).unwrap().signal(),
        Some(15)
    );
    let mut missing = Console::spawn(&Command::new("/nonexistent/program")).unwrap();
    assert_eq!(missing.wait_exit(SOON).unwrap().code(), Some(127));
    assert!(missing.text().contains("No such file"), "{missing:?}");
}

#[test]
fn matches_are_consumed_in_order() {
    let mut console = sh("echo one two one three");
    let first = console.expect("one", SOON).unwrap();
    assert_eq!(first.before, "");
    let second = console.expect(regex("o(n)e (x)?"), SOON).unwrap();
    assert_eq!(
        second,
        Found {
            before: " two ".into(),
            groups: vec!["one ".into(), "n".into(), String::new()]
        }
    );
    let error = console.expect("two", SOON).unwrap_err().to_string();
    assert!(
        error.contains("the program ended") && error.contains("exited with 0"),
        "{error}"
    );
    assert!(
        error.contains("one two one three"),
        "the screen is missing: {error}"
    );
}

#[test]
fn a_lost_deadline_shows_screen_and_bytes() {
    let mut console = sh("printf 'half a \\033[1mprompt'; read answer");
    console.expect("prompt", SOON).unwrap();
    let error = console
        .expect("never", Duration::ZERO)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("(running)") && error.contains("half a prompt"),
        "{error}"
    );
    assert!(error.contains("half a \\x1b[1mprompt"), "{error}");
}

#[test]
fn typing_reaches_the_program_and_is_echoed() {
    let mut console = sh("read name; echo \"hello <$name>\"");
    console.send_line("world").unwrap();
    console.expect("hello <world>", SOON).unwrap();
    assert_eq!(console.screen(), "world\nhello <world>");
}

#[test]
fn more_than_a_terminal_holds_can_be_typed_while_it_answers() {
    let mut console = sh("stty raw -echo; echo ready; head -c 100000 | wc -c");
    console.expect("ready", SOON).unwrap();
    console.send(vec![b'x'; 100_000]).unwrap();
    console.expect("100000", SOON).unwrap();
}

#[test]
fn the_whole_output_of_a_program_that_is_gone_is_read() {
    let mut console = sh("seq 1 20000; echo done");
    assert!(console.wait_exit(SOON).unwrap().success());
    assert!(console.text().ends_with("20000\ndone\n"));
    assert!(console.raw().starts_with(b"1\r\n2\r\n"));
}

#[test]
fn a_resize_is_noticed() {
    let mut console = sh("trap 'stty size; exit 0' WINCH; echo ready; while :; do read line; done");
    console.expect("ready", SOON).unwrap();
    console.resize(50, 132).unwrap();
    // A shell runs a trap between commands: dash does so when read is interrupted or done.
    console.send_line("").unwrap();
    console.expect("50 132", SOON).unwrap();
}

#[test]
fn a_question_for_the_cursor_is_answered() {
    let mut console = sh("stty raw -echo; printf 'ab\\033[6n'; head -c 6 | od -An -c");
    console.expect(regex(r"033 +\[ +1 +; +3 +R"), SOON).unwrap();
}

#[test]
fn screens_are_drawn() {
    let mut console = sh("printf '\\033[2J\\033[5;3Hmiddle\\033[1;1Htop'; read answer");
    let screen = console
        .expect_screen(|screen| screen.contains("top"), SOON)
        .unwrap();
    assert_eq!(screen, "top\n\n\n\n  middle");
}

#[test]
fn login_and_run_talk_as_a_person_would() {
    // What a getty, login and a shell say, with a boot message in between.
    let script = r#"printf 'oak login: '; read user; stty -echo; printf 'Password: '; read password
        stty echo; echo; if [ "$user $password" = 'root secret' ]; then PS1='# ' exec sh -i
        else echo; echo 'Login incorrect'; read again; fi"#;
    let mut console = sh(script);
    console.login("root", "secret", SOON).unwrap();
    assert_eq!(console.run("echo a; echo b", SOON).unwrap(), "a\nb\n");
    assert_eq!(console.run("true", SOON).unwrap(), "");
    let ran = console.run_status("echo x; false", SOON).unwrap();
    assert_eq!(ran, session_ran("x\n", 1));
    assert!(
        console
            .run("exit_status_127", SOON)
            .unwrap_err()
            .to_string()
            .contains("status 127")
    );

    let error = sh(script)
        .login("root", "wrong", SOON)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("root cannot log in: Login incorrect"),
        "{error}"
    );
}

fn session_ran(output: &str, status: i32) -> Ran {
    Ran {
        output: output.to_owned(),
        status,
    }
}

#[test]
fn dropping_kills() {
    let console = sh("echo ready; read answer");
    let proc = std::path::PathBuf::from(format!("/proc/{}", console.pid()));
    assert!(proc.exists());
    drop(console);
    assert!(!proc.exists());
}

#[test]
fn output_without_end_keeps_no_deadline_from_coming() {
    let mut command = Command::new("yes");
    command.arg("and more");
    let mut console = Console::spawn(&command).unwrap();
    let began = Instant::now();
    let error = console.wait_exit(Duration::from_millis(100)).unwrap_err();
    assert!(error.to_string().contains("waited"), "{error}");
    assert!(began.elapsed() < FLOOD * 4);
}
