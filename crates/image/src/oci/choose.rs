//! Which of several images is meant: the one for this host.

use super::blobs::Blobs;
use super::documents::{self, Descriptor, Digest, Document, Platform};
use super::fault::Fault;
use super::{At, named};
use repot_model::Arch;
use std::collections::BTreeSet;

/// Indexes in an index. An honest one holds one per name and one per build.
const MAX_INDEXES: usize = 64;
const MAX_DEPTH: usize = 4;
/// Manifests that are looked into for their platform.
const MAX_CANDIDATES: usize = 256;

/// An image that could be meant.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) manifest: Descriptor,
}

/// The manifest that an index means on a host of this architecture.
pub(super) fn manifest(
    blobs: &Blobs<'_>,
    index: Vec<Descriptor>,
    host: Arch,
) -> Result<Descriptor, At> {
    let mut found = candidates(blobs, index)?;
    if found.len() > 1 {
        let mut known = Vec::new();
        for candidate in found {
            known.extend(with_platform(blobs, candidate.manifest)?);
        }
        found = pick(known, host).map_err(|fault| named("index.json", fault))?;
    }
    match found.pop() {
        Some(only) => Ok(only.manifest),
        None => Err(named("index.json", Fault::NoImage)),
    }
}

/// All images in an index and those that it names, each once.
fn candidates(blobs: &Blobs<'_>, index: Vec<Descriptor>) -> Result<Vec<Candidate>, At> {
    let mut seen: BTreeSet<Digest> = BTreeSet::new();
    let mut indexes = 0;
    let mut found: Vec<Candidate> = Vec::new();
    let mut left: Vec<(usize, Descriptor)> = index.into_iter().rev().map(|it| (0, it)).collect();
    while let Some((depth, descriptor)) = left.pop() {
        if descriptor.is_about_another {
            continue;
        }
        if !seen.insert(descriptor.digest.clone()) {
            // One image under several names.
            for candidate in &mut found {
                if candidate.manifest.digest == descriptor.digest {
                    candidate
                        .manifest
                        .names
                        .extend(descriptor.names.iter().cloned());
                }
            }
            continue;
        }
        if !is_index(&descriptor.media_type) {
            if found.len() == MAX_CANDIDATES {
                return Err(named("index.json", Fault::Nested));
            }
            found.push(Candidate {
                manifest: descriptor,
            });
            continue;
        }
        indexes += 1;
        if depth == MAX_DEPTH || indexes > MAX_INDEXES {
            return Err(named("index.json", Fault::Nested));
        }
        let at = |fault| named(&descriptor.digest.to_string(), fault);
        let bytes = blobs
            .document(&descriptor.digest, descriptor.bytes)
            .map_err(at)?;
        let Document::Index(inner) = documents::document(&bytes).map_err(at)? else {
            return Err(at(Fault::Ambiguous));
        };
        for mut inner in inner.into_iter().rev() {
            if inner.names.is_empty() {
                inner.names.clone_from(&descriptor.names);
            }
            left.push((depth + 1, inner));
        }
    }
    Ok(found)
}

fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

/// The same with its platform, which its configuration tells if the index does not. Nothing if it is not there: whoever saves an
/// image for one platform may keep the index of all.
fn with_platform(blobs: &Blobs<'_>, mut manifest: Descriptor) -> Result<Option<Candidate>, At> {
    let at = |digest: &Digest| {
        let digest = digest.to_string();
        move |fault| named(&digest, fault)
    };
    let bytes = match blobs.document(&manifest.digest, manifest.bytes) {
        Err(Fault::Missing) => return Ok(None),
        read => read.map_err(at(&manifest.digest))?,
    };
    if manifest.platform.is_none() {
        let read = documents::document(&bytes).map_err(at(&manifest.digest))?;
        let Document::Manifest { config, .. } = read else {
            return Err(at(&manifest.digest)(Fault::Ambiguous));
        };
        let bytes = blobs.document(&config.digest, config.bytes);
        let bytes = bytes.map_err(at(&config.digest))?;
        // What is no image (a chart) has no platform, and is not meant.
        manifest.platform = documents::config(&bytes).ok().map(|it| it.platform);
    }
    Ok(Some(Candidate { manifest }))
}

/// Those that could be meant: one, or an error that says what there is.
fn pick(found: Vec<Candidate>, host: Arch) -> Result<Vec<Candidate>, Fault> {
    if found.len() < 2 {
        return Ok(found);
    }
    let platform = |it: &Candidate| it.manifest.platform.clone().unwrap_or_default();
    let mut there: Vec<Platform> = found.iter().map(platform).collect();
    there.sort();
    there.dedup();
    let mut fitting: Vec<Candidate> = found
        .into_iter()
        .filter(|it| platform(it).is_of(host))
        .collect();
    let best = fitting.iter().map(|it| platform(it).rank()).min();
    fitting.retain(|it| Some(platform(it).rank()) == best);
    match fitting.len() {
        0 => Err(Fault::NoPlatform {
            wanted: Platform {
                os: String::from("linux"),
                architecture: crate::export::go_architecture(host).0,
                variant: String::new(),
            }
            .to_string(),
            there: there.iter().map(Platform::to_string).collect(),
        }),
        1 => Ok(fitting),
        _ => Err(Fault::Several(fitting.iter().map(name).collect())),
    }
}

fn name(candidate: &Candidate) -> String {
    let manifest = &candidate.manifest;
    match manifest.names.first() {
        Some(name) => name.clone(),
        None => manifest.digest.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: u8, architecture: &str, variant: &str) -> Candidate {
        Candidate {
            manifest: Descriptor {
                media_type: String::new(),
                digest: Digest::of(&[number; 32]),
                bytes: 0,
                platform: Some(Platform {
                    os: String::from("linux"),
                    architecture: architecture.to_owned(),
                    variant: variant.to_owned(),
                }),
                names: vec![format!("image-{number}")],
                is_about_another: false,
            },
        }
    }

    fn picked(found: Vec<Candidate>, host: Arch) -> Result<Vec<String>, String> {
        let found = pick(found, host).map_err(|fault| fault.to_string())?;
        Ok(found.iter().map(name).collect())
    }

    #[test]
    fn the_hosts_own_is_picked() {
        let all = || {
            vec![
                candidate(1, "amd64", "v3"),
                candidate(2, "amd64", ""),
                candidate(3, "arm", "v5"),
                candidate(4, "arm", "v7"),
                candidate(5, "arm64", ""),
            ]
        };
        assert_eq!(picked(all(), Arch::X86_64).unwrap(), ["image-2"]);
        assert_eq!(picked(all(), Arch::Arm).unwrap(), ["image-4"]);
        assert_eq!(picked(all(), Arch::Aarch64).unwrap(), ["image-5"]);
        let error = picked(all(), Arch::Riscv64).unwrap_err();
        assert_eq!(
            error,
            "there is no image for linux/riscv64 in it, only for linux/amd64, linux/amd64/v3, \
             linux/arm/v5, linux/arm/v7, linux/arm64"
        );
        let two = vec![candidate(1, "amd64", ""), candidate(2, "amd64", "")];
        let error = picked(two, Arch::X86_64).unwrap_err();
        assert!(error.contains("image-1, image-2"), "{error}");
        // The only one is meant, whatever it is for.
        let one = vec![candidate(1, "s390x", "")];
        assert_eq!(picked(one, Arch::X86_64).unwrap(), ["image-1"]);
    }
}
