//! Fuzzes `passwd`: passwd(5) and group(5), and the editors of an account's fields.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::passwd::{parse_groups, parse_users, set_password, set_shell};

fuzz_target!(|text: &str| {
    let users = parse_users(text);
    parse_groups(text);
    let once = set_shell(&set_password(text, "root", "H"), "root", "/bin/sh");
    let after = parse_users(&once);
    assert_eq!(users.len(), after.len());
    if let Some(root) = after.iter().find(|user| user.name == "root") {
        assert_eq!(
            (root.shell.as_str(), root.password.0.as_str()),
            ("/bin/sh", "H")
        );
    }
    assert_eq!(set_shell(&once, "root", "/bin/sh"), once);
});
