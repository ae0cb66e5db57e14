//! Names of machines in the forms that engines take. What is no name there is changed, and gets a number made of the whole, so that
//! two machines never come to the same.

/// The longest name of a host (hostname(7)), and of a container in most engines.
const LONGEST: usize = 63;

/// A host name (hostname(7)): letters, digits, hyphens, and dots between labels.
pub(crate) fn host_name(name: &str) -> String {
    match is_host_name(name) {
        true => name.to_owned(),
        false => told_apart(name, name),
    }
}

/// The same in lower case, as names of images have to be.
pub(crate) fn image_name(name: &str) -> String {
    let lower = name.to_lowercase();
    match lower == name && is_host_name(name) {
        true => lower,
        false => told_apart(&lower, name),
    }
}

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    name.len() <= LONGEST && name.split('.').all(is_label)
}

/// A single label made of `name`, with a number made of `whole`: FNV-1a, 32 bits.
fn told_apart(name: &str, whole: &str) -> String {
    let hash = whole.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(LONGEST - 9)
        .collect();
    format!("{}-{hash:08x}", plain.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_or_are_told_apart() {
        for good in ["web", "A.b-c", "debian-13.2"] {
            assert_eq!(host_name(good), good);
        }
        assert_eq!(image_name("repot-web.1"), "repot-web.1");
        let mut all = vec![image_name("repot-a"), image_name("repot-A")];
        for odd in ["debian_13", "debian-13-", "a.-b", "a.", &"x".repeat(64)] {
            let (host, image) = (host_name(odd), image_name(odd));
            assert!(is_host_name(&host), "{odd}: {host}");
            assert!(host.starts_with(&odd[..1]), "{odd}: {host}");
            assert_eq!(host, image);
            all.push(host);
        }
        assert!(all.iter().all(|name| is_host_name(name)), "{all:?}");
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
