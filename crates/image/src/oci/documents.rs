//! The JSON documents of container images, parsed and checked. Pure: bytes in, data out.
//!
//! Lists may be `null` and members be missing, since Go writes them so; what is not known is ignored, as the specification asks.
//!
//! # Source
//! OCI image specification 1.1: descriptor.md, image-index.md, manifest.md, config.md, image-layout.md. Docker image
//! specification 1.3, `manifest.json`; "Image Manifest Version 2, Schema 2".

use super::fault::Fault;
use repot_model::Arch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Largest document: what registries take (distribution `manifestListMaxSize`, 4 MiB).
pub(crate) const MAX_DOCUMENT_BYTES: u64 = 4 << 20;
/// Layers of one image. Docker stops at 127.
const MAX_LAYERS: usize = 1024;

/// `sha256:` and 64 hexadecimal digits: nothing else can be in it, so it is good for a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(String);

impl Digest {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        match text.split_once(':') {
            Some(("sha256", hex)) if is_sha256(hex) => Ok(Self(hex.to_owned())),
            // The only other one that is registered (descriptor.md, "Registered algorithms").
            Some(("sha512", _)) => Err(Fault::Algorithm),
            Some(_) | None => Err(Fault::Digest(shorten(text))),
        }
    }

    /// Of what was hashed.
    pub(crate) fn of(sha256: &[u8; 32]) -> Self {
        Self(sha256.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digits.
    pub(crate) fn hex(&self) -> &str {
        &self.0
    }

    /// As bytes.
    pub(crate) fn bytes(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(self.0.as_bytes().chunks(2)) {
            let text = std::str::from_utf8(pair).unwrap_or_default();
            *byte = u8::from_str_radix(text, 16).unwrap_or_default();
        }
        out
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// Whether these are 64 hexadecimal digits in lower case.
pub(crate) fn is_sha256(hex: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    hex.len() == 64 && hex.bytes().all(digit)
}

/// What another document is, and how to see that it is the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    pub(crate) platform: Option<Platform>,
    /// Names that whoever made the index gave it.
    pub(crate) names: Vec<String>,
    /// It describes another one (BuildKit's attestations) instead of being an image.
    pub(crate) is_about_another: bool,
}

/// What an image was built for.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) variant: String,
}

impl Platform {
    /// Whether it is this architecture, as Go calls it (config.md, `architecture`).
    pub(crate) fn is_of(&self, arch: Arch) -> bool {
        self.os == "linux" && crate::export::go_architecture(arch).0 == self.architecture
    }

    /// A smaller number is the better choice among variants of the host's architecture: the plain one runs everywhere. Of ARM's,
    /// distributions know v7 best, and every machine that is sold today runs it.
    pub(crate) fn rank(&self) -> usize {
        ["", "v8", "v7", "v6", "v5"]
            .iter()
            .position(|variant| *variant == self.variant)
            .unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |text: &str| shorten(text);
        write!(f, "{}/{}", part(&self.os), part(&self.architecture))?;
        match self.variant.is_empty() {
            true => Ok(()),
            false => write!(f, "/{}", part(&self.variant)),
        }
    }
}

/// What a manifest's digest may stand for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// Several images, or lists of such.
    Index(Vec<Descriptor>),
    /// One image.
    Manifest {
        config: Descriptor,
        layers: Vec<Descriptor>,
    },
}

