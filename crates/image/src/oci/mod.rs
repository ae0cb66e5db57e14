//! Images of layers: OCI image layouts and what `docker save` writes, as directories.
//!
//! In: the directory with documents and layers, given or unpacked from an archive. Out: the tree that the layers make, lowest
//! first, by the unpacker. Every blob is compared with the digest that names it, while it is read.

mod blobs;
mod choose;
pub(crate) mod documents;
mod fault;
mod layers;

pub use documents::ImageConfig;
pub use fault::Fault;

use crate::error::{Error, Result};
use crate::unpack::{Context, UnpackReport};
use blobs::{Blobs, read, verify};
use documents::{Config, Descriptor, Digest, Document};
use layers::Layer;
use repot_model::Arch;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A fault and the part of the image that has it.
#[derive(Debug)]
pub(super) struct At {
    part: String,
    fault: Fault,
}

fn named(part: &str, fault: Fault) -> At {
    At {
        part: documents::shorten(part),
        fault,
    }
}

impl At {
    fn of(self, source_name: &str) -> Error {
        Error::BadImage {
            source_name: source_name.to_owned(),
            part: self.part,
            source: self.fault,
        }
    }
}

/// How an image is laid out in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An OCI image layout (image-layout.md).
    Oci,
    /// As `docker save` writes it.
    Docker,
}

impl Kind {
    /// What an archive of it is called.
    pub(crate) fn archive(self) -> &'static str {
        match self {
            Self::Oci => "oci-archive",
            Self::Docker => "docker-archive",
        }
    }
}

/// Whether a directory holds an image of layers. Docker's archives are both since 25: the one with digests counts.
pub(crate) fn find(dir: BorrowedFd<'_>) -> Option<Kind> {
    let blobs = Blobs { dir };
    if blobs.has("oci-layout") && blobs.has("index.json") {
        return Some(Kind::Oci);
    }
    // A root file system may have a file of that name too.
    let saved = blobs.open(b"manifest.json").and_then(read).ok()?;
    let is_saved = documents::saved(&saved).is_ok() || blobs.has("repositories");
    is_saved.then_some(Kind::Docker)
}

/// An image that was picked, and what it is made of.
#[derive(Debug)]
pub(crate) struct Picked<'a> {
    blobs: Blobs<'a>,
    source_name: String,
    /// Of its manifest or configuration: the same image always has the same.
    digest: Digest,
    config: Config,
    layers: Vec<Layer>,
}

impl<'a> Picked<'a> {
    /// Reads the documents in a directory.
    pub(crate) fn new(dir: BorrowedFd<'a>, kind: Kind, source_name: &str) -> Result<Self> {
        let blobs = Blobs { dir };
        let picked = match kind {
            Kind::Oci => oci(&blobs),
            Kind::Docker => docker(&blobs),
        };
        let (digest, config, layers) = picked.map_err(|at| at.of(source_name))?;
        Ok(Self {
            blobs,
            source_name: source_name.to_owned(),
            digest,
            config,
            layers,
        })
    }

    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.digest.bytes()
    }

    /// Size of all layers together.
    pub(crate) fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes).sum()
    }

    /// Makes the tree in `root`, an empty directory.
    pub(crate) fn unpack(
        &self,
        root: OwnedFd,
        count: &Arc<AtomicU64>,
        context: Context<'_>,
    ) -> Result<UnpackReport> {
        let (blobs, layers) = (&self.blobs, &self.layers);
        layers::apply(blobs, layers, &self.source_name, root, count, context)
    }

    pub(crate) fn into_config(self) -> ImageConfig {
        self.config.run
    }
}

type Read = std::result::Result<(Digest, Config, Vec<Layer>), At>;

