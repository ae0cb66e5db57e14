//! Trees as images: what is in the files, that they are the same each time, and that the tree comes out of them again.

use crate::roundtrip::{add_pax_features, make_tree};
use crate::tree::{Times, assert_same, snapshot};
use repot_image::{Compression, Export, ImageMeta, Limits, Silent, export, unpack_tar};
use repot_model::{Arch, ImageFormat, Signal};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

pub fn meta() -> ImageMeta {
    ImageMeta {
        name: "docker.io/library/repot-test:latest".into(),
        argv: vec!["/sbin/init".into(), "3".into()],
        env: vec![("container".into(), "docker".into())],
        stop_signal: Some(Signal::rtmin(3)),
        arch: Arch::X86_64,
        labels: BTreeMap::from([("org.example.made-by".into(), "repot".into())]),
        created: 951_782_400,
    }
}

fn write(format: ImageFormat, compression: Compression, root: &Path) -> Vec<u8> {
    let dir = File::open(root).unwrap();
    let what = Export {
        root: dir.as_fd(),
        place: root,
        over: &[],
        meta: &meta(),
        compression,
        progress: &Silent,
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let report = export(format, &what, file.as_file()).unwrap();
    assert!(report.entries > 10, "{report:?}");
    fs::read(file.path()).unwrap()
}

fn members(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name, bytes)
    });
    entries.collect()
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The uncompressed layer unpacks to the tree that was packed.
fn assert_layer(layer: &[u8], root: &Path) {
    let into = tempfile::tempdir().unwrap();
    let fd = OwnedFd::from(File::open(into.path()).unwrap());
    unpack_tar(layer, fd, into.path(), &Limits::default(), &Silent).unwrap();
    assert_same(
        &snapshot(root, Times::Nanoseconds),
        &snapshot(into.path(), Times::Nanoseconds),
        "a layer",
    );
}

fn assert_config(config: &[u8], layer: &[u8]) {
    let config = json(config);
    assert_eq!(config["architecture"], "amd64");
    assert_eq!(config["created"], "2000-02-29T00:00:00Z");
    assert_eq!(
        config["config"]["Cmd"],
        serde_json::json!(["/sbin/init", "3"])
    );
    assert_eq!(
        config["config"]["Env"],
        serde_json::json!(["container=docker"])
    );
    assert_eq!(config["config"]["StopSignal"], "SIGRTMIN+3");
    let diff_id = format!("sha256:{}", hex(layer));
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([diff_id]));
}

fn tree(temp: &Path) -> std::path::PathBuf {
    let root = temp.join("tree");
    make_tree(&root);
    add_pax_features(&root);
    root
}

#[test]
fn a_docker_archive_holds_the_tree() {
    if !crate::is_root("a_docker_archive_holds_the_tree") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = tree(temp.path());
    let archive = write(ImageFormat::DockerArchive, Compression::None, &root);
    let again = write(ImageFormat::DockerArchive, Compression::None, &root);
    assert!(archive == again, "not the same bytes each time");
    let members = members(&archive);
    let manifest = &json(&members["manifest.json"])[0];
    assert_eq!(manifest["RepoTags"][0], meta().name);
    let layer = &members[manifest["Layers"][0].as_str().unwrap()];
    assert_layer(layer, &root);
    // Docker cannot save an image again that has holes in its layers.
    assert!(root.join("usr/holes").exists());
    // As a keyword with a value: the tree holds a tar(1), which knows the word.
    let keyword = b"GNU.sparse.major=";
    let has_map = layer.windows(keyword.len()).any(|bytes| bytes == keyword);
    assert!(!has_map, "the layer has sparse files");
    let config_name = manifest["Config"].as_str().unwrap();
    assert_eq!(config_name, format!("{}.json", hex(&members[config_name])));
    assert_config(&members[config_name], layer);
}

#[test]
fn an_oci_archive_holds_the_tree() {
    if !crate::is_root("an_oci_archive_holds_the_tree") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = tree(temp.path());
    for (compression, media_type) in [
        (Compression::None, "application/vnd.oci.image.layer.v1.tar"),
        (
            Compression::Gzip,
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ),
        (
            Compression::Zstd,
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
    ] {
        let archive = write(ImageFormat::OciArchive, compression, &root);
        let again = write(ImageFormat::OciArchive, compression, &root);
        assert!(archive == again, "not the same bytes each time");
        let members = members(&archive);
        assert_eq!(json(&members["oci-layout"])["imageLayoutVersion"], "1.0.0");
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let digest = digest.strip_prefix("sha256:").unwrap();
            let bytes = members[&format!("blobs/sha256/{digest}")].clone();
            assert_eq!(hex(&bytes), digest);
            assert_eq!(descriptor["size"], bytes.len());
            bytes
        };
        let index = json(&members["index.json"]);
        let manifest = json(&blob(&index["manifests"][0]));
        let layer = &manifest["layers"][0];
        assert_eq!(layer["mediaType"], media_type);
        let bytes = blob(layer);
        let plain = match compression {
            Compression::None => bytes,
            Compression::Gzip => {
                let mut plain = Vec::new();
                let mut decoder = flate2::read::GzDecoder::new(&bytes[..]);
                decoder.read_to_end(&mut plain).unwrap();
                plain
            }
            Compression::Zstd => zstd::decode_all(&bytes[..]).unwrap(),
            Compression::Bzip2 | Compression::Xz => unreachable!("no media type"),
        };
        assert_layer(&plain, &root);
        assert_config(&blob(&manifest["config"]), &plain);
    }
}

#[test]
fn a_plain_archive_and_an_lxd_image_hold_the_tree() {
    if !crate::is_root("a_plain_archive_and_an_lxd_image_hold_the_tree") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = tree(temp.path());
    assert_layer(&write(ImageFormat::Tar, Compression::None, &root), &root);
    let zstd = write(ImageFormat::Tar, Compression::Zstd, &root);
    assert_layer(&zstd::decode_all(&zstd[..]).unwrap(), &root);
    let lxd = write(ImageFormat::LxdUnified, Compression::None, &root);
    let members = members(&lxd);
    let metadata = json(&members["metadata.yaml"]);
    assert_eq!(metadata["architecture"], "x86_64");
    assert_eq!(metadata["creation_date"], 951_782_400);
    assert!(
        members.contains_key("rootfs/usr/sparse"),
        "{:?}",
        members.keys()
    );
}
