//! Archives that `docker save` has written: old ones and what may be in them.

use crate::layers::{Case, hex, paths, rootfs};
use crate::raw::Raw;
use repot_image::{Error, ErrorKind, Image, Limits, SourceRef};
use serde_json::{Value, json};
use std::fs;

/// What `docker save` of any version writes.
struct Saved(Raw);

impl Saved {
    fn import(self, manifest: &Value) -> (Case, Result<Image, Error>) {
        let case = Case::new();
        let archive = self
            .0
            .file("manifest.json", manifest.to_string().as_bytes());
        let file = case.temp.path().join("saved.tar");
        fs::write(&file, archive.end()).unwrap();
        let result = case.import_source(&SourceRef::File(file), Limits::default());
        (case, result)
    }
}

#[test]
fn archives_of_docker_are_read() {
    let layers = [
        rootfs().file("etc/gone", b"x").end(),
        Raw::default().file("etc/.wh.gone", b"").end(),
    ];
    let empty = Raw::default().end();
    let all = [
        layers[0].clone(),
        empty.clone(),
        layers[1].clone(),
        empty.clone(),
    ];
    let config = Case::new().config("amd64", &all).to_string();
    let config_name = format!("{}.json", hex(config.as_bytes()));
    // As before 25: a directory for each layer, a symlink for one that is there already.
    let archive = |config: &str| {
        Saved(
            Raw::default()
                .file(&config_name, config.as_bytes())
                .file("a/layer.tar", &layers[0])
                .file("b/layer.tar", &empty)
                .file("c/layer.tar", &layers[1])
                .symlink("d/layer.tar", "../b/layer.tar"),
        )
    };
    let paths_of = ["a/layer.tar", "b/layer.tar", "c/layer.tar", "d/layer.tar"];
    let manifest = json!([{ "Config": config_name, "RepoTags": ["x:1"], "Layers": paths_of }]);
    let (case, result) = archive(&config).import(&manifest);
    let image = result.unwrap();
    assert_eq!(paths(&image.rootfs()), ["etc", "usr"]);
    assert_eq!(image.record.format, "docker-archive");
    assert!(image.record.config.is_some());
    let archive_bytes = fs::read(case.temp.path().join("saved.tar")).unwrap();
    assert_eq!(image.id().as_str(), hex(&archive_bytes));

    // Two names of one image are one image; two images are not.
    let same =
        json!([manifest[0], { "Config": config_name, "RepoTags": ["y:1"], "Layers": paths_of }]);
    archive(&config).import(&same).1.unwrap();
    let mut other = manifest[0].clone();
    other["Config"] = json!("other.json");
    other["RepoTags"] = json!(["other:2"]);
    let error = archive(&config).import(&json!([manifest[0], other])).1;
    let error = format!("{:?}", error.unwrap_err());
    assert!(error.contains("Several([\"x:1\", \"other:2\"])"), "{error}");

    let tampered = config.replace("/srv", "/srx");
    let error = archive(&tampered).import(&manifest).1.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");

    for (layer, kind) in [
        ("../../etc/passwd", ErrorKind::Hostile),
        ("/etc/passwd", ErrorKind::Hostile),
        ("a", ErrorKind::Hostile),
        ("e/layer.tar", ErrorKind::Damaged),
    ] {
        let mut manifest = manifest.clone();
        manifest[0]["Layers"][3] = json!(layer);
        let error = archive(&config).import(&manifest).1.unwrap_err();
        assert_eq!(error.kind(), kind, "{layer}: {error}");
    }
    for target in ["../../../../etc/passwd", "/etc/passwd", "layer.tar"] {
        let mut archive = archive(&config);
        archive.0 = archive.0.symlink("d/layer.tar", target);
        let error = archive.import(&manifest).1.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Hostile, "{target}: {error}");
    }
}
