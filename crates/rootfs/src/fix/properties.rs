//! Tests only: any edits are undone, and a journal that was torn anywhere says what was whole of it.

use super::tests::{Case, edit, edits};
use super::{Force, parse};
use proptest::prelude::*;
use repot_model::Change;
use std::fs;

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        ("[ab]{0,3}", proptest::option::of(0u32..0o7777))
            .prop_map(|(text, mode)| Change::Write { text, mode }),
        "[a/.]{1,6}".prop_map(|to| Change::Link { to }),
        (0u32..0o7777).prop_map(|mode| Change::Directory { mode }),
        Just(Change::Remove),
        (0u32..0o7777).prop_map(|mode| Change::Mode { mode }),
        (0u32..4, 0u32..4).prop_map(|(uid, gid)| Change::Owner { uid, gid }),
    ]
}

fn any_path() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("/etc/shadow"),
        Just("/etc"),
        Just("/etc/link"),
        Just("/etc/link/below"),
        Just("/etc/dir"),
        Just("/etc/dir/a"),
        Just("/etc/dir/twin"),
        Just("/etc/other-twin"),
        Just("/etc/dir/fifo"),
        Just("/new"),
        Just("/new/below/that"),
        Just("/bin/ping"),
    ]
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_edits_are_undone(edits in proptest::collection::vec((any_path(), any_change()), 1..12)) {
        let case = Case::new();
        let before = case.snapshot();
        for (path, change) in edits {
            // Some make no sense after others.
            let _ = case.apply(&[edit(&path, change)]);
        }
        case.undo(Force::No).unwrap();
        prop_assert_eq!(case.snapshot(), before);
    }

    #[test]
    fn a_torn_journal_says_what_was_whole(cut in 0usize..20_000) {
        let case = Case::new();
        case.apply(&edits()).unwrap();
        let dir = fs::read_dir(case.fixes()).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(dir.join("journal")).unwrap();
        let torn = &whole[..cut.min(whole.len())];
        let all: Vec<String> = parse(&whole).unwrap().paths().collect();
        let some: Vec<String> = parse(torn).unwrap().paths().collect();
        prop_assert!(all.starts_with(&some));
    }

    #[test]
    fn rubbish_is_no_journal(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }
}