#[derive(Deserialize)]
struct RawDescriptor {
    #[serde(rename = "mediaType", default)]
    media_type: Option<String>,
    digest: String,
    #[serde(default)]
    size: u64,
    platform: Option<RawPlatform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
struct RawPlatform {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

impl From<RawPlatform> for Platform {
    fn from(raw: RawPlatform) -> Self {
        let architecture = raw.architecture.unwrap_or_default();
        let variant = raw.variant.unwrap_or_default();
        Self {
            os: raw.os.unwrap_or_default(),
            // The plain 64-bit ARM is v8 (containerd `platforms`, normalizeArch).
            variant: match (&*architecture, &*variant) {
                ("arm64", "v8") => String::new(),
                _ => variant,
            },
            architecture,
        }
    }
}

/// Annotations that hold a name (annotations.md; containerd).
const NAMES: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];
/// BuildKit, "Image attestation storage".
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

impl TryFrom<RawDescriptor> for Descriptor {
    type Error = Fault;
    fn try_from(raw: RawDescriptor) -> Result<Self, Fault> {
        let annotations = raw.annotations.unwrap_or_default();
        let name = |key: &&str| annotations.get(*key).map(|name| shorten(name));
        let platform = raw.platform.map(Platform::from);
        let is_unknown = |it: &Platform| it.os == "unknown" && it.architecture == "unknown";
        Ok(Self {
            media_type: raw.media_type.unwrap_or_default(),
            digest: Digest::parse(&raw.digest)?,
            bytes: raw.size,
            names: NAMES.iter().filter_map(name).collect(),
            is_about_another: annotations.contains_key(REFERENCE_TYPE)
                || platform.as_ref().is_some_and(is_unknown),
            platform,
        })
    }
}

fn descriptors(raw: Vec<RawDescriptor>) -> Result<Vec<Descriptor>, Fault> {
    raw.into_iter().map(Descriptor::try_from).collect()
}

/// An index or manifest.
pub(crate) fn document(bytes: &[u8]) -> Result<Document, Fault> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(rename = "schemaVersion")]
        schema_version: Option<u64>,
        manifests: Option<Vec<RawDescriptor>>,
        config: Option<RawDescriptor>,
        layers: Option<Vec<RawDescriptor>>,
    }
    let raw: Raw = json(bytes)?;
    match (raw.manifests, raw.config, raw.layers) {
        // What is both would be another image to each reader (CVE-2021-41190).
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(Fault::Ambiguous),
        (Some(manifests), None, None) => Ok(Document::Index(descriptors(manifests)?)),
        (None, Some(config), layers) => {
            let layers = layers.unwrap_or_default();
            check_layers(layers.len())?;
            Ok(Document::Manifest {
                config: config.try_into()?,
                layers: descriptors(layers)?,
            })
        }
        // Nothing but an empty `manifests`, which Go writes as null.
        (None, None, None) if raw.schema_version != Some(1) => Ok(Document::Index(Vec::new())),
        (None, None, _) => Err(Fault::Schema),
    }
}

fn check_layers(count: usize) -> Result<(), Fault> {
    match count > MAX_LAYERS {
        true => Err(Fault::Layers { count }),
        false => Ok(()),
    }
}

/// What an image says about how it is started. Kept in the image's record; a boot goes by what is in the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// What is always started, with its first arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments behind it, or the program where there is no entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// `NAME=VALUE` each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `USER`, `USER:GROUP`, by name or number; empty for root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Where it is started; empty for `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// The signal that asks it to end; empty for SIGTERM.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// `linux/amd64`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub platform: String,
}

/// An image's configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) platform: Platform,
    /// Digests of the layers before compression.
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) run: ImageConfig,
}

/// Reads a configuration.
pub(crate) fn config(bytes: &[u8]) -> Result<Config, Fault> {
    #[derive(Deserialize)]
    struct Raw {
        os: Option<String>,
        architecture: Option<String>,
        variant: Option<String>,
        config: Option<RawRun>,
        rootfs: Option<RawRootfs>,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "PascalCase")]
    struct RawRun {
        entrypoint: Option<Vec<String>>,
        cmd: Option<Vec<String>>,
        env: Option<Vec<String>>,
        user: Option<String>,
        working_dir: Option<String>,
        stop_signal: Option<String>,
    }
    #[derive(Deserialize)]
    struct RawRootfs {
        diff_ids: Option<Vec<String>>,
    }
    let raw: Raw = json(bytes)?;
    let platform = Platform::from(RawPlatform {
        os: raw.os,
        architecture: raw.architecture,
        variant: raw.variant,
    });
    if !matches!(&*platform.os, "linux" | "") {
        return Err(Fault::OtherSystem(shorten(&platform.os)));
    }
    let diff_ids = raw.rootfs.and_then(|it| it.diff_ids).unwrap_or_default();
    check_layers(diff_ids.len())?;
    let run = raw.config.unwrap_or_default();
    Ok(Config {
        diff_ids: diff_ids
            .iter()
            .map(|text| Digest::parse(text))
            .collect::<Result<_, _>>()?,
        run: ImageConfig {
            entrypoint: run.entrypoint.unwrap_or_default(),
            cmd: run.cmd.unwrap_or_default(),
            env: run.env.unwrap_or_default(),
            user: run.user.unwrap_or_default(),
            working_dir: run.working_dir.unwrap_or_default(),
            stop_signal: run.stop_signal.unwrap_or_default(),
            platform: platform.to_string(),
        },
        platform,
    })
}

