//! Every format that a tree can be exported in: the same bytes each time, accepted by the programs that it is made for, and the
//! tree comes out of it again. And layers over a tree, which must be seen as overlayfs shows them.

use crate::export::meta;
use crate::roundtrip::{add_pax_features, make_small_tree, make_tree};
use crate::tree::{Times, assert_same, names, snapshot};
use repot_image::{
    Compression, Durability, Export, Format, ImportOptions, Layer, Limits, Maker, Silent,
    SourceRef, Store, export_at, export_stream, pack_tree, unpack_tar,
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const ALL: [Format; 13] = [
    Format::Aci,
    Format::Directory,
    Format::DockerArchive,
    Format::Lxc,
    Format::LxdSplit,
    Format::LxdSquashfs,
    Format::LxdUnified,
    Format::Nspawn,
    Format::OciArchive,
    Format::OciLayout,
    Format::Squashfs,
    Format::Tar,
    Format::Wsl {
        starts_systemd: true,
    },
];

fn write(format: Format, compression: Compression, root: &Path, over: &[&Path], out: &Path) {
    write_made_by(Maker::Repot, format, compression, root, over, out);
}

fn write_made_by(
    made_by: Maker,
    format: Format,
    compression: Compression,
    root: &Path,
    over: &[&Path],
    out: &Path,
) {
    let dir = File::open(root).unwrap();
    let over: Vec<File> = over.iter().map(|path| File::open(path).unwrap()).collect();
    let over: Vec<Layer<'_>> = over
        .iter()
        .map(|layer| Layer {
            root: layer.as_fd(),
            made_by,
        })
        .collect();
    let what = Export {
        root: dir.as_fd(),
        place: root,
        over: &over,
        meta: &meta(),
        compression,
        progress: &Silent,
    };
    let report = export_at(format, &what, out).unwrap();
    assert!(report.entries >= 3, "{format:?}: {report:?}");
}

/// Every file below a path, or the file itself.
fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    if path.is_file() {
        return BTreeMap::from([(PathBuf::new(), fs::read(path).unwrap())]);
    }
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap().path();
        for (name, bytes) in files(&entry) {
            found.insert(Path::new(entry.file_name().unwrap()).join(name), bytes);
        }
    }
    found
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("-version").output().is_ok();
    if !found {
        assert!(
            std::env::var_os("REPOT_REQUIRED_TESTS").is_none(),
            "{program} is missing"
        );
        eprintln!("skipped: {program} is missing");
    }
    found
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {said}");
    said
}

#[test]
fn every_format_gives_the_same_bytes_each_time() {
    if !crate::is_root("every_format_gives_the_same_bytes_each_time") || !has("mksquashfs") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("tree");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("etc/hostname"), "tree\n").unwrap();
    fs::copy("/usr/bin/tar", root.join("usr/bin/tar")).unwrap();
    let outs = temp.path().join("outs");
    fs::create_dir(&outs).unwrap();
    for format in ALL {
        // Layers made at different times.
        let layers = ["a", "b"].map(|name| {
            let layer = temp.path().join(name);
            let _ = fs::remove_dir_all(&layer);
            fs::create_dir_all(layer.join("etc")).unwrap();
            fs::write(layer.join("etc/new"), "new").unwrap();
            layer
        });
        let outs = ["a", "b"].map(|name| outs.join(format!("{name}-{format:?}")));
        for (layer, out) in layers.iter().zip(&outs) {
            write(format, Compression::Gzip, &root, &[layer], out);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let [first, second] = outs.map(|out| files(&out));
        assert!(first == second, "{format:?}");
    }
    // Nothing else is left.
    assert_eq!(names(&outs).len(), 2 * ALL.len());
}

#[test]
fn archives_in_every_compression_come_back() {
    if !crate::is_root("archives_in_every_compression_come_back") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("tree");
    make_small_tree(&root);
    add_pax_features(&root);
    let source = snapshot(&root, Times::Nanoseconds);
    for compression in [
        Compression::None,
        Compression::Bzip2,
        Compression::Gzip,
        Compression::Xz,
        Compression::Zstd,
    ] {
        let name = format!("x.tar{}", compression.suffix());
        let out = temp.path().join(name);
        write(Format::Tar, compression, &root, &[], &out);
        let store = Store::open(&temp.path().join("state")).unwrap();
        let options = ImportOptions {
            durability: Durability::Record,
            ..ImportOptions::default()
        };
        let imported = SourceRef::parse(out.as_os_str()).unwrap();
        let imported = store.import(&imported, &options, &Silent).unwrap();
        let found = snapshot(&imported.image.rootfs(), Times::Nanoseconds);
        assert_same(&source, &found, &format!("{compression:?}"));
    }
    let copy = temp.path().join("copy");
    write(Format::Directory, Compression::None, &root, &[], &copy);
    let found = snapshot(&copy, Times::Nanoseconds);
    assert_same(&source, &found, "a directory");
}

