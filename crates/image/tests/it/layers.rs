//! Images of layers: what layers make of each other, which image is picked, and what is refused.

use crate::raw::Raw;
use crate::tree::names;
use repot_image::{
    Durability, Error, ErrorKind, Fault, Image, ImportOptions, Limits, Silent, SourceRef, Store,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A store and an image layout, under construction.
pub struct Case {
    pub temp: tempfile::TempDir,
    /// Manifests of its index.
    manifests: Vec<Value>,
}

pub fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Case {
    pub fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("image/blobs/sha256")).unwrap();
        Self {
            temp,
            manifests: Vec::new(),
        }
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().join("image")
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        self.dir().join("blobs/sha256").join(digest)
    }

    /// A descriptor of it.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = hex(bytes);
        fs::write(self.blob_path(&digest), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    }

    fn document(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    pub fn config(&self, architecture: &str, layers: &[Vec<u8>]) -> Value {
        let diff_ids: Vec<String> = layers
            .iter()
            .map(|it| format!("sha256:{}", hex(it)))
            .collect();
        json!({
            "os": "linux",
            "architecture": architecture,
            "config": {
                "Entrypoint": ["/sbin/init"], "Cmd": null, "Env": ["A=b"], "StopSignal": "SIGPWR",
                "User": "0", "WorkingDir": "/srv",
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
    }

    /// A manifest of an image with these layers.
    fn manifest(&self, architecture: &str, layers: &[Vec<u8>]) -> Value {
        let config = self.config(architecture, layers);
        let config = self.document("application/vnd.oci.image.config.v1+json", &config);
        let layers: Vec<Value> = layers
            .iter()
            .map(|it| self.blob("application/vnd.oci.image.layer.v1.tar", it))
            .collect();
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        self.document("application/vnd.oci.image.manifest.v1+json", &manifest)
    }

    fn with(mut self, manifest: Value) -> Self {
        self.manifests.push(manifest);
        self
    }

    fn image(layers: &[Vec<u8>]) -> Self {
        let case = Self::new();
        let manifest = case.manifest("amd64", layers);
        case.with(manifest)
    }

    fn store(&self) -> Store {
        Store::open(&self.temp.path().join("state")).unwrap()
    }

    /// Writes what is missing, and imports the directory.
    fn import(&self) -> Result<Image, Error> {
        let dir = self.dir();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests });
        fs::write(dir.join("index.json"), index.to_string()).unwrap();
        self.import_as_it_is()
    }

    fn import_as_it_is(&self) -> Result<Image, Error> {
        let source = SourceRef::parse(self.dir().as_os_str()).unwrap();
        self.import_source(&source, Limits::default())
    }

    pub fn import_source(&self, source: &SourceRef, limits: Limits) -> Result<Image, Error> {
        let options = ImportOptions {
            limits,
            durability: Durability::Record,
        };
        let result = self.store().import(source, &options, &Silent);
        if result.is_err() {
            let images = self.temp.path().join("state/images");
            let left = names(&images);
            assert!(
                left.iter().all(|name| name == ".lock"),
                "{left:?} was left behind"
            );
        }
        result.map(|imported| imported.image)
    }

    /// What is wrong, and with which part.
    fn fault(&self) -> (Fault, String) {
        let error = self.import().unwrap_err();
        let Error::BadImage { source, part, .. } = error else {
            panic!("{error}");
        };
        (source, part)
    }
}

pub fn rootfs() -> Raw {
    Raw::default().dir("usr/").dir("etc/")
}

/// Paths below a directory, sorted.
pub fn paths(root: &Path) -> Vec<String> {
    fn walk(dir: &Path, root: &Path, out: &mut Vec<String>) {
        for name in names(dir) {
            let path = dir.join(name);
            out.push(path.strip_prefix(root).unwrap().display().to_string());
            if path.symlink_metadata().unwrap().is_dir() {
                walk(&path, root, out);
            }
        }
    }
    let mut out = Vec::new();
    walk(root, root, &mut out);
    out
}

#[test]
fn upper_layers_hide_what_is_below() {
    let lower = rootfs()
        .file("etc/gone", b"x")
        .file("etc/kept", b"x")
        .file("etc/changed", b"old")
        .dir("etc/deep/")
        .dir("etc/deep/er/")
        .file("etc/deep/er/x", b"x")
        .dir("usr/opaque/")
        .dir("usr/opaque/old/")
        .file("usr/opaque/old/x", b"x")
        .dir("usr/mixed/")
        .file("usr/mixed/below", b"x")
        .dir("usr/to-file/")
        .file("usr/to-file/x", b"x")
        .file("usr/to-dir", b"x")
        .symlink("usr/link", "../etc")
        .end();
    let upper = Raw::default()
        // Before and behind what they must not hide.
        .file("etc/.wh.gone", b"")
        .file("etc/.wh.deep", b"")
        .file("etc/changed", b"new")
        .file("usr/opaque/new", b"x")
        .file("usr/opaque/.wh..wh..opq", b"")
        .dir("usr/mixed/")
        .file("usr/mixed/own", b"x")
        .file("usr/.wh.mixed", b"")
        .file("usr/to-file", b"file")
        .dir("usr/to-dir/")
        .file("usr/to-dir/x", b"x")
        .file("usr/.wh.link", b"")
        .file("usr/.wh.never-there", b"")
        .file("no/such/dir/.wh.x", b"")
        .file(".wh..wh.plnk", b"")
        .end();
    let third = Raw::default().file("etc/gone", b"again").end();
    let image = Case::image(&[lower, upper, third]);
    let imported = image.import().unwrap();
    let root = imported.rootfs();
    assert_eq!(
        paths(&root),
        [
            "etc",
            "etc/changed",
            "etc/gone",
            "etc/kept",
            "usr",
            "usr/mixed",
            "usr/mixed/own",
            "usr/opaque",
            "usr/opaque/new",
            "usr/to-dir",
            "usr/to-dir/x",
            "usr/to-file",
        ]
    );
    assert_eq!(fs::read(root.join("etc/changed")).unwrap(), b"new");
    assert_eq!(fs::read(root.join("etc/gone")).unwrap(), b"again");
    assert_eq!(imported.record.format, "oci");
    let config = imported.record.config.clone().unwrap();
    assert_eq!(config.entrypoint, ["/sbin/init"]);
    assert_eq!(
        (&*config.stop_signal, &*config.working_dir),
        ("SIGPWR", "/srv")
    );
    // The same image is found again, by the digest of its manifest.
    let again = image.import().unwrap();
    assert_eq!(again.id(), imported.id());
    let digest = image.manifests[0]["digest"].as_str().unwrap();
    assert_eq!(format!("sha256:{}", again.id()), digest);
}

#[test]
fn whiteouts_reach_nothing_outside() {
    let temp = tempfile::tempdir().unwrap();
    let outside = temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("canary"), "alive").unwrap();
    let link = outside.to_str().unwrap();
    let lower = rootfs().symlink("out", link).symlink("usr/up", "..").end();
    for name in [
        "out/.wh.canary",
        "out/.wh..wh..opq",
        "usr/.wh...",
        "usr/.wh..",
        "usr/.wh.",
        "usr/../.wh.etc",
        "usr/up/.wh.etc",
        "../.wh.canary",
    ] {
        let upper = Raw::default().file(name, b"").end();
        let error = Case::image(&[lower.clone(), upper]).import().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Hostile, "{name}: {error}");
        assert!(matches!(error, Error::InLayer { .. }), "{name}: {error}");
    }
    let upper = Raw::default().dir("usr/.wh.etc/").end();
    let error = Case::image(&[lower.clone(), upper]).import().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Hostile, "{error}");
    // A link that is hidden goes; what it leads to stays.
    let upper = Raw::default().file(".wh.out", b"").end();
    let case = Case::image(&[lower, upper]);
    let image = case.import().unwrap();
    assert_eq!(paths(&image.rootfs()), ["etc", "usr", "usr/up"]);
    assert_eq!(names(&outside), ["canary"]);
}

