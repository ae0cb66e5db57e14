//! Archives written byte by byte, since no honest program writes the ones that are needed here.

/// An archive under construction.
#[derive(Clone, Default)]
pub struct Raw(pub Vec<u8>);

/// A header with everything that can be wrong in it.
#[derive(Clone)]
pub struct Entry<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub link: &'a [u8],
    pub mode: u32,
    pub uid: u32,
    pub size: Option<u64>,
    pub data: &'a [u8],
    pub device: (u32, u32),
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            name: b"",
            kind: b'0',
            link: b"",
            mode: 0o644,
            uid: 0,
            size: None,
            data: b"",
            device: (0, 0),
        }
    }
}

impl Raw {
    /// Something that looks like a root file system, so that only the rest can be the reason of a refusal.
    pub fn rootfs() -> Self {
        Self::default().dir("./").dir("usr/").dir("etc/")
    }

    pub fn dir(self, name: &str) -> Self {
        self.entry(&Entry {
            name: name.as_bytes(),
            kind: b'5',
            mode: 0o755,
            ..Entry::default()
        })
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(&Entry {
            name: name.as_bytes(),
            data,
            ..Entry::default()
        })
    }

    pub fn symlink(self, name: &str, link: &str) -> Self {
        self.link(b'2', name, link)
    }

    pub fn hard_link(self, name: &str, link: &str) -> Self {
        self.link(b'1', name, link)
    }

    fn link(self, kind: u8, name: &str, link: &str) -> Self {
        self.entry(&Entry {
            name: name.as_bytes(),
            kind,
            link: link.as_bytes(),
            mode: 0o777,
            ..Entry::default()
        })
    }

    /// A GNU long name (`L`) or link target (`K`) for the next entry.
    pub fn long(self, kind: u8, name: &[u8]) -> Self {
        self.entry(&Entry {
            name: b"././@LongLink",
            kind,
            data: &[name, b"\0"].concat(),
            ..Entry::default()
        })
    }

    /// PAX records for the next entry (`x`) or all that follow (`g`).
    pub fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(&Entry {
            name: b"PaxHeaders/x",
            kind,
            data: &data,
            ..Entry::default()
        })
    }

    pub fn entry(mut self, entry: &Entry<'_>) -> Self {
        self.0.extend_from_slice(&header(entry));
        self.0.extend_from_slice(entry.data);
        let padded = self.0.len().next_multiple_of(512);
        self.0.resize(padded, 0);
        self
    }

    /// How long it is: the offset of the next entry.
    pub fn offset(&self) -> u64 {
        self.0.len() as u64
    }

    /// With the zero blocks that end an archive.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// One header block, in ustar format.
pub fn header(entry: &Entry<'_>) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, entry.name);
    put(100, format!("{:07o}", entry.mode).as_bytes());
    put(108, format!("{:07o}", entry.uid).as_bytes());
    put(116, format!("{:07o}", 0).as_bytes());
    let size = entry.size.unwrap_or(entry.data.len() as u64);
    if size < 1 << 33 {
        put(124, format!("{size:011o}").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"14000000000");
    put(156, &[entry.kind]);
    put(157, entry.link);
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}", entry.device.0).as_bytes());
    put(337, format!("{:07o}", entry.device.1).as_bytes());
    checksum(&mut block);
    block
}

/// Puts the right checksum into a header.
pub fn checksum(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
