//! Packs the page's files into the service, and triggers a rebuild when the page has changed.
#![expect(clippy::print_stdout, reason = "it is how a build script speaks to Cargo")]

mod pack;

use std::{env, error::Error, fmt::Write, fs, path::Path};

use pack::{Packed, demo_of, pack};

const PAGE: &str = "../target/page";

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo treats a missing folder as changed, each time.
    if let Err(error) = fs::create_dir_all(PAGE) {
        println!("cargo::warning=cannot make {PAGE}: {error}");
    }
    println!("cargo::rerun-if-changed={PAGE}");
    println!("cargo::rerun-if-changed=build");
    let out = env::var("OUT_DIR")?;
    let folder = Path::new(&out).join("page");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir(&folder)?;
    // Without a page the service says how to build one.
    let files = if Path::new(PAGE).is_dir() { pack(Path::new(PAGE))? } else { Vec::new() };
    let demo = files.iter().find(|file| file.path == "index.html").and_then(demo_of);
    let mut text = "Page {\n    files: &[\n".to_owned();
    for (number, file) in files.iter().enumerate() {
        writeln!(text, "        {},", literal(file, &folder, &number.to_string())?)?;
    }
    text.push_str("    ],\n");
    match demo {
        Some(demo) => writeln!(text, "    demo: Some({}),\n}}", literal(&demo, &folder, "demo")?)?,
        None => text.push_str("    demo: None,\n}\n"),
    }
    fs::write(Path::new(&out).join("page.rs"), text)?;
    Ok(())
}

/// The file as a Rust expression. Its encodings are written beside it, so that the service is built
/// from one state of the page.
fn literal(file: &Packed, folder: &Path, name: &str) -> Result<String, Box<dyn Error>> {
    let form = |form: &str, content: &[u8]| -> Result<String, Box<dyn Error>> {
        let path = folder.join(format!("{name}.{form}"));
        fs::write(&path, content)?;
        Ok(format!("include_bytes!({:?})", path.to_str().ok_or("the build folder's name is no text")?))
    };
    let packed = |kind: &str, content: Option<&Vec<u8>>| {
        content.map_or_else(|| Ok("None".to_owned()), |content| Ok(format!("Some({})", form(kind, content)?)))
    };
    let brotli: Result<_, Box<dyn Error>> = packed("br", file.brotli.as_ref());
    let gzip: Result<_, Box<dyn Error>> = packed("gz", file.gzip.as_ref());
    Ok(format!(
        "File {{ path: {:?}, kind: {:?}, tag: {:?}, plain: {}, brotli: {}, gzip: {} }}",
        file.path,
        file.kind,
        file.tag,
        form("plain", &file.plain)?,
        brotli?,
        gzip?
    ))
}
