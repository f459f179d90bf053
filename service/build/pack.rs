//! Prepares the page's files for the server: each one as it is, in brotli and in gzip, with its
//! media type and entity tag. Runs at build time, so that nothing is compressed while the service
//! runs. Must not depend on the HTTP server.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use sha2::{Digest, Sha256};

/// A file of the page, in all its encodings.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// Relative to the page's folder, with `/` between the parts.
    pub(crate) path: String,
    /// `Content-Type`.
    pub(crate) kind: String,
    /// The entity tag of its content, for `ETag`. It is weak, because one tag serves all encodings.
    pub(crate) tag: String,
    /// Uncompressed.
    pub(crate) plain: Vec<u8>,
    /// In brotli, if that is shorter.
    pub(crate) brotli: Option<Vec<u8>>,
    /// In gzip, if that is shorter.
    pub(crate) gzip: Option<Vec<u8>>,
}

/// The element in the page's head by which the server says that it is a demo.
pub(crate) const DEMO_OFF: &str = r#"<meta name="relogin-demo" content="">"#;
/// Its content in a demo.
pub(crate) const DEMO_ON: &str = r#"<meta name="relogin-demo" content="on">"#;

/// All files in `folder` and below it, in order.
///
/// # Errors
/// If one cannot be read.
pub(crate) fn pack(folder: &Path) -> io::Result<Vec<Packed>> {
    let mut files = Vec::new();
    collect(folder, "", &mut files)?;
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The page of a demo, made from the ordinary one; none if it has no such element.
#[must_use]
pub(crate) fn demo_of(index: &Packed) -> Option<Packed> {
    let text = std::str::from_utf8(&index.plain).ok().filter(|text| text.contains(DEMO_OFF))?;
    Some(packed(index.path.clone(), text.replacen(DEMO_OFF, DEMO_ON, 1).into_bytes()))
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<Packed>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else {
            files.push(packed(path, fs::read(entry.path())?));
        }
    }
    Ok(())
}

fn packed(path: String, plain: Vec<u8>) -> Packed {
    let kind = mime_guess::from_path(&path).first_or_octet_stream();
    let kind = if kind.type_() == "text" { format!("{kind}; charset=utf-8") } else { kind.to_string() };
    let hash: String = Sha256::digest(&plain)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let shorter = |packed: Vec<u8>| Some(packed).filter(|packed| packed.len() < plain.len());
    let (brotli, gzip) = (shorter(brotli(&plain)), shorter(gzip(&plain)));
    Packed { path, kind, tag: format!("W/\"{hash}\""), brotli, gzip, plain }
}

/// As small as possible, because it is done only once.
fn brotli(plain: &[u8]) -> Vec<u8> {
    let params = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    let mut packed = Vec::new();
    brotli::BrotliCompress(&mut &*plain, &mut packed, &params).expect("memory takes all writes");
    packed
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory takes all writes")
}