/// Imports it; the file system does not keep the digest of the source, so what was written is what is compared.
fn import(from: &Path, state: &Path) -> repot_image::Image {
    let store = Store::open(state).unwrap();
    let options = ImportOptions {
        durability: Durability::Record,
        ..ImportOptions::default()
    };
    let source = SourceRef::parse(from.as_os_str()).unwrap();
    store.import(&source, &options, &Silent).unwrap().image
}

#[test]
fn images_of_every_engine_come_back() {
    if !crate::is_root("images_of_every_engine_come_back") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("tree");
    make_small_tree(&root);
    add_pax_features(&root);
    let source = snapshot(&root, Times::Nanoseconds);
    let state = temp.path().join("state");
    for (format, compression, name) in [
        (Format::Aci, Compression::Gzip, "tar, gzip"),
        (Format::DockerArchive, Compression::None, "docker-archive"),
        (Format::Lxc, Compression::Xz, "tar, xz"),
        (Format::LxdSplit, Compression::Gzip, "tar, gzip"),
        (Format::LxdUnified, Compression::Zstd, "tar, zstd"),
        (Format::Nspawn, Compression::Gzip, "tar, gzip"),
        (Format::OciArchive, Compression::Gzip, "oci-archive"),
        (Format::OciLayout, Compression::Zstd, "oci"),
    ] {
        let out = temp.path().join("out");
        write(format, compression, &root, &[], &out);
        let image = import(&out, &state);
        assert_eq!(image.record.format, name, "{format:?}");
        let found = snapshot(&image.rootfs(), Times::Nanoseconds);
        assert_same(&source, &found, name);
        let has_config = matches!(
            format,
            Format::DockerArchive | Format::OciArchive | Format::OciLayout
        );
        assert_eq!(image.record.config.is_some(), has_config, "{format:?}");
        fs::remove_dir_all(&state).unwrap();
        let removed = fs::remove_file(&out).or_else(|_| fs::remove_dir_all(&out));
        removed.unwrap();
    }
}

#[test]
fn a_squashfs_comes_back() {
    if !crate::is_root("a_squashfs_comes_back") || !has("mksquashfs") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("tree");
    make_small_tree(&root);
    add_pax_features(&root);
    // A squashfs knows no times before 1970, and no fractions of a second.
    let time = File::open(root.join("usr/ping")).unwrap();
    time.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    let source = snapshot(&root, Times::Seconds);
    let state = temp.path().join("state");
    // Fragments and none, small blocks and large ones, each compression.
    for options in [
        "-comp gzip",
        "-comp gzip -noI -noD -noF -noX",
        "-comp xz -b 1M -Xbcj x86",
        "-comp zstd -b 4K -no-fragments",
        "-comp zstd -always-use-fragments -no-duplicates",
        "-comp lzma -b 64K -nopad",
    ] {
        let out = temp.path().join("x.squashfs");
        let mut args = vec![root.to_str().unwrap(), out.to_str().unwrap(), "-noappend"];
        args.extend(options.split(' '));
        run("mksquashfs", &args);
        let image = import(&out, &state);
        assert_eq!(image.record.format, "squashfs");
        let found = snapshot(&image.rootfs(), Times::Seconds);
        assert_same(&source, &found, options);
        let sparse = fs::metadata(image.rootfs().join("usr/holes")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::blocks(&sparse), 0);
        fs::remove_dir_all(&state).unwrap();
    }
    for options in ["lz4", "lzo"] {
        let out = temp.path().join("x.squashfs");
        let args = [
            root.to_str().unwrap(),
            out.to_str().unwrap(),
            "-noappend",
            "-comp",
            options,
        ];
        run("mksquashfs", &args);
        let store = Store::open(&state).unwrap();
        let source = SourceRef::File(out);
        let error = store
            .import(&source, &ImportOptions::default(), &Silent)
            .unwrap_err();
        assert!(error.to_string().contains("unsquashfs"), "{error}");
    }
}

#[test]
fn a_squashfs_keeps_owners_and_capabilities() {
    if !crate::is_root("a_squashfs_keeps_owners_and_capabilities") || !has("mksquashfs") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("tree");
    make_small_tree(&root);
    add_pax_features(&root);
    // A squashfs knows no times before 1970, and no fractions of a second.
    let time = File::open(root.join("usr/ping")).unwrap();
    time.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    let out = temp.path().join("x.squashfs");
    write(Format::Squashfs, Compression::None, &root, &[], &out);
    let unpacked = temp.path().join("unpacked");
    run(
        "unsquashfs",
        &[
            "-no-progress",
            "-d",
            unpacked.to_str().unwrap(),
            out.to_str().unwrap(),
        ],
    );
    let times = Times::Seconds;
    assert_same(
        &snapshot(&root, times),
        &snapshot(&unpacked, times),
        "a squashfs",
    );
}