/// An image of an archive made by `docker save`.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Saved {
    /// Path of the configuration in the archive.
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    /// Paths of the layers, lowest first.
    #[serde(default)]
    pub(crate) layers: Option<Vec<String>>,
}

/// `manifest.json` of such an archive.
pub(crate) fn saved(bytes: &[u8]) -> Result<Vec<Saved>, Fault> {
    let images: Vec<Saved> = json(bytes)?;
    for image in &images {
        check_layers(image.layers.as_ref().map_or(0, Vec::len))?;
    }
    Ok(images)
}

/// `oci-layout`: whether it is a version that is known.
pub(crate) fn layout(bytes: &[u8]) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(rename = "imageLayoutVersion")]
        version: String,
    }
    let raw: Raw = json(bytes)?;
    match raw.version.starts_with("1.") {
        true => Ok(()),
        false => Err(Fault::LayoutVersion(shorten(&raw.version))),
    }
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(Fault::Json)
}

/// For messages: no control characters, and not long.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut out: String = text.chars().take(SHOWN).collect::<String>();
    if out.len() < text.len() {
        out.push_str("...");
    }
    out.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn descriptor(more: &str) -> String {
        format!(r#"{{"mediaType":"x","digest":"sha256:{HEX}","size":2{more}}}"#)
    }

    #[test]
    fn digests_are_good_for_file_names() {
        assert!(Digest::parse(&format!("sha256:{HEX}")).is_ok());
        for bad in ["", "sha256:", "sha256:../../etc/passwd", "md5:00", HEX] {
            assert!(matches!(Digest::parse(bad), Err(Fault::Digest(_))), "{bad}");
        }
        let upper = format!("sha256:{}", HEX.to_uppercase());
        assert!(matches!(Digest::parse(&upper), Err(Fault::Digest(_))));
        assert!(matches!(Digest::parse("sha512:00"), Err(Fault::Algorithm)));
        let digest = Digest::parse(&format!("sha256:{HEX}")).unwrap();
        assert_eq!(Digest::of(&digest.bytes()), digest);
    }

    #[test]
    fn documents_are_told_apart() {
        let text = format!(r#"{{"manifests":[{}],"layers":null}}"#, descriptor(""));
        assert!(matches!(document(text.as_bytes()), Ok(Document::Index(it)) if it.len() == 1));
        let text = format!(r#"{{"config":{}}}"#, descriptor(""));
        assert!(
            matches!(document(text.as_bytes()), Ok(Document::Manifest { layers, .. }) if layers.is_empty())
        );
        let text = format!(r#"{{"config":{},"manifests":[]}}"#, descriptor(""));
        assert!(matches!(document(text.as_bytes()), Err(Fault::Ambiguous)));
        assert!(matches!(
            document(br#"{"schemaVersion":1,"fsLayers":[]}"#),
            Err(Fault::Schema)
        ));
        assert!(matches!(document(b"[1]"), Err(Fault::Json(_))));
        let deep = "[".repeat(100_000);
        assert!(matches!(document(deep.as_bytes()), Err(Fault::Json(_))));
    }

    #[test]
    fn attestations_are_no_images() {
        let about = [
            r#","platform":{"os":"unknown","architecture":"unknown"}"#,
            r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#,
        ];
        for about in about {
            let text = format!(r#"{{"manifests":[{}]}}"#, descriptor(about));
            let Ok(Document::Index(found)) = document(text.as_bytes()) else {
                panic!("{text}");
            };
            assert!(found[0].is_about_another);
        }
    }

    #[test]
    fn what_go_leaves_out_is_empty() {
        let found = config(br#"{"os":"linux","architecture":"arm64","variant":"v8","config":null,"rootfs":{"diff_ids":null}}"#);
        let found = found.unwrap();
        assert_eq!(found.platform.to_string(), "linux/arm64");
        assert!(found.platform.is_of(Arch::Aarch64));
        assert_eq!(found.diff_ids, []);
        let found = saved(br#"[{"Config":"x.json","RepoTags":null,"Layers":null}]"#).unwrap();
        assert_eq!(found[0].layers, None);
        assert!(matches!(
            config(br#"{"os":"windows"}"#),
            Err(Fault::OtherSystem(_))
        ));
    }

    #[test]
    fn names_lose_control_characters() {
        let long = "a\x1b[2J".repeat(100);
        let shown = shorten(&long);
        assert!(!shown.contains('\x1b') && shown.ends_with("..."));
    }
}