fn oci(blobs: &Blobs<'_>) -> Read {
    let in_file = |name: &'static str| move |fault| named(name, fault);
    let text = blobs.open(b"oci-layout").and_then(read);
    text.and_then(|text| documents::layout(&text))
        .map_err(in_file("oci-layout"))?;
    let text = blobs.open(b"index.json").and_then(read);
    let index = text
        .and_then(|text| documents::document(&text))
        .map_err(in_file("index.json"))?;
    let Document::Index(index) = index else {
        return Err(named("index.json", Fault::Ambiguous));
    };
    let manifest = choose::manifest(blobs, index, Arch::host())?;
    let at = |it: &Descriptor| {
        let digest = it.digest.to_string();
        move |fault| named(&digest, fault)
    };
    let text = blobs.document(&manifest.digest, manifest.bytes);
    let text = text.map_err(at(&manifest))?;
    let read = documents::document(&text).map_err(at(&manifest))?;
    let Document::Manifest { config, layers } = read else {
        return Err(at(&manifest)(Fault::Ambiguous));
    };
    if !is_config(&config.media_type) {
        let found = documents::shorten(&config.media_type);
        return Err(at(&manifest)(Fault::Artifact(found)));
    }
    let text = blobs.document(&config.digest, config.bytes);
    let text = text.map_err(at(&config))?;
    let parsed = documents::config(&text).map_err(at(&config))?;
    if parsed.diff_ids.len() != layers.len() {
        return Err(at(&manifest)(Fault::LayerCount {
            layers: layers.len(),
            diff_ids: parsed.diff_ids.len(),
        }));
    }
    let layers = layers.into_iter().zip(&parsed.diff_ids);
    let layers = layers.map(|(layer, diff_id)| Layer {
        path: format!("blobs/sha256/{}", layer.digest.hex()),
        bytes: layer.bytes,
        media_type: layer.media_type,
        digest: Some(layer.digest),
        diff_id: diff_id.clone(),
    });
    let layers = layers.collect();
    Ok((manifest.digest, parsed, layers))
}

/// Whether a configuration of that media type is an image's. Some leave it out.
fn is_config(media_type: &str) -> bool {
    media_type.is_empty()
        || media_type.starts_with("application/vnd.oci.image.config.v1+")
        || media_type.starts_with("application/vnd.docker.container.image.v1+")
}

fn docker(blobs: &Blobs<'_>) -> Read {
    let in_manifest = |fault| named("manifest.json", fault);
    let text = blobs.open(b"manifest.json").and_then(read);
    let mut images = text
        .and_then(|text| documents::saved(&text))
        .map_err(in_manifest)?;
    let Some(image) = images.pop() else {
        return Err(in_manifest(Fault::NoImage));
    };
    if images.iter().any(|other| other.config != image.config) {
        let name = |image: &documents::Saved| match image.repo_tags.as_deref() {
            Some([first, ..]) => documents::shorten(first),
            Some([]) | None => documents::shorten(&image.config),
        };
        let names = images.iter().chain([&image]).map(name).collect();
        return Err(in_manifest(Fault::Several(names)));
    }
    let at = |path: &str| {
        let path = path.to_owned();
        move |fault| named(&path, fault)
    };
    let text = blobs.open_named(&image.config).and_then(read);
    let text = text.map_err(at(&image.config))?;
    // The file is called by its digest, which is the image's ID.
    let stem = image.config.rsplit('/').next().unwrap_or_default();
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    let digest = match Digest::parse(&format!("sha256:{stem}")) {
        Ok(digest) => {
            verify(&text, &digest).map_err(at(&image.config))?;
            digest
        }
        Err(_) => Digest::of(&blobs::sha256(&text)),
    };
    let parsed = documents::config(&text).map_err(at(&image.config))?;
    let paths = image.layers.unwrap_or_default();
    if parsed.diff_ids.len() != paths.len() {
        return Err(in_manifest(Fault::LayerCount {
            layers: paths.len(),
            diff_ids: parsed.diff_ids.len(),
        }));
    }
    let mut layers = Vec::new();
    for (path, diff_id) in paths.into_iter().zip(&parsed.diff_ids) {
        let blob = blobs.open_named(&path).map_err(at(&path))?;
        layers.push(Layer {
            path,
            bytes: blob.bytes,
            media_type: String::new(),
            digest: None,
            diff_id: diff_id.clone(),
        });
    }
    Ok((digest, parsed, layers))
}