#[test]
fn an_app_container_image_is_valid() {
    if !crate::is_root("an_app_container_image_is_valid") || !has("actool") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("tree");
    make_tree(&root);
    for compression in [Compression::None, Compression::Gzip] {
        let out = temp.path().join("x.aci");
        write(Format::Aci, compression, &root, &[], &out);
        run("actool", &["validate", out.to_str().unwrap()]);
    }
}

#[test]
fn wsl_settings_are_the_trees_own_where_it_has_some() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("tree");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir_all(root.join("usr")).unwrap();
    fs::write(root.join("etc/wsl-distribution.conf"), "own").unwrap();
    let out = temp.path().join("x.wsl");
    let format = Format::Wsl {
        starts_systemd: true,
    };
    write(format, Compression::Gzip, &root, &[], &out);
    let list = run("tar", &["-tzf", out.to_str().unwrap()]);
    assert_eq!(list.matches("etc/wsl-distribution.conf").count(), 1);
    let settings = run("tar", &["-xzOf", out.to_str().unwrap(), "./etc/wsl.conf"]);
    assert_eq!(settings, "[boot]\nsystemd=true\n\n[user]\ndefault=root\n");
}

#[test]
fn directories_are_no_streams() {
    let temp = tempfile::tempdir().unwrap();
    let dir = File::open(temp.path()).unwrap();
    let what = Export {
        root: dir.as_fd(),
        place: temp.path(),
        over: &[],
        meta: &meta(),
        compression: Compression::None,
        progress: &Silent,
    };
    let out = tempfile::tempfile().unwrap();
    for format in ALL {
        if format == Format::Squashfs {
            continue;
        }
        let result = export_stream(format, &what, &out, temp.path());
        assert_eq!(
            result.is_err(),
            format.is_directory(),
            "{format:?}: {result:?}"
        );
    }
}