#[test]
fn the_image_for_this_host_is_picked() {
    let case = Case::new();
    let platform = |manifest: &Value, architecture: &str| {
        let mut manifest = manifest.clone();
        manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifest
    };
    let layer = |name: &str| vec![rootfs().file(name, b"").end()];
    let own = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mine = case.manifest(own, &layer("mine"));
    let other = case.manifest("mips64", &layer("other"));
    let absent = json!({
        "mediaType": "x", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1,
        "platform": { "os": "linux", "architecture": own },
    });
    let attestation = json!({
        "digest": format!("sha256:{}", "1".repeat(64)), "size": 1,
        "platform": { "os": "unknown", "architecture": "unknown" },
    });
    // In an index of its own, as BuildKit writes it, where the same is named twice.
    let inner = json!({ "manifests": [
        platform(&other, "mips64"), platform(&mine, own), platform(&mine, own), attestation, absent,
    ]});
    let inner = case.document("application/vnd.oci.image.index.v1+json", &inner);
    let case = case.with(inner);
    assert!(case.import().unwrap().rootfs().join("mine").exists());

    // Without a word about platforms, as skopeo writes it: the configurations tell.
    let case = case_with(&[mine.clone(), other.clone()], case);
    assert!(case.import().unwrap().rootfs().join("mine").exists());

    let another = case.manifest("s390x", &layer("another"));
    let case = case_with(&[other, another], case);
    let _ = fs::remove_dir_all(case.temp.path().join("state"));
    let (fault, _) = case.fault();
    assert!(
        matches!(&fault, Fault::NoPlatform { there, .. } if there == &["linux/mips64", "linux/s390x"]),
        "{fault}"
    );
    let mut second = case.manifest(own, &layer("second"));
    second["annotations"] = json!({ "org.opencontainers.image.ref.name": "two" });
    let case = case_with(&[mine, second], case);
    let (fault, _) = case.fault();
    assert!(
        matches!(&fault, Fault::Several(names) if names.len() == 2 && names[1] == "two"),
        "{fault}"
    );
}

