//! This process' memory: giving back what is only a copy of the program's file.
#![allow(unsafe_code, reason = "madvise has no safe wrapper")]

/// Takes the pages of this program's code and constants out of this process' memory. The kernel maps them again from the file
/// when they are touched (madvise(2), `MADV_DONTNEED`), so a process that waits for long keeps what the wait needs.
///
/// What cannot be found or given back stays; nothing depends on it.
pub fn forget_program_pages() {
    let Ok(program) = std::fs::read_link("/proc/self/exe") else {
        return;
    };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps
        .lines()
        .filter_map(|line| unwritten(line, program.to_str()?))
    {
        // SAFETY: the range is a private mapping of the program's file that has never been written (see `unwritten`), so it
        // holds the same bytes before and after. Nobody can tell the difference but by the time that a first access takes.
        unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(start),
                end - start,
                libc::MADV_DONTNEED,
            )
        };
    }
}

/// The range of a line of `/proc/self/maps` (proc_pid_maps(5)) if it shows code of `program`, or the constants at the beginning
/// of its file. Other read-only parts may have been written before they became read-only: by relocations.
fn unwritten(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, mode, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let is_first = usize::from_str_radix(offset, 16) == Ok(0);
    if !line.ends_with(program) || !(mode == "r-xp" || mode == "r--p" && is_first) {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?)).filter(|(start, end)| start < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_written() {
        let range = |line: &str| unwritten(line, "/usr/bin/repot");
        let of = |rest: &str| range(&format!("2eb000-6f2000 {rest} fe:00 226 /usr/bin/repot"));
        assert_eq!(of("r-xp 000ea000"), Some((0x2e_b000, 0x6f_2000)));
        assert_eq!(of("r--p 00000000"), Some((0x2e_b000, 0x6f_2000)));
        for other in ["r--p 004f0000", "rw-p 00000000", "rwxp 000ea000"] {
            assert_eq!(of(other), None);
        }
        assert_eq!(range("1000-2000 r-xp 00000000 00:00 0 [vdso]"), None);
        assert_eq!(range("nonsense"), None);
    }

    /// The program goes on as if nothing had happened, with fewer pages.
    #[test]
    fn the_program_goes_on() {
        let table: Vec<u64> = (0..1000u64).map(|n| n * n).collect();
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            let shared = text.split(' ').nth(2).unwrap().parse::<u64>();
            shared.unwrap()
        };
        let before = resident();
        forget_program_pages();
        assert!(resident() < before);
        assert_eq!(table.iter().sum::<u64>(), 332_833_500);
    }
}