/// A tree and two layers with everything that overlayfs knows.
fn make_layers(temp: &Path) -> [PathBuf; 3] {
    let dirs = ["base", "middle", "top"].map(|name| temp.join(name));
    let [base, middle, top] = &dirs;
    for path in ["etc/sub", "usr/gone/deep", "usr/opaque", "var"] {
        fs::create_dir_all(base.join(path)).unwrap();
    }
    for path in [
        "etc/kept",
        "etc/changed",
        "etc/sub/x",
        "usr/gone/deep/x",
        "usr/opaque/old",
        "usr/to-dir",
        "var/twice",
    ] {
        fs::write(base.join(path), path).unwrap();
    }
    fs::create_dir(base.join("usr/to-file")).unwrap();
    fs::write(base.join("usr/to-file/x"), "").unwrap();
    fs::hard_link(base.join("etc/kept"), base.join("etc/also-kept")).unwrap();

    let whiteout = |path: PathBuf| {
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    };
    for path in ["etc/sub", "usr/opaque", "usr/to-dir", "var", "new/deep"] {
        fs::create_dir_all(middle.join(path)).unwrap();
    }
    fs::set_permissions(middle.join("etc"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(middle.join("etc/changed"), "new").unwrap();
    whiteout(middle.join("etc/sub/x"));
    whiteout(middle.join("usr/gone"));
    fs::write(middle.join("usr/opaque/new"), "").unwrap();
    let opaque = middle.join("usr/opaque");
    rustix::fs::lsetxattr(&opaque, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    fs::write(middle.join("usr/to-dir/x"), "").unwrap();
    fs::write(middle.join("usr/to-file"), "").unwrap();
    whiteout(middle.join("var/twice"));

    for path in ["etc", "usr/gone", "var"] {
        fs::create_dir_all(top.join(path)).unwrap();
    }
    fs::set_permissions(top.join("etc"), fs::Permissions::from_mode(0o711)).unwrap();
    symlink("kept", top.join("etc/link")).unwrap();
    fs::write(top.join("usr/gone/back"), "").unwrap();
    fs::write(top.join("var/twice"), "again").unwrap();
    dirs
}

#[test]
fn layers_are_seen_as_overlayfs_shows_them() {
    if !crate::is_root("layers_are_seen_as_overlayfs_shows_them") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let [base, middle, top] = make_layers(temp.path());
    let merged = temp.path().join("merged");
    write(
        Format::Directory,
        Compression::None,
        &base,
        &[&middle, &top],
        &merged,
    );
    // The kernel's view, in a mount namespace of a child's own. The copy is made there too.
    let kernel = temp.path().join("kernel");
    let at = temp.path().join("at");
    fs::create_dir(&at).unwrap();
    let script = format!(
        "mount -t overlay overlay -o lowerdir={}:{}:{} {} && cp -a {} {}",
        top.display(),
        middle.display(),
        base.display(),
        at.display(),
        at.display(),
        kernel.display()
    );
    run("unshare", &["--mount", "sh", "-ec", &script]);
    let own = |path: &Path| {
        let mut seen = snapshot(path, Times::None);
        // The top directory is each time another one.
        seen.remove(0);
        seen
    };
    assert_same(&own(&kernel), &own(&merged), "overlayfs");
    assert_eq!(names(&merged.join("usr/opaque")), ["new"]);
}

#[test]
fn empty_files_can_be_marks_too() {
    let temp = tempfile::tempdir().unwrap();
    let (base, layer) = (temp.path().join("base"), temp.path().join("layer"));
    for root in [&base, &layer] {
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/gone"), "").unwrap();
        fs::write(root.join("etc/empty"), "").unwrap();
    }
    let mark = layer.join("etc/gone");
    if rustix::fs::lsetxattr(&mark, "user.overlay.whiteout", b"y", XattrFlags::empty()).is_err() {
        assert!(
            std::env::var_os("REPOT_REQUIRED_TESTS").is_none(),
            "no extended attributes in {}",
            mark.display()
        );
        eprintln!("skipped: no extended attributes in {}", mark.display());
        return;
    }
    let out = temp.path().join("x.tar");
    write(Format::Tar, Compression::None, &base, &[&layer], &out);
    let list = run("tar", &["-tf", out.to_str().unwrap()]);
    assert_eq!(list, "./\n./etc/\n./etc/empty\n");
}

#[test]
fn fuse_overlayfs_has_names_as_marks() {
    let temp = tempfile::tempdir().unwrap();
    let (base, layer) = (temp.path().join("base"), temp.path().join("layer"));
    for (root, paths) in [
        (&base, &["etc/gone", "etc/kept", "opq/old", "dir/x/y"][..]),
        (
            &layer,
            &["etc/.wh.gone", "opq/.wh..wh..opq", "opq/new", "dir/.wh.x"],
        ),
    ] {
        for path in paths {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }
    let list = |made_by| {
        let out = temp.path().join("x.tar");
        write_made_by(
            made_by,
            Format::Tar,
            Compression::None,
            &base,
            &[&layer],
            &out,
        );
        run("tar", &["-tf", out.to_str().unwrap()])
    };
    assert_eq!(
        list(Maker::FuseOverlayfs),
        "./\n./dir/\n./etc/\n./etc/kept\n./opq/\n./opq/new\n"
    );
    // To the kernel they are files like others.
    assert!(list(Maker::Kernel).contains("./etc/gone\n"));
    assert!(list(Maker::Kernel).contains("./etc/.wh.gone\n"));
}

#[test]
fn what_covers_something_gets_its_time() {
    let temp = tempfile::tempdir().unwrap();
    let (base, layer) = (temp.path().join("base"), temp.path().join("layer"));
    for root in [&base, &layer] {
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/file"), "x").unwrap();
    }
    fs::write(layer.join("etc/new"), "x").unwrap();
    fs::write(base.join("etc/old"), "x").unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for path in ["etc/file", "etc"] {
        let file = File::open(base.join(path)).unwrap();
        file.set_modified(old).unwrap();
    }
    let out = temp.path().join("x.tar");
    write(Format::Tar, Compression::None, &base, &[&layer], &out);
    let mut archive = tar::Archive::new(File::open(&out).unwrap());
    let times: BTreeMap<String, u64> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            (name, entry.header().mtime().unwrap())
        })
        .collect();
    assert_eq!(times["./etc/file"], 1_000_000_000);
    assert_eq!(times["./etc/"], 1_000_000_000);
    assert_eq!(times["./etc/new"], meta().created);
    // What repot reads is what it wrote.
    let into = tempfile::tempdir().unwrap();
    let fd = OwnedFd::from(File::open(into.path()).unwrap());
    let bytes = fs::read(&out).unwrap();
    unpack_tar(&bytes[..], fd, into.path(), &Limits::default(), &Silent).unwrap();
    let mut plain = Vec::new();
    pack_tree(
        File::open(into.path()).unwrap().as_fd(),
        into.path(),
        &mut plain,
    )
    .unwrap();
    assert!(plain == bytes);
}