fn case_with(manifests: &[Value], mut case: Case) -> Case {
    case.manifests = manifests.to_vec();
    case
}

#[test]
fn what_was_changed_is_found_out() {
    let layers = [rootfs().end(), Raw::default().file("etc/x", b"x").end()];
    let fresh = || Case::image(&layers);
    let manifest_of = |case: &Case| {
        let digest = case.manifests[0]["digest"].as_str().unwrap();
        case.blob_path(digest.strip_prefix("sha256:").unwrap())
    };
    assert!(fresh().import().is_ok());

    let case = fresh();
    let layer = case.blob_path(&hex(&layers[1]));
    let mut bytes = fs::read(&layer).unwrap();
    bytes[512] = b'y';
    fs::write(&layer, &bytes).unwrap();
    let (fault, part) = case.fault();
    assert!(matches!(fault, Fault::Mismatch { .. }), "{fault}");
    assert!(part.ends_with(&hex(&layers[1])), "{part}");

    fs::write(&layer, &bytes[..1024]).unwrap();
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::Size { found: 1024, .. }), "{fault}");
    assert_eq!(case.import().unwrap_err().kind(), ErrorKind::Damaged);

    fs::remove_file(&layer).unwrap();
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::Missing), "{fault}");

    symlink("/etc/passwd", &layer).unwrap();
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::NotAFile), "{fault}");

    fs::remove_file(&layer).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &layer,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::NotAFile), "{fault}");

    let case = fresh();
    let manifest = manifest_of(&case);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("schemaVersion", "schemaversion")).unwrap();
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::Mismatch { .. }), "{fault}");

    // Of the right digest, but with another archive in it than the configuration tells.
    let mut case = Case::new();
    let config = case.config("amd64", &[layers[1].clone()]);
    let config = case.document("application/vnd.oci.image.config.v1+json", &config);
    let layer = case.blob("", &layers[0]);
    let manifest = json!({ "config": config, "layers": [layer] });
    case.manifests = vec![case.document("", &manifest)];
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::Mismatch { .. }), "{fault}");

    let manifest = json!({ "config": config, "layers": [] });
    case.manifests = vec![case.document("", &manifest)];
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::LayerCount { .. }), "{fault}");
}

