//! Formats that are recognised but not read: the user learns what the file is, and what to do instead.

use crate::error::Error;

/// A format and its magic number.
pub(super) struct Foreign {
    name: &'static str,
    offset: usize,
    magic: &'static [u8],
    instead: &'static str,
}

const MOUNT: &str = "mount it (mount -o loop,ro FILE /mnt) and name the directory";
const DISK: &str =
    "attach it (qemu-nbd -rc /dev/nbd0 FILE), mount the root partition and name the directory";
const NONE: &str = "a root file system is a directory, or an archive of one";
const CONVERT: &str = "decompress it first and name the result, or pipe it into '-'";

const fn foreign(
    name: &'static str,
    offset: usize,
    magic: &'static [u8],
    instead: &'static str,
) -> Foreign {
    Foreign {
        name,
        offset,
        magic,
        instead,
    }
}

/// Sources: magic(5) as in file 5.46, and each format's own documentation. The first that fits counts.
static FOREIGN: [Foreign; 30] = [
    foreign(
        "a 7-Zip archive",
        0,
        b"7z\xbc\xaf\x27\x1c",
        "unpack it and name the directory",
    ),
    foreign("a Debian package", 0, b"!<arch>\ndebian", NONE),
    foreign("a RPM package", 0, b"\xed\xab\xee\xdb", NONE),
    foreign("a VHDX disk image", 0, b"vhdxfile", DISK),
    foreign("a VMware disk image", 0, b"KDMV", DISK),
    foreign(
        "a WIM image",
        0,
        b"MSWIM\0\0\0",
        "apply it (wimapply) and name the directory",
    ),
    foreign(
        "a cpio archive",
        0,
        b"070701",
        "unpack it (cpio -id) and name the directory",
    ),
    foreign(
        "a cpio archive",
        0,
        b"070702",
        "unpack it (cpio -id) and name the directory",
    ),
    foreign(
        "a cpio archive",
        0,
        b"070707",
        "unpack it (cpio -id) and name the directory",
    ),
    foreign("a qcow2 disk image", 0, b"QFI\xfb", DISK),
    foreign(
        "a sparse Android image",
        0,
        b"\x3a\xff\x26\xed",
        "convert it (simg2img), then mount it",
    ),
    foreign(
        "a xar archive",
        0,
        b"xar!",
        "unpack it and name the directory",
    ),
    foreign(
        "a zip archive",
        0,
        b"PK\x03\x04",
        "unpack it and name what is in it",
    ),
    foreign("an ELF program", 0, b"\x7fELF", NONE),
    foreign("compress(1) data", 0, b"\x1f\x9d", CONVERT),
    foreign("lrzip data", 0, b"LRZI", CONVERT),
    foreign("lz4 data", 0, b"\x04\x22\x4d\x18", CONVERT),
    foreign("lzip data", 0, b"LZIP", CONVERT),
    foreign("lzma data", 0, b"\x5d\0\0", CONVERT),
    foreign("lzop data", 0, b"\x89LZO\0", CONVERT),
    foreign("an XFS file system", 0, b"XFSB", MOUNT),
    foreign("a VirtualBox disk image", 0x40, b"\x7f\x10\xda\xbe", DISK),
    foreign("a FAT file system", 0x36, b"FAT1", MOUNT),
    foreign("a disk image with a GPT", 0x200, b"EFI PART", DISK),
    foreign("an EROFS file system", 0x400, b"\xe2\xe1\xf5\xe0", MOUNT),
    foreign("an F2FS file system", 0x400, b"\x10\x20\xf5\xf2", MOUNT),
    foreign(
        "an ext2, ext3 or ext4 file system",
        0x438,
        b"\x53\xef",
        MOUNT,
    ),
    foreign(
        "an ISO 9660 image",
        0x8001,
        b"CD001",
        "mount it and look for the squashfs or tarball in it",
    ),
    foreign("a btrfs file system", 0x10040, b"_BHRfS_M", MOUNT),
    // Last, since other formats begin with a boot sector too.
    foreign(
        "a disk image with a partition table",
        0x1fe,
        b"\x55\xaa",
        DISK,
    ),
];

/// The format of something that begins like `head`.
pub(super) fn find(head: &[u8]) -> Option<&'static Foreign> {
    FOREIGN.iter().find(|it| {
        head.get(it.offset..)
            .is_some_and(|rest| rest.starts_with(it.magic))
    })
}

/// The error that says so.
pub(super) fn error(source_name: String, found: Option<&Foreign>, head: &[u8]) -> Error {
    match found {
        Some(found) => Error::Unsupported {
            source_name,
            format: found.name,
            instead: found.instead,
        },
        None => Error::UnknownFormat {
            source_name,
            seen: seen(head),
        },
    }
}

/// Something is read only as it is, since it has to be sought in.
pub(super) fn compressed(source_name: String, format: &'static str) -> Error {
    Error::Unsupported {
        source_name,
        format,
        instead: CONVERT,
    }
}

/// The first bytes, as text and in hexadecimal.
fn seen(head: &[u8]) -> String {
    const SHOWN: usize = 16;
    let first = &head[..head.len().min(SHOWN)];
    let hex: Vec<String> = first.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:?} ({})", String::from_utf8_lossy(first), hex.join(" "))
}