#[test]
fn documents_have_their_limits() {
    let case = Case::new();
    // A descriptor of what is not there until its digest is known: a real circle would take a collision, but an index that is
    // reached twice by different ways must not be read over and over.
    let media_type = "application/vnd.oci.image.index.v1+json";
    let mut index = case.document(media_type, &json!({ "manifests": [] }));
    for _ in 0..6 {
        index = case.document(media_type, &json!({ "manifests": [index, index] }));
    }
    let case = case.with(index);
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::Nested), "{fault}");

    let many: Vec<Value> = (0..100)
        .map(|number| case.document(media_type, &json!({ "manifests": [], "n": number })))
        .collect();
    let case = case_with(&many, case);
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::Nested), "{fault}");

    let huge = json!({ "x": "x".repeat(5 << 20) });
    let huge = case.document("application/vnd.oci.image.manifest.v1+json", &huge);
    let case = case_with(&[huge], case);
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::TooLarge { .. }), "{fault}");
    assert_eq!(case.import().unwrap_err().kind(), ErrorKind::Limit);

    let outside = json!({ "digest": "sha256:../../../../etc/passwd", "size": 1 });
    let case = case_with(&[outside], case);
    let (fault, part) = case.fault();
    assert!(matches!(fault, Fault::Digest(_)), "{fault}");
    assert_eq!(part, "index.json");

    let case = case_with(&[], case);
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::NoImage), "{fault}");

    let chart = case.document("application/vnd.cncf.helm.config.v1+json", &json!({}));
    let chart = json!({ "config": chart, "layers": [] });
    let chart = case.document("application/vnd.oci.image.manifest.v1+json", &chart);
    let case = case_with(&[chart], case);
    let (fault, _) = case.fault();
    assert!(matches!(fault, Fault::Artifact(_)), "{fault}");

    fs::write(case.dir().join("oci-layout"), "{").unwrap();
    let error = case.import_as_it_is().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
}

/// All layers together may cost what an import may cost, not each of them.
#[test]
fn limits_are_of_the_whole_image() {
    let layer = |name: &str| rootfs().file(name, &[0; 3000]).end();
    let case = Case::image(&[layer("a"), layer("b"), layer("c")]);
    case.import().unwrap();
    let source = SourceRef::parse(case.dir().as_os_str()).unwrap();
    let limits = |bytes| Limits {
        max_unpacked_bytes: bytes,
        ..Limits::default()
    };
    fs::remove_dir_all(case.temp.path().join("state")).unwrap();
    let error = case.import_source(&source, limits(12_000)).unwrap_err();
    assert!(
        matches!(error, Error::Limit { limit: 12_000, .. }),
        "{error}"
    );
    case.import_source(&source, limits(30_000)).unwrap();
}

/// A tree that has files called like an image's is a tree.
#[test]
fn a_tree_is_no_image() {
    let case = Case::new();
    let file = case.temp.path().join("x.tar");
    let archive = rootfs().file("oci-layout", b"").file("index.json", b"");
    fs::write(&file, archive.file("manifest.json", b"[]").end()).unwrap();
    let image = case.import_source(&SourceRef::File(file), Limits::default());
    assert_eq!(image.unwrap().record.format, "tar");
    let dir = case.temp.path().join("tree");
    fs::create_dir_all(dir.join("usr")).unwrap();
    fs::write(dir.join("oci-layout"), "").unwrap();
    fs::write(dir.join("index.json"), "").unwrap();
    let source = SourceRef::parse(dir.as_os_str()).unwrap();
    assert_eq!(source, SourceRef::Directory(dir));
}
